//! The folder that pictures and labels are written into, and what an earlier run wrote there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use mobilens::sink::write_whole;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::arguments::{LabelArgs, LabelTarget};
use super::formats::{LabelledPicture, Labels, url_part};

/// The folder of the pictures.
pub const IMAGES: &str = "images";
/// What this program knows of the folder: a line of the whole, then one for each picture.
const MANIFEST: &str = "frames.jsonl";

/// A line of the manifest.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ManifestLine {
    Labels(Header),
    Frame(LabelledPicture),
}

#[derive(Clone, Serialize, Deserialize)]
struct Header {
    tool: String,
    #[serde(rename = "for")]
    target: LabelTarget,
    classes: Vec<String>,
    image_url: String,
}

/// A folder of labelled pictures.
pub struct LabelFolder {
    dir: PathBuf,
    target: LabelTarget,
    image_url: String,
    /// Names of the classes, in the order of their numbers.
    pub classes: Vec<String>,
    /// The pictures that it has.
    pub pictures: Vec<LabelledPicture>,
    /// Its label files as they were written, where they are added to.
    written: BTreeMap<PathBuf, String>,
    /// Its files, where they are replaced.
    replaced: Vec<PathBuf>,
}

impl LabelFolder {
    /// The folder that the arguments name: a new one, or one that is added to or replaced.
    ///
    /// # Errors
    /// When it has files and the arguments do not say what becomes of them, or they cannot be added to.
    pub fn open(arguments: &LabelArgs) -> Result<Self, Failure> {
        let dir = &arguments.output;
        let shown = dir.display();
        let fault = |why: &str| Failure::Input(format!("{shown}: {why}"));
        let is_empty = match fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(fault(&error.to_string())),
        };
        if !is_empty && !arguments.append && !arguments.force {
            return Err(fault(
                "the folder is not empty; --append adds to its labels, --force replaces them",
            ));
        }
        let mut folder = Self {
            dir: dir.clone(),
            target: arguments.target,
            image_url: arguments
                .image_url
                .clone()
                .unwrap_or_else(|| local_files(dir)),
            classes: Vec::new(),
            pictures: Vec::new(),
            written: BTreeMap::new(),
            replaced: Vec::new(),
        };
        let path = dir.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && arguments.append && !is_empty => {
                return Err(fault(&format!(
                    "there is no {MANIFEST}, so these are no files of `mobilens label` to add to"
                )));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(folder),
            Err(error) => return Err(Failure::Input(format!("{}: {error}", path.display()))),
        };
        let (header, pictures) =
            parse(&text).map_err(|why| Failure::Input(format!("{}: {why}", path.display())))?;
        let written = Labels {
            classes: &header.classes,
            pictures: &pictures,
            image_url: &header.image_url,
        }
        .files(header.target);
        let written: BTreeMap<PathBuf, String> = written.into_iter().collect();
        if arguments.force {
            let images = pictures.iter();
            let images = images.map(|picture| Path::new(IMAGES).join(&picture.image));
            folder.replaced = written.into_keys().chain(images).collect();
            return Ok(folder);
        }
        if header.target != arguments.target {
            let is = name_of(header.target);
            return Err(fault(&format!(
                "its labels are for {is}; append with --for {is}"
            )));
        }
        if arguments.image_url.is_none() {
            folder.image_url = header.image_url;
        }
        folder.classes = header.classes;
        folder.pictures = pictures;
        folder.written = written;
        Ok(folder)
    }

    /// The folder of the pictures.
    pub fn images(&self) -> PathBuf {
        self.dir.join(IMAGES)
    }

    /// Adds a class, if it is new.
    pub fn add_class(&mut self, name: &str) {
        if !self.classes.iter().any(|known| known == name) {
            self.classes.push(name.to_owned());
        }
    }

    /// The number that the next picture's name begins with.
    pub fn next_number(&self) -> u64 {
        let number = |picture: &LabelledPicture| picture.image.split('_').next()?.parse().ok();
        let last: Option<u64> = self.pictures.iter().filter_map(number).max();
        last.unwrap_or(0) + 1
    }

    /// Whether labels can be added without undoing what somebody has changed.
    ///
    /// # Errors
    /// When a file that will be written again is not as it was written.
    pub fn ensure_unchanged(&self) -> Result<(), Failure> {
        for (name, text) in &self.written {
            // Those of single pictures are never written again.
            if name.components().count() > 1 {
                continue;
            }
            let path = self.dir.join(name);
            if fs::read(&path).is_ok_and(|now| now != text.as_bytes()) {
                let why = "was changed since it was written, which --append would undo; use another folder";
                return Err(Failure::Input(format!("{} {why}", path.display())));
            }
        }
        Ok(())
    }

    /// Writes the labels of all pictures; each file appears whole.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self) -> Result<(), Failure> {
        let labels = Labels {
            classes: &self.classes,
            pictures: &self.pictures,
            image_url: &self.image_url,
        };
        let files = labels.files(self.target);
        for (name, text) in &files {
            // What is as it was is left to whoever has changed it.
            if self.written.get(name) == Some(text) {
                continue;
            }
            self.write_file(name, text)?;
        }
        let header = Header {
            tool: format!("mobilens {}", env!("CARGO_PKG_VERSION")),
            target: self.target,
            classes: self.classes.clone(),
            image_url: self.image_url.clone(),
        };
        let lines = std::iter::once(ManifestLine::Labels(header))
            .chain(self.pictures.iter().cloned().map(ManifestLine::Frame));
        let lines: String = lines
            .map(|line| serde_json::to_string(&line).expect("plain data") + "\n")
            .collect();
        self.write_file(Path::new(MANIFEST), &lines)?;
        self.remove_replaced(&files);
        Ok(())
    }

    fn write_file(&self, name: &Path, text: &str) -> Result<(), Failure> {
        let path = self.dir.join(name);
        let parent = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(|e| Failure::Output {
            path: parent.to_owned(),
            why: e.to_string(),
        })?;
        write_whole(&path, |part| fs::write(part, text)).map_err(Failure::Sink)
    }

    /// Removes what was replaced and has no successor of the same name.
    fn remove_replaced(&self, files: &[(PathBuf, String)]) {
        let images = self.pictures.iter();
        let images = images.map(|picture| Path::new(IMAGES).join(&picture.image));
        let kept: BTreeSet<PathBuf> = files
            .iter()
            .map(|(name, _)| name.clone())
            .chain(images)
            .collect();
        for name in self.replaced.iter().filter(|name| !kept.contains(*name)) {
            // Never above the folder, whatever the manifest says.
            if name
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
            {
                let _ = fs::remove_file(self.dir.join(name));
            }
        }
    }
}

