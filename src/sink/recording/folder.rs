//! The folder of one stream's recordings: retention by size, age and free space.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::names::is_of_stream;
use crate::sink::SinkError;
use crate::sink::wall_clock::ClockWatch;

/// How often the folder is swept beside each new file.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// How often free space is looked at.
const SPACE_INTERVAL: Duration = Duration::from_secs(5);

/// Folder and limits of one stream's recordings.
#[derive(Clone, Debug)]
pub struct RetentionPolicy {
    /// The folder.
    pub dir: PathBuf,
    /// Name of the stream, which begins the files' names.
    pub stream: String,
    /// Beyond so many bytes the oldest go.
    pub max_bytes: u64,
    /// What is older goes.
    pub max_age: Duration,
    /// The oldest go, too, so that so much of the disk is free; what is missing then is an error.
    pub min_free_bytes: u64,
}

/// The folder of one stream's recordings, which is swept at the start, with each new file, and hourly.
#[derive(Debug)]
pub struct RecordingFolder {
    /// Limits.
    pub policy: RetentionPolicy,
    /// Whether the disk must have each fragment before the next one is written.
    pub sync: bool,
    clock: ClockWatch,
    /// The files of this run, oldest first: they are the newest, whatever the clock says.
    own: Vec<PathBuf>,
    swept: Instant,
    space_checked: Instant,
}

impl RecordingFolder {
    /// Makes the folder if it is not there, and sweeps it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(policy: RetentionPolicy, sync: bool) -> (Self, Result<(), SinkError>) {
        let at = Instant::now();
        let mut folder = Self {
            policy,
            sync,
            clock: ClockWatch::new(SystemTime::now(), at),
            own: Vec::new(),
            swept: at,
            space_checked: at,
        };
        let made = folder.make();
        folder.sweep(&[]);
        (folder, made)
    }

    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self) -> Result<(), SinkError> {
        let made = fs::create_dir_all(&self.policy.dir);
        made.map_err(|e| SinkError::from_io(&self.policy.dir.display().to_string(), e))
    }

    /// Takes note of a new file, and sweeps. `open` are the files under way, this one among them.
    pub fn add(&mut self, path: &Path, open: &[&PathBuf]) {
        self.own.push(path.to_owned());
        self.sweep(open);
    }

    /// Sweeps when it is time to, and sees every few seconds that there is free space for the `open`
    /// files.
    ///
    /// # Errors
    /// When there is too little, and nothing left to remove.
    pub fn tend(&mut self, open: &[&PathBuf]) -> Result<(), SinkError> {
        let at = Instant::now();
        let is_due = |since: Instant, interval| at.saturating_duration_since(since) >= interval;
        if is_due(self.swept, SWEEP_INTERVAL) {
            self.sweep(open);
        }
        if !open.is_empty() && is_due(self.space_checked, SPACE_INTERVAL) {
            self.ensure_space(open)?;
        }
        Ok(())
    }

    /// Removes the oldest files until there is enough free space.
    ///
    /// # Errors
    /// When there is too little, and nothing left to remove.
    pub fn ensure_space(&mut self, open: &[&PathBuf]) -> Result<(), SinkError> {
        self.space_checked = Instant::now();
        if self.lacks_space() {
            self.sweep(open);
        }
        if self.lacks_space() {
            let (dir, mb) = (&self.policy.dir, self.policy.min_free_bytes / 1_000_000);
            let why = format!("less than {mb} MB of disk space are free (min_free_mb)");
            let full = io::Error::new(io::ErrorKind::StorageFull, why);
            return Err(SinkError::from_io(&dir.display().to_string(), full));
        }
        Ok(())
    }

    fn lacks_space(&self) -> bool {
        let least = self.policy.min_free_bytes;
        least > 0 && free_bytes(&self.policy.dir).is_some_and(|free| free < least)
    }

    /// Removes what is too old or too much; never files of other streams or other names, nor the
    /// `open` ones.
    pub fn sweep(&mut self, open: &[&PathBuf]) {
        self.sweep_at(open, SystemTime::now(), Instant::now());
    }

    fn sweep_at(&mut self, open: &[&PathBuf], now: SystemTime, at: Instant) {
        self.swept = at;
        let is_steady = self.clock.is_steady(now, at);
        let mut files = self.files();
        let mut total = files.iter().map(|file| file.bytes).sum::<u64>();
        // The oldest first.
        files.sort_by(|a, b| (a.own, a.modified, &a.path).cmp(&(b.own, b.modified, &b.path)));
        for file in files {
            let age = now.duration_since(file.modified).unwrap_or_default();
            let is_old = is_steady && age > self.policy.max_age;
            let must_go = is_old || total > self.policy.max_bytes || self.lacks_space();
            if !must_go || open.contains(&&file.path) {
                continue;
            }
            match fs::remove_file(&file.path) {
                Ok(()) => {
                    total -= file.bytes;
                    tracing::debug!("removed {}", file.path.display());
                }
                Err(error) => tracing::warn!("cannot remove {}: {error}", file.path.display()),
            }
        }
        self.own.retain(|path| path.exists());
    }

    /// The stream's files.
    fn files(&self) -> Vec<RecordedFile> {
        let Ok(entries) = fs::read_dir(&self.policy.dir) else {
            return Vec::new();
        };
        let files = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let (path, meta) = (entry.path(), entry.metadata().ok()?);
            let is_ours = meta.is_file() && is_of_stream(&path, &self.policy.stream);
            is_ours.then_some(RecordedFile {
                own: self.own.iter().position(|own| *own == path),
                modified: meta.modified().ok()?,
                bytes: meta.len(),
                path,
            })
        });
        files.collect()
    }
}

