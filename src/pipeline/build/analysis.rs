//! Tracking, zones and lines, from the configuration.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::analytics::{AnchorPoint, ZoneMonitor};
use crate::config::{AnchorConfig, DetectConfig, LoadedPipeline};
use crate::postprocess::Labels;
use crate::track::{Tracker, TrackerParams};

use super::zones::polygon;
use crate::pipeline::stages::analyze::{
    Analyzer, ClassFilter, CountedLine, MonitoredZone, OtherModel,
};

/// For a pipeline that was validated.
pub fn analyzer(pipeline: &LoadedPipeline, labels: &Arc<Labels>) -> Analyzer {
    let config = &pipeline.config;
    let (mut zones, mut ignored) = (Vec::new(), Vec::new());
    for (name, zone) in &config.zones {
        let Some(polygon) = polygon(pipeline, name) else {
            continue;
        };
        if zone.ignore {
            ignored.push((polygon, anchor_point(zone.anchor)));
            continue;
        }
        let ms = |ms: Option<u64>| ms.map(|ms| ms as f64);
        let leave_ms = zone.leave_ms as f64;
        zones.push(MonitoredZone {
            name: name.clone(),
            polygon,
            classes: zone.classes.clone(),
            anchor: anchor_point(zone.anchor),
            monitor: ZoneMonitor::new(leave_ms, ms(zone.loiter_ms), ms(zone.update_ms)),
        });
    }
    let lines = config.lines.iter().map(|(name, line)| CountedLine {
        name: name.clone(),
        from: line.from.map(f64::from),
        to: line.to.map(f64::from),
        classes: line.classes.clone(),
        anchor: anchor_point(line.anchor),
        hysteresis: line.hysteresis,
        counter: None,
    });
    let tracker = || {
        let track = config.track.as_ref()?;
        Some(Tracker::new(TrackerParams {
            score_low: track.score_low,
            score_high: track.score_high,
            start_score: track.start_score,
            match_iou: track.match_iou,
            nms_iou: track.nms_iou,
            cross_class_iou: track.cross_class_iou,
            confirm_frames: track.confirm_frames,
            confirm_ms: track.confirm_ms as f64,
            memory_ms: track.memory_ms as f64,
        }))
    };
    let others = pipeline.others.iter().map(|other| OtherModel {
        name: other.name.clone(),
        score_threshold: other.config.detect.score_threshold.into(),
        classes: class_filters(&other.config.detect),
        tracker: tracker(),
        inside: other
            .config
            .inside
            .as_ref()
            .map(|inside| inside.model.clone()),
    });
    Analyzer {
        labels: Arc::clone(labels),
        score_threshold: config.detect.score_threshold.into(),
        classes: class_filters(&config.detect),
        ignored,
        tracker: tracker(),
        zones,
        lines: lines.collect(),
        others: others.collect(),
        keypoints: HashMap::new(),
        ids_before: 0,
    }
}

fn class_filters(detect: &DetectConfig) -> BTreeMap<String, ClassFilter> {
    let classes = detect.classes.iter().map(|(label, class)| {
        let filter = ClassFilter {
            score_threshold: Some(detect.score_threshold_of(label)),
            min_px: class.min_px,
            max_px: class.max_px,
        };
        (label.clone(), filter)
    });
    classes.collect()
}

fn anchor_point(anchor: AnchorConfig) -> AnchorPoint {
    match anchor {
        AnchorConfig::BottomCenter => AnchorPoint::BottomCenter,
        AnchorConfig::Center => AnchorPoint::Center,
    }
}
