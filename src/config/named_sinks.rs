//! Holds what a pipeline's sinks name against what is there.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use url::Url;

use super::named::{Validator, path_of_source};
use super::secret::{expand_env, is_url};
use super::spec::SinkConfig;

impl Validator<'_> {
    /// Whether the sinks' folders are there and no two write to the same place.
    pub fn check_sinks(&mut self) {
        let mut windows = 0;
        let mut on_stdout = 0;
        let mut written: Vec<PathBuf> = Vec::new();
        for (i, sink) in self.spec.sinks.iter().enumerate() {
            if sink.window.is_some() {
                windows += 1;
                if windows == 2 {
                    self.fault_at_sink(i, &["window"], "a second window".to_owned());
                }
            }
            if let Some(images) = &sink.images
                && images.quality.is_some()
                && images.format != super::spec::PictureFormat::Jpeg
            {
                let what = "has a meaning only with `format: jpeg`".to_owned();
                self.fault_at_sink(i, &["images", "quality"], what);
            }
            let Some((kind, key, path)) = path_of_sink(sink) else {
                continue;
            };
            let is_folder = key == "dir";
            if path == Path::new("-") && !is_folder {
                on_stdout += 1;
                if on_stdout == 2 {
                    let what = "standard output is taken by another sink".to_owned();
                    self.fault_at_sink(i, &[kind, key], what);
                }
                continue;
            }
            let shown = path.display();
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            if let Some(parent) = parent
                && !parent.is_dir()
            {
                let what = format!("the folder {} is not there", parent.display());
                self.fault_at_sink(i, &[kind, key], what);
            } else if is_folder && path.exists() && !path.is_dir() {
                let what = format!("{shown} is a file; expected a folder");
                self.fault_at_sink(i, &[kind, key], what);
            } else if !is_folder && path.is_dir() {
                let what = format!("{shown} is a folder; expected a file");
                self.fault_at_sink(i, &[kind, key], what);
            } else if let Some(place) = place_of(path) {
                if written.contains(&place) {
                    let what = format!("{shown} is written by another sink");
                    self.fault_at_sink(i, &[kind, key], what);
                }
                written.push(place);
            }
        }
    }

    /// Whether a sink would write over what the pipeline reads: its sources and `also`.
    pub fn check_overwriting(&mut self, also: &[&Path]) {
        let spec = self.spec;
        let sources = [Some(&spec.source), spec.fallback.as_ref()];
        let sources = sources.into_iter().flatten().filter_map(path_of_source);
        let read: Vec<PathBuf> = sources
            .map(|(_, path)| path)
            .filter(|path| *path != Path::new("-") && !is_url(path))
            .chain(also.iter().copied())
            .filter_map(place_of)
            .collect();
        for (i, sink) in spec.sinks.iter().enumerate() {
            if let Some((kind, key, path)) = path_of_sink(sink)
                && let Some(place) = place_of(path)
                && read.contains(&place)
            {
                let what = format!("{} is read by this pipeline", path.display());
                self.fault_at_sink(i, &[kind, key], what);
            }
        }
    }

    /// Whether there are tracks where they are written.
    pub fn check_mot(&mut self) {
        for (i, sink) in self.spec.sinks.iter().enumerate() {
            if sink.mot.is_some() && self.spec.track.is_none() {
                self.fault_at_sink(
                    i,
                    &["mot"],
                    "nothing is tracked: add `track: {}`".to_owned(),
                );
            }
        }
    }

    /// Whether what listens does so where it should.
    pub fn check_web(&mut self) {
        for (i, sink) in self.spec.sinks.iter().enumerate() {
            let Some(web) = &sink.web else { continue };
            let bind = web.bind.as_deref().unwrap_or(super::spec::WEB_BIND);
            match bind.parse::<SocketAddr>() {
                Err(_) => {
                    let what =
                        format!("got {bind:?}; expected an address and port like 127.0.0.1:8080");
                    self.fault_at_sink(i, &["web", "bind"], what);
                }
                Ok(address) if !address.ip().is_loopback() && web.token.is_none() => {
                    let what = "others can reach this address: give a token";
                    self.fault_at_sink(i, &["web", "bind"], what.to_owned());
                }
                Ok(_) => {}
            }
            if let Some(Err(name)) = web.token.as_deref().map(expand_env) {
                let what = format!("the environment has no {name}");
                self.fault_at_sink(i, &["web", "token"], what);
            }
        }
    }
}

