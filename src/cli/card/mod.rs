//! `mobilens card`: a model card from a model's file, and `mobilens run`: a model without a pipeline.

pub mod arguments;
mod facts;
mod guess;
mod labels;
mod made_card;
mod maps;
pub mod note;
mod pairs;
mod preprocess;
mod python_dict;
mod run_model;
mod ssd;
mod try_picture;
mod whole;
mod write_card;
mod yolo;
mod yolo_maps;

pub use run_model::run_model;
pub use write_card::card;
