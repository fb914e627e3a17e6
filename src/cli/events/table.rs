//! Events as a table.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mobilens::store::{FIRST_WALL_MS, StoredEvent, instant_text};

const HEAD: [&str; 8] = [
    "id", "start", "seconds", "stream", "kind", "what", "where", "clip",
];

/// Lines with columns of equal width, times in a time zone.
pub struct Table {
    zone: TimeZone,
    lines: Vec<[String; 8]>,
}

impl Table {
    /// Without lines.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            lines: Vec::new(),
        }
    }

    /// How many lines it has.
    pub fn len(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Adds an event.
    pub fn add(&mut self, event: &StoredEvent) {
        let seconds = (event.end_ms - event.start_ms) as f64 / 1000.0;
        let more = if event.ended { "" } else { "+" };
        let score = event.score.map(|score| format!("{score:.2}"));
        let attributes = event.attributes.values().cloned();
        let what = event.label.iter().cloned().chain(score).chain(attributes);
        let place = [&event.rule, &event.zone, &event.direction];
        let place = place.into_iter().flatten().cloned();
        let at = |file: &Option<String>, ms: Option<f64>| {
            Some(format!("{} {:.1} s", file.as_ref()?, ms? / 1000.0))
        };
        let clip = at(&event.clip, event.clip_ms);
        let clip = clip.or_else(|| at(&event.recording, event.recording_ms));
        self.lines.push([
            event.id.to_string(),
            self.start(event.start_ms),
            format!("{seconds:.1}{more}"),
            event.stream.clone(),
            event.kind.clone(),
            what.collect::<Vec<_>>().join(" "),
            place.collect::<Vec<_>>().join(" "),
            clip.unwrap_or_default(),
        ]);
    }

    fn start(&self, ms: i64) -> String {
        let wall = Timestamp::from_millisecond(ms)
            .ok()
            .filter(|_| ms >= FIRST_WALL_MS);
        wall.map_or_else(
            || instant_text(ms),
            |at| {
                at.to_zoned(self.zone.clone())
                    .strftime("%Y-%m-%d %H:%M:%S")
                    .to_string()
            },
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = HEAD.map(str::to_owned);
        let lines = || std::iter::once(&head).chain(&self.lines);
        // Names may hold anything; a line stays a line.
        let plain = |text: &str| text.replace(|c: char| c.is_control(), " ");
        let widths: Vec<usize> = (0..HEAD.len())
            .map(|i| {
                lines()
                    .map(|line| line[i].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for line in lines() {
            let cells = line
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(i, (cell, width))| {
                    let cell = plain(cell);
                    match i {
                        // Numbers.
                        0 | 2 => format!("{cell:>width$}"),
                        _ => format!("{cell:<width$}"),
                    }
                });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}
