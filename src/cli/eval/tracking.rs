//! `mobilens eval tracking`: HOTA, MOTA and IDF1.

use mobilens::eval::{MotSequence, TrackingMetrics, evaluate_tracking, read_mot};
use serde_json::json;

use super::Failure;
use super::arguments::EvalTrackingArgs;
use super::tracking_run::SequenceRunner;
use crate::cli::print;

/// MOTA, IDF1 and HOTA of each sequence below a folder, of saved tracks or of a pipeline's.
pub fn tracking(arguments: &EvalTrackingArgs) -> Result<(), Failure> {
    match (&arguments.run, &arguments.frames, &arguments.mot) {
        (Some(pipeline), Some(frames), _) => {
            let sequences = MotSequence::find(frames)?;
            let runner = SequenceRunner::new(pipeline, &arguments.overrides)?;
            // All are looked at before the first one is run.
            let runs = sequences.iter().map(|sequence| runner.prepare(sequence));
            let runs = runs.collect::<Result<Vec<_>, _>>()?;
            print_header(arguments.json);
            for (sequence, loaded) in sequences.iter().zip(runs) {
                let truth = read_mot(&sequence.truth, true)?;
                let figures = evaluate_tracking(&truth, &runner.run(loaded)?);
                show(&sequence.name, &figures, arguments.json);
            }
        }
        (_, _, Some(mot)) => {
            let sequences = MotSequence::find(mot)?;
            print_header(arguments.json);
            for sequence in sequences {
                let result = match &arguments.results {
                    Some(results) if results.is_dir() => {
                        results.join(format!("{}.txt", sequence.name))
                    }
                    Some(results) => results.clone(),
                    None => sequence.dir.join("test.txt"),
                };
                let truth = read_mot(&sequence.truth, true)?;
                let figures = evaluate_tracking(&truth, &read_mot(&result, false)?);
                show(&sequence.name, &figures, arguments.json);
            }
        }
        _ => unreachable!("clap requires --mot, or --run with --frames"),
    }
    Ok(())
}

fn print_header(as_json: bool) {
    if !as_json {
        print(
            "                     HOTA   DetA   AssA   MOTA   IDF1  switches  false  missed  objects",
        );
    }
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