struct RecordedFile {
    /// Its place among the files of this run.
    own: Option<usize>,
    modified: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// Bytes that are free on the disk of `dir`, if that can be told.
#[cfg(unix)]
fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::recording::names::file_name;

    const HOUR: Duration = Duration::from_secs(3600);

    fn folder(dir: &Path, max_bytes: u64, max_age_s: u64) -> RecordingFolder {
        let policy = RetentionPolicy {
            dir: dir.to_owned(),
            stream: "gate".to_owned(),
            max_bytes,
            max_age: Duration::from_secs(max_age_s),
            min_free_bytes: 0,
        };
        let (folder, made) = RecordingFolder::open(policy, true);
        made.expect("a folder");
        folder
    }

    fn write(path: &Path, bytes: usize, age_s: u64) {
        fs::write(path, vec![0; bytes]).expect("room");
        let file = fs::File::options().write(true).open(path).expect("opens");
        let modified = SystemTime::now() - Duration::from_secs(age_s);
        file.set_modified(modified).expect("settable");
    }

    #[test]
    fn the_oldest_go_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = |name: &str| dir.path().join(name);
        let names: Vec<String> = (0..5).map(|i| file_name("gate", &i.to_string())).collect();
        write(&place(&names[0]), 10, 1000);
        write(&place(&names[1]), 40, 300);
        write(&place(&names[2]), 40, 200);
        write(&place(&names[3]), 40, 100);
        write(&place(&names[4]), 40, 50);
        write(&place("holiday.mp4"), 1000, 10_000);
        let other = file_name("yard", "");
        write(&place(&other), 1000, 10_000);
        let is_there = |name: &String| place(name).exists();
        // At the start; 0 is too old, and 1 is too much.
        let mut folder = folder(dir.path(), 130, 500);
        let left: Vec<bool> = names.iter().map(is_there).collect();
        assert_eq!(left, [false, false, true, true, true]);
        folder.policy.max_bytes = 90;
        let open = place(&names[2]);
        folder.sweep(&[&open]);
        // 2 would go, but is open.
        let left: Vec<bool> = names.iter().map(is_there).collect();
        assert_eq!(left, [false, false, true, false, true]);
        assert!(place("holiday.mp4").exists() && place(&other).exists());
    }

    #[test]
    fn a_clock_that_jumped_removes_nothing_by_age() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = dir.path().join(file_name("gate", ""));
        let mut folder = folder(dir.path(), 1000, 3 * 3600);
        write(&name, 10, 0);
        let (now, at) = (SystemTime::now(), Instant::now());
        folder.sweep_at(&[], now + 24 * HOUR, at + HOUR);
        assert!(name.exists(), "set ahead by a day");
        folder.sweep_at(&[], now + 2 * HOUR, at + 2 * HOUR);
        assert!(name.exists(), "set back");
        folder.sweep_at(&[], now + 26 * HOUR, at + 26 * HOUR);
        assert!(!name.exists(), "steady for a day");
    }

    #[test]
    fn files_of_this_run_are_the_newest_whatever_the_clock_says() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut folder = folder(dir.path(), 100, 1_000_000);
        let before = dir.path().join(file_name("gate", "before"));
        let now = dir.path().join(file_name("gate", "now"));
        write(&before, 60, 0);
        // Written while the clock was behind.
        write(&now, 60, 86_400);
        folder.add(&now, &[]);
        assert!(now.exists() && !before.exists());
    }

    #[test]
    #[cfg(unix)]
    fn too_little_space_removes_the_oldest_and_is_an_error_then() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut folder = folder(dir.path(), 1000, 1_000_000);
        folder.ensure_space(&[]).expect("not asked for");
        folder.policy.min_free_bytes = u64::MAX;
        let old = dir.path().join(file_name("gate", "old"));
        let open = dir.path().join(file_name("gate", "open"));
        write(&old, 10, 10);
        write(&open, 10, 0);
        let error = folder
            .ensure_space(&[&open])
            .expect_err("no disk is so large");
        assert!(error.to_string().contains("min_free_mb"), "{error}");
        assert!(open.exists() && !old.exists());
    }
}
