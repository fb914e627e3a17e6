//! Draws what was seen on the picture.

mod boxes;
mod mask;
mod palette;
mod text;

pub use boxes::{Overlay, OverlayStyle};
pub use mask::{ClassColours, voc_colour};
pub use palette::{colour_of, ink_on};
pub use text::Text;
