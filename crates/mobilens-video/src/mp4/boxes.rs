//! Parses the boxes (atoms) of an MP4 file, bounds-checked: headers in the file, child boxes and
//! fields in memory.
//!
//! What the fields mean is left to `movie`, `samples` and `fragment`. ISO/IEC 14496-12, section 4.

use std::io::{Read, Seek, SeekFrom};

use crate::error::VideoError;

/// Four-character code: the type of a box.
pub(super) type FourCc = [u8; 4];

/// Position of a top-level box in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileBox {
    /// Type.
    pub kind: FourCc,
    /// Offset of the header.
    pub start: u64,
    /// Offset of the content.
    pub body: u64,
    /// Offset of the next box; beyond the end of a truncated file.
    pub end: u64,
}

impl FileBox {
    /// Reads the header at offset `at`; none where fewer than 8 bytes are left.
    pub(super) fn read<R: Read + Seek>(
        file: &mut R,
        at: u64,
        file_bytes: u64,
    ) -> Result<Option<Self>, VideoError> {
        if file_bytes.saturating_sub(at) < 8 {
            return Ok(None);
        }
        let mut header_bytes = [0; 16];
        let have = (file_bytes - at).min(16) as usize;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header_bytes[..have])?;
        let kind = [
            header_bytes[4],
            header_bytes[5],
            header_bytes[6],
            header_bytes[7],
        ];
        let size_32 = u32::from_be_bytes([
            header_bytes[0],
            header_bytes[1],
            header_bytes[2],
            header_bytes[3],
        ]);
        let (header, size) = match size_32 {
            0 => (8, file_bytes - at),
            1 if have == 16 => {
                let mut large = [0; 8];
                large.copy_from_slice(&header_bytes[8..]);
                (16, u64::from_be_bytes(large))
            }
            _ => (8, u64::from(size_32)),
        };
        if size < header {
            return Err(invalid_box(kind, "is smaller than its own header"));
        }
        Ok(Some(Self {
            kind,
            start: at,
            body: at + header,
            end: at.saturating_add(size),
        }))
    }

    /// Reads the content, of at most `limit` bytes.
    pub(super) fn content<R: Read + Seek>(
        &self,
        file: &mut R,
        file_bytes: u64,
        limit: u64,
    ) -> Result<Vec<u8>, VideoError> {
        if self.end > file_bytes {
            return Err(invalid_box(self.kind, "extends beyond the end of the file"));
        }
        let bytes = self.end - self.body;
        if bytes > limit {
            return Err(VideoError::TooLarge {
                what: "the size of the index (moov or moof box) in bytes",
                got: bytes,
                limit,
            });
        }
        let mut content = vec![0; bytes as usize];
        file.seek(SeekFrom::Start(self.body))?;
        file.read_exact(&mut content)?;
        Ok(content)
    }
}

/// The error of an invalid box.
pub(super) fn invalid_box(kind: FourCc, why: &'static str) -> VideoError {
    VideoError::InvalidBox {
        kind: printable_fourcc(kind),
        why,
    }
}

/// A box type for messages: bytes that are not printable become `?`.
pub(super) fn printable_fourcc(kind: FourCc) -> String {
    kind.iter()
        .map(|&b| match b {
            b' '..=b'~' => char::from(b),
            0xa9 => '\u{a9}',
            _ => '?',
        })
        .collect()
}

/// Reads the big-endian fields of a box in order; never past its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoxReader<'a> {
    kind: FourCc,
    remaining: &'a [u8],
}

impl<'a> BoxReader<'a> {
    /// A reader at the start of the content of a box.
    pub(super) fn new(kind: FourCc, content: &'a [u8]) -> Self {
        Self {
            kind,
            remaining: content,
        }
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], VideoError> {
        let (bytes, remaining) = self
            .remaining
            .split_at_checked(n)
            .ok_or_else(|| invalid_box(self.kind, "is truncated"))?;
        self.remaining = remaining;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], VideoError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, VideoError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, VideoError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, VideoError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, VideoError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, VideoError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn four_cc(&mut self) -> Result<FourCc, VideoError> {
        self.array()
    }

