//! Draws what was seen on the picture.

mod boxes;
mod heat;
mod mask;
mod palette;
mod pictures;
mod text;
mod tracks;

pub use boxes::{Overlay, OverlayStyle};
pub use heat::{HeatMap, draw_way_mut};
pub use mask::{ClassColours, voc_colour};
pub use palette::{colour_of, ink_on};
pub use pictures::FramePictures;
pub use text::Text;
pub use tracks::Trails;
