//! How long a chain's stages take.

use crate::flow::Latency;

/// Latencies of a chain's stages, shared by all workers.
#[derive(Clone, Debug)]
pub struct ChainLatency {
    /// Picture to tensor.
    pub preprocess: Latency,
    /// Tensor to raw heads.
    pub infer: Latency,
    /// Raw heads to results.
    pub postprocess: Latency,
}

impl ChainLatency {
    /// The stages as a frame passes them.
    pub fn in_order(self) -> [Latency; 3] {
        [self.preprocess, self.infer, self.postprocess]
    }
}

impl Default for ChainLatency {
    fn default() -> Self {
        Self {
            preprocess: Latency::new("preprocess"),
            infer: Latency::new("infer"),
            postprocess: Latency::new("postprocess"),
        }
    }
}
