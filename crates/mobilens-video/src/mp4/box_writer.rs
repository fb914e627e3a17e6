//! Serialises MP4 boxes (ISO/IEC 14496-12, section 4.2).

/// A box: its size, its type and its content.
pub(super) fn mp4_box(kind: &[u8; 4], content: &[&[u8]]) -> Vec<u8> {
    let length: usize = content.iter().map(|c| c.len()).sum();
    let length = u32::try_from(length + 8).unwrap_or(u32::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend(kind);
    for content in content {
        out.extend(*content);
    }
    out
}

/// A `FullBox`: a box with version and flags.
pub(super) fn full_box(kind: &[u8; 4], version: u8, flags: u32, content: &[&[u8]]) -> Vec<u8> {
    let head = (u32::from(version) << 24 | flags).to_be_bytes();
    let mut all: Vec<&[u8]> = vec![&head];
    all.extend(content);
    mp4_box(kind, &all)
}

/// Big-endian fields of 32 bits.
pub(super) fn u32s(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}