    /// Version and flags.
    pub(super) fn version_flags(&mut self) -> Result<(u8, u32), VideoError> {
        let both = self.u32()?;
        Ok(((both >> 24) as u8, both & 0x00ff_ffff))
    }

    /// A field of 32 bits in version 0 and of 64 in version 1.
    pub(super) fn u32_or_u64(&mut self, version: u8) -> Result<u64, VideoError> {
        if version == 1 {
            self.u64()
        } else {
            Ok(u64::from(self.u32()?))
        }
    }

    /// A table: the entry count, then entries of `N` bytes. The count is checked against the bytes
    /// that are there before anything is allocated.
    pub(super) fn entries<const N: usize>(
        &mut self,
    ) -> Result<impl ExactSizeIterator<Item = BoxReader<'a>> + use<'a, N>, VideoError> {
        let count = self.u32()? as usize;
        let bytes = count
            .checked_mul(N)
            .ok_or_else(|| invalid_box(self.kind, "has an entry count out of range"))?;
        let kind = self.kind;
        Ok(self
            .take(bytes)?
            .chunks_exact(N)
            .map(move |entry| BoxReader::new(kind, entry)))
    }

    /// The bytes that were not read yet.
    pub(super) fn remaining(&self) -> &'a [u8] {
        self.remaining
    }
}

/// The child boxes of a box. Fewer than 8 bytes at the end are padding (QuickTime writes them).
pub(super) fn children(
    content: &[u8],
) -> impl Iterator<Item = Result<(FourCc, &[u8]), VideoError>> {
    let mut remaining = content;
    std::iter::from_fn(move || {
        if remaining.len() < 8 {
            return None;
        }
        let found = split_child(remaining);
        remaining = match &found {
            Ok((_, _, after)) => after,
            Err(_) => &[],
        };
        Some(found.map(|(kind, body, _)| (kind, body)))
    })
}

/// Type and content of the box at the start of `bytes`, and the bytes after it.
fn split_child(bytes: &[u8]) -> Result<(FourCc, &[u8], &[u8]), VideoError> {
    let mut reader = BoxReader::new(*b"????", bytes);
    let size_32 = reader.u32()?;
    let kind = reader.four_cc()?;
    let (header, size) = match size_32 {
        0 => (8, bytes.len() as u64),
        1 => (16, BoxReader::new(kind, reader.remaining()).u64()?),
        n => (8, u64::from(n)),
    };
    if size < header {
        return Err(invalid_box(kind, "is smaller than its own header"));
    }
    if size > bytes.len() as u64 {
        return Err(invalid_box(kind, "is larger than its parent box"));
    }
    let (this, after) = bytes.split_at(size as usize);
    Ok((kind, &this[header as usize..], after))
}

/// A reader of the first child of type `kind`.
pub(super) fn child(content: &[u8], kind: FourCc) -> Result<Option<BoxReader<'_>>, VideoError> {
    for found in children(content) {
        let (name, body) = found?;
        if name == kind {
            return Ok(Some(BoxReader::new(kind, body)));
        }
    }
    Ok(None)
}

/// A reader of the first child of type `kind`, which is mandatory.
pub(super) fn required_child(content: &[u8], kind: FourCc) -> Result<BoxReader<'_>, VideoError> {
    child(content, kind)?.ok_or_else(|| invalid_box(kind, "is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_count_beyond_the_box_is_rejected_before_allocation() {
        let mut stts = BoxReader::new(*b"stts", &[0xff; 12]);
        assert!(matches!(
            stts.entries::<8>().map(|entries| entries.len()),
            Err(VideoError::InvalidBox { .. })
        ));
    }

    #[test]
    fn a_box_of_size_0_cannot_cause_an_endless_loop() {
        let content = [0, 0, 0, 4, b'f', b'r', b'e', b'e', 0, 0, 0, 8];
        assert_eq!(children(&content).count(), 1);
        assert!(child(&content, *b"trak").is_err());
    }

    #[test]
    fn a_64_bit_size_is_read() {
        let mut content = vec![0, 0, 0, 1];
        content.extend(b"free");
        content.extend(17u64.to_be_bytes());
        content.push(7);
        let found: Vec<_> = children(&content).collect();
        assert!(matches!(found.as_slice(), [Ok((kind, [7]))] if kind == b"free"));
    }
}
