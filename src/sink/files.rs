//! Files of a folder that are named after frames.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::SinkError;
use crate::frame::FrameMeta;

/// Gives each frame a file name.
#[derive(Debug, Default)]
pub struct FileNames {
    /// Which source each name was given to.
    taken: HashMap<String, Arc<str>>,
}

impl FileNames {
    /// The frame's own name with another ending, or its stream and number. The same source gets
    /// the same name; `b.png` after `b.jpg` becomes `b.png.png`.
    pub fn name_of(&mut self, meta: &FrameMeta, ending: &str) -> String {
        format!("{}.{ending}", self.stem(meta))
    }

    fn stem(&mut self, meta: &FrameMeta) -> String {
        // A name is a name, never a way into another folder.
        let name = |text: &str| text.replace(['/', '\\', '\0'], "_");
        let Some(source) = &meta.name else {
            return format!("{}_{:06}", name(&meta.stream), meta.frame);
        };
        let stem = source.rsplit_once('.').map_or(&**source, |(stem, _)| stem);
        let first = self
            .taken
            .entry(name(stem))
            .or_insert_with(|| Arc::clone(source));
        name(if first == source { stem } else { source })
    }
}

/// Has `write` fill a temporary file, which gets the name `path` when it is whole.
///
/// # Errors
/// When it cannot be written; nothing is left then.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), SinkError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    write(part)
        .and_then(|()| fs::rename(part, path))
        .map_err(|e| {
            // Remove the incomplete file.
            let _ = fs::remove_file(part);
            SinkError::from_io(&path.display().to_string(), e)
        })
}
