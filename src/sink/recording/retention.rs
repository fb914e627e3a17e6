//! Retention of recordings by size and age.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::is_of_stream;
use crate::sink::SinkError;

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
}

impl RetentionPolicy {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(&self) -> Result<(), SinkError> {
        let made = fs::create_dir_all(&self.dir);
        made.map_err(|e| SinkError::from_io(&self.dir.display().to_string(), e))
    }

    /// Removes what is too old or too much; never files of other streams or other names, nor the
    /// `open` ones.
    pub fn remove_expired(&self, open: &[&PathBuf]) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let (path, meta) = (entry.path(), entry.metadata().ok()?);
                let is_ours = meta.is_file() && is_of_stream(&path, &self.stream);
                is_ours.then_some((meta.modified().ok()?, meta.len(), path))
            })
            .collect();
        files.sort_by(|a, b| (b.0, &b.2).cmp(&(a.0, &a.2)));
        let now = SystemTime::now();
        let mut total = 0;
        for (modified, bytes, path) in files {
            total += bytes;
            let age = now.duration_since(modified).unwrap_or_default();
            let must_go = total > self.max_bytes || age > self.max_age;
            if must_go && !open.contains(&&path) {
                match fs::remove_file(&path) {
                    Ok(()) => {
                        total -= bytes;
                        tracing::debug!("removed {}", path.display());
                    }
                    Err(error) => tracing::warn!("cannot remove {}: {error}", path.display()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::recording::file_name;

    #[test]
    fn the_oldest_go_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = |name: &str| dir.path().join(name);
        let now = SystemTime::now();
        let write = |name: &str, bytes: usize, age_s: u64| {
            fs::write(place(name), vec![0; bytes]).expect("room");
            let file = fs::File::options()
                .write(true)
                .open(place(name))
                .expect("is there");
            file.set_modified(now - Duration::from_secs(age_s))
                .expect("settable");
        };
        let name = |i: u32| file_name("gate", &i.to_string());
        let names: Vec<String> = (0..5).map(name).collect();
        write(&names[0], 10, 1000);
        write(&names[1], 40, 300);
        write(&names[2], 40, 200);
        write(&names[3], 40, 100);
        write(&names[4], 40, 50);
        write("holiday.mp4", 1000, 10_000);
        let other = file_name("yard", "");
        write(&other, 1000, 10_000);
        let retention = RetentionPolicy {
            dir: dir.path().to_owned(),
            stream: "gate".to_owned(),
            max_bytes: 130,
            max_age: Duration::from_secs(500),
        };
        let open = place(&names[1]);
        retention.remove_expired(&[&open]);
        let is_there = |name: &String| place(name).exists();
        // 0 is too old, 1 too much but open.
        let left: Vec<bool> = names.iter().map(is_there).collect();
        assert_eq!(left, [false, true, true, true, true]);
        retention.remove_expired(&[]);
        let left: Vec<bool> = names.iter().map(is_there).collect();
        assert_eq!(left, [false, false, true, true, true]);
        assert!(place("holiday.mp4").exists() && place(&other).exists());
    }
}
