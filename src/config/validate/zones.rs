//! Zones and lines.

use mobilens_image::Polygon;

use super::json_schema::did_you_mean;
use super::validator::Validator;
use crate::config::document::{PathSegment, key_path};
use crate::config::schema::{AreaConfig, PipelineConfig};

impl Validator<'_> {
    /// Zones: whether they are polygons, and whether those that are named exist.
    pub fn validate_zones(&mut self) {
        let config = self.config;
        for (name, zone) in &config.zones {
            if let Err(error) = Polygon::new(zone.polygon.clone()) {
                self.error_at_value(&key_path!["zones", name, "polygon"], error.to_string());
            }
            let times = [("loiter_ms", zone.loiter_ms), ("update_ms", zone.update_ms)];
            for (key, _) in times.iter().filter(|(_, ms)| ms.is_some()) {
                let message = if zone.ignore {
                    "has no effect with `ignore: true`: such a zone makes no events"
                } else if config.track.is_none() {
                    "these events need tracking: add `track: {}`"
                } else {
                    continue;
                };
                self.error_at_key(&key_path!["zones", name, *key], message);
            }
        }
        let known: Vec<&str> = config.zones.keys().map(String::as_str).collect();
        let mut check = |path: &[PathSegment], zone: Option<&String>| {
            let zone = zone.filter(|zone| !config.zones.contains_key(*zone));
            if let Some(zone) = zone.filter(|_| !self.is_full()) {
                let hint = did_you_mean(zone, &known);
                self.error_at_value(path, format!("no zone has the name {zone:?}{hint}"));
            }
        };
        let safe_ground = config.segment.safe_ground.as_ref();
        let zone = safe_ground.and_then(|ground| ground.zone.as_ref());
        check(&key_path!["segment", "safe_ground", "zone"], zone);
        for (i, kind, rule) in area_rules(config) {
            let path = key_path!["segment", "rules", i, kind, "zone"];
            check(&path, rule.zone.as_ref());
        }
    }

    /// Lines: whether they have a length, lie in the picture, and objects are tracked.
    pub fn validate_lines(&mut self) {
        let config = self.config;
        for (name, line) in &config.lines {
            for (key, point) in [("from", line.from), ("to", line.to)] {
                if !point.iter().all(|v| (0.0..=1.0).contains(v)) {
                    let message = "the point is outside the picture; expected coordinates from 0 \
                                   to 1";
                    self.error_at_value(&key_path!["lines", name, key], message);
                }
            }
            if line.from == line.to {
                let message = "the line has zero length";
                self.error_at_value(&key_path!["lines", name, "to"], message);
            }
        }
        if config.track.is_none() && !config.lines.is_empty() {
            let message = "counting lines need tracking: add `track: {}`";
            self.error_at_key(&key_path!["lines"], message);
        }
    }
}

/// The area rules with their index and kind.
pub fn area_rules(
    config: &PipelineConfig,
) -> impl Iterator<Item = (usize, &'static str, &AreaConfig)> {
    let rules = config.segment.rules.iter().enumerate();
    rules.filter_map(|(i, rule)| {
        let above = rule.area_above.as_ref().map(|rule| ("area_above", rule));
        let below = rule.area_below.as_ref().map(|rule| ("area_below", rule));
        let (kind, rule) = above.or(below)?;
        Some((i, kind, rule))
    })
}
