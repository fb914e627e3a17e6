//! What the fuzz targets share.
//!
//! A target's input is a file, or several one after the other with [`SEPARATOR`] between them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Stands between the files of an input.
pub const SEPARATOR: &[u8] = b"\n%%%%\n";

/// Lets panics abort, except for those in libraries that the program guards against (`catch_unwind`):
/// libFuzzer's own hook aborts in all of them.
pub fn abort_on_panics_of_our_own() {
    let print = std::panic::take_hook();
    // libFuzzer's hook would abort: a fresh one prints.
    drop(print);
    std::panic::set_hook(Box::new(|info| {
        let file = info.location().map_or("", std::panic::Location::file);
        let is_guarded = file.contains("/registry/") || file.contains("/rustc/");
        if !is_guarded {
            eprintln!("{info}");
            std::process::abort();
        }
    }));
}

/// The files of an input.
pub fn parts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(input);
    std::iter::from_fn(move || {
        let all = rest?;
        let at = all.windows(SEPARATOR.len()).position(|w| w == SEPARATOR);
        let (part, after) = match at {
            Some(at) => (&all[..at], Some(&all[at + SEPARATOR.len()..])),
            None => (all, None),
        };
        rest = after;
        Some(part)
    })
}

/// The folder that the environment variable `MOBILENS_FUZZ_DIR` names, or one of this process.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::var_os("MOBILENS_FUZZ_DIR").map_or_else(
            || std::env::temp_dir().join(format!("mobilens-fuzz-{}", std::process::id())),
            PathBuf::from,
        );
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    })
}

/// Writes a file of [`folder`].
pub fn write(name: &str, content: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, content).expect("there is room");
    path
}
