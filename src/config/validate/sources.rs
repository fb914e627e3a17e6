//! Sources, telemetry, tracking, gating and the order of frames.

use std::fs::{self, File};
use std::path::Path;

use super::paths::path_of_source;
use super::validator::Validator;
use crate::config::diagnostic::io_reason;
use crate::config::document::key_path;
use crate::config::environment::{expand_env, is_url, server_url};
use crate::config::schema::{DecoderConfig, RegionTrigger, SourceConfig};
use crate::telemetry::TelemetryLog;

impl Validator<'_> {
    /// Sources: keys that exclude each other, URLs, and whether files exist.
    pub fn validate_sources(&mut self) {
        let config = self.config;
        self.validate_source("source", &config.source);
        let Some(fallback) = &config.fallback else {
            return;
        };
        self.validate_source("fallback", fallback);
        if config.source.camera.is_none() && config.source.rtsp.is_none() {
            let message = "a fallback is for cameras only; this source is a file";
            self.error_at_key(&key_path!["fallback"], message);
        }
        if fallback.camera.is_some() || fallback.rtsp.is_some() {
            let message = "expected a file: video or images";
            self.error_at_value(&key_path!["fallback"], message);
        }
    }

    fn validate_source(&mut self, name: &str, source: &SourceConfig) {
        if let Some(camera) = &source.camera
            && camera.index.is_some()
            && camera.device.is_some()
        {
            let message = "expected one of index and device; got both";
            self.error_at_key(&key_path![name, "camera", "device"], message);
        }
        if let Some(rtsp) = &source.rtsp
            && let Err(message) = server_url(&rtsp.url, &["rtsp"])
        {
            self.error_at_value(&key_path![name, "rtsp", "url"], message);
        }
        let rtsp = source.rtsp.as_ref();
        let rtsp = rtsp.map(|rtsp| ("rtsp", rtsp.decoder, &rtsp.ffmpeg_args));
        let video = source.video.as_ref();
        let video = video.map(|video| ("video", video.decoder, &video.ffmpeg_args));
        if let Some((kind, DecoderConfig::Builtin, arguments)) = rtsp.or(video)
            && !arguments.is_empty()
        {
            let message = "has no effect with `decoder: builtin`";
            self.error_at_key(&key_path![name, kind, "ffmpeg_args"], message);
        }
        let Some((kind, path)) = path_of_source(source) else {
            return;
        };
        let at = key_path![name, kind, "path"];
        if kind == "video" && is_url(path) {
            if let Err(message) = expand_env(&path.to_string_lossy()) {
                self.error_at_value(&at, message);
            }
            return;
        }
        if kind == "video" && path == Path::new("-") {
            return;
        }
        let shown = path.display();
        match fs::metadata(path) {
            Err(e) => {
                self.error_at_value(&at, format!("cannot read {shown}: {}", io_reason(&e)));
            }
            Ok(meta) if kind == "video" && meta.is_dir() => {
                let message = format!(
                    "{shown} is a directory; expected a video file (for a directory of images, \
                     use `images`)"
                );
                self.error_at_value(&at, message);
            }
            Ok(_) => {}
        }
    }

    /// The subtitle file with a drone's telemetry.
    pub fn validate_telemetry(&mut self) {
        let telemetry = self.config.telemetry.as_ref();
        let Some(srt) = telemetry.and_then(|telemetry| telemetry.srt.as_ref()) else {
            return;
        };
        if self.config.source.video.is_none() {
            let message = "subtitles are for a video only; this source is none";
            self.error_at_key(&key_path!["telemetry", "srt"], message);
        } else if let Err(error) = TelemetryLog::read(srt) {
            self.error_at_value(&key_path!["telemetry", "srt"], error.to_string());
        }
    }

    /// Whether what needs frames in order has one worker.
    pub fn validate_workers(&mut self) {
        let config = self.config;
        if config.segment.smoothing.is_some() && config.inference.workers.is_some_and(|n| n > 1) {
            let message = "segment.smoothing needs frames in order: expected 1, or no value";
            self.error_at_value(&key_path!["inference", "workers"], message);
        }
    }

    /// Looks: keys that exclude each other, and the plan's file.
    fn validate_looks(&mut self) {
        let gating = &self.config.gating;
        let others = [
            ("scales", !gating.scales.is_empty()),
            ("regions", gating.regions.is_some()),
            ("tiles", gating.tiles.is_some()),
        ];
        for key in ["looks", "plan"] {
            let is_given = match key {
                "looks" => gating.looks.is_some(),
                _ => gating.plan.is_some(),
            };
            for (other, _) in others.iter().filter(|(_, other)| is_given && *other) {
                let message = format!("expected one of {key} and {other}; got both");
                self.error_at_key(&key_path!["gating", *other], message);
            }
        }
        if gating.looks.is_some() && gating.plan.is_some() {
            let message = "expected one of looks and plan; got both";
            self.error_at_key(&key_path!["gating", "plan"], message);
        }
        if gating.budget_ms.is_some() && gating.looks.is_none() {
            let message = "has no effect without `looks: auto`";
            self.error_at_key(&key_path!["gating", "budget_ms"], message);
        }
        if let Some(plan) = &gating.plan
            && let Err(error) = File::open(plan)
        {
            let message = format!("{}: {error}", plan.display());
            self.error_at_value(&key_path!["gating", "plan"], message);
        }
    }

    /// Gating: keys that exclude each other or need tracking.
    pub fn validate_gating(&mut self) {
        let gating = &self.config.gating;
        if gating.regions.is_some() && gating.tiles.is_some() {
            let message = "expected one of regions and tiles; got both";
            self.error_at_key(&key_path!["gating", "tiles"], message);
        }
        self.validate_looks();
        if let Some(regions) = &gating.regions
            && regions.on == RegionTrigger::Tracks
            && self.config.track.is_none()
        {
            let message = "needs tracking: add `track: {}`";
            self.error_at_value(&key_path!["gating", "regions", "on"], message);
        }
        if let Some(tiles) = &gating.tiles
            && tiles.at_once.is_some()
            && tiles.budget_ms.is_some()
        {
            let message = "expected one of at_once and budget_ms; got both";
            self.error_at_key(&key_path!["gating", "tiles", "budget_ms"], message);
        }
        if let Some(tiles) = &gating.tiles
            && tiles.skip_quiet == Some(true)
            && !tiles.whole
        {
            let message = "needs the look at the whole frame: `whole: true`";
            self.error_at_value(&key_path!["gating", "tiles", "skip_quiet"], message);
        }
    }
}
