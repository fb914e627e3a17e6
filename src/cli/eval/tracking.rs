//! `mobilens eval tracking`: HOTA, MOTA and IDF1.

use std::path::{Path, PathBuf};

use mobilens::eval::{TrackingMetrics, evaluate_tracking, read_mot};
use serde_json::json;

use super::Failure;
use crate::cli::arguments::EvalTrackingArgs;
use crate::cli::print;

/// MOTA, IDF1 and HOTA of each sequence below a folder.
pub fn tracking(arguments: &EvalTrackingArgs) -> Result<(), Failure> {
    let mut sequences = Vec::new();
    if let Some(truth) = truth_in(&arguments.mot) {
        sequences.push((name_of(&arguments.mot), truth, arguments.mot.clone()));
    } else {
        let entries = std::fs::read_dir(&arguments.mot)
            .map_err(|e| Failure::Other(format!("{}: {e}", arguments.mot.display())))?;
        for dir in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if let Some(truth) = truth_in(&dir) {
                sequences.push((name_of(&dir), truth, dir));
            }
        }
        sequences.sort();
    }
    if sequences.is_empty() {
        let why = format!(
            "{}: no gt.txt found, nor in its subfolders",
            arguments.mot.display()
        );
        return Err(Failure::Other(why));
    }
    if !arguments.json {
        print(
            "                     HOTA   DetA   AssA   MOTA   IDF1  switches  false  missed  objects",
        );
    }
    for (name, truth, dir) in sequences {
        let result = match &arguments.results {
            Some(results) if results.is_dir() => results.join(format!("{name}.txt")),
            Some(results) => results.clone(),
            None => dir.join("test.txt"),
        };
        let figures = evaluate_tracking(&read_mot(&truth, true)?, &read_mot(&result, false)?);
        show(&name, &figures, arguments.json);
    }
    Ok(())
}

fn show(name: &str, figures: &TrackingMetrics, as_json: bool) {
    let [hota, detection, association] = figures.hota;
    let (mota, idf1) = (figures.mota(), figures.idf1());
    let TrackingMetrics {
        id_switches,
        false_positives,
        missed,
        objects,
        ..
    } = *figures;
    if as_json {
        let line = json!({
            "sequence": name, "hota": hota, "deta": detection, "assa": association, "mota": mota,
            "idf1": idf1, "switches": id_switches, "false_positives": false_positives,
            "missed": missed, "objects": objects,
        });
        print(&line.to_string());
        return;
    }
    print(&format!(
        "{name:<19} {hota:>6.3} {detection:>6.3} {association:>6.3} {mota:>6.3} {idf1:>6.3} \
         {id_switches:>9} {false_positives:>6} {missed:>7} {objects:>8}"
    ));
}

fn truth_in(dir: &Path) -> Option<PathBuf> {
    let places = [dir.join("gt.txt"), dir.join("gt").join("gt.txt")];
    places.into_iter().find(|path| path.is_file())
}

fn name_of(dir: &Path) -> String {
    let name = dir.canonicalize().ok();
    let name = name.as_deref().unwrap_or(dir).file_name();
    name.map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}
