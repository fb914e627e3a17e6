//! Bit reader over the payload of a NAL unit (ITU-T H.264, sections 7.2, 7.3.1 and 9.1).

use crate::error::ParameterSetError;

/// Reads a NAL unit's payload (RBSP) bit by bit, without emulation prevention bytes.
pub(super) struct BitReader {
    bytes: Vec<u8>,
    /// Bits read so far.
    position: usize,
}

impl BitReader {
    /// Reads the first `max_bytes` of the payload of `nal`, after its header byte.
    pub(super) fn new(nal: &[u8], max_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(nal.len().min(max_bytes));
        let mut zeros = 0;
        for &b in nal.iter().skip(1).take(max_bytes) {
            if zeros >= 2 && b == 3 {
                zeros = 0;
                continue;
            }
            zeros = if b == 0 { zeros + 1 } else { 0 };
            bytes.push(b);
        }
        Self { bytes, position: 0 }
    }

    /// u(1).
    pub(super) fn bit(&mut self) -> Result<bool, ParameterSetError> {
        let byte = *self
            .bytes
            .get(self.position / 8)
            .ok_or(ParameterSetError::Damaged)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Ok(bit == 1)
    }

    /// u(n).
    pub(super) fn bits(&mut self, n: u32) -> Result<u32, ParameterSetError> {
        (0..n).try_fold(0u32, |v, _| Ok(v << 1 | u32::from(self.bit()?)))
    }

    /// A NAL unit with the header of `nal`, the bits read so far, and the `count` bits of `tail`.
    pub(super) fn nal_from_read_bits(&self, nal: &[u8], tail: u16, count: usize) -> Vec<u8> {
        let (whole, partial) = (self.position / 8, self.position % 8);
        let kept = self
            .bytes
            .get(whole)
            .map_or(0, |b| u16::from(*b) >> (8 - partial));
        let last = (kept << count | tail) << (16 - partial - count);
        let mut out: Vec<u8> = nal.first().copied().into_iter().collect();
        let mut zeros = 0;
        for &b in self.bytes.iter().take(whole).chain(&last.to_be_bytes()) {
            if zeros >= 2 && b <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if b == 0 { zeros + 1 } else { 0 };
            out.push(b);
        }
        if partial + count <= 8 {
            out.pop(); // the second byte of `last` is unused
        }
        out
    }

    /// ue(v): unsigned Exp-Golomb code.
    pub(super) fn ue(&mut self) -> Result<u32, ParameterSetError> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros == 32 {
                return Err(ParameterSetError::Damaged);
            }
        }
        Ok((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// se(v): signed Exp-Golomb code.
    pub(super) fn se(&mut self) -> Result<i32, ParameterSetError> {
        let k = i64::from(self.ue()?);
        let v = if k % 2 == 0 { -k / 2 } else { (k + 1) / 2 };
        i32::try_from(v).map_err(|_| ParameterSetError::Damaged)
    }
}
