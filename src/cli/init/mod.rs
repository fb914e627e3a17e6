//! `mobilens init`: a pipeline by a few questions.
//!
//! `choices` asks, or takes what options say; `camera` finds the source; `pipeline` writes the YAML with
//! comments; `file` has it checked and puts it in its place.

pub mod arguments;
mod camera;
mod choices;
mod credentials;
mod error;
mod file;
mod paths;
mod pipeline;
mod prompt;

use std::io::{BufReader, stderr, stdin};
use std::path::Path;

use arguments::{InitArgs, Show};
use choices::Choices;
use error::InitError;
use file::{TemporaryFile, ensure_free};
use prompt::Prompt;

use super::{DONE, FAILED, USAGE, print, print_error};

/// Asks and writes. Exit code 1 where the file cannot be written, 2 for everything else that is wrong.
pub fn init(arguments: &InitArgs) -> u8 {
    match make(arguments) {
        Ok(()) => DONE,
        Err(error) => {
            print_error(&error.to_string());
            match error {
                InitError::Write { .. } => FAILED,
                _ => USAGE,
            }
        }
    }
}

fn make(arguments: &InitArgs) -> Result<(), InitError> {
    let file = &arguments.file;
    // Before any question.
    let folder = ensure_free(file, arguments.force)?;
    let temporary = TemporaryFile::beside(file);
    temporary.remove_on_interrupt();
    let (mut input, mut output) = (BufReader::new(stdin()), stderr());
    let mut prompt = if arguments.yes {
        Prompt::defaults()
    } else {
        Prompt::new(&mut input, &mut output)
    };
    let choices = Choices::gather(arguments, &mut prompt)?;
    let text = pipeline::yaml(&choices, file, &folder)?;
    let network = temporary.write_and_check(file, &text, &choices.source)?;
    temporary.put_in_place(file, arguments.force)?;
    print(&format!("{}: ok ({network})", file.display()));
    for name in choices.source.unset_variables() {
        print(&format!(
            "The password is not in the file. Before each run: read -rs {name} && export {name}"
        ));
    }
    print(&format!("Run it: mobilens {}", quoted(file)));
    if choices.show == Show::Page {
        print(&format!("Then watch at http://{}/", pipeline::PAGE));
    }
    Ok(())
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
