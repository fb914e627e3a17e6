//! What is to be in the pipeline: by option, by answer or by default.

use std::path::Path;

use super::arguments::{InitArgs, Show, Speed, Subject};
use super::camera::{Source, source};
use super::error::InitError;
use super::prompt::Prompt;

/// What an option or answer says for "nowhere".
const NOWHERE: &str = "none";

/// What is to be in the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Where frames come from.
    pub source: Source,
    /// What to look for.
    pub subjects: Vec<Subject>,
    /// How much to compute.
    pub speed: Speed,
    /// Where the live picture is shown.
    pub show: Show,
    /// The file of the records, or `-`.
    pub records: Option<String>,
    /// The folder of the recordings.
    pub recordings: Option<String>,
    /// The folder of the clips.
    pub clips: Option<String>,
}

impl Choices {
    /// Asks for what the command line does not say.
    ///
    /// # Errors
    /// When an option is not usable, or the input ends.
    pub fn gather(arguments: &InitArgs, prompt: &mut Prompt<'_>) -> Result<Self, InitError> {
        // What is wrong on the command line is said before any question.
        let place_of = |option, value: &Option<String>, read: Place| {
            let value = value.as_deref().map(read);
            value
                .transpose()
                .map_err(|why| InitError::Option { option, why })
        };
        let records = place_of("--records", &arguments.records, file)?;
        let recordings = place_of("--record", &arguments.record, place)?;
        let clips = place_of("--clips", &arguments.clips, place)?;
        let source = source(arguments, prompt)?;
        let subjects = match &arguments.look_for[..] {
            [] => prompt.ask(
                "What to look for: people, vehicles, animals or all; several with commas",
                "people,vehicles",
                subjects,
            )?,
            given => given.to_vec(),
        };
        let speed = match arguments.speed {
            Some(speed) => speed,
            None => prompt.choose(
                "How much to compute?",
                &[
                    ("fast", "one look at each frame", Speed::Fast),
                    (
                        "accurate",
                        "a second look for small objects, about four times the time",
                        Speed::Accurate,
                    ),
                ],
                0,
            )?,
        };
        let show = match arguments.show {
            Some(show) => show,
            None => prompt.choose(
                "Where is the live picture shown?",
                &[
                    ("window", "a window on this screen", Show::Window),
                    ("page", "a page for browsers on this machine", Show::Page),
                    ("none", "nowhere", Show::None),
                ],
                default_show(),
            )?,
        };
        let mut asked = |given: Option<Option<String>>, question, read: Place| match given {
            Some(given) => Ok(given),
            None => prompt.ask(question, NOWHERE, read),
        };
        let mut choices = Self {
            source,
            subjects,
            speed,
            show,
            records: asked(
                records,
                "File for records as JSON lines (- is standard output)",
                file,
            )?,
            recordings: asked(
                recordings,
                "Folder for recordings of everything, as MP4",
                place,
            )?,
            clips: asked(clips, "Folder for clips of events, as MP4", place)?,
        };
        // Results go somewhere.
        let goes_nowhere = choices.show == Show::None
            && choices.records.is_none()
            && choices.recordings.is_none()
            && choices.clips.is_none();
        if goes_nowhere {
            choices.records = Some("-".to_owned());
        }
        Ok(choices)
    }

    /// The classes to look for; none for all that the model knows.
    pub fn classes(&self) -> Vec<&'static str> {
        if self.subjects.contains(&Subject::All) {
            return Vec::new();
        }
        let mut classes = Vec::new();
        for class in self.subjects.iter().flat_map(|subject| subject.classes()) {
            if !classes.contains(class) {
                classes.push(*class);
            }
        }
        classes
    }
}

/// The number of the default among the options of where to show.
fn default_show() -> usize {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(feature = "window") && (is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")) {
        0
    } else if cfg!(feature = "web") {
        1
    } else {
        2
    }
}

/// What reads the name of a file or folder.
type Place = fn(&str) -> Result<Option<String>, String>;

/// A file in a folder that exists, or none.
fn file(text: &str) -> Result<Option<String>, String> {
    let file = place(text)?;
    let folder = file.as_deref().and_then(|file| Path::new(file).parent());
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    match folder {
        Some(folder) => Err(format!("the folder {} does not exist", folder.display())),
        None => Ok(file),
    }
}

/// A file or folder, or none.
fn place(text: &str) -> Result<Option<String>, String> {
    match text.trim() {
        "" => Err(format!("expected a path, or {NOWHERE}")),
        NOWHERE => Ok(None),
        path => Ok(Some(path.to_owned())),
    }
}

fn subjects(answer: &str) -> Result<Vec<Subject>, String> {
    let words = answer.split([',', ' ']).filter(|word| !word.is_empty());
    let mut subjects = Vec::new();
    for word in words {
        subjects.push(match word.to_lowercase().as_str() {
            "people" => Subject::People,
            "vehicles" => Subject::Vehicles,
            "animals" => Subject::Animals,
            "all" => Subject::All,
            _ => return Err("expected people, vehicles, animals or all".to_owned()),
        });
    }
    if subjects.is_empty() {
        return Err("expected people, vehicles, animals or all".to_owned());
    }
    Ok(subjects)
}
