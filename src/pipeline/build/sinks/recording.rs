//! Recordings and clips, from the configuration.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::guard;
use super::keys::recordings_key;
use crate::config::{LoadedPipeline, RecordedPicture, SinkConfig};
use crate::pipeline::stages::encode::EncodeStage;
use crate::pipeline::stages::sink_edges::SinkKey;
use crate::sink::{ClipRules, Clips, RetentionPolicy, Segments, SinkError, VideoRecording};

/// Recordings and clips whose pictures are encoded alike, and encoded once.
struct Group<'a> {
    kind: (RecordedPicture, u8),
    sinks: Vec<&'a SinkConfig>,
}

fn groups(pipeline: &LoadedPipeline) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for sink in &pipeline.config.sinks {
        let video = sink.video.as_ref().map(|video| (video.picture, video.qp));
        let clips = sink.clips.as_ref().map(|clips| (clips.picture, clips.qp));
        let Some(kind) = video.or(clips) else {
            continue;
        };
        match groups.iter_mut().find(|group| group.kind == kind) {
            Some(group) => group.sinks.push(sink),
            None => groups.push(Group {
                kind,
                sinks: vec![sink],
            }),
        }
    }
    groups
}

/// What tells the recordings of a pipeline apart: those that are encoded together are one.
pub fn keys(pipeline: &LoadedPipeline) -> Vec<(SinkKey, &SinkConfig)> {
    let mut keys = Vec::new();
    for group in groups(pipeline) {
        let key = recordings_key(pipeline, &group.sinks);
        keys.extend(group.sinks.first().map(|first| (key, *first)));
    }
    keys
}

/// Opens the recordings and clips of a pipeline that are `wanted`.
///
/// # Errors
/// When a folder cannot be opened.
pub fn open(
    pipeline: &LoadedPipeline,
    is_live: bool,
    wanted: &BTreeSet<SinkKey>,
) -> Result<Vec<(SinkKey, EncodeStage)>, SinkError> {
    let bytes = |mb: u32| u64::from(mb) * 1_000_000;
    let retention = |dir: &Path, max_mb: u32, max_days: f64, min_free_mb: u32| RetentionPolicy {
        dir: dir.to_owned(),
        stream: pipeline.stream.clone(),
        max_bytes: bytes(max_mb),
        max_age: Duration::from_secs_f64(max_days * 86_400.0),
        min_free_bytes: bytes(min_free_mb),
    };
    let us = |ms: u64| i64::try_from(ms * 1000).unwrap_or(i64::MAX);
    let mut opened = Vec::new();
    for Group { kind, sinks } in groups(pipeline) {
        let key = recordings_key(pipeline, &sinks);
        if !wanted.contains(&key) {
            continue;
        }
        let (picture, qp) = kind;
        let mut recording = VideoRecording::new(qp);
        for sink in sinks {
            if let Some(video) = &sink.video {
                let retention =
                    retention(&video.dir, video.max_mb, video.max_days, video.min_free_mb);
                let split_us = us(u64::from(video.split_s) * 1000);
                let guard = guard("video", video.on_error, is_live);
                let segments = Segments::open(retention, split_us, video.sync, guard)?;
                recording.segments.push(segments);
            }
            if let Some(clips) = &sink.clips {
                let retention =
                    retention(&clips.dir, clips.max_mb, clips.max_days, clips.min_free_mb);
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
        let encoder = EncodeStage {
            recording,
            is_annotated: picture == RecordedPicture::Annotated,
        };
        opened.push((key, encoder));
    }
    Ok(opened)
}
