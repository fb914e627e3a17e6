//! The boxes of an MP4 file: headers in the file, children and fields in memory, all checked.
//!
//! Stops at the meaning of fields, which `movie` and `fragment` know. ISO/IEC 14496-12, section 4.

use std::io::{Read, Seek, SeekFrom};

use crate::error::VideoError;

/// Four letters that name a box.
pub(super) type FourCc = [u8; 4];

/// A box of the outermost level, as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileBox {
    /// Its name.
    pub kind: FourCc,
    /// Offset of its header.
    pub start: u64,
    /// Offset of its content.
    pub body: u64,
    /// Offset of what follows it; beyond the end of the file when the file was cut off.
    pub end: u64,
}

impl FileBox {
    /// Reads the header at `at`; none where fewer than 8 bytes are left.
    pub(super) fn read<R: Read + Seek>(
        file: &mut R,
        at: u64,
        file_bytes: u64,
    ) -> Result<Option<Self>, VideoError> {
        if file_bytes.saturating_sub(at) < 8 {
            return Ok(None);
        }
        let mut head = [0; 16];
        let have = (file_bytes - at).min(16) as usize;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut head[..have])?;
        let kind = [head[4], head[5], head[6], head[7]];
        let small = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let (header, size) = match small {
            0 => (8, file_bytes - at),
            1 if have == 16 => {
                let mut large = [0; 8];
                large.copy_from_slice(&head[8..]);
                (16, u64::from_be_bytes(large))
            }
            _ => (8, u64::from(small)),
        };
        if size < header {
            return Err(damaged(kind, "is smaller than its own header"));
        }
        Ok(Some(Self {
            kind,
            start: at,
            body: at + header,
            end: at.saturating_add(size),
        }))
    }

    /// The content, of at most `limit` bytes.
    pub(super) fn content<R: Read + Seek>(
        &self,
        file: &mut R,
        file_bytes: u64,
        limit: u64,
    ) -> Result<Vec<u8>, VideoError> {
        if self.end > file_bytes {
            return Err(damaged(self.kind, "goes on beyond the end of the file"));
        }
        let bytes = self.end - self.body;
        if bytes > limit {
            return Err(VideoError::TooLarge {
                what: "the index in bytes",
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

/// The error of a box that contradicts itself.
pub(super) fn damaged(kind: FourCc, why: &'static str) -> VideoError {
    VideoError::Box {
        kind: letters(kind),
        why,
    }
}

/// A box's name for a message: what is not printable becomes `?`.
pub(super) fn letters(kind: FourCc) -> String {
    kind.iter()
        .map(|&b| match b {
            b' '..=b'~' => char::from(b),
            0xa9 => '\u{a9}',
            _ => '?',
        })
        .collect()
}

/// Big-endian fields of a box, in order; never reads past its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    kind: FourCc,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The content of a box.
    pub(super) fn new(kind: FourCc, content: &'a [u8]) -> Self {
        Self {
            kind,
            rest: content,
        }
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], VideoError> {
        let (head, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or_else(|| damaged(self.kind, "ends too early"))?;
        self.rest = rest;
        Ok(head)
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
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff))
    }

    /// A field of 32 bits in version 0 and of 64 in version 1.
    pub(super) fn u32_or_u64(&mut self, version: u8) -> Result<u64, VideoError> {
        if version == 1 {
            self.u64()
        } else {
            Ok(u64::from(self.u32()?))
        }
    }

    /// A table: its number of rows, then rows of `N` bytes. The number is checked against the
    /// bytes that are there, so that nothing is allocated on a header's word.
    pub(super) fn rows<const N: usize>(
        &mut self,
    ) -> Result<impl ExactSizeIterator<Item = Fields<'a>> + use<'a, N>, VideoError> {
        let count = self.u32()? as usize;
        let bytes = count
            .checked_mul(N)
            .ok_or_else(|| damaged(self.kind, "has too many rows"))?;
        let kind = self.kind;
        Ok(self
            .take(bytes)?
            .chunks_exact(N)
            .map(move |row| Fields::new(kind, row)))
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// The boxes inside a box. Fewer than 8 bytes at the end are padding (QuickTime writes them).
pub(super) fn children(
    content: &[u8],
) -> impl Iterator<Item = Result<(FourCc, &[u8]), VideoError>> {
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.len() < 8 {
            return None;
        }
        let found = split_child(rest);
        rest = match &found {
            Ok((_, _, after)) => after,
            Err(_) => &[],
        };
        Some(found.map(|(kind, body, _)| (kind, body)))
    })
}

/// Name and content of the box that `bytes` begin with, and what follows it.
fn split_child(bytes: &[u8]) -> Result<(FourCc, &[u8], &[u8]), VideoError> {
    let mut head = Fields::new(*b"????", bytes);
    let small = head.u32()?;
    let kind = head.four_cc()?;
    let (header, size) = match small {
        0 => (8, bytes.len() as u64),
        1 => (16, Fields::new(kind, head.rest()).u64()?),
        n => (8, u64::from(n)),
    };
    if size < header {
        return Err(damaged(kind, "is smaller than its own header"));
    }
    if size > bytes.len() as u64 {
        return Err(damaged(kind, "is larger than the box around it"));
    }
    let (this, after) = bytes.split_at(size as usize);
    Ok((kind, &this[header as usize..], after))
}

/// The content of the first child named `kind`.
pub(super) fn child(content: &[u8], kind: FourCc) -> Result<Option<Fields<'_>>, VideoError> {
    for found in children(content) {
        let (name, body) = found?;
        if name == kind {
            return Ok(Some(Fields::new(kind, body)));
        }
    }
    Ok(None)
}

/// The content of the first child named `kind`, which must be there.
pub(super) fn required(content: &[u8], kind: FourCc) -> Result<Fields<'_>, VideoError> {
    child(content, kind)?.ok_or_else(|| damaged(kind, "is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_claims_more_rows_than_bytes_is_refused_without_allocating() {
        let mut fields = Fields::new(*b"stts", &[0xff; 12]);
        assert!(matches!(
            fields.rows::<8>().map(|rows| rows.len()),
            Err(VideoError::Box { .. })
        ));
    }

    #[test]
    fn a_box_without_size_ends_the_search_instead_of_turning_in_circles() {
        let content = [0, 0, 0, 4, b'f', b'r', b'e', b'e', 0, 0, 0, 8];
        assert_eq!(children(&content).count(), 1);
        assert!(child(&content, *b"trak").is_err());
    }

    #[test]
    fn large_sizes_are_read() {
        let mut content = vec![0, 0, 0, 1];
        content.extend(b"free");
        content.extend(17u64.to_be_bytes());
        content.push(7);
        let found: Vec<_> = children(&content).collect();
        assert!(matches!(found.as_slice(), [Ok((kind, [7]))] if kind == b"free"));
    }
}
