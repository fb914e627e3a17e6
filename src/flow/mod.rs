//! Threads and edges; knows no pixels.
//!
//! | file | what |
//! |---|---|
//! | `edge` | bounded channels with a policy and counts |
//! | `order` | work shared by N threads, results in order |
//! | `turns` | fair shares between streams |
//! | `stop` | the one word that ends a run |
//! | `thread` | named threads whose failure ends the run |
//! | `stats`, `clock` | latencies, and time for pace |

mod clock;
mod edge;
mod ordered_pool;
mod scheduler;
mod stats;
mod stop;
mod thread;

pub use clock::{Clock, SystemClock};
pub use edge::{Aged, Closed, EdgeCounts, Policy, Received, Receiver, Sender, aged_edge, edge};
pub use ordered_pool::{Job, OrderedPool, OrderedReceiver, ordered_pool};
pub use scheduler::{FairScheduler, Permit, StreamSlot};
pub use stats::{Latency, Percentiles};
pub use stop::{StopReason, StopSignal};
pub use thread::{Failure, Failures, panic_message};
