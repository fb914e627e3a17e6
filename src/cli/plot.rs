//! `mobilens plot`: heat map of tracks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use image::{Rgb, RgbImage};
use mobilens::overlay::{HeatMap, colour_of, draw_path_mut};
use mobilens::records::{Record, TrackStateRecord};

use super::{DONE, FAILED, USAGE, print_error};
use crate::cli::arguments::PlotArgs;

/// Draws the heat map; exit code 2 for errors of the command line or of a file.
pub fn plot(arguments: &PlotArgs) -> u8 {
    let picture = match draw(arguments) {
        Ok(picture) => picture,
        Err(why) => {
            print_error(&why);
            return USAGE;
        }
    };
    if let Err(error) = picture.save(&arguments.output) {
        print_error(&format!(
            "cannot write {}: {error}",
            arguments.output.display()
        ));
        return FAILED;
    }
    DONE
}

fn draw(arguments: &PlotArgs) -> Result<RgbImage, String> {
    let file = &arguments.records;
    let opened = File::open(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let mut size = None;
    let mut ways: BTreeMap<u64, (u32, Vec<[f64; 2]>)> = BTreeMap::new();
    for (i, line) in BufReader::new(opened).lines().enumerate() {
        let fault = |why: String| format!("{}: line {}: {why}", file.display(), i + 1);
        let line = line.map_err(|e| fault(e.to_string()))?;
        let record =
            serde_json::from_str(&line).map_err(|e| fault(format!("not a record: {e}")))?;
        match record {
            Record::Run(run) => size = run.source.width.zip(run.source.height),
            Record::Frame(frame) => {
                for track in frame.tracks.iter().flatten() {
                    if track.state == TrackStateRecord::Seen {
                        let bbox = track.bbox;
                        let of_track = ways.entry(track.track_id).or_default();
                        of_track.0 = track.category_id;
                        of_track
                            .1
                            .push([bbox.x + bbox.width / 2.0, bbox.y + bbox.height]);
                    }
                }
            }
            Record::Event(_) | Record::End(_) => {}
        }
    }
    let (width, height) = size.ok_or("the frames' size is not in the run record")?;
    if ways.is_empty() {
        return Err(format!(
            "{}: it has no tracks (`track: {{}}` in the pipeline enables tracking)",
            file.display()
        ));
    }
    let mut picture = match &arguments.background {
        None => RgbImage::from_pixel(width, height, Rgb([24, 24, 28])),
        Some(path) => {
            let picture = image::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let picture = picture.into_rgb8();
            let filter = image::imageops::FilterType::Triangle;
            image::imageops::resize(&picture, width, height, filter)
        }
    };
    let mut heat = HeatMap::new(width, height);
    for place in ways.values().flat_map(|(_, way)| way) {
        heat.add(*place, 1.0);
    }
    heat.draw_mut(&mut picture);
    for (category_id, way) in ways.values() {
        draw_path_mut(&mut picture, way, colour_of(*category_id));
    }
    Ok(picture)
}
