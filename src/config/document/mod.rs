//! Documents: YAML text as one tree in which every key and value has its location, changed by
//! `--set` and divided into the streams that it describes.

mod file;
mod models;
mod node;
mod overrides;
mod parse;
mod path;
mod renamed;
mod scalar;
mod size;
mod streams;
mod view;

pub use file::Document;
pub use node::{Content, Entry, Node};
pub use overrides::{Override, ensure_used};
pub(super) use path::key_path;
pub use path::{MAX_VIOLATIONS, PathSegment, Violation};
pub use streams::SHARED_KEYS;
