//! Draws what was seen on the picture.

mod boxes;
mod palette;
mod text;

pub use boxes::{Overlay, OverlayStyle};
pub use palette::{colour_of, ink_on};
pub use text::Text;
