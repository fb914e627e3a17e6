//! One picture through a model, drawn.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use mobilens::config::{CardConfig, LoadedPipeline};
use mobilens::overlay::{Overlay, OverlayStyle};
use mobilens::pipeline::{InferenceLatency, Model, ModelError};
use mobilens::postprocess::{Labels, Prediction};
use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};
use mobilens_nn::NnError;

/// Lowest score of a box that is drawn.
pub const SCORE: f32 = 0.25;
/// How much of a segmented class's colour covers the picture.
const ALPHA: f32 = 0.4;

/// Why a picture is not drawn.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// The card does not fit the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot run.
    #[error(transparent)]
    Network(#[from] NnError),
    /// The network failed.
    #[error("{0}")]
    Predict(String),
    /// The picture cannot be read.
    #[error("cannot read {}: {why}", .file.display())]
    Picture {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The drawn picture cannot be written.
    #[error("cannot write {}: {why}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Runs the card's model on the picture and writes the picture with the results drawn. Returns a line for each object or
/// class, and one that names the drawn picture.
///
/// # Errors
/// When the picture cannot be read or written, or the model does not do what the card says.
pub fn try_picture(
    (card, sha256): (CardConfig, String),
    picture: &Path,
    drawn: &Path,
) -> Result<Vec<String>, TryError> {
    let labels = Arc::new(card.labels());
    let threads = available_parallelism().map_or(1, usize::from);
    let loaded = LoadedPipeline::of_card(card, sha256, SCORE);
    let mut worker =
        Model::load(&loaded)?.worker(threads, &InferenceLatency::default(), &Arc::default())?;
    let unreadable = |why: String| TryError::Picture {
        file: picture.to_owned(),
        why,
    };
    let mut rgb = image::open(picture)
        .map_err(|e| unreadable(e.to_string()))?
        .into_rgb8();
    let size = SizePx {
        width: rgb.width(),
        height: rgb.height(),
    };
    let image = Image::new(
        size,
        PixelFormat::Rgb8,
        YuvColour::DEFAULT,
        rgb.clone().into_raw(),
    );
    let image = image.map_err(|e| unreadable(e.to_string()))?;
    let prediction = worker.predict(image).map_err(TryError::Predict)?;
    let style = OverlayStyle {
        alpha: ALPHA,
        ..OverlayStyle::default()
    };
    Overlay::new(style, Arc::clone(&labels)).draw_mut(&mut rgb, &prediction);
    rgb.save(drawn).map_err(|e| TryError::Write {
        file: drawn.to_owned(),
        why: e.to_string(),
    })?;
    let mut lines = lines_of(&prediction, &labels);
    lines.push(format!("{}: drawn", drawn.display()));
    Ok(lines)
}

/// A line for each object, each of the best classes, or each segmented class.
fn lines_of(prediction: &Prediction, labels: &Labels) -> Vec<String> {
    let mut lines = Vec::new();
    for detection in &prediction.detections {
        let rect = detection.rect;
        let mut line = format!(
            "{:.3} {}",
            detection.score,
            labels.name(detection.category_id)
        );
        let _ = write!(
            line,
            " at ({:.0}, {:.0}), {:.0}x{:.0} pixels",
            rect.x, rect.y, rect.width, rect.height
        );
        lines.push(line);
    }
    for class in prediction.classification.iter().flatten() {
        lines.push(format!(
            "{:.3} {}",
            class.score,
            labels.name(class.category_id)
        ));
    }
    if let Some(segmentation) = &prediction.segmentation {
        let pixels = segmentation.mask.classes();
        for (id, name) in labels.iter() {
            let count = pixels
                .iter()
                .filter(|pixel| u32::from(**pixel) == id)
                .count();
            if count > 0 {
                let share = 100.0 * count as f64 / pixels.len() as f64;
                lines.push(format!("{share:.1} % {name}"));
            }
        }
    }
    if lines.is_empty() {
        lines.push(format!("nothing with a score of at least {SCORE}"));
    }
    lines
}
