//! The files and folders that a run needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{LoadedPipeline, SinkConfig, SourceConfig, is_url};

/// Programs and libraries of the system, for ffmpeg, the window and the C library.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/opt",
    "/nix/store",
    "/snap",
];
/// What the system says of itself: resolver, time zone, certificates, processors, the process.
const SYSTEM_DATA: [&str; 8] = [
    "/etc",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
    "/var/lib/ca-certificates",
];
/// Devices that hold nothing, and graphics.
const DEVICES: [&str; 8] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/shm",
    "/dev/dri",
];

/// The files and folders that a run needs. What does not exist is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// Programs and libraries: may be read and run.
    pub programs: BTreeSet<PathBuf>,
    /// May be read.
    pub read: BTreeSet<PathBuf>,
    /// May be read, written, made and removed.
    pub write: BTreeSet<PathBuf>,
}

impl Folders {
    /// What the streams of a pipeline need besides the system's own: sources, models and sinks. The sinks'
    /// folders are made.
    pub fn of(pipelines: &[LoadedPipeline]) -> Self {
        for sink in pipelines.iter().flat_map(|pipeline| &pipeline.config.sinks) {
            for dir in dirs_of(sink).into_iter().flatten() {
                // What cannot be made is told by the sink.
                let _ = std::fs::create_dir_all(dir);
            }
        }
        Self::named_by(pipelines)
    }

    /// As [`of`](Self::of), and nothing is made.
    pub fn named_by(pipelines: &[LoadedPipeline]) -> Self {
        let mut folders = Self::default();
        folders.add_system();
        for pipeline in pipelines {
            let config = &pipeline.config;
            for source in [Some(&config.source), config.fallback.as_ref()] {
                folders.add_source(source);
            }
            let telemetry = config.telemetry.as_ref();
            folders.add_read(telemetry.and_then(|telemetry| telemetry.srt.as_deref()));
            folders.add_read(Some(&config.model.card));
            folders.add_read(config.gating.plan.as_deref());
            folders.add_read(Some(&pipeline.card.file));
            for other in &pipeline.others {
                folders.add_read(Some(&other.config.model.card));
                folders.add_read(Some(&other.card.file));
            }
            for (entry, of) in config
                .classify_tracks
                .values()
                .zip(pipeline.track_cards.values())
            {
                folders.add_read(Some(&entry.model));
                folders.add_read(Some(&of.card.file));
            }
            for sink in &config.sinks {
                for file in [
                    sink.jsonl.as_ref().map(|sink| &sink.path),
                    sink.coco.as_ref().map(|sink| &sink.path),
                    sink.mot.as_ref().map(|sink| &sink.path),
                    // SQLite has its log beside it.
                    sink.store.as_ref().map(|sink| &sink.path),
                ] {
                    folders.add_output(file.map(PathBuf::as_path));
                }
                let dirs = dirs_of(sink).into_iter().flatten();
                folders.write.extend(dirs.cloned());
                let mqtt = sink.mqtt.as_ref();
                folders.add_read(mqtt.and_then(|mqtt| mqtt.ca_file.as_deref()));
                if sink.window.is_some() {
                    folders.add_display();
                }
            }
        }
        folders
    }

    /// What of `others` is outside of these folders as they are now.
    pub fn lacks(&self, others: &Self) -> Vec<PathBuf> {
        let real = |paths: &BTreeSet<PathBuf>| -> Vec<PathBuf> {
            let real = paths.iter().filter_map(|path| path.canonicalize().ok());
            real.collect()
        };
        let write = real(&self.write);
        let read = [real(&self.read), real(&self.programs), write.clone()].concat();
        let is_in =
            |path: &Path, allowed: &[PathBuf]| allowed.iter().any(|dir| path.starts_with(dir));
        let mut lacking = Vec::new();
        for path in others.read.difference(&self.read) {
            // What is not there is told by whoever reads it.
            if path.canonicalize().is_ok_and(|path| !is_in(&path, &read)) {
                lacking.push(path.clone());
            }
        }
        for path in others.write.difference(&self.write) {
            if existing(path).is_some_and(|path| !is_in(&path, &write)) {
                lacking.push(path.clone());
            }
        }
        lacking
    }

    /// A file that is read, with what lies beside it.
    pub fn add_read(&mut self, file: Option<&Path>) {
        let Some(file) = file else {
            return;
        };
        let is_regular = file.metadata().is_ok_and(|file| file.is_file());
        self.read.insert(if is_regular {
            folder_of(file)
        } else {
            file.to_owned()
        });
    }

