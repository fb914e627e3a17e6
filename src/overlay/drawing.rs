//! How the results of a frame are drawn: the frame brings it along, and whoever draws keeps an overlay for it.

use std::sync::Arc;

use super::{Overlay, OverlayStyle};
use crate::postprocess::Labels;

/// How the results of frames are drawn; the frames of one configuration share it.
#[derive(Debug, Default)]
pub struct Drawing {
    /// The style, with all layers shown.
    pub style: OverlayStyle,
    /// Names of the categories.
    pub labels: Arc<Labels>,
}

impl Drawing {
    /// What draws in this way.
    pub fn overlay(&self) -> Overlay {
        Overlay::new(self.style.clone(), Arc::clone(&self.labels))
    }
}

/// An overlay for the newest frame, made again when frames are drawn in another way.
#[derive(Default)]
pub struct CurrentOverlay(Option<(Arc<Drawing>, Overlay)>);

impl CurrentOverlay {
    /// The overlay for a frame that is to be drawn like this.
    pub fn of(&mut self, drawing: &Arc<Drawing>) -> &mut Overlay {
        self.0.take_if(|(known, _)| !Arc::ptr_eq(known, drawing));
        let make = || (Arc::clone(drawing), drawing.overlay());
        &mut self.0.get_or_insert_with(make).1
    }
}
