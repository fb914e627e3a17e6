//! A recording under way: whole fragments, on the disk one by one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::folder::RecordingFolder;
use super::names::file_name;
use crate::sink::SinkError;
use crate::sink::durable::sync_dir_of;
use mobilens_video::h264::{EncodedFrame, StreamParameters};
use mobilens_video::mp4::Mp4Writer;

/// A file under way.
pub struct OpenFile {
    pub path: PathBuf,
    pub track: StreamParameters,
    writer: Mp4Writer<FragmentFile>,
    /// Frames since the last fragment was written.
    unwritten: u64,
    fragments: u64,
}

impl OpenFile {
    /// A new file in `folder`; never one that is there. It begins with the stream's name and the
    /// time, then `more`.
    pub fn create(
        folder: &RecordingFolder,
        more: &str,
        track: &StreamParameters,
    ) -> Result<Self, SinkError> {
        let (path, file) = create_new(folder, more)?;
        let io = |e| SinkError::from_io(&path.display().to_string(), e);
        let file = FragmentFile {
            file,
            good_bytes: 0,
            sync: folder.sync,
        };
        let begin = || -> io::Result<Mp4Writer<FragmentFile>> {
            let writer = Mp4Writer::new(file, track)?;
            if folder.sync {
                sync_dir_of(&path)?;
            }
            Ok(writer)
        };
        let writer = begin().map_err(|error| {
            // Nobody wants an empty file.
            let _ = fs::remove_file(&path);
            io(error)
        })?;
        Ok(Self {
            writer,
            track: track.clone(),
            path,
            unwritten: 0,
            fragments: 0,
        })
    }

    pub fn push(&mut self, sample: &EncodedFrame) -> Result<(), SinkError> {
        let before = self.writer.fragments();
        self.unwritten += 1;
        let pushed = self.writer.push(sample.clone());
        pushed.map_err(|e| SinkError::from_io(&self.path.display().to_string(), e))?;
        if self.writer.fragments() > before {
            self.fragments += 1;
            self.unwritten = 1;
        }
        Ok(())
    }

    /// Whether the disk took more than the head of the file.
    pub fn has_fragments(&self) -> bool {
        self.fragments > 0
    }

    /// Writes the last fragment.
    pub fn finish(self) -> Result<(), SinkError> {
        let finished = self.writer.finish();
        let finished =
            finished.map_err(|e| SinkError::from_io(&self.path.display().to_string(), e))?;
        drop(finished);
        Ok(())
    }

    /// Closes the file after an error, with the fragments that it has; without any it is removed.
    /// Returns how many frames it lacks.
    pub fn abandon(self) -> u64 {
        let Self {
            path,
            writer,
            unwritten,
            fragments,
            ..
        } = self;
        drop(writer);
        if fragments == 0 {
            let _ = fs::remove_file(path);
        }
        unwritten
    }

    /// Closes and removes the file.
    pub fn discard(self) {
        let Self { path, writer, .. } = self;
        drop(writer);
        let _ = fs::remove_file(path);
    }
}

/// A file with a name that no other has.
fn create_new(folder: &RecordingFolder, more: &str) -> Result<(PathBuf, File), SinkError> {
    let policy = &folder.policy;
    let mut attempts = 0;
    loop {
        let path = policy.dir.join(file_name(&policy.stream, more));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            // Of the same millisecond, for instance after the clock was set back.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts < 100 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(SinkError::from_io(&path.display().to_string(), error)),
        }
    }
}

/// A file that ends after the last chunk that it could take.
struct FragmentFile {
    file: File,
    good_bytes: u64,
    sync: bool,
}

impl Write for FragmentFile {
    /// Writes all of `chunk` or nothing, and has the disk keep it.
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.file.write_all(chunk) {
            let _ = self.file.set_len(self.good_bytes);
            return Err(error);
        }
        self.good_bytes += chunk.len() as u64;
        if self.sync {
            self.file.sync_data()?;
        }
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
