//! Continuous recording in segments.

use super::RetentionPolicy;
use super::file::OpenFile;
use super::folder::RecordingFolder;
use crate::sink::{ErrorGuard, FileReports, RecordedFile, SinkError};
use mobilens_video::h264::{EncodedFrame, StreamParameters};

/// Writes all pictures into one file after another.
pub struct Segments {
    folder: RecordingFolder,
    guard: ErrorGuard,
    split_us: i64,
    open: Option<(i64, OpenFile)>,
    /// Time of the last picture.
    last_us: i64,
    reports: FileReports,
}

impl Segments {
    /// A file lasts until the first keyframe after `split_us`. With `sync`, the disk has each fragment
    /// before the next one is written.
    ///
    /// # Errors
    /// When the folder cannot be made, and `guard` does not go on without.
    pub fn open(
        retention: RetentionPolicy,
        split_us: i64,
        sync: bool,
        mut guard: ErrorGuard,
    ) -> Result<Self, SinkError> {
        let (folder, made) = RecordingFolder::open(retention, sync);
        made.or_else(|error| guard.failed(error))?;
        Ok(Self {
            folder,
            guard,
            split_us,
            open: None,
            last_us: 0,
            reports: FileReports::default(),
        })
    }

    /// Handles errors.
    pub fn guard_mut(&mut self) -> &mut ErrorGuard {
        &mut self.guard
    }

    /// Who is told of the files.
    pub(super) fn report_files(&mut self, reports: FileReports) {
        self.reports = reports;
    }

    fn report_end(&self, open: &OpenFile) {
        self.reports.send(&RecordedFile::Ended {
            file: open.path.clone(),
            at_us: self.last_us,
        });
    }

    /// Takes a picture. After an error, recording goes on with a new file at a keyframe.
    pub(super) fn push(
        &mut self,
        track: &StreamParameters,
        sample: &EncodedFrame,
    ) -> Result<(), SinkError> {
        let is_resumed = self.open.is_some() || sample.is_key;
        if !self.guard.is_due() || !is_resumed {
            self.guard.lose(1);
            return Ok(());
        }
        match self.write(track, sample) {
            // A full disk may still take the head of a file.
            Ok(()) => {
                if self
                    .open
                    .as_ref()
                    .is_some_and(|(_, open)| open.has_fragments())
                {
                    self.guard.succeeded();
                }
                Ok(())
            }
            Err(error) => {
                let open = self.open.take();
                if let Some((_, open)) = &open {
                    self.report_end(open);
                }
                let lost = open.map_or(1, |(_, open)| open.abandon());
                self.guard.lose(lost);
                // Room for the next attempt, which tells whether there is any.
                let _ = self.folder.ensure_space(&[]);
                self.guard.failed(error)
            }
        }
    }

    fn write(&mut self, track: &StreamParameters, sample: &EncodedFrame) -> Result<(), SinkError> {
        let is_over = |(began_us, open): &(i64, OpenFile)| {
            open.track != *track || sample.is_key && sample.at_us - began_us >= self.split_us
        };
        if self.open.as_ref().is_some_and(is_over)
            && let Some((_, open)) = self.open.take()
        {
            self.report_end(&open);
            open.finish()?;
        }
        if let Some((_, open)) = &self.open {
            self.folder.tend(&[&open.path])?;
        }
        let open = match &mut self.open {
            Some((_, open)) => open,
            none => {
                self.folder.make()?;
                self.folder.ensure_space(&[])?;
                let open = OpenFile::create(&self.folder, "", track)?;
                self.folder.add(&open.path, &[&open.path]);
                self.reports.send(&RecordedFile::Begun {
                    file: open.path.clone(),
                    at_us: sample.at_us,
                });
                &mut none.insert((sample.at_us, open)).1
            }
        };
        self.last_us = sample.at_us;
        open.push(sample)
    }

    /// Removes what is too old or too much.
    pub(super) fn sweep(&mut self) {
        let open = self.open.as_ref().map(|(_, open)| &open.path);
        let open: Vec<_> = open.into_iter().cloned().collect();
        self.folder.sweep(&open.iter().collect::<Vec<_>>());
    }

    pub(super) fn finish(self) -> Result<(), SinkError> {
        if let Some((_, open)) = &self.open {
            self.report_end(open);
        }
        let finished = self.open.map_or(Ok(()), |(_, open)| open.finish());
        finished.or_else(|error| self.guard.finish(error))
    }
}
