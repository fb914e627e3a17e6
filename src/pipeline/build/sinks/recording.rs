//! Recordings and clips, from the configuration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::guard;
use crate::config::{LoadedPipeline, RecordedPicture};
use crate::overlay::Overlay;
use crate::pipeline::build::overlay::overlay_style;
use crate::pipeline::stages::encode::EncodeStage;
use crate::postprocess::Labels;
use crate::sink::{ClipRules, Clips, RetentionPolicy, Segments, SinkError, VideoRecording};

/// Opens the recordings and clips of a pipeline. Pictures that are encoded alike are encoded once.
///
/// # Errors
/// When a folder cannot be opened.
pub fn open(
    pipeline: &LoadedPipeline,
    is_live: bool,
    labels: &Arc<Labels>,
) -> Result<Vec<EncodeStage>, SinkError> {
    let mut all: Vec<((RecordedPicture, u8), EncodeStage)> = Vec::new();
    let mut with = |picture: RecordedPicture, qp: u8| {
        let kind = (picture, qp);
        let known = all.iter().position(|(known, _)| *known == kind);
        known.unwrap_or_else(|| {
            let is_annotated = picture == RecordedPicture::Annotated;
            let overlay = || Overlay::new(overlay_style(pipeline, labels), Arc::clone(labels));
            let encoder = EncodeStage {
                recording: VideoRecording::new(kind.1),
                overlay: is_annotated.then(overlay),
            };
            all.push((kind, encoder));
            all.len() - 1
        })
    };
    let bytes = |mb: u32| u64::from(mb) * 1_000_000;
    let retention = |dir: &Path, max_mb: u32, max_days: f64, min_free_mb: u32| RetentionPolicy {
        dir: dir.to_owned(),
        stream: pipeline.stream.clone(),
        max_bytes: bytes(max_mb),
        max_age: Duration::from_secs_f64(max_days * 86_400.0),
        min_free_bytes: bytes(min_free_mb),
    };
    let us = |ms: u64| i64::try_from(ms * 1000).unwrap_or(i64::MAX);
    let mut wanted = Vec::new();
    for config in &pipeline.config.sinks {
        if let Some(video) = &config.video {
            let at = with(video.picture, video.qp);
            wanted.push((at, Some(video), None));
        }
        if let Some(clips) = &config.clips {
            let at = with(clips.picture, clips.qp);
            wanted.push((at, None, Some(clips)));
        }
    }
    for (at, video, clips) in wanted {
        let recording = &mut all[at].1.recording;
        if let Some(video) = video {
            let retention = retention(&video.dir, video.max_mb, video.max_days, video.min_free_mb);
            let split_us = us(u64::from(video.split_s) * 1000);
            let segments = Segments::open(
                retention,
                split_us,
                video.sync,
                guard("video", video.on_error, is_live),
            )?;
            recording.segments.push(segments);
        }
        if let Some(clips) = clips {
            let retention = retention(&clips.dir, clips.max_mb, clips.max_days, clips.min_free_mb);
            let rules = ClipRules {
                kinds: clips.events.clone(),
                before_us: us(clips.before_ms),
                after_us: us(clips.after_ms),
                longest_us: us(clips.longest_ms),
            };
            let guard = guard("clips", clips.on_error, is_live);
            let clips = Clips::open(retention, rules, clips.sync, guard)?;
            recording.clips.push(clips);
        }
    }
    Ok(all.into_iter().map(|(_, encoder)| encoder).collect())
}
