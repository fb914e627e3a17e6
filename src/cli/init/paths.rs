//! Paths of the command line as they stand in a pipeline: relative to its file where both are in the same
//! folder or the working folder, absolute elsewhere.

use std::path::{Component, Path, PathBuf};

use super::error::InitError;

/// `path`, which is relative to the working folder, as seen from `folder`, which is absolute.
///
/// # Errors
/// When it is not UTF-8, which YAML is.
pub fn in_pipeline(path: &Path, folder: &Path) -> Result<String, InitError> {
    let wrong = |why: &str| InitError::File {
        file: path.to_owned(),
        why: why.to_owned(),
    };
    let absolute = resolved(path).map_err(|error| wrong(&error.to_string()))?;
    let working = std::env::current_dir()
        .and_then(|dir| dir.canonicalize())
        .ok();
    let seen = relative(&absolute, folder, working.as_deref());
    let text = seen
        .to_str()
        .ok_or_else(|| wrong("the path is not UTF-8"))?;
    if text.contains(char::is_control) {
        return Err(wrong("the path has control characters"));
    }
    Ok(text.to_owned())
}

/// The absolute path, without symbolic links as far as it exists.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    for existing in absolute.ancestors() {
        if let Ok(found) = existing.canonicalize() {
            let rest = absolute.strip_prefix(existing).unwrap_or(Path::new(""));
            // `join` of nothing would end in a separator.
            let is_all = rest.as_os_str().is_empty();
            return Ok(if is_all { found } else { found.join(rest) });
        }
    }
    Ok(absolute)
}

fn relative(absolute: &Path, folder: &Path, working: Option<&Path>) -> PathBuf {
    if let Ok(below) = absolute.strip_prefix(folder) {
        return below.to_owned();
    }
    let is_inside = |path: &Path| working.is_some_and(|working| path.starts_with(working));
    if !is_inside(absolute) || !is_inside(folder) {
        return absolute.to_owned();
    }
    let common = absolute
        .components()
        .zip(folder.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = folder
        .components()
        .skip(common)
        .map(|_| Component::ParentDir);
    up.chain(absolute.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_where_files_belong_together() {
        for (path, folder, expected) in [
            ("/w/models/a.yaml", "/w", "models/a.yaml"),
            ("/w/models/a.yaml", "/w/mine/x", "../../models/a.yaml"),
            ("/elsewhere/rec", "/elsewhere", "rec"),
            ("/usr/share/a.yaml", "/w", "/usr/share/a.yaml"),
            ("/w/a.yaml", "/tmp", "/w/a.yaml"),
        ] {
            let seen = relative(Path::new(path), Path::new(folder), Some(Path::new("/w")));
            assert_eq!(seen, Path::new(expected), "{path} from {folder}");
        }
    }
}
