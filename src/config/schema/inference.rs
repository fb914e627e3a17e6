//! `inference`: number format, workers, threads and the age limit of live frames.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Inference settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceConfig {
    /// Number format of the network.
    pub precision: PrecisionConfig,
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
            precision: PrecisionConfig::default(),
            workers: None,
            threads: None,
            max_age_ms: 500,
        }
    }
}

/// Number format of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrecisionConfig {
    /// Int8 where the model is quantised, else float32.
    #[default]
    Model,
    /// Float32, also where the model is quantised.
    F32,
    /// bfloat16, on CPUs with AVX-512 BF16.
    Bf16,
    /// Int8, for a quantised model only.
    Int8,
    /// The fastest of this CPU: int8 where the model is quantised, else bfloat16 where the CPU has it, else
    /// float32.
    Fast,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::schema_of;

    #[test]
    fn the_model_decides_on_its_precision_unless_the_pipeline_does() {
        let precision = |text: &str| {
            let config = serde_yaml::from_str::<InferenceConfig>(text);
            config.map(|config| config.precision)
        };
        let of = |text: &str| precision(text).expect("valid");
        assert_eq!(of("{ workers: 2 }"), PrecisionConfig::Model);
        assert_eq!(of("{ precision: f32 }"), PrecisionConfig::F32);
        assert_eq!(of("{ precision: bf16 }"), PrecisionConfig::Bf16);
        assert_eq!(of("{ precision: int8 }"), PrecisionConfig::Int8);
        assert_eq!(of("{ precision: fast }"), PrecisionConfig::Fast);
        assert!(precision("{ precision: float32 }").is_err());
        let schema = schema_of::<InferenceConfig>();
        assert_eq!(schema["properties"]["precision"]["default"], json!("model"));
    }
}
