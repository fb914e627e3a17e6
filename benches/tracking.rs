//! Frames a second of tracking, zones and lines on saved records: `cargo bench --bench tracking`.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::sync::Arc;
use std::time::Instant;

use mobilens::config;
use mobilens::pipeline::analyzer;
use mobilens::records::{DetectionRecord, FrameRecord};
use mobilens_image::SizePx;

const FRAMES: u64 = 20_000;

/// `objects` that go back and forth at their own speeds; one of ten is not seen, some are faint.
fn frame(number: u64, objects: u64) -> FrameRecord {
    let seen = (0..objects).filter(|i| !(number * 7 + i * 13).is_multiple_of(10));
    let detections = seen.map(|i| {
        let way = 1200 - 40;
        let along = (number * (1 + i % 5) + i * 91) % (2 * way);
        let x = if along < way { along } else { 2 * way - along };
        DetectionRecord {
            category_id: 1,
            label: "person".to_owned(),
            score: if (number + i).is_multiple_of(9) {
                0.2
            } else {
                0.8
            },
            bbox: [x as f64, (20 + i * 30 % 600) as f64, 40.0, 90.0].into(),
            ..DetectionRecord::default()
        }
    });
    FrameRecord {
        frame: number,
        pts_ms: number as f64 * 40.0,
        detections: detections.collect(),
        ..FrameRecord::default()
    }
}

fn main() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/ssd_counting.yaml");
    let config = config::load_for_analysis(&file, &[]).expect("a shipped pipeline");
    let size = SizePx {
        width: 1280,
        height: 720,
    };
    for objects in [5, 20, 50] {
        let mut analyzer = analyzer(&config, &Arc::new(config.card.labels()));
        let mut records: Vec<_> = (0..FRAMES).map(|number| frame(number, objects)).collect();
        let began = Instant::now();
        let mut events = 0;
        for record in &mut records {
            analyzer.update(record, size);
            events += record.events.len();
        }
        let rate = FRAMES as f64 / began.elapsed().as_secs_f64();
        println!("{objects} objects: {rate:.0} frames/s on one core ({events} events)");
    }
}
