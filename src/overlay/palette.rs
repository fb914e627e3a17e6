//! Colours that tell classes apart.

/// Colours that stay apart for most eyes, also side by side (after Sasha Trubetskoy's list of
/// distinct colours), without those that are too dark or too pale for a line.
const DISTINCT: [[u8; 3]; 14] = [
    [230, 25, 75],
    [60, 180, 75],
    [255, 225, 25],
    [0, 130, 200],
    [245, 130, 48],
    [145, 30, 180],
    [70, 240, 240],
    [240, 50, 230],
    [210, 245, 60],
    [250, 190, 212],
    [0, 128, 128],
    [220, 190, 255],
    [170, 110, 40],
    [128, 128, 0],
];

/// The colour of a category.
pub fn colour_of(category_id: u32) -> [u8; 3] {
    DISTINCT[category_id as usize % DISTINCT.len()]
}

/// Black or white, whichever can be read better on `background`: by the contrast ratio of WCAG 2.1
/// (relative luminance of sRGB), which is even at a luminance of 0.179.
pub fn ink_on(background: [u8; 3]) -> [u8; 3] {
    let linear = background.map(|c| (f32::from(c) / 255.0).powf(2.2));
    let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    if luminance > 0.179 {
        [0, 0, 0]
    } else {
        [255, 255, 255]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_contrasts() {
        assert_eq!(ink_on([255, 225, 25]), [0, 0, 0]);
        assert_eq!(ink_on([145, 30, 180]), [255, 255, 255]);
    }
}
