//! JSON Schemas, generated from the types.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::PipelineConfig;
use crate::config::document::SHARED_KEYS;

/// The JSON Schema of `T`, for what a person may write.
pub fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    tidy_defaults(&mut schema);
    schema
}

/// Drops defaults that are null, shortens those of blocks to `{}` (their keys have their own), and
/// gives single-precision numbers their shortest form.
fn tidy_defaults(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let is_float = map.get("format") == Some(&json!("float"));
            match map.get_mut("default") {
                Some(Value::Null) => {
                    map.remove("default");
                }
                Some(block @ Value::Object(_)) if !block_is_property(block) => {
                    *block = json!({});
                }
                Some(number @ Value::Number(_)) if is_float => {
                    let shortest = number.as_f64().map(|value| (value as f32).to_string());
                    if let Some(value) = shortest.and_then(|text| text.parse::<f64>().ok()) {
                        *number = json!(value);
                    }
                }
                _ => {}
            }
            map.values_mut().for_each(tidy_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy_defaults),
        _ => {}
    }
}

/// Whether an object under the name `default` is the schema of a property with that name.
fn block_is_property(object: &Value) -> bool {
    object.get("type").is_some() || object.get("$ref").is_some()
}

/// The JSON Schema of a pipeline's file: one stream, or several with what they share.
pub fn pipeline_schema() -> Value {
    let mut schema = schema_of::<PipelineConfig>();
    let mut block = schema.clone();
    if let Some(block) = block.as_object_mut() {
        for key in ["$schema", "$defs", "title"] {
            block.remove(key);
        }
        block.insert("required".to_owned(), json!(["stream"]));
        block.insert("description".to_owned(), json!("One stream."));
        if let Some(properties) = block.get_mut("properties").and_then(Value::as_object_mut) {
            for key in SHARED_KEYS {
                properties.remove(key);
            }
            let models = json!({
                "description": "Names of the models that the stream runs, the first one first. Default: all.",
                "type": "array",
                "minItems": 1,
                "uniqueItems": true,
                "items": { "type": "string" },
            });
            properties.insert("models".to_owned(), models);
        }
    }
    for definition in schema
        .get_mut("$defs")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut)
    {
        // What is also written as a string by itself.
        if definition.get("x-short-for").is_some() {
            let whole = definition.take();
            *definition = json!({ "anyOf": [{ "type": "string", "minLength": 1 }, whole] });
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("required");
        schema.insert(
            "anyOf".to_owned(),
            json!([
                { "required": ["source", "model"] },
                { "required": ["streams", "model"] },
                { "required": ["source", "models"] },
                { "required": ["streams", "models"] },
            ]),
        );
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            let streams = json!({
                "description": "Several streams, each with the keys of a pipeline; a key beside this \
                    list is for every stream that does not have it.",
                "type": "array",
                "minItems": 1,
                "items": block,
            });
            properties.insert("streams".to_owned(), streams);
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_types() {
        let schema = schema_of::<PipelineConfig>();
        let default = |block: &str, key: &str| {
            let path = format!("/$defs/{block}/properties/{key}/default");
            schema.pointer(&path).cloned()
        };
        assert_eq!(default("DetectConfig", "score_threshold"), Some(json!(0.4)));
        assert_eq!(default("DetectConfig", "nms_iou"), None);
        assert_eq!(default("ClipsConfig", "before_ms"), Some(json!(5000)));
        assert_eq!(default("ImagesSinkConfig", "quality"), Some(json!(90)));
        assert_eq!(default("CameraConfig", "index"), Some(json!(0)));
        assert_eq!(
            schema.pointer("/properties/detect/default"),
            Some(&json!({}))
        );
    }
}
