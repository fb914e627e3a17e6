//! What recordings tell of their files, so that events can be found in them.

use std::path::PathBuf;
use std::sync::mpsc::Sender;

/// A file of a recording; its times are media times of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedFile {
    /// A clip of an event.
    Clip {
        /// Kind of the event.
        kind: String,
        /// Its name.
        name: String,
        /// Its object.
        track_id: Option<u64>,
        /// The frame in which it began.
        frame: u64,
        /// The clip.
        file: PathBuf,
        /// Where in it the event begins.
        offset_us: i64,
    },
    /// A piece of the continuous recording begins.
    Begun {
        /// The file.
        file: PathBuf,
        /// Time of its first picture.
        at_us: i64,
    },
    /// It is over.
    Ended {
        /// The file.
        file: PathBuf,
        /// Time of its last picture.
        at_us: i64,
    },
}

/// Those who want to know of files.
#[derive(Clone, Debug, Default)]
pub struct FileReports(pub Vec<Sender<RecordedFile>>);

impl FileReports {
    /// Tells them.
    #[cfg(feature = "recording")]
    pub(super) fn send(&self, file: &RecordedFile) {
        for reports in &self.0 {
            // Nobody listens once the run is ending.
            let _ = reports.send(file.clone());
        }
    }
}
