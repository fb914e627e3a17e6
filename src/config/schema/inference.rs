//! `inference`: workers, threads and the age limit of live frames.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Inference resources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceConfig {
    /// Inference workers: frames in the network at the same time. Default: from the number of cores
    /// and `threads`; 1 for live sources.
    #[schemars(range(min = 1, max = 64))]
    pub workers: Option<usize>,
    /// Threads of one inference. Default: from the number of cores and `workers`.
    #[schemars(range(min = 1, max = 64))]
    pub threads: Option<usize>,
    /// Age above which a live frame is dropped before inference.
    #[schemars(range(min = 1, max = 60_000))]
    pub max_age_ms: u64,
}

impl Default for InferenceConfig {
    fn default() -> Self {
        Self {
            workers: None,
            threads: None,
            max_age_ms: 500,
        }
    }
}
