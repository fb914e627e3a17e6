//! The pictures of a folder, as a network is fed them.

use std::path::{Path, PathBuf};

use mobilens::capture::{Captured, ImagesSource, Source};
use mobilens::config::CardConfig;
use mobilens::flow::StopSignal;
use mobilens::pipeline::preprocess_params;
use mobilens_image::{Preprocessor, TensorLayout};
use mobilens_nn::CalibrationPictures;

use super::Failure;
use crate::cli::eval;

/// At most so many pictures of a folder, evenly spread over it.
pub struct FolderPictures {
    folder: PathBuf,
    source: ImagesSource,
    chosen: Vec<usize>,
    preprocessor: Preprocessor,
    stop: StopSignal,
}

impl FolderPictures {
    /// The pictures of `folder`, for the network of `card`.
    ///
    /// # Errors
    /// When there are none.
    pub fn open(folder: &Path, limit: usize, card: &CardConfig) -> Result<Self, Failure> {
        let source = ImagesSource::open(folder, 1.0).map_err(eval::Failure::from)?;
        let count = source.info().frames.unwrap_or(0) as usize;
        let taken = count.min(limit);
        Ok(Self {
            folder: folder.to_owned(),
            source,
            chosen: (0..taken).map(|i| i * count / taken.max(1)).collect(),
            preprocessor: Preprocessor::new(&preprocess_params(card)),
            stop: StopSignal::new(),
        })
    }
}

impl CalibrationPictures for FolderPictures {
    fn count(&self) -> usize {
        self.chosen.len()
    }

    fn read(&mut self, index: usize, input: &mut [f32]) -> Result<(), String> {
        let folder = self.folder.display();
        self.source.seek(self.chosen[index]);
        match self.source.next(&self.stop) {
            Ok(Captured::Frame { image, .. }) => {
                self.preprocessor.run(&image, TensorLayout::Nchw, input);
                Ok(())
            }
            Ok(Captured::Undecodable { why, .. }) => Err(format!(
                "{folder}: {why}; remove the file, or calibrate with another folder"
            )),
            Ok(_) => Err(format!("{folder}: a picture is gone")),
            Err(error) => Err(error.to_string()),
        }
    }
}
