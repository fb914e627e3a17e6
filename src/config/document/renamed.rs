//! Keys of pipelines that were renamed: read under their old names for one more version.

use std::path::Path;

use super::node::{Content, Node};
use super::path::PathSegment;
use crate::config::diagnostic::{ConfigError, Diagnostic, Location};

/// Old and new names of keys of a pipeline or of a block of `streams`.
const RENAMED: [(&str, &str); 1] = [("attention", "gating")];

/// Gives renamed keys of a pipeline their new names; a warning for each.
///
/// # Errors
/// When a key is given under both names.
pub fn rename_keys(root: &mut Node, file: &Path) -> Result<Vec<Diagnostic>, ConfigError> {
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    rename_in_block(root, file, &mut warnings, &mut errors);
    let streams = root
        .entries_mut()
        .and_then(|entries| entries.iter_mut().find(|entry| entry.key == "streams"));
    if let Some(Content::Sequence(blocks)) = streams.map(|entry| &mut entry.value.content) {
        for block in blocks {
            rename_in_block(block, file, &mut warnings, &mut errors);
        }
    }
    if errors.is_empty() {
        Ok(warnings)
    } else {
        Err(ConfigError::sorted(errors))
    }
}

fn rename_in_block(
    block: &mut Node,
    file: &Path,
    warnings: &mut Vec<Diagnostic>,
    errors: &mut Vec<Diagnostic>,
) {
    let Some(entries) = block.entries_mut() else {
        return;
    };
    for (old, new) in RENAMED {
        let has_new = entries.iter().any(|entry| entry.key == new);
        let Some(entry) = entries.iter_mut().find(|entry| entry.key == old) else {
            continue;
        };
        if has_new {
            errors.push(Diagnostic {
                file: file.to_owned(),
                location: entry.location.clone(),
                key: String::new(),
                message: format!(
                    "`{old}` is the deprecated name of `{new}`, which is given too; \
                     give only `{new}`"
                ),
            });
        } else {
            warnings.push(deprecated(old, new, file, entry.location.clone()));
            new.clone_into(&mut entry.key);
        }
    }
}

/// The path of an override with renamed keys under their new names, and the warning for one.
pub fn rename_in_override(
    path: &[PathSegment],
    argument: &str,
    file: &Path,
) -> (Vec<PathSegment>, Option<Diagnostic>) {
    let mut path = path.to_vec();
    let at = match path.as_slice() {
        [PathSegment::Key(first), PathSegment::Index(_), ..] if first == "streams" => 2,
        _ => 0,
    };
    let mut warning = None;
    if let Some(PathSegment::Key(key)) = path.get_mut(at)
        && let Some((old, new)) = RENAMED.iter().find(|(old, _)| old == key)
    {
        warning = Some(deprecated(
            old,
            new,
            file,
            Location::Argument(argument.into()),
        ));
        (*new).clone_into(key);
    }
    (path, warning)
}

fn deprecated(old: &str, new: &str, file: &Path, location: Location) -> Diagnostic {
    Diagnostic {
        file: file.to_owned(),
        location,
        key: String::new(),
        message: format!("`{old}` is deprecated; use `{new}`"),
    }
}
