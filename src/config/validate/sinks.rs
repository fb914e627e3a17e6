//! Sinks that write files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::paths::{canonical, path_of_sink, path_of_source};
use super::validator::Validator;
use crate::config::document::key_path;
use crate::config::environment::is_url;
use crate::config::schema::ImageFormat;

impl Validator<'_> {
    /// Sinks: whether their directories exist, and no two write to the same file.
    pub fn validate_sinks(&mut self) {
        let mut windows = 0;
        let mut on_stdout = 0;
        let mut written: HashSet<PathBuf> = HashSet::new();
        for (i, sink) in self.config.sinks.iter().enumerate() {
            if self.is_full() {
                return;
            }
            if sink.window.is_some() {
                windows += 1;
                if windows == 2 {
                    let message = "expected one window; this is the second";
                    self.error_at_sink(i, &key_path!["window"], message);
                }
            }
            if let Some(images) = &sink.images
                && images.quality.is_some()
                && images.format != ImageFormat::Jpeg
            {
                let message = "only valid with `format: jpeg`";
                self.error_at_sink(i, &key_path!["images", "quality"], message);
            }
            let Some((kind, key, path)) = path_of_sink(sink) else {
                continue;
            };
            let at = key_path![kind, key];
            let is_dir = key == "dir";
            if path == Path::new("-") && kind == "store" {
                let message = "expected a file: events cannot go to standard output";
                self.error_at_sink(i, &at, message);
                continue;
            }
            if path == Path::new("-") && !is_dir {
                on_stdout += 1;
                if on_stdout == 2 {
                    let message = "another sink already writes to standard output";
                    self.error_at_sink(i, &at, message);
                }
                continue;
            }
            let shown = path.display();
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            if let Some(parent) = parent
                && !parent.is_dir()
            {
                let message = format!("the directory {} does not exist", parent.display());
                self.error_at_sink(i, &at, message);
            } else if is_dir && path.exists() && !path.is_dir() {
                let message = format!("{shown} is a file; expected a directory");
                self.error_at_sink(i, &at, message);
            } else if !is_dir && path.is_dir() {
                let message = format!("{shown} is a directory; expected a file");
                self.error_at_sink(i, &at, message);
            } else if let Some(file) = canonical(path)
                && !written.insert(file)
            {
                let message = format!("another sink already writes to {shown}");
                self.error_at_sink(i, &at, message);
            }
        }
    }

    /// Whether a sink would overwrite an input of the pipeline: its sources and `also`.
    pub fn validate_overwritten_inputs(&mut self, also: &[&Path]) {
        let config = self.config;
        let sources = [Some(&config.source), config.fallback.as_ref()];
        let sources = sources.into_iter().flatten().filter_map(path_of_source);
        let inputs: Vec<PathBuf> = sources
            .map(|(_, path)| path)
            .filter(|path| *path != Path::new("-") && !is_url(path))
            .chain(also.iter().copied())
            .filter_map(canonical)
            .collect();
        for (i, sink) in config.sinks.iter().enumerate() {
            if let Some((kind, key, path)) = path_of_sink(sink)
                && let Some(file) = canonical(path)
                && inputs.contains(&file)
            {
                let message = format!("{} is an input of this pipeline", path.display());
                self.error_at_sink(i, &key_path![kind, key], message);
            }
        }
    }

    /// Whether objects are tracked where tracks are written.
    pub fn validate_mot(&mut self) {
        for (i, sink) in self.config.sinks.iter().enumerate() {
            if sink.mot.is_some() && self.config.track.is_none() {
                let message = "needs tracking: add `track: {}`";
                self.error_at_sink(i, &key_path!["mot"], message);
            }
        }
    }
}
