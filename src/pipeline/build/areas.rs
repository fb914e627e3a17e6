//! Rules on the area of segmented classes, from the configuration.

use std::time::Duration;

use crate::analytics::{AreaKind, AreaRule};
use crate::config::{AreaConfig, LoadedPipeline};
use crate::postprocess::Labels;

use super::zones::polygon;

/// The rules of a pipeline that was validated.
pub fn area_rules(pipeline: &LoadedPipeline, labels: &Labels) -> Vec<AreaRule> {
    let rules = pipeline.config.segment.rules.iter();
    rules
        .filter_map(|rule| {
            let above = rule.area_above.as_ref().map(|rule| (AreaKind::Above, rule));
            let below = rule.area_below.as_ref().map(|rule| (AreaKind::Below, rule));
            let (kind, config) = above.or(below)?;
            area_rule(pipeline, labels, kind, config)
        })
        .collect()
}

fn area_rule(
    pipeline: &LoadedPipeline,
    labels: &Labels,
    kind: AreaKind,
    config: &AreaConfig,
) -> Option<AreaRule> {
    let zone = config.zone.as_ref();
    let word = match kind {
        AreaKind::Above => "above",
        AreaKind::Below => "below",
    };
    let place = zone.map(|zone| format!(" in {zone}")).unwrap_or_default();
    let default = format!("{} {word} {}{place}", config.class, config.share);
    Some(AreaRule {
        name: config.name.clone().unwrap_or(default),
        kind,
        class: u8::try_from(labels.id(&config.class)?).ok()?,
        share: config.share,
        zone: match zone {
            Some(zone) => Some((zone.clone(), polygon(pipeline, zone)?)),
            None => None,
        },
        hold: Duration::from_millis(config.for_ms),
        hysteresis: config.hysteresis,
    })
}
