//! The source `images`: order, formats, and what is refused.

use std::fs;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use mobilens::capture::{Captured, ImagesSource, Source};
use mobilens::flow::StopSignal;
use mobilens_image::{Image, PixelFormat};

/// Six pixels, all different.
fn sample() -> RgbImage {
    RgbImage::from_fn(2, 3, |x, y| Rgb([10 * x as u8, 50 * y as u8, 200]))
}

fn save(folder: &Path, name: &str, picture: impl Into<DynamicImage>, format: image::ImageFormat) {
    let path = folder.join(name);
    picture
        .into()
        .save_with_format(path, format)
        .expect("written");
}

/// Everything that a source gives, as `name` or `! why`, with the picture and the time.
fn all(path: &Path, fps: f64) -> Vec<(String, Option<Image>, f64)> {
    let mut source = ImagesSource::open(path, fps).expect("opens");
    let stop = StopSignal::new();
    let mut all = Vec::new();
    loop {
        match source.next(&stop).expect("goes on") {
            Captured::Lost { .. } | Captured::Back { .. } => panic!("a file is not lost"),
            Captured::End => return all,
            Captured::Frame { image, pts, name } => {
                all.push((name.expect("named").to_string(), Some(image), pts.as_ms()));
            }
            Captured::Undecodable { pts, why } => all.push((format!("! {why}"), None, pts.as_ms())),
        }
    }
}

/// The only line that opening or reading a single file gives.
fn refusal(path: &Path) -> String {
    let error = match ImagesSource::open(path, 1.0) {
        Err(error) => error,
        Ok(mut source) => source.next(&StopSignal::new()).expect_err("refused"),
    };
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

fn single(folder: &Path, name: &str) -> Image {
    let (_, image, _) = all(&folder.join(name), 1.0).remove(0);
    image.expect("a picture")
}

#[test]
fn a_folder_comes_in_natural_order_with_names_and_times() {
    let folder = tempfile::tempdir().expect("folder");
    for name in ["img10.png", "img2.png", "img1.png"] {
        save(folder.path(), name, sample(), image::ImageFormat::Png);
    }
    fs::write(folder.path().join("notes.txt"), "not a picture").expect("written");
    fs::write(folder.path().join(".hidden.png"), "hidden").expect("written");
    fs::create_dir(folder.path().join("inner.png")).expect("created");
    let got = all(folder.path(), 4.0);
    let names: Vec<_> = got.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["img1.png", "img2.png", "img10.png"]);
    let times: Vec<_> = got.iter().map(|(.., ms)| *ms).collect();
    assert_eq!(times, [0.0, 250.0, 500.0]);

    let mut source = ImagesSource::open(folder.path(), 4.0).expect("opens");
    assert_eq!(source.info().frames, Some(3));
    let stop = StopSignal::new();
    for _ in 0..2 {
        let Captured::Frame { pts, .. } = source.next(&stop).expect("reads") else {
            panic!("a frame");
        };
        assert_eq!(pts.ticks, 0);
        source.rewind().expect("rewinds");
    }
}

#[test]
fn the_format_is_told_by_content() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, format) in [
        ("a.jpg", image::ImageFormat::Png),
        ("b", image::ImageFormat::Bmp),
        ("c.png", image::ImageFormat::WebP),
        ("d.dat", image::ImageFormat::Jpeg),
    ] {
        save(folder.path(), name, sample(), format);
    }
    let got = all(folder.path(), 1.0);
    assert_eq!(got.len(), 4);
    for (name, image, _) in &got[..3] {
        let image = image.as_ref().expect("a picture");
        assert_eq!(image.format(), PixelFormat::Rgb8);
        assert_eq!(image.data(), sample().as_raw(), "{name}");
    }
}

#[test]
fn grey_sixteen_bits_and_transparency_become_rgb() {
    let folder = tempfile::tempdir().expect("folder");
    let png = image::ImageFormat::Png;
    save(
        folder.path(),
        "grey.png",
        GrayImage::from_pixel(1, 1, Luma([77])),
        png,
    );
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> =
        ImageBuffer::from_pixel(1, 1, Rgb([0, 0x8080, 0xffff]));
    save(folder.path(), "deep.png", deep, png);
    let clear = RgbaImage::from_pixel(1, 1, Rgba([9, 8, 7, 0]));
    save(folder.path(), "clear.png", clear, png);
    assert_eq!(single(folder.path(), "grey.png").data(), [77, 77, 77]);
    assert_eq!(single(folder.path(), "deep.png").data(), [0, 0x80, 0xff]);
    assert_eq!(single(folder.path(), "clear.png").data(), [9, 8, 7]);
}

/// A JPEG with an EXIF block that holds nothing but `orientation`.
fn jpeg_with_orientation(picture: &RgbImage, orientation: u8) -> Vec<u8> {
    let mut plain = std::io::Cursor::new(Vec::new());
    DynamicImage::from(picture.clone())
        .write_to(&mut plain, image::ImageFormat::Jpeg)
        .expect("encoded");
    let mut exif =
        b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let plain = plain.into_inner();
    [&plain[..2], &exif, &plain[2..]].concat()
}

