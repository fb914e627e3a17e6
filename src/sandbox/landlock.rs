//! Access to files, by Landlock (Linux 5.13 and newer).

use ::landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use super::Folders;

/// The rights that are restricted; an older kernel restricts those that it knows.
const VERSION: ABI = ABI::V3;

/// Restricts this thread, and the threads and processes that it starts from now on.
///
/// # Errors
/// When the kernel does not have it, or refuses.
pub fn restrict(folders: &Folders) -> Result<(), String> {
    let status = apply(folders).map_err(|error| error.to_string())?;
    match status {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err("not in this kernel".to_owned()),
    }
}

fn apply(folders: &Folders) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(VERSION);
    let mut rules = Ruleset::default().handle_access(all)?.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for (paths, access) in [
        (&folders.programs, read | AccessFs::Execute),
        (&folders.read, read),
        (&folders.write, all & !BitFlags::from(AccessFs::Execute)),
    ] {
        for path in paths {
            rules = allow(rules, path, access)?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// Allows `access` to `path` and all below it. A path that does not exist is passed over, and so is a pipe
/// without a name behind `/dev/stdout`, which needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &std::path::Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(path) = path.canonicalize() else {
        return Ok(rules);
    };
    let Ok(file) = PathFd::new(&path) else {
        return Ok(rules);
    };
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(VERSION)
    };
    rules.add_rule(PathBeneath::new(file, access))
}
