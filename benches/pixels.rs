//! Times the work on pixels, one thread: `cargo bench --profile dev --bench pixels [PART OF A NAME]`.
#![allow(clippy::print_stdout, reason = "a benchmark's output is its result")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use image::RgbImage;
use mobilens::overlay::{Overlay, OverlayStyle};
use mobilens::postprocess::{
    DeepLabDecoder, DeepLabParams, Detection, Labels, Prediction, SafeGroundFinder, Segmentation,
};
use mobilens::records::rles_of;
use mobilens::sink::DisplayWindow;
use mobilens_image::{
    Image, ImageFromModel, PixelFormat, RectPx, SizePx, TensorLayout, YuvColour, rgb_from_image,
};
use mobilens_image::{PreprocessParams, Preprocessor, ResizeFilter, ResizeMode};

const SIZE: SizePx = SizePx {
    width: 1280,
    height: 720,
};

fn main() {
    for format in [
        PixelFormat::I420,
        PixelFormat::Nv12,
        PixelFormat::Yuyv,
        PixelFormat::Rgb8,
    ] {
        let image = picture(format);
        let mut rgb = RgbImage::default();
        time(&format!("rgb_from_image {format:?} 1280x720"), || {
            rgb_from_image(black_box(&image), &mut rgb);
        });
        for side in [300, 513] {
            preprocess(&image, side, TensorLayout::Nhwc);
        }
        preprocess(&image, 300, TensorLayout::Nchw);
    }
    overlay();
    segmentation("smooth logits", |class, x, y| {
        let class = class as f32;
        ((x as f32 * 0.2 + class).sin() + (y as f32 * 0.17 + 2.0 * class).cos()) * 3.0
    });
    segmentation("random logits (worst case)", |class, x, y| {
        ((class * 7919 + x * 104_729 + y * 1_299_709) % 1009) as f32 / 100.0
    });
    window();
}

/// Everything behind DeepLab at 513 pixels and output stride 16, for a frame of 1280x720.
fn segmentation(name: &str, logit: impl Fn(usize, usize, usize) -> f32) {
    const GRID: usize = 33;
    const CLASSES: usize = 21;
    let planes =
        (0..CLASSES * GRID * GRID).map(|i| logit(i / (GRID * GRID), i % GRID, i / GRID % GRID));
    let logits: Vec<f32> = planes.collect();
    let fitted = ImageFromModel {
        scale_x_px: 1280.0,
        scale_y_px: 1280.0,
        offset_x_px: 0.0,
        offset_y_px: 0.0,
    };
    let mut decoder = DeepLabDecoder::new(DeepLabParams {
        classes: CLASSES,
        grid: (GRID, GRID),
        input: (513, 513),
        align_corners: true,
        half_pixel: false,
        confidence_floor: None,
    });
    time(&format!("upsample, argmax and areas, {name}"), || {
        black_box(decoder.decode(black_box(&logits), &fitted, SIZE).counts());
    });
    let mask = decoder.decode(&logits, &fitted, SIZE);
    time(&format!("run lengths of all classes, {name}"), || {
        black_box(rles_of(black_box(&mask)));
    });
    let mut finder = SafeGroundFinder::new(1..=20, 8.0, None);
    time(&format!("safe ground, {name}"), || {
        black_box(finder.find(black_box(&mask)));
    });
    let labels = (0..CLASSES as u32).map(|id| (id, format!("class {id}")));
    let labels = Labels::new(labels.collect());
    let style = OverlayStyle {
        alpha: 0.5,
        ..OverlayStyle::default()
    };
    let mut overlay = Overlay::new(style, Arc::new(labels));
    let mut picture = RgbImage::new(SIZE.width, SIZE.height);
    let prediction = Prediction {
        plan: mobilens::frame::InferencePlan::default(),
        detections: Vec::new(),
        segmentation: Some(Segmentation {
            mask: Arc::new(mask),
            safe_ground: None,
        }),
        classification: None,
    };
    time(&format!("overlay of the mask, {name}"), || {
        overlay.draw_mut(black_box(&mut picture), &prediction);
    });
}

fn preprocess(image: &Image, side: u32, layout: TensorLayout) {
    let spec = PreprocessParams {
        width_px: side,
        height_px: side,
        bgr: false,
        mean: [127.5; 3],
        std: [127.5; 3],
        resize: ResizeMode::Stretch,
        half_pixel: false,
        filter: ResizeFilter::Bilinear,
    };
    let mut preprocessor = Preprocessor::new(&spec);
    let mut out = vec![0.0; 3 * (side * side) as usize];
    let name = format!("preprocess {:?} to {side} {layout:?}", image.format());
    time(&name, || {
        preprocessor.run(black_box(image), layout, &mut out);
    });
}

/// Twenty boxes a frame, whose scores change as they do in a video.
fn overlay() {
    let names = ["person", "bicycle", "car", "traffic light", "dog"];
    let labels = Labels::new((1..).zip(names.map(str::to_owned)).collect());
    let mut overlay = Overlay::new(OverlayStyle::default(), Arc::new(labels));
    let mut picture = RgbImage::new(SIZE.width, SIZE.height);
    let mut frame = 0;
    time("overlay of 20 boxes on 1280x720", || {
        frame += 1;
        let detections = (0..20_u32).map(|i| Detection {
            category_id: 1 + i % 5,
            score: 0.4 + ((frame * 7 + i * 13) % 60) as f32 / 100.0,
            rect: RectPx {
                x: (i % 5 * 240 + 20) as f32,
                y: (i / 5 * 160 + 40) as f32,
                width: 180.0,
                height: 120.0,
            },
            ..Detection::default()
        });
        let detections = detections.collect();
        overlay.draw_mut(
            black_box(&mut picture),
            &Prediction {
                plan: mobilens::frame::InferencePlan::default(),
                detections,
                ..Prediction::default()
            },
        );
    });
}

/// With a display only: whole frames, the X server's work included.
fn window() {
    let mut rgb = RgbImage::default();
    rgb_from_image(&picture(PixelFormat::I420), &mut rgb);
    let rgb = Arc::new(rgb);
    for (width, height) in [(1280, 720), (1000, 700), (1920, 1080)] {
        match DisplayWindow::open("bench", width, height) {
            Ok(mut window) => time(
                &format!("window of {width}x{height} shows 1280x720"),
                || {
                    if let Err(e) = window.show(&rgb, "25.0 frames/s") {
                        println!("{e}");
                    }
                },
            ),
            Err(e) => println!("window: {e}"),
        }
    }
}

/// A picture with some of everything in it.
fn picture(format: PixelFormat) -> Image {
    let data = (0..format.bytes(SIZE))
        .map(|i| (i * i / 977 + i / 1280) as u8)
        .collect();
    Image::new(SIZE, format, YuvColour::DEFAULT, data).expect("the buffer is made for the size")
}

/// Prints the median and the least of many runs.
fn time(name: &str, mut run: impl FnMut()) {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let mut times: Vec<f64> = (0..300)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{name:<50} median {:.3} ms, least {:.3} ms",
        times[times.len() / 2],
        times[0]
    );
}
