//! Lines of a card, each with the reason for what it says.

use std::fmt;

/// Where a comment begins, if the text before it is not longer.
const COMMENT_COLUMN: usize = 32;
/// Longest line with a comment behind it; otherwise the comment stands above.
const MAX_WIDTH: usize = 110;

/// Why a line says what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The file says it; perhaps where.
    Known(String),
    /// What networks of this kind have; the reason.
    Guess(String),
    /// The file does not say it, and there is no reason for the value; what is not known.
    Unknown(String),
}

impl Note {
    /// What the file says itself, with nothing to add.
    pub fn none() -> Self {
        Self::Known(String::new())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(why) => write!(f, "{why}"),
            Self::Guess(why) => write!(f, "guess: {why}"),
            Self::Unknown(what) => write!(f, "UNKNOWN: {what}"),
        }
    }
}

/// Lines of YAML.
#[derive(Clone, Debug, Default)]
pub struct Lines(Vec<(String, Note)>);

impl Lines {
    /// Adds a line, below `depth` keys.
    pub fn put(&mut self, depth: usize, text: impl fmt::Display, note: Note) {
        self.0.push((format!("{}{text}", "  ".repeat(depth)), note));
    }

    /// Adds a line that needs no reason.
    pub fn plain(&mut self, depth: usize, text: impl fmt::Display) {
        self.put(depth, text, Note::none());
    }

    /// Adds lines.
    pub fn extend(&mut self, lines: Self) {
        self.0.extend(lines.0);
    }

    /// What is not known.
    pub fn unknowns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(_, note)| match note {
            Note::Unknown(what) => Some(what.as_str()),
            Note::Known(_) | Note::Guess(_) => None,
        })
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (text, note) in &self.0 {
            let note = note.to_string();
            if note.is_empty() {
                writeln!(f, "{text}")?;
                continue;
            }
            let behind = format!("{text:<COMMENT_COLUMN$}  # {note}");
            if behind.chars().count() <= MAX_WIDTH {
                writeln!(f, "{behind}")?;
            } else {
                let indent = text.len() - text.trim_start().len();
                writeln!(f, "{:indent$}# {note}\n{text}", "")?;
            }
        }
        Ok(())
    }
}

/// A text as a YAML scalar.
pub fn quoted(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let mut letters = text.chars();
    let is_plain = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || " _-./".contains(c))
        && !text.ends_with([' ', '-'])
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        text.to_owned()
    } else {
        serde_json::to_string(text).unwrap_or_default()
    }
}

/// A list of names.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(quoted).collect();
    format!("[{}]", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back_as_they_were() {
        for text in [
            "person",
            "traffic light",
            "no",
            "17",
            "a: b",
            "d'eau # \"x\"",
            "",
            "~",
            "é",
            "a-",
        ] {
            let read: serde_yaml::Value = serde_yaml::from_str(&quoted(text)).expect("YAML");
            assert_eq!(read, serde_yaml::Value::String(text.to_owned()));
        }
    }

    #[test]
    fn a_long_reason_stands_above_its_line() {
        let mut lines = Lines::default();
        lines.put(1, "a: 1", Note::Guess("short".to_owned()));
        lines.put(1, "b: 2", Note::Unknown("long ".repeat(30)));
        lines.plain(0, "c: 3");
        let text = lines.to_string();
        assert!(
            text.starts_with("  a: 1                            # guess: short\n  # UNKNOWN: long"),
            "{text}"
        );
        assert!(text.ends_with("\n  b: 2\nc: 3\n"), "{text}");
        assert_eq!(lines.unknowns().count(), 1);
    }
}
