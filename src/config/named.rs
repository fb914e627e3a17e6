//! Holds what a pipeline names against what is there: files, folders, labels.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::card::CardConfig;
use super::check::did_you_mean;
use super::fault::{ConfigFaults, Fault, why};
use super::locate::Step;
use super::secret::{expand_env, is_url};
use super::spec::{PipelineConfig, SourceConfig};
use super::yaml::Document;
use crate::capture::RtspRequest;
use crate::telemetry::TelemetryLog;
use mobilens_image::Polygon;

/// Where the sinks of a changed pipeline come from: their index in the YAML, or the argument.
pub type Origins = Vec<Result<usize, &'static str>>;

/// The names of a pipeline, and the faults found in them so far.
pub struct Validator<'a> {
    document: &'a Document<'a>,
    pub(super) spec: &'a PipelineConfig,
    origins: Origins,
    /// What was found.
    pub faults: Vec<Fault>,
}

impl<'a> Validator<'a> {
    /// Nothing checked yet. `spec` is `document` after changes, with paths joined; `origins` has an
    /// entry for each of its sinks.
    pub fn new(document: &'a Document<'a>, spec: &'a PipelineConfig, origins: Origins) -> Self {
        Self {
            document,
            spec,
            origins,
            faults: Vec::new(),
        }
    }

    fn fault_at_value(&mut self, path: &[&str], what: impl Into<String>) {
        let fault = self.document.fault_at_value(&keys(path), what);
        self.faults.push(fault);
    }

    fn fault_at_key(&mut self, path: &[&str], what: impl Into<String>) {
        let fault = self.document.fault_at_key(&keys(path), what);
        self.faults.push(fault);
    }

    /// A fault of sink `i`, at `rest` inside it.
    pub(super) fn fault_at_sink(&mut self, i: usize, rest: &[&str], what: String) {
        match self.origins.get(i) {
            Some(Err(argument)) => {
                let ConfigFaults(faults) = ConfigFaults::of_argument(argument, what);
                self.faults.extend(faults);
            }
            origin => {
                let index = origin.and_then(|o| o.ok()).unwrap_or(i).to_string();
                let mut path = vec!["sinks", index.as_str()];
                path.extend(rest);
                self.fault_at_value(&path, what);
            }
        }
    }

    /// Whether source and fallback make sense and their files are there.
    pub fn check_sources(&mut self) {
        let spec = self.spec;
        let sources = [
            ("source", Some(&spec.source)),
            ("fallback", spec.fallback.as_ref()),
        ];
        for (name, source) in sources {
            let Some(source) = source else { continue };
            if let Some(camera) = &source.camera
                && camera.index.is_some()
                && camera.device.is_some()
            {
                let what = "got index and device; give one of them";
                self.fault_at_key(&[name, "camera", "device"], what);
            }
            if let Some(rtsp) = &source.rtsp {
                let checked = expand_env(&rtsp.url)
                    .map_err(|name| format!("the environment has no {name}"))
                    .and_then(|url| RtspRequest::new(&url, false, Duration::ZERO));
                if let Err(what) = checked {
                    self.fault_at_value(&[name, "rtsp", "url"], what);
                }
            }
            let Some((kind, path)) = path_of_source(source) else {
                continue;
            };
            if kind == "video" && is_url(path) {
                if let Err(missing) = expand_env(&path.to_string_lossy()) {
                    let what = format!("the environment has no {missing}");
                    self.fault_at_value(&[name, kind, "path"], what);
                }
                continue;
            }
            if kind == "video" && path == Path::new("-") {
                continue;
            }
            let shown = path.display();
            match fs::metadata(path) {
                Err(e) => {
                    let what = format!("cannot read {shown}: {}", why(&e));
                    self.fault_at_value(&[name, kind, "path"], what);
                }
                Ok(meta) if kind == "video" && meta.is_dir() => {
                    let what =
                        format!("{shown} is a folder; expected a clip (`images` reads folders)");
                    self.fault_at_value(&[name, kind, "path"], what);
                }
                Ok(_) => {}
            }
        }
        if let Some(fallback) = &spec.fallback {
            if spec.source.camera.is_none() && spec.source.rtsp.is_none() {
                let what = "only a camera has a fallback; this source is a file";
                self.fault_at_key(&["fallback"], what);
            }
            if fallback.camera.is_some() || fallback.rtsp.is_some() {
                let what = "a fallback must be a file: video or images";
                self.fault_at_value(&["fallback"], what);
            }
        }
    }

