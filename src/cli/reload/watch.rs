//! Reads the pipeline file again when it changes, if it says `watch: true`.

use std::fs::Metadata;
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, sleep};
use std::time::{Duration, SystemTime};

use super::Reloads;

/// How often the file is looked at. One that changes from look to look is still being written.
const INTERVAL: Duration = Duration::from_millis(500);

/// What changes with the content of a file, or with another file in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

/// Looks at the file on a thread of its own, which ends with the process.
pub fn start(reloads: &Arc<Reloads>) {
    let reloads = Arc::clone(reloads);
    let mut loaded = stamp(reloads.file());
    let mut before = loaded;
    let look = move || {
        loop {
            sleep(INTERVAL);
            let now = stamp(reloads.file());
            // A file that is not there is being replaced.
            let is_whole = now.is_some() && now == before;
            before = now;
            if is_whole && now != loaded {
                loaded = now;
                if reloads.is_watched() {
                    // It is told in the log.
                    let _ = reloads.reload("the file changed");
                }
            }
        }
    };
    if let Err(error) = Builder::new().name("reload-watch".to_owned()).spawn(look) {
        tracing::warn!("the pipeline file is not watched: {error}");
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = file.metadata().ok()?;
    Some(Stamp {
        bytes: metadata.len(),
        modified: metadata.modified().ok(),
        inode: inode(&metadata),
    })
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}
