//! Classification of tracked objects by a second network: which tracks are next, how much time there is, which
//! part of the picture the network sees, and what several results for one track are together.
//!
//! All of it is plain computation, independent of images, networks and threads.
//!
//! | file | contents |
//! |---|---|
//! | `schedule` | which tracks are due, and in which order |
//! | `budget` | how many crops the time allows |
//! | `region` | from a track's box to the part of the picture |
//! | `scores` | moving average of a track's scores |

mod budget;
mod region;
mod schedule;
mod scores;

pub use budget::TimeBudget;
pub use region::CropRegion;
pub use schedule::ClassifySchedule;
pub use scores::TrackScores;
