//! The records of a run: JSON lines, one record a line.
//!
//! A run begins with a `run` record and ends with an `end` record; between them each frame has one
//! `frame` record, also when nothing was detected in it: a frame without detections differs from a
//! frame that was dropped. Events follow the record of their frame. Records hold no wall-clock time,
//! so that two runs over the same clip give the same bytes.
//!
//! # Example
//!
//! ```
//! use mobilens::records::Record;
//!
//! let line = r#"{"type":"frame","stream":"gate","frame":42,"pts_ms":1680.0,"dropped_before":0,
//!     "detections":[{"category_id":1,"label":"person","score":0.9137,"bbox":[412.0,133.5,58.0,101.0]}]}"#;
//! let Record::Frame(frame) = serde_json::from_str(line)? else {
//!     panic!("it is a frame");
//! };
//! assert_eq!(frame.detections[0].bbox.height, 101.0);
//! # Ok::<(), serde_json::Error>(())
//! ```

mod builder;
mod coco;
mod polygons;
mod record;
mod record_box;
mod rle;
mod rounding;

pub use builder::{MaskEncodings, RecordBuilder};
pub use coco::{CocoError, CocoResult, image_id_from_name};
pub use polygons::polygons_of;
pub use record::{
    ClassAreaRecord, ClassificationRecord, DetectionRecord, DroppedFrames, EndRecord, EventRecord,
    FrameCounts, FrameRecord, KeypointRecord, LabelRecord, LookRecord, ModelRecord, Record,
    RunRecord, SCHEMA_VERSION, SafeGroundRecord, SegmentationRecord, SourceRecord, TimingsRecord,
    TrackRecord, TrackStateRecord,
};
pub use record_box::RecordBox;
pub use rle::{Rle, RleError, rles_of};
pub(crate) use rounding::rounded;
