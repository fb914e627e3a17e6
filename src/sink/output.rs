//! A file or standard output that holds whole chunks only.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::SinkError;
use super::durable::sync_dir_of;

/// Writes chunk by chunk. A file that could take only part of a chunk (a full disk) is cut back to
/// the end of the chunk before.
#[derive(Debug)]
pub struct Output {
    target: Target,
    name: String,
    path: Option<PathBuf>,
    good_bytes: u64,
    /// Whether a file is kept from other processes while it is open.
    is_locked: bool,
}

#[derive(Debug)]
enum Target {
    Stdout,
    File(File),
    /// A file that could not be opened again.
    Closed,
}

impl Output {
    /// A new file at `path`, or standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        if path == Path::new("-") {
            Ok(Self::stdout())
        } else {
            Self::create(path)
        }
    }

    /// Standard output.
    pub fn stdout() -> Self {
        Self {
            target: Target::Stdout,
            name: "standard output".to_owned(),
            path: None,
            good_bytes: 0,
            is_locked: false,
        }
    }

    /// A new file; one that is there is emptied, which is logged.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path) -> Result<Self, SinkError> {
        let name = path.display().to_string();
        let before = fs::metadata(path).map_or(0, |meta| meta.len());
        let file = File::create(path).map_err(|e| SinkError::from_io(&name, e))?;
        if before > 0 {
            tracing::info!("{name} of an earlier run is replaced ({before} bytes)");
        }
        Ok(Self {
            target: Target::File(file),
            name,
            path: Some(path.to_owned()),
            good_bytes: 0,
            is_locked: false,
        })
    }

    /// A file of lines that is continued, or a new one. A last line that an earlier run could not
    /// finish (kill, power cut) is removed, which is logged.
    ///
    /// # Errors
    /// When it cannot be opened, or another process writes to it.
    pub fn append(path: &Path) -> Result<Self, SinkError> {
        let name = path.display().to_string();
        let io = |e| SinkError::from_io(&name, e);
        let (file, good_bytes) = open_for_append(path, true).map_err(io)?;
        let mut output = Self {
            target: Target::File(file),
            name,
            path: Some(path.to_owned()),
            good_bytes,
            is_locked: true,
        };
        output.remove_torn_line()?;
        Ok(output)
    }

    /// A file that could not be opened, for [`reopen`](Self::reopen).
    pub fn closed(path: &Path, is_locked: bool) -> Self {
        Self {
            target: Target::Closed,
            name: path.display().to_string(),
            path: Some(path.to_owned()),
            // Whatever is there is kept.
            good_bytes: u64::MAX,
            is_locked,
        }
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Length of the file.
    pub fn len(&self) -> u64 {
        if matches!(self.target, Target::Closed) {
            return 0;
        }
        self.good_bytes
    }

    /// Writes all of `chunk` and flushes it, or leaves the file as it was.
    ///
    /// # Errors
    /// When the chunk could not be written whole.
    pub fn write_chunk(&mut self, chunk: &[u8]) -> Result<(), SinkError> {
        let good_bytes = self.good_bytes;
        let written = match &mut self.target {
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(chunk).and_then(|()| stdout.flush())
            }
            Target::File(file) => file.write_all(chunk).inspect_err(|_| {
                // Devices and pipes have no length to cut; for them the error alone must do.
                let _ = file.set_len(good_bytes);
                let _ = file.seek(SeekFrom::Start(good_bytes));
            }),
            Target::Closed => Err(io::ErrorKind::NotConnected.into()),
        };
        written.map_err(|e| SinkError::from_io(&self.name, e))?;
        self.good_bytes += chunk.len() as u64;
        Ok(())
    }

    /// Has the disk keep what was written, also through a power cut. Devices and pipes have nothing
    /// to keep.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), SinkError> {
        match &self.target {
            Target::File(file) if file.metadata().is_ok_and(|meta| meta.is_file()) => file
                .sync_data()
                .map_err(|e| SinkError::from_io(&self.name, e)),
            _ => Ok(()),
        }
    }

    /// Has the disk keep the file's name.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync_dir(&self) -> Result<(), SinkError> {
        match &self.path {
            Some(path) if path.is_file() => {
                sync_dir_of(path).map_err(|e| SinkError::from_io(&self.name, e))
            }
            _ => Ok(()),
        }
    }

    /// Closes the file after an error, and opens it again to go on where the last whole chunk ends.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reopen(&mut self) -> Result<(), SinkError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        // First, since descriptors may be what is missing.
        self.target = Target::Closed;
        let opened = open_for_append(path, self.is_locked).and_then(|(file, bytes)| {
            if bytes > self.good_bytes {
                file.set_len(self.good_bytes)?;
            }
            Ok((file, bytes.min(self.good_bytes)))
        });
        let (file, bytes) = opened.map_err(|e| SinkError::from_io(&self.name, e))?;
        let is_first = self.good_bytes == u64::MAX;
        self.good_bytes = bytes;
        self.target = Target::File(file);
        if is_first && self.is_locked {
            self.remove_torn_line()?;
        }
        Ok(())
    }

    /// Cuts off what follows the last line's end, if it is the beginning of a record.
    fn remove_torn_line(&mut self) -> Result<(), SinkError> {
        let io = |e| SinkError::from_io(&self.name, e);
        let Target::File(file) = &mut self.target else {
            return Ok(());
        };
        let Some(end) = end_of_last_line(file, self.good_bytes).map_err(io)? else {
            return Ok(());
        };
        let torn = self.good_bytes - end;
        let mut begin = Vec::new();
        file.seek(SeekFrom::Start(end)).map_err(io)?;
        let length = RECORD_BEGIN.len() as u64;
        Read::by_ref(file)
            .take(length)
            .read_to_end(&mut begin)
            .map_err(io)?;
        if RECORD_BEGIN.starts_with(&begin) {
            file.set_len(end).map_err(io)?;
            self.good_bytes = end;
            let name = &self.name;
            tracing::warn!("{name}: removed a last record that was cut off ({torn} bytes)");
            return Ok(());
        }
        // Not ours to remove.
        self.write_chunk(b"\n")
    }
}

