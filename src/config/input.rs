//! `--input`: a source from the command line in place of the pipeline's own.
//!
//! It takes the place of `source` before any `--set` is applied, so that options of the new source
//! can be set, and those of the old one are refused.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::diagnostic::{ConfigError, Location, io_reason};
use super::document::{Content, Entry, Node};
use super::environment::is_url;
use super::schema::{ImagesConfig, RtspConfig, SourceConfig, VideoConfig};

const ARGUMENT: &str = "--input";

/// The kinds of a source: their keys in `source`.
const KINDS: [&str; 4] = ["camera", "rtsp", "video", "images"];

/// What `--input` names.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSource {
    kind: InputKind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum InputKind {
    Rtsp,
    Video,
    Images,
}

impl InputSource {
    /// A directory, an image's file extension or an image's signature mean images, `rtsp://` a
    /// network camera, everything else a video.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn of(input: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            kind: kind_of(input)?,
            text: input.to_owned(),
        })
    }

    /// The source, with every option at its default.
    pub fn source(&self) -> SourceConfig {
        let mut source = SourceConfig::default();
        match self.kind {
            InputKind::Rtsp => source.rtsp = Some(RtspConfig::new(&self.text)),
            InputKind::Video => source.video = Some(VideoConfig::new(&self.text)),
            InputKind::Images => source.images = Some(ImagesConfig::new(&self.text)),
        }
        source
    }

    /// Puts the input in the place of the pipeline's source, and takes its fallback away. Where both
    /// are images, their rate stays: it is the time of the records.
    pub(super) fn replace_source(&self, root: &mut Node) {
        let fps = root
            .get("source")
            .and_then(|source| source.get("images")?.entry("fps").cloned());
        let Some(entries) = root.entries_mut() else {
            return;
        };
        entries.retain(|entry| entry.key != "fallback");
        let mut options = vec![entry(self.path_key(), Content::String(self.text.clone()))];
        options.extend(fps.filter(|_| self.kind == InputKind::Images));
        let kind = entry(self.kind_key(), Content::Mapping(options));
        let source = entry("source", Content::Mapping(vec![kind]));
        match entries.iter_mut().find(|entry| entry.key == "source") {
            Some(old) => *old = source,
            None => entries.push(source),
        }
    }

    /// Whether each `--set` on the source is one of this source.
    ///
    /// # Errors
    /// One for each that would have no effect.
    pub(super) fn validate_overrides(&self, root: &Node) -> Result<(), ConfigError> {
        let (mut errors, mut refused) = (Vec::new(), Vec::new());
        let mut refuse = |location: &Location, why: &str| {
            if let Location::Argument(argument) = location
                && !refused.contains(argument)
            {
                refused.push(argument.clone());
                let message = format!("has no effect together with --input: {why}");
                errors.extend(ConfigError::in_argument(argument, message).0);
            }
        };
        let source = root.entry("source").map(|entry| &entry.value);
        let entries = source.and_then(Node::entries).unwrap_or_default();
        for entry in entries {
            if KINDS.contains(&entry.key.as_str()) && entry.key != self.kind_key() {
                let why = format!("the source is {} then", self.kind_name());
                refuse(&entry.location, &why);
            }
        }
        // The nearest of the values around the path that was set, if the path is gone.
        let kind = source.and_then(|source| source.get(self.kind_key()));
        let path = kind.and_then(|kind| kind.get(self.path_key()));
        let nearest = path.or(kind).or(source).unwrap_or(root);
        if path.is_none_or(|path| path.location != argument()) {
            refuse(&nearest.location, "that is the source then");
        }
        let fallback = root.entry("fallback");
        if let Some(fallback) = fallback.filter(|entry| entry.value.content != Content::Null)
            && self.kind != InputKind::Rtsp
        {
            refuse(&fallback.location, "a file has no fallback");
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ConfigError(errors))
        }
    }

    fn kind_key(&self) -> &'static str {
        match self.kind {
            InputKind::Rtsp => "rtsp",
            InputKind::Video => "video",
            InputKind::Images => "images",
        }
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            InputKind::Rtsp => "a network camera (`source.rtsp`)",
            InputKind::Video => "a video (`source.video`)",
            InputKind::Images => "images (`source.images`)",
        }
    }

    fn path_key(&self) -> &'static str {
        match self.kind {
            InputKind::Rtsp => "url",
            InputKind::Video | InputKind::Images => "path",
        }
    }
}

fn argument() -> Location {
    // Without the input itself, which may be a URL with a password.
    Location::Argument(ARGUMENT.into())
}

fn entry(key: &str, content: Content) -> Entry {
    Entry {
        key: key.to_owned(),
        location: argument(),
        error: None,
        value: Node {
            location: argument(),
            content,
        },
    }
}

fn kind_of(input: &str) -> Result<InputKind, ConfigError> {
    if input.starts_with("rtsp://") {
        return Ok(InputKind::Rtsp);
    }
    let path = PathBuf::from(input);
    if input == "-" || is_url(&path) {
        return Ok(InputKind::Video);
    }
    let meta = std::fs::metadata(&path).map_err(|e| {
        let message = format!("cannot read it: {}", io_reason(&e));
        ConfigError::in_argument(&format!("{ARGUMENT} {input}"), message)
    })?;
    let is_images = meta.is_dir() || has_image_extension(&path) || has_image_signature(&path);
    Ok(if is_images {
        InputKind::Images
    } else {
        InputKind::Video
    })
}

fn has_image_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["jpg", "jpeg", "png", "bmp", "webp"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

fn has_image_signature(path: &Path) -> bool {
    // The longest signature of an image format is shorter; a pipe must not be read.
    let mut head = Vec::new();
    let is_file = path.is_file();
    is_file
        && File::open(path).is_ok_and(|file| file.take(32).read_to_end(&mut head).is_ok())
        && image::guess_format(&head).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_input_is_told_by_what_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).expect("room");
            path.display().to_string()
        };
        let kind = |input: &str| kind_of(input).expect("is there");
        assert_eq!(kind(&dir.path().display().to_string()), InputKind::Images);
        assert_eq!(kind(&path("a.JPG", b"")), InputKind::Images);
        assert_eq!(
            kind(&path("b", b"\x89PNG\r\n\x1a\n0000")),
            InputKind::Images
        );
        let video = path("c.mp4", b"\0\0\0\x18ftypisom0000");
        assert_eq!(kind(&video), InputKind::Video);
        assert_eq!(kind(&path("d", b"")), InputKind::Video);
        assert_eq!(kind("-"), InputKind::Video);
        assert_eq!(kind("rtsp://user:secret@gate/1"), InputKind::Rtsp);
        assert_eq!(kind("https://user:secret@gate/1.png"), InputKind::Video);
        assert!(kind_of("nowhere").is_err());
    }
}
