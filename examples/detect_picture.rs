//! Detects objects in one picture: `cargo run --example detect_picture [PICTURE]`.
//!
//! Takes the model from a pipeline's YAML, and does without its stages: one worker runs
//! preprocessing, the network and postprocessing on the calling thread.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;
use std::path::Path;

use mobilens::config::{self, RunArguments};
use mobilens::pipeline::Model;
use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let default = root.join("tests/data/pictures/astronaut.png");
    let picture = std::env::args_os().nth(1).unwrap_or_else(|| default.into());

    let pipeline = root.join("pipelines/ssd_replay.yaml");
    let loaded = config::load_all(&pipeline, &[], &RunArguments::default())?.remove(0);
    let labels = loaded.card.labels();
    // Two threads inside the inference.
    let mut worker = Model::load(&loaded)?.worker(2, &Default::default(), &Default::default())?;

    let rgb = image::open(picture)?.into_rgb8();
    let size = SizePx {
        width: rgb.width(),
        height: rgb.height(),
    };
    let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, rgb.into_raw())?;

    let prediction = worker.predict(image)?;
    for detection in &prediction.detections {
        let rect = detection.rect;
        println!(
            "{:.2} {} at ({:.0}, {:.0}), {:.0}x{:.0} pixels",
            detection.score,
            labels.name(detection.category_id),
            rect.x,
            rect.y,
            rect.width,
            rect.height
        );
    }
    // What a classifier says of the whole picture.
    for class in prediction.classification.iter().flatten() {
        println!("{:.3} {}", class.score, labels.name(class.category_id));
    }
    Ok(())
}