/// How every line of records begins.
const RECORD_BEGIN: &[u8] = br#"{"type":""#;

fn open_for_append(path: &Path, is_locked: bool) -> io::Result<(File, u64)> {
    // Of a pipe or a device, which are not read; who reads and writes a pipe never sees its reader go.
    let is_file = fs::metadata(path).map_or(true, |meta| meta.is_file());
    let mut options = File::options();
    options.read(is_file).append(true).create(true);
    let file = options.open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok((file, 0));
    }
    if is_locked && let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(io::Error::other("another process writes to it"));
    }
    Ok((file, meta.len()))
}

/// Where the last line ends in a file whose last line is cut off; `None` if it is not.
fn end_of_last_line(file: &mut File, bytes: u64) -> io::Result<Option<u64>> {
    const BLOCK: u64 = 64 * 1024;
    let mut end = bytes;
    let mut block = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        block.clear();
        file.seek(SeekFrom::Start(begin))?;
        Read::by_ref(file)
            .take(end - begin)
            .read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            let line_end = begin + at as u64 + 1;
            return Ok((line_end < bytes).then_some(line_end));
        }
        end = begin;
    }
    Ok((bytes > 0).then_some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_continued_without_its_torn_record() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("records.jsonl");
        let whole = "{\"type\":\"run\"}\n".to_owned() + &"x".repeat(200_000) + "\n";
        for (torn, kept) in [
            ("", ""),
            ("{\"ty", ""),
            ("{\"type\":\"frame\",", ""),
            ("something else", "something else\n"),
        ] {
            fs::write(&path, whole.clone() + torn).expect("room");
            let mut output = Output::append(&path).expect("opens");
            output.write_chunk(b"next\n").expect("room");
            drop(output);
            let got = fs::read_to_string(&path).expect("UTF-8");
            assert_eq!(got, whole.clone() + kept + "next\n", "{torn}");
        }
        fs::write(&path, "{\"type\":\"f").expect("room");
        drop(Output::append(&path).expect("opens"));
        assert_eq!(fs::metadata(&path).expect("is there").len(), 0);
    }

    #[test]
    fn two_do_not_continue_the_same_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("records.jsonl");
        let first = Output::append(&path).expect("opens");
        let error = Output::append(&path).expect_err("is taken");
        assert!(error.to_string().contains("another process"), "{error}");
        drop(first);
        Output::append(&path).expect("is free again");
    }

    #[test]
    fn after_an_error_it_goes_on_where_the_last_chunk_ends() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a");
        let mut output = Output::create(&path).expect("opens");
        output.write_chunk(b"one\n").expect("room");
        // A part of a chunk, and nothing that could be cut back.
        let mut other = File::options().append(true).open(&path).expect("opens");
        other.write_all(b"tw").expect("room");
        output.reopen().expect("opens");
        output.write_chunk(b"two\n").expect("room");
        assert_eq!(fs::read(&path).expect("is there"), b"one\ntwo\n");
        fs::remove_file(&path).expect("is there");
        output.reopen().expect("opens");
        output.write_chunk(b"three\n").expect("room");
        assert_eq!(fs::read(&path).expect("is there"), b"three\n");
    }
}
