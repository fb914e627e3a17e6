//! Compares a run with saved records (`--expect`).

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{RecordSink, SinkError};
use crate::records::{EndRecord, FrameRecord, Record};

/// Fails at the first record that differs from the saved one. The `run` record and latencies are not
/// compared.
pub struct ExpectSink {
    path: PathBuf,
    lines: std::io::Lines<BufReader<File>>,
    line: usize,
}

impl ExpectSink {
    /// Opens the saved records.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        let file = File::open(path).map_err(|e| SinkError::Unrepresentable {
            target: path.display().to_string(),
            why: format!("cannot read the expected records: {e}"),
        })?;
        Ok(Self {
            path: path.to_owned(),
            lines: BufReader::new(file).lines(),
            line: 0,
        })
    }

    fn differs(&self, why: String) -> SinkError {
        SinkError::Differs {
            path: self.path.clone(),
            line: self.line,
            why,
        }
    }

    /// The next saved record that is compared.
    fn next(&mut self) -> Result<Option<Value>, SinkError> {
        loop {
            let Some(line) = self.lines.next() else {
                return Ok(None);
            };
            self.line += 1;
            let line = line.map_err(|e| self.differs(e.to_string()))?;
            let value: Value = serde_json::from_str(&line)
                .map_err(|e| self.differs(format!("not a record: {e}")))?;
            if value["type"] != "run" {
                return Ok(Some(value));
            }
        }
    }

    fn compare(&mut self, record: &Record) -> Result<(), SinkError> {
        let got = serde_json::to_value(record).expect("records are plain data with string keys");
        let Some(mut expected) = self.next()? else {
            let what = name_of(&got);
            return Err(self.differs(format!("the expected records end here; got {what}")));
        };
        if let Some(frame) = expected.as_object_mut() {
            frame.remove("timings");
        }
        match first_difference(&expected, &got) {
            None => Ok(()),
            Some((place, expected, got)) => {
                let what = name_of(&expected_name(record));
                Err(self.differs(format!("{what}: {place}: expected {expected}, got {got}")))
            }
        }
    }
}

impl RecordSink for ExpectSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        let mut frame = record.clone();
        frame.timings = None;
        let events = std::mem::take(&mut frame.events);
        self.compare(&Record::Frame(frame))?;
        for event in events {
            self.compare(&Record::Event(event))?;
        }
        Ok(())
    }

    fn finish(&mut self, record: &EndRecord) -> Result<(), SinkError> {
        self.compare(&Record::End(record.clone()))?;
        match self.next()? {
            None => Ok(()),
            Some(more) => {
                let what = name_of(&more);
                Err(self.differs(format!("the run ended; expected {what}")))
            }
        }
    }
}

fn expected_name(record: &Record) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}

/// A record in a few words.
fn name_of(record: &Value) -> String {
    let kind = record["type"].as_str().unwrap_or("something else");
    match record["frame"].as_u64() {
        Some(frame) => format!("{kind} {frame}"),
        None => kind.to_owned(),
    }
}

/// Where two values differ first, and how.
fn first_difference(expected: &Value, got: &Value) -> Option<(String, String, String)> {
    let leaf = || {
        let short = |v: &Value| {
            let text = v.to_string();
            let cut: String = text.chars().take(60).collect();
            if cut.len() < text.len() {
                format!("{cut}...")
            } else {
                text
            }
        };
        Some((String::new(), short(expected), short(got)))
    };
    let within = |key: String, difference: (String, String, String)| {
        let place = match difference.0.as_str() {
            "" => key,
            rest if rest.starts_with('[') => format!("{key}{rest}"),
            rest => format!("{key}.{rest}"),
        };
        Some((place, difference.1, difference.2))
    };
    match (expected, got) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            keys.into_iter().find_map(|key| {
                let null = Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
                within(key.clone(), first_difference(a, b)?)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs
                .filter_map(|(i, (a, b))| Some((i, first_difference(a, b)?)))
                .find_map(|(i, difference)| within(format!("[{i}]"), difference))
        }
        (Value::Array(a), Value::Array(b)) => Some((
            String::new(),
            format!("{} entries", a.len()),
            format!("{} entries", b.len()),
        )),
        (a, b) if a == b => None,
        _ => leaf(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named_where_it_is() {
        let a = json!({"detections": [{"score": 0.5, "bbox": [1, 2, 3, 4]}], "frame": 1});
        let mut b = a.clone();
        assert_eq!(first_difference(&a, &b), None);
        b["detections"][0]["bbox"][2] = json!(7);
        let (place, expected, got) = first_difference(&a, &b).expect("one");
        assert_eq!(
            (place.as_str(), expected.as_str(), got.as_str()),
            ("detections[0].bbox[2]", "3", "7")
        );
        b["detections"] = json!([]);
        let (place, expected, _) = first_difference(&a, &b).expect("one");
        assert_eq!(
            (place.as_str(), expected.as_str()),
            ("detections", "1 entries")
        );
    }
}
