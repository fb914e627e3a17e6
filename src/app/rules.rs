//! The rules that a pipeline writes down, as what runs them takes them.

use std::time::Duration;

use crate::analytics::{AreaKind, AreaRule};
use crate::attention::{self, Attention, Every, Gate, Regions, Tiles};
use crate::config::{AreaSpec, AttentionSpec, PipelineConfig, RegionsOn};
use crate::frame::Polygon;
use crate::postprocess::Labels;

/// Score below which detections are dropped, where the pipeline does not say.
pub const SCORE_THRESHOLD: f32 = 0.4;
/// Detections below have no part in tracking either.
pub const SCORE_LOW: f64 = 0.1;
/// How long an area must last to be an event, where the pipeline does not say.
const HOLD: Duration = Duration::from_secs(1);
/// How far back past its limit a share must go, where the pipeline does not say.
const HYSTERESIS: f64 = 0.1;

/// The rules of a pipeline that has no fault.
pub fn area_rules(config: &PipelineConfig, labels: &Labels) -> Vec<AreaRule> {
    let rules = config.spec.segment.rules.iter();
    rules
        .filter_map(|rule| {
            let above = rule.area_above.as_ref().map(|rule| (AreaKind::Above, rule));
            let below = rule.area_below.as_ref().map(|rule| (AreaKind::Below, rule));
            let (kind, spec) = above.or(below)?;
            area_rule(config, labels, kind, spec)
        })
        .collect()
}

fn area_rule(
    config: &PipelineConfig,
    labels: &Labels,
    kind: AreaKind,
    spec: &AreaSpec,
) -> Option<AreaRule> {
    let zone = spec.zone.as_ref();
    let word = match kind {
        AreaKind::Above => "above",
        AreaKind::Below => "below",
    };
    let place = zone.map(|zone| format!(" in {zone}")).unwrap_or_default();
    let default = format!("{} {word} {}{place}", spec.class, spec.share);
    Some(AreaRule {
        name: spec.name.clone().unwrap_or(default),
        kind,
        class: u8::try_from(labels.id(&spec.class)?).ok()?,
        share: spec.share,
        zone: match zone {
            Some(zone) => Some((zone.clone(), polygon(config, zone)?)),
            None => None,
        },
        hold: spec.for_ms.map_or(HOLD, Duration::from_millis),
        hysteresis: spec.hysteresis.unwrap_or(HYSTERESIS),
    })
}

/// A zone of a pipeline that has no fault.
pub fn polygon(config: &PipelineConfig, zone: &str) -> Option<Polygon> {
    let corners = &config.spec.zones.get(zone)?.polygon;
    Polygon::new(corners.clone()).ok()
}

/// Whether the network may look at less than all of every frame.
pub fn attends(config: &PipelineConfig) -> bool {
    config.spec.attention != AttentionSpec::default()
}

/// Whether pictures are compared, so that it is known when something moves.
pub fn compares_pictures(config: &PipelineConfig) -> bool {
    let attention = &config.spec.attention;
    let regions = attention.regions.as_ref();
    attention.motion_gate.is_some() || regions.is_some_and(|r| r.on == RegionsOn::Motion)
}

/// What decides where to look, if there is something to decide, or cuts and the camera's motion are
/// needed further on.
pub fn attention(config: &PipelineConfig, drops: bool) -> Option<Attention> {
    let spec = &config.spec.attention;
    if !attends(config) && config.spec.track.is_none() {
        return None;
    }
    let ms = |ms: Option<u64>, default: u64| ms.unwrap_or(default) as f64;
    let gate = spec.motion_gate.as_ref().map(|gate| Gate {
        share: gate.share.unwrap_or(0.002),
        force_ms: ms(gate.force_ms, 5000),
        after_ms: ms(gate.after_ms, 0),
    });
    let every = spec.interval.as_ref().and_then(|interval| {
        let governed = interval.latency_ms.map(|target_ms| Every::Latency {
            target_ms,
            most: 30,
        });
        interval.every.map(Every::Frames).or(governed)
    });
    let input = &config.card.input;
    let regions = spec.regions.as_ref().map(|regions| Regions {
        on_tracks: regions.on == RegionsOn::Tracks,
        most: regions.max.unwrap_or(4) as usize,
        side_px: input.width_px.max(input.height_px) as f32,
        whole_ms: ms(regions.whole_ms, 1000),
    });
    let tiles = spec.tiles.as_ref().map(|tiles| Tiles {
        columns: tiles.columns.unwrap_or(2),
        rows: tiles.rows.unwrap_or(2),
        overlap: tiles.overlap.unwrap_or(0.2),
        at_once: tiles.at_once.map(|n| n as usize),
        budget_ms: tiles.budget_ms,
        whole: tiles.whole.unwrap_or(true),
    });
    let camera = config
        .spec
        .track
        .as_ref()
        .is_some_and(|track| track.camera_motion);
    let spec = attention::AttentionSpec {
        gate,
        every,
        regions,
        tiles,
        camera,
    };
    Some(Attention::new(spec, drops))
}
