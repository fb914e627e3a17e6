//! Where JSON lines go: standard output or a file, which is continued and rotated on request.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::output::Output;
use super::wall_clock::ClockWatch;
use super::{ErrorGuard, SinkError};

/// How often a file is synced while lines are written, and how much a power cut costs.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How often rotated files are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// How lines are kept.
#[derive(Clone, Debug, Default)]
pub struct LineParams {
    /// Whether a file that is there is continued; else it is replaced.
    pub append: bool,
    /// Whether the disk must have the lines: each second while they are appended, and at the end.
    pub sync: bool,
    /// When a file is full, and how long full ones are kept.
    pub rotation: Option<Rotation>,
}

/// Rotation of a file of lines: a full `NAME` becomes `NAME.1`, the next `NAME.2`, and so on.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// A file is full before it has more bytes.
    pub max_bytes: u64,
    /// Rotated files are removed when they are older.
    pub max_age: Duration,
}

/// Where lines go; several streams may share it.
#[derive(Clone, Debug)]
pub struct LineWriter(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    output: Output,
    params: LineParams,
    /// The streams' run records, with which each file begins.
    heads: Vec<u8>,
    /// Run records that are not written yet.
    pending: Vec<u8>,
    /// When the oldest line was written that is not synced.
    unsynced: Option<Instant>,
    clock: ClockWatch,
    swept: Instant,
}

impl LineWriter {
    /// Opens a new file at `path`, or standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        Self::with(path, LineParams::default())
    }

    /// Opens `path`, or standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn with(path: &Path, params: LineParams) -> Result<Self, SinkError> {
        let is_continued = params.append && path != Path::new("-");
        let output = if is_continued {
            Output::append(path)?
        } else {
            Output::open(path)?
        };
        Ok(Self::of(output, params))
    }

    /// Like [`with`](Self::with); a file that cannot be opened is opened once it can be, as `guard`
    /// sees fit.
    ///
    /// # Errors
    /// When that is not before the run begins.
    pub fn guarded(
        path: &Path,
        params: LineParams,
        guard: &mut ErrorGuard,
    ) -> Result<Self, SinkError> {
        match Self::with(path, params.clone()) {
            Err(error) => {
                guard.failed(error)?;
                Ok(Self::of(Output::closed(path, params.append), params))
            }
            opened => opened,
        }
    }

    fn of(output: Output, params: LineParams) -> Self {
        let (now, at) = (SystemTime::now(), Instant::now());
        let mut lines = Lines {
            output,
            params,
            heads: Vec::new(),
            pending: Vec::new(),
            unsynced: None,
            clock: ClockWatch::new(now, at),
            swept: at,
        };
        lines.sweep(now, at);
        Self(Arc::new(Mutex::new(lines)))
    }

    fn with_lines<T>(&self, work: impl FnOnce(&mut Lines) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a stream's run record, now or, should that fail, with the lines that come next.
    ///
    /// # Errors
    /// When it could not be written now.
    pub(super) fn begin(&self, head: &[u8]) -> Result<(), SinkError> {
        self.with_lines(|lines| {
            lines.heads.extend_from_slice(head);
            lines.pending.extend_from_slice(head);
            lines.write(&[])?;
            lines.sync_name()
        })
    }

    /// Writes whole lines, all or none.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn write(&self, text: &[u8]) -> Result<(), SinkError> {
        self.with_lines(|lines| lines.write(text))
    }

    /// Has the disk keep all lines so far, if that is asked for.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn sync(&self) -> Result<(), SinkError> {
        self.with_lines(Lines::sync)
    }

    /// Opens the file again, after an error.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn reopen(&self) -> Result<(), SinkError> {
        self.with_lines(|lines| {
            // Perhaps it makes room.
            lines.sweep(SystemTime::now(), Instant::now());
            lines.output.reopen()
        })
    }
}

impl Lines {
    fn write(&mut self, text: &[u8]) -> Result<(), SinkError> {
        let at = Instant::now();
        let is_due = |since: Instant| at.saturating_duration_since(since) >= SYNC_INTERVAL;
        if self.params.append && self.unsynced.is_some_and(is_due) {
            self.sync()?;
        }
        if let Some(rotation) = self.params.rotation {
            let bytes = self.output.len() + (self.pending.len() + text.len()) as u64;
            let has_lines = self.output.len() > self.heads.len() as u64;
            if bytes > rotation.max_bytes && has_lines {
                self.rotate()?;
            }
            if at.saturating_duration_since(self.swept) >= SWEEP_INTERVAL {
                self.sweep(SystemTime::now(), at);
            }
        }
        if self.output.len() == 0 {
            self.pending.clone_from(&self.heads);
        }
        if self.pending.is_empty() {
            self.output.write_chunk(text)?;
        } else {
            self.output.write_chunk(&[&self.pending, text].concat())?;
            self.pending.clear();
        }
        self.unsynced.get_or_insert(at);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        if self.params.sync {
            self.output.sync()?;
        }
        self.unsynced = None;
        Ok(())
    }

    fn sync_name(&self) -> Result<(), SinkError> {
        if self.params.sync {
            self.output.sync_dir()?;
        }
        Ok(())
    }

