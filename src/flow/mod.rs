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
mod order;
mod stats;
mod stop;
mod thread;
mod turns;

pub use clock::{Clock, SystemClock};
pub use edge::{Aged, Closed, EdgeCounts, Policy, Received, Receiver, Sender, edge};
pub use order::{Ordered, Ticket, Workshop, workshop};
pub use stats::{Latency, Percentiles};
pub use stop::{StopReason, StopSignal};
pub use thread::{Failure, Failures, panic_message};
pub use turns::{Turn, TurnTaker, Turns};
