//! The rules that a pipeline writes down, as what runs them takes them.

use std::time::Duration;

use crate::analytics::{AreaKind, AreaRule};
use crate::config::{AreaSpec, PipelineConfig};
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