    /// Gives the full file its number, and begins a new one. Devices and pipes are never full.
    fn rotate(&mut self) -> Result<(), SinkError> {
        let Some(path) = self.output.path().filter(|path| path.is_file()) else {
            return Ok(());
        };
        let path = path.to_owned();
        self.sync()?;
        let io = |e| SinkError::from_io(&path.display().to_string(), e);
        let last = rotated(&path).into_iter().map(|(number, _)| number).max();
        let full = numbered(&path, last.unwrap_or(0) + 1);
        // Not over a file that came meanwhile.
        fs::hard_link(&path, &full)
            .and_then(|()| fs::remove_file(&path))
            .or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                // A file system without links.
                _ => fs::rename(&path, &full),
            })
            .map_err(io)?;
        self.output.reopen()?;
        self.sync_name()?;
        self.sweep(SystemTime::now(), Instant::now());
        Ok(())
    }

    /// Removes rotated files that are too old.
    fn sweep(&mut self, now: SystemTime, at: Instant) {
        self.swept = at;
        let (Some(rotation), Some(path)) = (self.params.rotation, self.output.path()) else {
            return;
        };
        if !self.clock.is_steady(now, at) {
            return;
        }
        for (_, file) in rotated(path) {
            let modified = fs::metadata(&file).and_then(|meta| meta.modified());
            let age = modified.map(|modified| now.duration_since(modified).unwrap_or_default());
            if age.is_ok_and(|age| age > rotation.max_age) {
                match fs::remove_file(&file) {
                    Ok(()) => tracing::debug!("removed {}", file.display()),
                    Err(error) => tracing::warn!("cannot remove {}: {error}", file.display()),
                }
            }
        }
    }
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// The rotated files of `path` with their numbers.
fn rotated(path: &Path) -> Vec<(u64, PathBuf)> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(parent.unwrap_or(Path::new("."))) else {
        return Vec::new();
    };
    let number_of = |file: &Path| {
        let name = file.file_name()?.to_str()?;
        let number = name.strip_prefix(path.file_name()?.to_str()?)?;
        number.strip_prefix('.')?.parse().ok()
    };
    let files = entries.filter_map(|entry| {
        let file = entry.ok()?.path();
        // As it was named when rotating, so that no other name is taken for it.
        let number =
            number_of(&file).filter(|n| file.file_name() == numbered(path, *n).file_name())?;
        Some((number, file))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder");
        let name = |e: io::Result<fs::DirEntry>| e.expect("an entry").file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn params(max_bytes: u64) -> LineParams {
        LineParams {
            append: true,
            sync: true,
            rotation: Some(Rotation {
                max_bytes,
                max_age: Duration::from_secs(100),
            }),
        }
    }

    #[test]
    fn a_full_file_is_numbered_and_each_begins_with_the_run() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("r.jsonl");
        fs::write(dir.path().join("r.jsonl.7"), "seven\n").expect("room");
        fs::write(dir.path().join("r.jsonl.07"), "another's\n").expect("room");
        fs::write(&path, "of the run before\n").expect("room");
        let lines = LineWriter::with(&path, params(40)).expect("opens");
        lines.begin(b"run\n").expect("room");
        for line in ["a line of twenty-two\n", "another of some length\n"] {
            lines.write(line.as_bytes()).expect("room");
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("is there");
        assert_eq!(read("r.jsonl.8"), "of the run before\nrun\n");
        assert_eq!(read("r.jsonl.9"), "run\na line of twenty-two\n");
        assert_eq!(read("r.jsonl"), "run\nanother of some length\n");
        assert_eq!(
            names(dir.path()),
            [
                "r.jsonl",
                "r.jsonl.07",
                "r.jsonl.7",
                "r.jsonl.8",
                "r.jsonl.9"
            ]
        );
    }

    #[test]
    fn old_ones_go_unless_the_clock_jumped() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("r");
        let old = |name: &str, age: u64| {
            let file = dir.path().join(name);
            fs::write(&file, "x").expect("room");
            let file = fs::File::options().write(true).open(file).expect("opens");
            let modified = SystemTime::now() - Duration::from_secs(age);
            file.set_modified(modified).expect("settable");
        };
        old("r.1", 200);
        old("r.2", 10);
        old("r.txt", 200);
        // At the start.
        let lines = LineWriter::with(&path, params(1000)).expect("opens");
        assert_eq!(names(dir.path()), ["r", "r.2", "r.txt"]);
        let (now, at) = (SystemTime::now(), Instant::now());
        let day = Duration::from_secs(24 * 3600);
        lines.with_lines(|lines| lines.sweep(now + day, at + Duration::from_secs(3600)));
        assert_eq!(names(dir.path()), ["r", "r.2", "r.txt"]);
    }

    #[test]
    fn what_could_not_be_begun_begins_with_its_first_lines() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("missing/r");
        let mut guard = ErrorGuard::new("jsonl", crate::sink::OnError::Retry);
        let lines = LineWriter::guarded(&path, params(1000), &mut guard).expect("tries again");
        assert!(guard.is_failing());
        lines.begin(b"run\n").expect_err("no folder");
        lines.write(b"lost\n").expect_err("no folder");
        lines.reopen().expect_err("no folder");
        fs::create_dir(dir.path().join("missing")).expect("room");
        lines.reopen().expect("opens");
        lines.write(b"kept\n").expect("room");
        assert_eq!(fs::read(&path).expect("is there"), b"run\nkept\n");
    }
}
