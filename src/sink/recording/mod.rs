//! Video recording: continuous segments and event clips, as fragmented MP4 with H.264.
//!
//! Pictures are encoded once, whatever is made of them. Files are fragmented, so that they can be
//! played while they grow, and after a crash. The encoder is the pure-Rust one: on one core of an AMD
//! EPYC (Zen 4) it takes 1280x720 at 54 pictures/s with 41.4 dB in 7.0 Mbit/s (a dash camera's clip,
//! qp 28). x264's ultrafast, behind a pipe to ffmpeg, takes 150 pictures/s with 36.9 dB in 5.2 Mbit/s:
//! faster, but a program more to install for a job that has time.

mod clips;
mod file;
mod folder;
mod names;
mod segments;

pub use clips::{ClipRules, Clips};
pub use folder::RetentionPolicy;
pub use segments::Segments;

use super::{ErrorGuard, FileReports, SinkError};
use crate::records::EventRecord;
use mobilens_image::Planar;
use mobilens_video::h264::VideoEncoder;

/// What is made of a stream's pictures.
pub struct VideoRecording {
    encoder: VideoEncoder,
    /// Everything, in pieces.
    pub segments: Vec<Segments>,
    /// A clip of each event.
    pub clips: Vec<Clips>,
}

impl VideoRecording {
    /// Nothing yet; quantises with `qp`, 0 (best) to 51.
    pub fn new(qp: u8) -> Self {
        Self {
            encoder: VideoEncoder::new(qp),
            segments: Vec::new(),
            clips: Vec::new(),
        }
    }

    /// Takes a picture, its time in microseconds, and what happened in it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn picture(
        &mut self,
        picture: &Planar,
        at_us: i64,
        events: &[EventRecord],
    ) -> Result<(), SinkError> {
        if picture.size().width == 0 || picture.size().height == 0 {
            return Ok(());
        }
        let (track, sample) = match self.encoder.encode(picture, at_us) {
            Ok(encoded) => encoded,
            Err(why) => return self.cannot_encode(&why),
        };
        for segments in &mut self.segments {
            segments.push(&track, &sample)?;
        }
        for clips in &mut self.clips {
            clips.push(&track, &sample, events)?;
        }
        Ok(())
    }

    /// Handles a picture that the encoder refuses as an error of each file.
    fn cannot_encode(&mut self, why: &str) -> Result<(), SinkError> {
        let target = "the recording";
        for guard in self.guards_mut() {
            if guard.ends_run() {
                return Err(SinkError::Unrepresentable {
                    target: target.to_owned(),
                    why: why.to_owned(),
                });
            }
            guard.lose(1);
            if guard.is_due() {
                guard.failed(SinkError::from_io(target, std::io::Error::other(why)))?;
            }
        }
        Ok(())
    }

    /// Those who handle the errors of the files.
    pub fn guards_mut(&mut self) -> impl Iterator<Item = &mut ErrorGuard> {
        let segments = self.segments.iter_mut().map(Segments::guard_mut);
        segments.chain(self.clips.iter_mut().map(Clips::guard_mut))
    }

    /// Who is told of the files.
    pub fn report_files(&mut self, reports: &FileReports) {
        for segments in &mut self.segments {
            segments.report_files(reports.clone());
        }
        for clips in &mut self.clips {
            clips.report_files(reports.clone());
        }
    }

    /// Removes what is too old or too much, also while no pictures come.
    pub fn sweep(&mut self) {
        self.segments.iter_mut().for_each(Segments::sweep);
        self.clips.iter_mut().for_each(Clips::sweep);
    }

    /// Ends all files.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn finish(self) -> Result<(), SinkError> {
        let segments = self.segments.into_iter().map(Segments::finish);
        let clips = self.clips.into_iter().map(Clips::finish);
        // All of them, also when one fails.
        let all: Vec<Result<(), SinkError>> = segments.chain(clips).collect();
        all.into_iter().collect()
    }
}
