//! What a power cut leaves: data and names are on the disk once these return.

use std::fs::File;
use std::io;
use std::path::Path;

/// Has the disk keep the names in the folder of `path`, such as that of a new file.
///
/// # Errors
/// When the disk fails.
pub fn sync_dir_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let dir = parent.unwrap_or(Path::new("."));
    if cfg!(unix) {
        match File::open(dir)?.sync_all() {
            // Some file systems cannot sync a folder, and need not.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    } else {
        // Elsewhere a folder cannot be opened as a file.
        Ok(())
    }
}
