//! The latency of SSDLite on two threads: by itself, beside a busy process, and two sessions at
//! once: `cargo bench -p mobilens-nn --bench threads`. A plain loop over a clock, as what counts is
//! the ratio of times measured in the same run; the machine should have two free processors, or
//! be cut to two with `taskset -c 0,1`.
#![allow(clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use mobilens_nn::{LoadOptions, Network, Session};

/// Frames in a row before the next condition is measured.
const FRAMES: usize = 40;
/// Argument with which this program is only the busy process.
const BUSY: &str = "busy-process";

fn busy_process() -> Child {
    let itself = std::env::current_exe().expect("this program");
    Command::new(itself)
        .arg(BUSY)
        .stdout(Stdio::null())
        .spawn()
        .expect("a busy process")
}

/// Milliseconds of each of some frames.
fn frames(session: &mut Session) -> Vec<f64> {
    let frame = |_| {
        let start = Instant::now();
        session.run().expect("the model runs");
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..FRAMES).map(frame).collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.find(|argument| !argument.starts_with("--"));
    if first.as_deref() == Some(BUSY) {
        loop {
            std::hint::black_box(0);
        }
    }
    let rounds: usize = first.map_or(10, |rounds| rounds.parse().expect("number of rounds"));
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let model = models.join("ssdlite_mobilenet_v2_coco.onnx");
    let network = Network::load(&model, &LoadOptions::default()).expect("the shipped model");
    let session = |threads| {
        let mut session = network.session(threads).expect("threads");
        for (i, value) in session.input_mut().iter_mut().enumerate() {
            *value = ((i * 7919) % 255) as f32 / 127.5 - 1.0;
        }
        session
    };
    let (mut one, mut two, mut other) = (session(1), session(2), session(2));
    let names = [
        "1 thread",
        "1 thread, beside a busy process",
        "2 threads",
        "2 threads, beside a busy process",
        "2 sessions on 2 threads each",
    ];
    let mut times: [Vec<f64>; 5] = Default::default();
    frames(&mut one);
    for _ in 0..rounds {
        times[0].extend(frames(&mut one));
        times[2].extend(frames(&mut two));
        let mut busy = busy_process();
        times[1].extend(frames(&mut one));
        times[3].extend(frames(&mut two));
        busy.kill().expect("the busy process runs");
        busy.wait().expect("the busy process ends");
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| frames(&mut other));
            times[4].extend(frames(&mut two));
            times[4].extend(beside.join().expect("the other session"));
        });
    }
    for (name, times) in names.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let share = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        println!(
            "{name:34} min {:6.2}  median {:6.2}  mean {mean:6.2}  p90 {:6.2} ms",
            share(0.0),
            share(0.5),
            share(0.9)
        );
    }
}
