//! Continuous recording in segments.

use super::retention::RetentionPolicy;
use super::{OpenFile, file_name};
use crate::sink::SinkError;
use mobilens_video::h264::{EncodedFrame, StreamParameters};

/// Writes all pictures into one file after another.
pub struct Segments {
    retention: RetentionPolicy,
    split_us: i64,
    open: Option<(i64, OpenFile)>,
}

impl Segments {
    /// A file lasts until the first keyframe after `split_us`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(retention: RetentionPolicy, split_us: i64) -> Result<Self, SinkError> {
        retention.open()?;
        Ok(Self {
            retention,
            split_us,
            open: None,
        })
    }

    pub(super) fn push(
        &mut self,
        track: &StreamParameters,
        sample: &EncodedFrame,
    ) -> Result<(), SinkError> {
        let is_over = |(began_us, open): &(i64, OpenFile)| {
            open.track != *track || sample.is_key && sample.at_us - began_us >= self.split_us
        };
        if self.open.as_ref().is_some_and(is_over)
            && let Some((_, open)) = self.open.take()
        {
            open.finish()?;
        }
        let open = match &mut self.open {
            Some((_, open)) => open,
            none => {
                let path = self
                    .retention
                    .dir
                    .join(file_name(&self.retention.stream, ""));
                let open = OpenFile::create(path, track)?;
                self.retention.remove_expired(&[&open.path]);
                &mut none.insert((sample.at_us, open)).1
            }
        };
        open.push(sample)
    }

    pub(super) fn finish(self) -> Result<(), SinkError> {
        self.open.map_or(Ok(()), |(_, open)| open.finish())
    }
}
