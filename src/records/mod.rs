//! The records of a run: JSON lines, one record a line.
//!
//! A run begins with a `run` record and ends with an `end` record; between them each frame has one
//! `frame` record, also when nothing was detected in it: a frame without detections differs from a
//! frame that was dropped. Events follow the record of their frame. Records hold no wall-clock time,
//! so that two runs over the same clip give the same bytes.

mod builder;
mod coco;
mod polygons;
mod record;
mod record_box;
mod rle;

pub(crate) use builder::rounded;
pub use builder::{MaskEncodings, RecordBuilder};
pub use coco::{CocoError, CocoResult, image_id_from_name};
pub use polygons::polygons_of;
pub use record::{
    ClassAreaRecord, DetectionRecord, DroppedFrames, EndRecord, EventRecord, FrameCounts,
    FrameRecord, LabelRecord, ModelRecord, Record, RunRecord, SCHEMA_VERSION, SafeGroundRecord,
    SegmentationRecord, SourceRecord, TimingsRecord, TrackRecord, TrackStateRecord,
};
pub use record_box::RecordBox;
pub use rle::{Rle, RleError, rles_of};
