//! Zones of the configuration as polygons.

use crate::config::LoadedPipeline;
use mobilens_image::Polygon;

/// A zone of a pipeline that was validated.
pub fn polygon(pipeline: &LoadedPipeline, zone: &str) -> Option<Polygon> {
    let corners = &pipeline.config.zones.get(zone)?.polygon;
    Polygon::new(corners.clone()).ok()
}
