//! `mobilens completions` and `mobilens man`: what packages and shells want, from the same
//! description of the command line as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::arguments::{ENVIRONMENT, EXAMPLES, EXIT_STATUS};
use super::{Cli, DONE, FAILED, print_error};

/// What the pages and the scripts are for.
const NAME: &str = "mobilens";

/// What the manual page says of files.
const FILES: &[(&str, &str)] = &[
    (
        "/usr/share/mobilens",
        "Pipelines, models and a clip. A relative path of a pipeline or model that is not in the \
         current folder is searched for in the folder that MOBILENS_DATA_DIR names, in \
         ../share/mobilens beside the program's own folder, in /usr/local/share/mobilens and here. \
         Paths in a pipeline are relative to the pipeline's file.",
    ),
    (
        "/etc/mobilens/pipeline.yaml, /etc/mobilens/environment",
        "The pipeline of the systemd unit mobilens.service and its environment variables, where \
         the Debian package is installed.",
    ),
];

/// Writes the completion script of `shell` to standard output.
pub fn completions(shell: Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    write_stdout(&script)
}

/// Writes the manual page to standard output, or one page for each command into the folder `dir`.
pub fn man(dir: Option<&Path>) -> u8 {
    let root = commands();
    let Some(dir) = dir else {
        let mut page = Vec::new();
        return match render(root, &mut page) {
            Ok(()) => write_stdout(&page),
            Err(error) => failed(&error.to_string()),
        };
    };
    match fs::create_dir_all(dir).and_then(|()| write_pages(&root, dir)) {
        Ok(()) => DONE,
        Err(error) => failed(&format!("{}: {error}", dir.display())),
    }
}

/// The whole command line; `help` needs no page.
fn commands() -> clap::Command {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    root
}

/// A page for `command` and, below it, for each of its subcommands: `mobilens-eval-tracking.1`.
fn write_pages(command: &clap::Command, dir: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands() {
        write_pages(subcommand, dir)?;
    }
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let mut page = Vec::new();
    render(command.clone(), &mut page)?;
    fs::write(dir.join(format!("{name}.1")), page)
}

fn render(command: clap::Command, page: &mut dyn Write) -> io::Result<()> {
    let is_root = command.get_name() == NAME;
    let has_subcommands = command.has_subcommands();
    let man = Man::new(command)
        .source(concat!("mobilens ", env!("CARGO_PKG_VERSION")))
        .manual("MobiLens Manual");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if has_subcommands {
        man.render_subcommands_section(page)?;
    }
    let mut more = Roff::default();
    if is_root {
        entries(&mut more, "EXAMPLES", EXAMPLES);
        entries(&mut more, "ENVIRONMENT", ENVIRONMENT);
        entries(&mut more, "FILES", FILES);
        more.control("SH", ["EXIT STATUS"]);
        more.text([roman(EXIT_STATUS)]);
    } else {
        more.control("SH", ["SEE ALSO"]);
        more.text([bold(NAME), roman("(1)")]);
    }
    more.to_writer(page)
}

/// A section of terms, each with its explanation.
fn entries(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (term, explanation) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*explanation)]);
    }
}

/// A reader that went away has had enough.
fn write_stdout(bytes: &[u8]) -> u8 {
    match io::stdout().write_all(bytes) {
        Ok(()) => DONE,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
        Err(error) => failed(&format!("standard output: {error}")),
    }
}

fn failed(why: &str) -> u8 {
    print_error(why);
    FAILED
}