impl Validator<'_> {
    /// Whether the servers that sinks talk to can be meant.
    pub fn check_servers(&mut self) {
        let missing = |name| format!("the environment has no {name}");
        for (i, sink) in self.spec.sinks.iter().enumerate() {
            if let Some(mqtt) = &sink.mqtt {
                if let Err(what) = server_url(&mqtt.url, &["mqtt", "mqtts"]) {
                    self.fault_at_sink(i, &["mqtt", "url"], what);
                }
                if let Some(file) = mqtt.ca_file.as_ref().filter(|file| !file.is_file()) {
                    let what = format!("cannot read {}", file.display());
                    self.fault_at_sink(i, &["mqtt", "ca_file"], what);
                }
            }
            let Some(webhook) = &sink.webhook else {
                continue;
            };
            if let Err(what) = server_url(&webhook.url, &["http", "https"]) {
                self.fault_at_sink(i, &["webhook", "url"], what);
            }
            for (name, value) in &webhook.headers {
                if let Err(what) = expand_env(value).map_err(missing) {
                    self.fault_at_sink(i, &["webhook", "headers", name], what);
                }
            }
        }
    }
}

/// The URL of a server, with what it takes from the environment.
///
/// # Errors
/// What is wrong with it; it is not repeated, as it may hold a password.
pub fn server_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let text = expand_env(text).map_err(|name| format!("the environment has no {name}"))?;
    let url = Url::parse(&text).map_err(|e| format!("it is no URL: {e}"))?;
    if schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty()) {
        Ok(url)
    } else {
        Err(format!("expected {}://HOST", schemes.join("://HOST or ")))
    }
}

/// Where a sink writes: its kind, its key, the path.
pub(super) fn path_of_sink(sink: &SinkConfig) -> Option<(&'static str, &'static str, &Path)> {
    let jsonl = sink.jsonl.as_ref().map(|s| ("jsonl", "path", &s.path));
    let coco = sink.coco.as_ref().map(|s| ("coco", "path", &s.path));
    let mot = sink.mot.as_ref().map(|s| ("mot", "path", &s.path));
    let images = sink.images.as_ref().map(|s| ("images", "dir", &s.dir));
    let masks = sink.masks.as_ref().map(|s| ("masks", "dir", &s.dir));
    let video = sink.video.as_ref().map(|s| ("video", "dir", &s.dir));
    let clips = sink.clips.as_ref().map(|s| ("clips", "dir", &s.dir));
    let named = jsonl
        .or(coco)
        .or(mot)
        .or(images)
        .or(masks)
        .or(video)
        .or(clips);
    named.map(|(kind, key, path)| (kind, key, path.as_path()))
}

/// The one name of a file or folder, whichever way it was written. Devices and pipes have none:
/// nothing is lost when two write there.
fn place_of(path: &Path) -> Option<PathBuf> {
    match fs::canonicalize(path) {
        Ok(place) if place.is_file() || place.is_dir() => Some(place),
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
    fn a_place_has_one_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = |path: &str| place_of(&dir.path().join(path));
        assert_eq!(name("a"), name("./a"));
        assert_ne!(name("a"), name("b"));
        fs::write(dir.path().join("a"), "").expect("room");
        assert_eq!(name("a"), name("./a"));
        assert!(name("a").is_some());
        assert_eq!(place_of(Path::new("/dev/null")), None);
    }
}
