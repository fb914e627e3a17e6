//! Threads and the bounded channels (edges) between them; independent of images.
//!
//! | file | contents |
//! |---|---|
//! | `edge` | bounded channels with an overflow policy and drop counts |
//! | `ordered_pool` | jobs shared by N threads, results in order |
//! | `scheduler` | fair scheduling between streams |
//! | `stop` | stop signal |
//! | `updates` | settings that stages take over with a given message |
//! | `thread` | named threads; a failure or panic ends the run |
//! | `stats` | latency histograms |
//! | `health` | when each stage and source last went on |
//! | `clock` | clock for pacing, replaceable in tests |

mod clock;
mod edge;
pub mod health;
mod ordered_pool;
mod scheduler;
mod stats;
mod stop;
mod thread;
mod updates;

pub use clock::{Clock, SystemClock};
pub use edge::{Aged, Closed, EdgeCounts, Policy, Received, Receiver, Sender, aged_edge, edge};
pub use health::{Health, StageHealth, StreamHealth, StreamStages};
pub use ordered_pool::{Job, OrderedPool, OrderedReceiver, ordered_pool};
pub use scheduler::{FairScheduler, Permit, StreamSlot};
pub use stats::{Latency, Percentiles};
pub use stop::{StopReason, StopSignal};
pub use thread::{Failure, Failures, lower_priority, panic_message};
pub use updates::{UpdateSender, Updates, updates};
