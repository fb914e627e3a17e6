//! One stream of a file, seen as a document of its own.

use std::collections::BTreeSet;

use super::path::{PathSegment, key_path};

/// Which stream of a file a document is about.
pub struct StreamView {
    /// Index of the stream's block.
    pub stream: usize,
    /// The keys of the stream's own block.
    pub own: BTreeSet<String>,
    /// The number of sinks beside `streams`; the stream's own follow them.
    pub shared_sinks: usize,
}

impl StreamView {
    /// The path in the file of a value of the stream's document.
    pub fn path_in_file(&self, path: &[PathSegment]) -> Vec<PathSegment> {
        let block = key_path!["streams", self.stream];
        let Some(PathSegment::Key(first)) = path.first() else {
            return block.to_vec();
        };
        if !self.own.contains(first) {
            return path.to_vec();
        }
        let mut path = path.to_vec();
        if let (true, Some(PathSegment::Index(sink))) = (first == "sinks", path.get_mut(1)) {
            match sink.checked_sub(self.shared_sinks) {
                Some(own) => *sink = own,
                None => return path,
            }
        }
        [block.to_vec(), path].concat()
    }
}
