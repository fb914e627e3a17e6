//! The effective configuration: a pipeline with every default filled in.

use serde::Serialize;
use serde_yaml::{Mapping, Value};

use super::loaded::LoadedPipeline;
use super::masked::mask_secrets;
use super::schema::{ImageFormat, PipelineConfig};

/// The configuration of a file's streams as YAML, with every default filled in, also those from the
/// model's card, and with secrets masked. Settings of the other kind of model are left out, and so
/// are keys without a value. Paths are as in the file: saved beside it, the text describes the same
/// pipeline.
///
/// # Errors
/// When `--input` replaced a source, which the file does not give then.
pub fn effective_yaml(pipelines: &[LoadedPipeline]) -> Result<String, serde_yaml::Error> {
    let mut blocks = Vec::new();
    for pipeline in pipelines {
        let mut config = as_given(pipeline)?;
        fill_in(&mut config, pipeline);
        mask_secrets(&mut config);
        let mut block = mapping_of(&config)?;
        let head = &pipeline.card.head;
        let others = if head.classify.is_some() {
            ["detect", "segment"]
        } else if head.segments() {
            ["detect", "classify"]
        } else {
            ["segment", "classify"]
        };
        for other in others {
            block.shift_remove(other);
        }
        blocks.push(block);
    }
    match blocks.as_mut_slice() {
        [block] => serde_yaml::to_string(block),
        several => serde_yaml::to_string(&with_streams(several, pipelines)),
    }
}

/// The pipeline as its file gives it: paths are not joined.
fn as_given(pipeline: &LoadedPipeline) -> Result<PipelineConfig, serde_yaml::Error> {
    serde_json::from_value(pipeline.given.clone())
        .map_err(<serde_yaml::Error as serde::de::Error>::custom)
}

/// Defaults that are no constants.
fn fill_in(config: &mut PipelineConfig, pipeline: &LoadedPipeline) {
    let card = &pipeline.card;
    config.stream.get_or_insert_with(|| pipeline.stream.clone());
    let sources = [Some(&mut config.source), config.fallback.as_mut()];
    for camera in sources.into_iter().flatten().flat_map(|s| &mut s.camera) {
        if camera.device.is_none() && camera.index.is_none() {
            camera.device = Some(camera.device_path());
        }
    }
    if let Some(head) = &card.head.ssd {
        let detect = &mut config.detect;
        detect.nms_iou.get_or_insert(head.nms_iou);
        detect.max_detections.get_or_insert(head.max_detections);
        let threshold = detect.score_threshold;
        for class in detect.classes.values_mut() {
            class.score_threshold.get_or_insert(threshold);
        }
    }
    if let Some(head) = &card.head.deeplab {
        let model = &mut config.model;
        model.output_stride.get_or_insert(head.output_stride);
        if card.input.width_px == card.input.height_px {
            model.input_px.get_or_insert(card.input.width_px);
        }
    }
    if let Some(head) = &card.head.classify {
        config.classify.top.get_or_insert(head.top);
    }
    for sink in &mut config.sinks {
        if let Some(window) = &mut sink.window {
            window.title.get_or_insert_with(|| pipeline.stream.clone());
        }
        if let Some(images) = &mut sink.images
            && images.format == ImageFormat::Jpeg
        {
            images.quality = Some(images.jpeg_quality());
        }
    }
}

/// Several streams in one mapping: what they share stands beside their list.
fn with_streams(blocks: &mut [Mapping], pipelines: &[LoadedPipeline]) -> Mapping {
    let mut file = Mapping::new();
    let mut streams = Vec::new();
    for (block, pipeline) in blocks.iter_mut().zip(pipelines) {
        for key in super::document::SHARED_KEYS {
            if let Some(value) = block.shift_remove(key) {
                file.insert(key.into(), value);
            }
        }
        if let Some(Value::Sequence(mut sinks)) = block.shift_remove("sinks") {
            let shared = pipeline.shared.iter().filter(|shared| **shared).count();
            let own = sinks.split_off(shared.min(sinks.len()));
            if !sinks.is_empty() {
                file.insert("sinks".into(), Value::Sequence(sinks));
            }
            if !own.is_empty() {
                block.insert("sinks".into(), Value::Sequence(own));
            }
        }
        streams.push(Value::Mapping(std::mem::take(block)));
    }
    file.insert("streams".into(), Value::Sequence(streams));
    file
}

/// `config` as a mapping without nulls.
fn mapping_of(config: &impl Serialize) -> Result<Mapping, serde_yaml::Error> {
    // Through text, as a number of single precision has its shortest form there.
    let text = serde_yaml::to_string(config)?;
    let mut mapping: Mapping = serde_yaml::from_str(&text)?;
    drop_nulls(&mut mapping);
    Ok(mapping)
}

fn drop_nulls(mapping: &mut Mapping) {
    mapping.retain(|_, value| !value.is_null());
    for (_, value) in mapping {
        drop_nulls_in(value);
    }
}

fn drop_nulls_in(value: &mut Value) {
    match value {
        Value::Mapping(mapping) => drop_nulls(mapping),
        Value::Sequence(items) => items.iter_mut().for_each(drop_nulls_in),
        _ => {}
    }
}