    /// Whether the drone's subtitles are what they should be.
    pub fn check_telemetry(&mut self) {
        let telemetry = self.spec.telemetry.as_ref();
        let Some(srt) = telemetry.and_then(|telemetry| telemetry.srt.as_ref()) else {
            return;
        };
        if self.spec.source.video.is_none() {
            let what = "only a clip has subtitles; this source is no video";
            self.fault_at_key(&["telemetry", "srt"], what);
        } else if let Err(error) = TelemetryLog::read(srt) {
            self.fault_at_value(&["telemetry", "srt"], error.to_string());
        }
    }

    /// Whether what needs frames in order gets them so.
    pub fn check_order(&mut self) {
        let spec = self.spec;
        if spec.segment.smoothing.is_some() && spec.inference.workers.is_some_and(|n| n > 1) {
            let what = "smoothing needs frames in order: leave workers out or give 1";
            self.fault_at_value(&["inference", "workers"], what);
        }
    }

    /// Whether the zones are polygons, and those that are named are there.
    pub fn check_zones(&mut self) {
        let spec = self.spec;
        for (name, zone) in &spec.zones {
            if let Err(error) = Polygon::new(zone.polygon.clone()) {
                self.fault_at_value(&["zones", name, "polygon"], error.to_string());
            }
        }
        let known: Vec<&str> = spec.zones.keys().map(String::as_str).collect();
        let mut check = |path: &[&str], zone: Option<&String>| {
            if let Some(zone) = zone.filter(|zone| !spec.zones.contains_key(*zone)) {
                let hint = did_you_mean(zone, &known);
                self.fault_at_value(path, format!("there is no zone {zone:?}{hint}"));
            }
        };
        let safe_ground = spec.segment.safe_ground.as_ref();
        let zone = safe_ground.and_then(|ground| ground.zone.as_ref());
        check(&["segment", "safe_ground", "zone"], zone);
        for (index, (kind, rule)) in area_rules(spec) {
            let index = index.to_string();
            check(
                &["segment", "rules", &index, kind, "zone"],
                rule.zone.as_ref(),
            );
        }
    }

    /// Whether the lines have a length and lie in the picture, and somebody can cross them.
    pub fn check_lines(&mut self) {
        let spec = self.spec;
        for (name, line) in &spec.lines {
            for (key, point) in [("from", line.from), ("to", line.to)] {
                if !point.iter().all(|v| (0.0..=1.0).contains(v)) {
                    let what = "outside the picture; coordinates go from 0 to 1";
                    self.fault_at_value(&["lines", name, key], what);
                }
            }
            if line.from == line.to {
                self.fault_at_value(&["lines", name, "to"], "the line has no length");
            }
        }
        if spec.track.is_none() && !spec.lines.is_empty() {
            let what = "only tracked objects cross lines: add `track: {}`";
            self.fault_at_key(&["lines"], what);
        }
    }

    /// Whether the ways to look go together.
    pub fn check_gating(&mut self) {
        let gating = &self.spec.gating;
        if gating.regions.is_some() && gating.tiles.is_some() {
            self.fault_at_key(
                &["gating", "tiles"],
                "got regions and tiles; give one of them",
            );
        }
        if let Some(regions) = &gating.regions
            && regions.on == super::spec::RegionsOn::Tracks
            && self.spec.track.is_none()
        {
            let what = "nothing is tracked: add `track: {}`";
            self.fault_at_value(&["gating", "regions", "on"], what);
        }
        if let Some(tiles) = &gating.tiles
            && tiles.at_once.is_some()
            && tiles.budget_ms.is_some()
        {
            let what = "got at_once and budget_ms; give one of them";
            self.fault_at_key(&["gating", "tiles", "budget_ms"], what);
        }
    }

    /// Whether what is wanted is what the model's head gives.
    pub fn check_head(&mut self, card: &CardConfig) {
        let spec = self.spec;
        if card.head.deeplab.is_some() {
            if spec.detect != super::spec::DetectConfig::default() {
                let what = format!("{} has no boxes; it segments (`segment`)", card.name);
                self.fault_at_key(&["detect"], what);
            }
            let gating = &spec.gating;
            for (path, given) in [
                (&["track"] as &[&str], spec.track.is_some()),
                (&["gating", "regions"], gating.regions.is_some()),
                (&["gating", "tiles"], gating.tiles.is_some()),
            ] {
                if given {
                    let what = format!("{} has no boxes; it segments", card.name);
                    self.fault_at_key(path, what);
                }
            }
            return;
        }
        if spec.segment != super::spec::SegmentConfig::default() {
            let what = format!("{} does not segment; it detects (`detect`)", card.name);
            self.fault_at_key(&["segment"], what);
        }
        for (i, sink) in spec.sinks.iter().enumerate() {
            if sink.masks.is_some() {
                let what = format!("{} does not segment: there are no masks", card.name);
                self.fault_at_sink(i, &["masks"], what);
            }
        }
    }

