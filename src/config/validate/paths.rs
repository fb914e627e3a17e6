//! The paths that sources read and sinks write.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::schema::{SinkConfig, SourceConfig};

/// The kind of a file source and its path.
pub fn path_of_source(source: &SourceConfig) -> Option<(&'static str, &Path)> {
    let video = source.video.as_ref().map(|v| ("video", v.path.as_path()));
    let images = source.images.as_ref();
    video.or_else(|| images.map(|i| ("images", i.path.as_path())))
}

/// Where a sink writes: its kind, its key, the path.
pub fn path_of_sink(sink: &SinkConfig) -> Option<(&'static str, &'static str, &Path)> {
    let jsonl = sink.jsonl.as_ref().map(|s| ("jsonl", "path", &s.path));
    let coco = sink.coco.as_ref().map(|s| ("coco", "path", &s.path));
    let mot = sink.mot.as_ref().map(|s| ("mot", "path", &s.path));
    let store = sink.store.as_ref().map(|s| ("store", "path", &s.path));
    let images = sink.images.as_ref().map(|s| ("images", "dir", &s.dir));
    let masks = sink.masks.as_ref().map(|s| ("masks", "dir", &s.dir));
    let video = sink.video.as_ref().map(|s| ("video", "dir", &s.dir));
    let clips = sink.clips.as_ref().map(|s| ("clips", "dir", &s.dir));
    let given = jsonl
        .or(coco)
        .or(mot)
        .or(store)
        .or(images)
        .or(masks)
        .or(video)
        .or(clips);
    given.map(|(kind, key, path)| (kind, key, path.as_path()))
}

/// The canonical path of a file or directory that may not exist yet. Devices and pipes have none:
/// several sinks may write there.
pub fn canonical(path: &Path) -> Option<PathBuf> {
    match fs::canonicalize(path) {
        Ok(path) if path.is_file() || path.is_dir() => Some(path),
        Ok(_) => None,
        Err(_) => {
            let parent = path.parent()?;
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            Some(fs::canonicalize(parent).ok()?.join(path.file_name()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_canonical_path() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = |path: &str| canonical(&dir.path().join(path));
        assert_eq!(name("a"), name("./a"));
        assert_ne!(name("a"), name("b"));
        fs::write(dir.path().join("a"), "").expect("room");
        assert_eq!(name("a"), name("./a"));
        assert!(name("a").is_some());
        assert_eq!(canonical(Path::new("/dev/null")), None);
    }
}