    fn add_system(&mut self) {
        self.programs.extend(SYSTEM.map(PathBuf::from));
        self.read.extend(SYSTEM_DATA.map(PathBuf::from));
        self.write.extend(DEVICES.map(PathBuf::from));
        let list = |name| std::env::var_os(name).unwrap_or_default();
        let paths = list("PATH");
        for dir in std::env::split_paths(&paths) {
            // The ffmpeg that would be started, with its libraries, wherever it is installed.
            if let Ok(program) = dir.join("ffmpeg").canonicalize()
                && let Some(dir) = program.parent()
            {
                self.programs.insert(dir.to_owned());
                self.programs.insert(dir.join("../lib"));
            }
        }
        let libraries = list("LD_LIBRARY_PATH");
        self.programs.extend(std::env::split_paths(&libraries));
    }

    fn add_source(&mut self, source: Option<&SourceConfig>) {
        let Some(source) = source else {
            return;
        };
        let has_arguments =
            |arguments: Option<&Vec<String>>| arguments.is_some_and(|a| !a.is_empty());
        // A camera that is plugged in again is a new device; arguments of ffmpeg may name any.
        if source.camera.is_some()
            || has_arguments(source.rtsp.as_ref().map(|rtsp| &rtsp.ffmpeg_args))
            || has_arguments(source.video.as_ref().map(|video| &video.ffmpeg_args))
        {
            self.write.insert("/dev".into());
        }
        if let Some(video) = &source.video
            && !is_url(&video.path)
            && video.path != Path::new("-")
        {
            self.add_read(Some(&video.path));
        }
        if let Some(images) = &source.images {
            self.add_read(Some(&images.path));
        }
    }

    /// A file that is written: its folder, for files that follow it. A device or pipe has none.
    fn add_output(&mut self, file: Option<&Path>) {
        let Some(file) = file.filter(|file| *file != Path::new("-")) else {
            return;
        };
        let exists_otherwise = file.metadata().is_ok_and(|file| !file.is_file());
        self.write
            .insert(if exists_otherwise || file.starts_with("/dev") {
                file.to_owned()
            } else {
                folder_of(file)
            });
    }

    /// The key to an X display.
    fn add_display(&mut self) {
        let key = std::env::var_os("XAUTHORITY").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".Xauthority"));
        self.read.extend(key.into_iter().chain(home));
    }
}

/// The folders that a sink writes to.
fn dirs_of(sink: &SinkConfig) -> [Option<&PathBuf>; 4] {
    [
        sink.images.as_ref().map(|sink| &sink.dir),
        sink.masks.as_ref().map(|sink| &sink.dir),
        sink.video.as_ref().map(|sink| &sink.dir),
        sink.clips.as_ref().map(|sink| &sink.dir),
    ]
}

/// The real place of a path or, of one that is to be made, of the folder that it will be in.
fn existing(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|path| path.canonicalize().ok())
}

/// The folder of a file, after symbolic links too.
fn folder_of(file: &Path) -> PathBuf {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    match file.parent() {
        Some(dir) if dir != Path::new("") => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_lies_outside_is_found_by_its_real_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let [inside, outside] = ["inside", "outside"].map(|name| dir.path().join(name));
        for folder in [&inside, &outside] {
            std::fs::create_dir(folder).expect("room");
        }
        let link = inside.join("link");
        std::os::unix::fs::symlink(&outside, &link).expect("a link");
        let allowed = Folders {
            read: [inside.clone()].into(),
            write: [inside.clone()].into(),
            ..Folders::default()
        };
        let new = outside.join("new");
        let asked = Folders {
            read: [inside.clone(), outside.clone(), dir.path().join("none")].into(),
            write: [inside.join("new/deep"), link.clone(), new.clone()].into(),
            ..Folders::default()
        };
        assert_eq!(allowed.lacks(&asked), [outside, link, new]);
    }

    #[test]
    fn sources_are_read_and_sinks_are_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("out");
        let clip = dir.path().join("clip.mp4");
        std::fs::write(&clip, b"").expect("room");
        let mut folders = Folders::default();
        folders.add_read(Some(&clip));
        folders.add_output(Some(&out.join("records.jsonl")));
        folders.add_output(Some(Path::new("-")));
        folders.add_output(Some(Path::new("/dev/stdout")));
        let real = dir.path().canonicalize().expect("it exists");
        assert_eq!(folders.read, [real].into());
        assert_eq!(folders.write, ["/dev/stdout".into(), out].into());
    }
}
