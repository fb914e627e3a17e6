//! The validator of one stream, which collects the errors of all checks.

use serde_json::Value;

use crate::config::diagnostic::{ConfigError, Diagnostic};
use crate::config::document::{Document, MAX_VIOLATIONS, PathSegment};
use crate::config::schema::PipelineConfig;

/// Where the sinks of a pipeline come from, after the command line changed them: their index in the
/// YAML, or the argument.
pub type SinkOrigins = Vec<Result<usize, &'static str>>;

/// A pipeline and the errors found in it so far.
pub struct Validator<'a> {
    document: &'a Document<'a>,
    /// The pipeline with paths joined and arguments applied.
    pub(super) config: &'a PipelineConfig,
    /// The values that the document gives, without defaults.
    pub(super) given: &'a Value,
    origins: &'a SinkOrigins,
    /// What was found.
    pub errors: Vec<Diagnostic>,
}

impl<'a> Validator<'a> {
    /// No checks made yet. `config` is `document` after changes, with paths joined; `origins` has
    /// an entry for each of its sinks.
    pub fn new(
        document: &'a Document<'a>,
        config: &'a PipelineConfig,
        given: &'a Value,
        origins: &'a SinkOrigins,
    ) -> Self {
        Self {
            document,
            config,
            given,
            origins,
            errors: Vec::new(),
        }
    }

    /// Whether so much was found that nothing more needs to be looked for.
    pub(super) fn is_full(&self) -> bool {
        self.errors.len() >= MAX_VIOLATIONS
    }

    pub(super) fn error_at_value(&mut self, path: &[PathSegment], message: impl Into<String>) {
        let error = self.document.error_at_value(path, message);
        self.errors.push(error);
    }

    pub(super) fn error_at_key(&mut self, path: &[PathSegment], message: impl Into<String>) {
        let error = self.document.error_at_key(path, message);
        self.errors.push(error);
    }

    /// An error of sink `i`, at `rest` inside it.
    pub(super) fn error_at_sink(
        &mut self,
        i: usize,
        rest: &[PathSegment],
        message: impl Into<String>,
    ) {
        match self.origins.get(i) {
            Some(Err(argument)) => {
                let ConfigError(errors) = ConfigError::in_argument(argument, message);
                self.errors.extend(errors);
            }
            origin => {
                let index = origin.and_then(|o| o.ok()).unwrap_or(i);
                let path = [PathSegment::from("sinks"), PathSegment::Index(index)];
                self.error_at_value(&[&path, rest].concat(), message);
            }
        }
    }
}