fn parse(text: &str) -> Result<(Header, Vec<LabelledPicture>), String> {
    let (mut header, mut pictures) = (None, Vec::new());
    for (i, line) in text.lines().enumerate() {
        let fault = |why: &str| format!("line {}: {why}", i + 1);
        match serde_json::from_str(line).map_err(|e| fault(&e.to_string()))? {
            ManifestLine::Labels(of_all) => header = Some(of_all),
            ManifestLine::Frame(picture) => pictures.push(picture),
        }
    }
    let header: Header = header.ok_or("it has no line of the whole")?;
    let is_known = |name: &String| header.classes.contains(name);
    let objects = pictures.iter().flat_map(|picture| &picture.objects);
    if let Some(other) = objects
        .map(|object| &object.label)
        .find(|label| !is_known(label))
    {
        return Err(format!(
            "it has an object of the class {other}, which it does not list"
        ));
    }
    Ok((header, pictures))
}

/// Where Label Studio's local file storage serves the pictures of `dir`, if its document root is the
/// folder that `dir` is in.
fn local_files(dir: &Path) -> String {
    let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    format!("/data/local-files/?d={}/{IMAGES}/", url_part(&name))
}

/// The name of a target on the command line.
fn name_of(target: LabelTarget) -> String {
    use clap::ValueEnum;
    let value = target.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}
