//! `on_error` of a sink.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to do when a sink cannot be written: disk full, permission lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnErrorConfig {
    /// Try again, with pauses that grow to 30 s; an event of kind `sink` says so.
    Retry,
    /// Go on without this sink; an event of kind `sink` says so.
    Disable,
    /// End the run with exit status 1.
    End,
}
