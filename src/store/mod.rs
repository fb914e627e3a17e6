//! The event store: one SQLite file in which each event of all streams is a row that can be asked for.
//!
//! | row (`kind`) | begins | ends |
//! |---|---|---|
//! | `track` | an object is tracked | it was last seen |
//! | `zone` | it enters a zone | it was last inside |
//! | `loiter` | it has been inside for `loiter_ms` | it was last inside |
//! | `line` | it crosses a line | at once |
//! | `area_above`, `area_below` | a segmented area passes its limit | it is back |
//! | `source` | the source is lost | it is back |
//!
//! Updates, intervals and what happens to sinks are no rows. A row is there as soon as its event begins, and
//! its end moves on while it lasts, so that a crash loses the last second and no more.
//!
//! Times are milliseconds since 1970 by the wall clock on live sources. Records hold no wall-clock time, and a
//! replay gives the same rows each time: there they are milliseconds since the recording began. What lies
//! before [`FIRST_WALL_MS`] is such a position.
//!
//! Thumbnails are JPEG blobs in a table of their own. They have some 5 kB, which SQLite reads and writes faster
//! than single files; a row and its picture come and go in one transaction; and one file is what is moved,
//! backed up and limited (`max_mb`). Queries for rows alone do not touch their pages.
//!
//! The schema has a number (`user_version`): [`Store::open`] migrates an older file, and refuses a newer one.

pub mod csv;
mod error;
mod event;
mod filter;
mod instant;
mod names;
mod retention;
mod schema;
mod write;

pub use error::StoreError;
pub use event::{EVENT_KINDS, FIRST_WALL_MS, StoredEvent, Thumbnail};
pub use filter::{EventFilter, EventPlace};
pub use instant::{InstantError, instant_text, parse_instant};
pub use retention::EventRetention;
pub use schema::{APPLICATION_ID, Store};
pub use write::{EventInserter, RunInfo, StoreTransaction};
