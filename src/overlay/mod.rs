//! Overlay: draws boxes, labels, tracks, masks, zones and counters on a picture.

mod boxes;
mod drawing;
mod heat;
mod instances;
mod legend;
mod mask;
mod palette;
mod pictures;
mod text;
mod tracks;

pub use boxes::{Overlay, OverlayStyle, draw_box_mut};
pub use drawing::{CurrentOverlay, Drawing};
pub use heat::{HeatMap, draw_path_mut};
pub use mask::{ClassColours, voc_colour};
pub use palette::{colour_of, ink_on};
pub use pictures::FramePictures;
pub use text::TextRenderer;
pub use tracks::{Counters, Trails};