    /// Whether the model knows the labels that the pipeline names.
    pub fn check_labels(&mut self, card: &CardConfig) {
        let spec = self.spec;
        let known: Vec<&str> = card.labels.iter().map(|l| l.name.as_str()).collect();
        let classes = spec.detect.classes.keys().map(|n| ("detect", "classes", n));
        let colours = spec.overlay.colours.keys();
        let colours = colours.map(|n| ("overlay", "colours", n));
        let avoided = spec.segment.safe_ground.iter().flat_map(|s| &s.avoid);
        for (i, name) in avoided.enumerate() {
            if !known.contains(&name.as_str()) {
                let hint = did_you_mean(name, &known);
                let what = format!("the model {} has no such label {name:?}{hint}", card.name);
                let index = i.to_string();
                self.fault_at_value(&["segment", "safe_ground", "avoid", &index], what);
            }
        }
        for (index, (kind, rule)) in area_rules(spec) {
            if !known.contains(&rule.class.as_str()) {
                let hint = did_you_mean(&rule.class, &known);
                let name = &rule.class;
                let what = format!("the model {} has no such label {name:?}{hint}", card.name);
                let index = index.to_string();
                self.fault_at_value(&["segment", "rules", &index, kind, "class"], what);
            }
        }
        let zones = spec
            .zones
            .iter()
            .map(|(name, zone)| ("zones", name, &zone.classes));
        let lines = spec
            .lines
            .iter()
            .map(|(name, line)| ("lines", name, &line.classes));
        for (section, of, names) in zones.chain(lines) {
            for (i, name) in names.iter().enumerate() {
                if !known.contains(&name.as_str()) {
                    let hint = did_you_mean(name, &known);
                    let what = format!("the model {} has no such label {name:?}{hint}", card.name);
                    let index = i.to_string();
                    self.fault_at_value(&[section, of, "classes", &index], what);
                }
            }
        }
        for (section, key, name) in classes.chain(colours) {
            if !known.contains(&name.as_str()) {
                let hint = did_you_mean(name, &known);
                let what = format!("the model {} has no such label{hint}", card.name);
                self.fault_at_key(&[section, key, name], what);
            }
        }
    }
}

/// A path of keys; a number is an index.
pub fn keys(path: &[&str]) -> Vec<Step> {
    // Labels are below mappings, whose keys stay texts.
    let in_list = |i: usize| {
        let lists = ["sinks", "labels", "avoid", "rules", "streams"];
        let is_of_zone = i == 3 && path[2] == "classes";
        i > 0 && (lists.contains(&path[i - 1]) || is_of_zone)
    };
    path.iter()
        .enumerate()
        .map(|(i, key)| match key.parse() {
            Ok(index) if in_list(i) => Step::Index(index),
            _ => Step::Key((*key).to_owned()),
        })
        .collect()
}

/// The rules with their places.
fn area_rules(
    spec: &PipelineConfig,
) -> impl Iterator<Item = (usize, (&'static str, &super::spec::AreaConfig))> {
    let rules = spec.segment.rules.iter().enumerate();
    rules.filter_map(|(index, rule)| {
        let above = rule.area_above.as_ref().map(|rule| ("area_above", rule));
        let below = rule.area_below.as_ref().map(|rule| ("area_below", rule));
        Some((index, above.or(below)?))
    })
}

pub(super) fn path_of_source(source: &SourceConfig) -> Option<(&'static str, &Path)> {
    let video = source.video.as_ref().map(|v| ("video", v.path.as_path()));
    let images = source.images.as_ref();
    video.or_else(|| images.map(|i| ("images", i.path.as_path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lists_have_indices() {
        assert_eq!(keys(&["sinks", "1", "jsonl"])[1], Step::Index(1), "a sink");
        assert_eq!(
            keys(&["detect", "classes", "1"])[2],
            Step::Key("1".to_owned()),
            "a label"
        );
    }
}
