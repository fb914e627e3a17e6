//! The data folders: where each way of installing puts the shipped pipelines, models and clip.
//!
//! Only the path on the command line is searched for. What a pipeline names is relative to the
//! pipeline's own file, so that a pipeline that was found finds its model by itself.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use mobilens::config::ConfigError;

/// Names a data folder that is searched before all others.
pub const DATA_DIR_VARIABLE: &str = "MOBILENS_DATA_DIR";
/// Where a file system keeps the data of what was installed by hand and by its packages.
const SYSTEM_DIRS: [&str; 2] = ["/usr/local/share/mobilens", "/usr/share/mobilens"];

/// Folders that may hold `pipelines/`, `models/` and `assets/`, in the order of search.
#[derive(Debug)]
struct DataDirs(Vec<PathBuf>);

/// The file `path` itself, or if there is none, the file of that name in the first data folder that
/// has it.
///
/// Absolute paths, and those that begin with `.` or `..`, name one place and are returned as they are.
///
/// # Errors
/// A relative path that is in none of the folders; the error names them.
pub fn find(path: &Path) -> Result<PathBuf, ConfigError> {
    let names_one_place = || !path.components().all(|c| matches!(c, Component::Normal(_)));
    // What cannot be looked at is left to whoever opens it, who says why.
    if path.try_exists().unwrap_or(true) || names_one_place() {
        return Ok(path.to_owned());
    }
    let dirs = DataDirs::new(
        std::env::var_os(DATA_DIR_VARIABLE),
        std::env::current_exe().ok().as_deref(),
        Path::new(env!("CARGO_MANIFEST_DIR")),
    );
    let found = dirs.find(path)?;
    tracing::info!("{} is {}", path.display(), found.display());
    Ok(found)
}

impl DataDirs {
    /// The folders for a program `exe` that was built in `checkout`; `own` comes from the environment.
    fn new(own: Option<OsString>, exe: Option<&Path>, checkout: &Path) -> Self {
        let own = own.filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let prefix = exe.and_then(Path::parent).and_then(Path::parent);
        let beside = prefix.map(|prefix| prefix.join("share/mobilens"));
        // Packages run where the folder that they were built in is gone.
        let checkout = Some(checkout.to_owned()).filter(|dir| dir.join("pipelines").is_dir());
        let system = SYSTEM_DIRS.iter().map(PathBuf::from);
        let mut dirs = Vec::new();
        for dir in own.into_iter().chain(beside).chain(system).chain(checkout) {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        Self(dirs)
    }

    fn find(&self, path: &Path) -> Result<PathBuf, ConfigError> {
        let mut candidates = self.0.iter().map(|dir| dir.join(path));
        candidates.find(|file| file.is_file()).ok_or_else(|| {
            let dirs: Vec<_> = self.0.iter().map(|dir| dir.display().to_string()).collect();
            let what = format!(
                "no such file in the current folder or in {}",
                dirs.join(", ")
            );
            ConfigError::in_file(path, what)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_order_of_search() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dirs = |own: Option<&str>, exe: &str| {
            DataDirs::new(own.map(OsString::from), Some(Path::new(exe)), checkout).0
        };
        let [local, system] = SYSTEM_DIRS.map(PathBuf::from);
        assert_eq!(
            dirs(Some("/data"), "/opt/lens/bin/mobilens"),
            [
                PathBuf::from("/data"),
                PathBuf::from("/opt/lens/share/mobilens"),
                local.clone(),
                system.clone(),
                checkout.to_owned()
            ]
        );
        // Each folder once, and an empty variable is none.
        assert_eq!(
            dirs(Some(""), "/usr/bin/mobilens"),
            [system, local, checkout.to_owned()]
        );
    }

    #[test]
    fn a_checkout_that_is_gone_is_not_searched() {
        let gone = tempfile::tempdir().expect("a folder").path().join("gone");
        let dirs = DataDirs::new(None, None, &gone).0;
        assert_eq!(dirs, SYSTEM_DIRS.map(PathBuf::from));
    }

    #[test]
    fn the_first_folder_that_has_the_file_is_taken() {
        let root = tempfile::tempdir().expect("a folder");
        let [first, second] = ["first", "second"].map(|name| root.path().join(name));
        fs::create_dir_all(first.join("pipelines/only_a_folder.yaml")).expect("writable");
        fs::create_dir_all(second.join("pipelines")).expect("writable");
        for file in ["first/pipelines/a.yaml", "second/pipelines/a.yaml"] {
            fs::write(root.path().join(file), "").expect("writable");
        }
        let in_second = second.join("pipelines/only_a_folder.yaml");
        fs::write(&in_second, "").expect("writable");
        let dirs = DataDirs(vec![first.clone(), second.clone()]);
        assert_eq!(
            dirs.find(Path::new("pipelines/a.yaml")),
            Ok(first.join("pipelines/a.yaml"))
        );
        assert_eq!(
            dirs.find(Path::new("pipelines/only_a_folder.yaml")),
            Ok(in_second)
        );
        let fault = dirs
            .find(Path::new("pipelines/b.yaml"))
            .expect_err("nowhere");
        assert_eq!(
            fault.to_string(),
            format!(
                "pipelines/b.yaml: no such file in the current folder or in {}, {}",
                first.display(),
                second.display()
            )
        );
    }

    #[test]
    fn a_path_that_names_one_place_is_left_as_it_is() {
        for path in ["/none/a.yaml", "./none.yaml", "../none.yaml"] {
            assert_eq!(find(Path::new(path)), Ok(PathBuf::from(path)));
        }
        assert!(find(Path::new("none.yaml")).is_err());
    }
}
