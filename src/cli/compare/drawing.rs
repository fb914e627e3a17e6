//! Pictures of the frames in which two runs differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use image::RgbImage;
use mobilens::capture::Captured;
use mobilens::config::InputSource;
use mobilens::flow::StopSignal;
use mobilens::overlay::{TextRenderer, draw_box_mut};
use mobilens::pipeline::open_recording;
use mobilens::records::DetectionRecord;
use mobilens_image::{RectPx, rgb_from_image};

use super::reading::SavedRun;
use super::{ComparedFrame, Failure};

/// Colours of the first and the second run, which stay apart for most eyes (Okabe and Ito).
const COLOURS: [[u8; 3]; 2] = [[230, 159, 0], [0, 158, 255]];
const LEGEND: [u8; 3] = [255, 255, 255];

/// Draws `frames`, which `input` has, into the folder `dir`; gives their number.
pub fn draw_frames(
    first: &SavedRun,
    second: &SavedRun,
    frames: &[ComparedFrame],
    input: &str,
    dir: &Path,
) -> Result<usize, Failure> {
    let config = InputSource::of(input)?.source();
    if config.rtsp.is_some() {
        let why = format!("--input {input}: expected a clip or a folder of pictures");
        return Err(Failure::Input(why));
    }
    let output = |path: &Path, why: String| Failure::Output {
        path: path.to_owned(),
        why,
    };
    fs::create_dir_all(dir).map_err(|e| output(dir, e.to_string()))?;
    let unreadable = |error: &dyn ToString| Failure::Input(error.to_string());
    let stop = StopSignal::new();
    let mut source = open_recording(&config, &stop).map_err(|e| unreadable(&e))?;
    let mut wanted: BTreeMap<u64, &ComparedFrame> =
        frames.iter().map(|frame| (frame.number, frame)).collect();
    let names = [first, second].map(|run| short_name(&run.file));
    let mut text = TextRenderer::default();
    let mut number = 0;
    while let Some((&last, _)) = wanted.last_key_value() {
        let (image, name) = match source.next(&stop).map_err(|e| unreadable(&e))? {
            Captured::Frame { image, name, .. } => (image, name),
            Captured::Undecodable { .. } => {
                number += 1;
                continue;
            }
            Captured::Lost { .. } | Captured::Back { .. } => continue,
            Captured::End => {
                let why = format!("--input {input}: it ends before frame {last} of the records");
                return Err(Failure::Input(why));
            }
        };
        let compared = wanted.remove(&number);
        let of_frame = first.frames.get(&number).zip(second.frames.get(&number));
        if let (Some(compared), Some((a, b))) = (compared, of_frame) {
            let size = image.size();
            let is_other_size = first
                .size_of(a)
                .is_some_and(|known| known != [size.width, size.height]);
            if is_other_size || a.name.as_deref() != name.as_deref() {
                let why = format!(
                    "--input {input}: its frame {number} is {}{}x{}, not that of {}",
                    name.map_or_else(String::new, |name| format!("{name}, ")),
                    size.width,
                    size.height,
                    first.file.display()
                );
                return Err(Failure::Input(why));
            }
            let mut picture = RgbImage::new(size.width, size.height);
            rgb_from_image(&image, &mut picture);
            draw_mut(
                &mut picture,
                &mut text,
                (&a.detections, &b.detections),
                compared,
                &names,
            );
            let path = dir.join(format!("frame_{number:06}.png"));
            picture
                .save(&path)
                .map_err(|e| output(&path, e.to_string()))?;
        }
        number += 1;
    }
    Ok(frames.len())
}

/// The beginning of a file's name, without its extension.
fn short_name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.chars().take(24).collect()
}

/// Draws the boxes of both runs: thin where both have one, thick with label and score where only one
/// has it; and a legend.
fn draw_mut(
    picture: &mut RgbImage,
    text: &mut TextRenderer,
    (first, second): (&[DetectionRecord], &[DetectionRecord]),
    frame: &ComparedFrame,
    [name_a, name_b]: &[String; 2],
) {
    let thick = (picture.height() / 240).max(2);
    let letters = (picture.height() / 40).max(12);
    let compared = &frame.compared;
    for (i, j, _) in &compared.pairs {
        for (detection, colour) in [&first[*i], &second[*j]].into_iter().zip(COLOURS) {
            draw_box_mut(picture, &RectPx::from(detection.bbox), 1, colour);
        }
    }
    let alone = [
        (first, &compared.only_first),
        (second, &compared.only_second),
    ];
    for ((detections, only), colour) in alone.into_iter().zip(COLOURS) {
        for detection in only.iter().map(|i| &detections[*i]) {
            let rect = RectPx::from(detection.bbox);
            draw_box_mut(picture, &rect, thick, colour);
            let words = format!("{} {:.0} %", detection.label, detection.score * 100.0);
            let (width, height) = text.plate_size(&words, letters);
            let room_x = (picture.width() as i32 - width as i32).max(0);
            let room_y = (picture.height() as i32 - height as i32).max(0);
            let x = (rect.x.round() as i32 - 1).clamp(0, room_x);
            let y = (rect.y.round() as i32 - height as i32).clamp(0, room_y);
            text.draw_plate_mut(picture, &words, letters, (x, y), colour);
        }
    }
    let legend = [
        (format!("frame {}", frame.number), LEGEND),
        (
            format!("only A, {name_a}: {}", compared.only_first.len()),
            COLOURS[0],
        ),
        (
            format!("only B, {name_b}: {}", compared.only_second.len()),
            COLOURS[1],
        ),
        (format!("in both: {} (thin)", compared.pairs.len()), LEGEND),
    ];
    let mut y = 4;
    for (words, colour) in legend {
        text.draw_plate_mut(picture, &words, letters, (4, y), colour);
        y += text.plate_size(&words, letters).1 as i32 - 1;
    }
}