#[test]
fn exif_orientation_is_applied_as_opencv_does() {
    let folder = tempfile::tempdir().expect("folder");
    // Left half dark, right half light; large enough for JPEG to keep the halves.
    let picture = RgbImage::from_fn(32, 16, |x, _| Rgb(if x < 16 { [20; 3] } else { [220; 3] }));
    let dark = |image: &Image, x: u32, y: u32| {
        image.data()[3 * (y * image.size().width + x) as usize] < 120
    };
    for (orientation, size, dark_corner, light_corner) in [
        (1, (32, 16), (0, 0), (31, 0)),
        (3, (32, 16), (31, 0), (0, 0)),
        (6, (16, 32), (0, 0), (0, 31)),
        (8, (16, 32), (0, 31), (0, 0)),
    ] {
        let path = folder.path().join("turned.jpg");
        fs::write(&path, jpeg_with_orientation(&picture, orientation)).expect("written");
        let source = ImagesSource::open(&path, 1.0).expect("opens");
        let image = single(folder.path(), "turned.jpg");
        assert_eq!(source.info().size, Some(image.size()));
        assert_eq!((image.size().width, image.size().height), size);
        assert!(dark(&image, dark_corner.0, dark_corner.1), "{orientation}");
        assert!(
            !dark(&image, light_corner.0, light_corner.1),
            "{orientation}"
        );
    }
}

#[test]
fn a_broken_picture_in_a_folder_is_told_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().expect("folder");
    save(folder.path(), "1.png", sample(), image::ImageFormat::Png);
    save(folder.path(), "3.png", sample(), image::ImageFormat::Png);
    let whole = fs::read(folder.path().join("1.png")).expect("read");
    fs::write(folder.path().join("2.png"), &whole[..whole.len() / 2]).expect("written");
    fs::write(folder.path().join("4.jpg"), "just text").expect("written");
    fs::write(folder.path().join("5.bmp"), "").expect("written");
    let got = all(folder.path(), 1.0);
    let names: Vec<_> = got.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!((names[0], names[2]), ("1.png", "3.png"));
    assert!(
        names[1].starts_with("! 2.png: damaged picture: "),
        "{}",
        names[1]
    );
    assert_eq!(names[3], "! 4.jpg: not a JPEG, PNG, BMP or WebP picture");
    assert_eq!(names[4], "! 5.bmp: the file is empty");
    assert_eq!(got[3].2, 3000.0);
}

/// The head of a BMP of any size; its pixels are not there.
fn bmp_head(width: i32, height: i32) -> Vec<u8> {
    let mut head = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    head.extend(width.to_le_bytes());
    head.extend(height.to_le_bytes());
    head.extend(b"\x01\0\x18\0\0\0\0\0");
    head.resize(54, 0);
    head
}

#[test]
fn sizes_from_one_pixel_to_the_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let one = RgbImage::from_pixel(1, 1, Rgb([1, 2, 3]));
    save(folder.path(), "one.png", one, image::ImageFormat::Png);
    assert_eq!(single(folder.path(), "one.png").data(), [1, 2, 3]);

    let path = folder.path().join("huge.bmp");
    for (width, height, megapixels) in [(12_000, 9_000, 108), (i32::MAX, 2_000, 4_294_967)] {
        fs::write(&path, bmp_head(width, height)).expect("written");
        let line = refusal(&path);
        if megapixels == 108 {
            assert!(
                line.ends_with(
                    "huge.bmp: the picture is 12000x9000 (108 megapixels), \
                     above the limit of 64 megapixels"
                ),
                "{line}"
            );
        }
    }
}

#[test]
fn what_is_no_picture_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    assert!(refusal(&path("missing.png")).contains("missing.png: No such file"));
    let line = refusal(folder.path());
    assert!(
        line.ends_with("no pictures (JPEG, PNG, BMP or WebP) in this folder"),
        "{line}"
    );
    fs::write(path("empty.png"), "").expect("written");
    assert!(refusal(&path("empty.png")).ends_with("the file is empty"));
    fs::write(path("text.png"), "just text, and some more of it").expect("written");
    let line = refusal(&path("text.png"));
    assert!(
        line.ends_with("not a JPEG, PNG, BMP or WebP picture"),
        "{line}"
    );
    fs::write(path("a.gif"), "GIF89a and more").expect("written");
    assert!(refusal(&path("a.gif")).ends_with("picture but Gif"));
    for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(ImagesSource::open(folder.path(), fps).is_err());
    }
}

#[test]
fn no_damage_makes_a_picture_panic_or_hang() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("damaged");
    let picture = RgbImage::from_fn(24, 16, |x, y| Rgb([9 * x as u8, 15 * y as u8, 7]));
    let mut state = 1u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for format in [
        image::ImageFormat::Jpeg,
        image::ImageFormat::Png,
        image::ImageFormat::Bmp,
        image::ImageFormat::WebP,
    ] {
        save(folder.path(), "whole", picture.clone(), format);
        let whole = fs::read(folder.path().join("whole")).expect("read");
        for round in 0..100 {
            let mut bytes = whole.clone();
            for _ in 0..=round % 4 {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
            bytes.truncate(bytes.len() - random() % (bytes.len() / 4));
            fs::write(&path, &bytes).expect("written");
            if let Ok(mut source) = ImagesSource::open(&path, 1.0) {
                drop(source.next(&StopSignal::new()));
            }
        }
    }
}
