//! Validation: the JSON Schema first, then what no schema can express (files, labels, environment
//! variables, keys that exclude each other).
//!
//! Nothing here depends on what the program is built with: a pipeline is valid or not, whichever
//! sources and sinks are compiled in.

mod card;
mod classify;
mod classify_tracks;
mod heads;
mod json_schema;
mod labels;
mod models;
mod paths;
mod servers;
mod sinks;
mod sources;
mod streams;
mod typed;
mod validator;
mod zones;

pub use card::validate_card;
pub use json_schema::did_you_mean;
pub use streams::validate_streams;
pub use typed::typed;
pub use validator::{SinkOrigins, Validator};
