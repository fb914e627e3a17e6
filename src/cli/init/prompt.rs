//! Questions on a terminal.

use std::io::{BufRead, Read, Write};

use super::error::InitError;

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 4096;
/// How often a question is asked.
const MAX_TRIES: usize = 5;

/// Asks; or, with `--yes`, takes each default.
pub struct Prompt<'a>(Option<(&'a mut dyn BufRead, &'a mut dyn Write)>);

impl<'a> Prompt<'a> {
    /// Asks on `output`, and reads answers from `input`.
    pub fn new(input: &'a mut dyn BufRead, output: &'a mut dyn Write) -> Self {
        Self(Some((input, output)))
    }

    /// Asks nothing.
    pub fn defaults() -> Self {
        Self(None)
    }

    /// Whether somebody answers.
    pub fn asks(&self) -> bool {
        self.0.is_some()
    }

    /// Shows a line.
    pub fn say(&mut self, line: &str) {
        if let Some((_, output)) = &mut self.0 {
            let _ = writeln!(output, "{line}");
        }
    }

    /// What `read` makes of the answer, an empty one being `default`; asked again where it says what is
    /// wrong.
    ///
    /// # Errors
    /// When the input ends, no answer is usable, or the default is not and nobody is asked.
    pub fn ask<T>(
        &mut self,
        question: &str,
        default: &str,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<T, InitError> {
        let no_answer = || InitError::NoAnswer(question.to_owned());
        let Some((input, output)) = &mut self.0 else {
            return read(default).map_err(|_| no_answer());
        };
        for _ in 0..MAX_TRIES {
            let shown = if default.is_empty() {
                format!("{question}: ")
            } else {
                format!("{question} [{default}]: ")
            };
            let _ = write!(output, "{shown}").and_then(|()| output.flush());
            let mut line = String::new();
            let length = (&mut **input).take(MAX_ANSWER).read_line(&mut line);
            // What is not text is no answer.
            if length.unwrap_or(0) == 0 {
                let _ = writeln!(output);
                return Err(InitError::Ended);
            }
            let answer = line.trim();
            match read(if answer.is_empty() { default } else { answer }) {
                Ok(read) => return Ok(read),
                Err(why) => {
                    let _ = writeln!(output, "  {why}");
                }
            }
        }
        Err(no_answer())
    }

    /// Which of `options` is chosen: by its number or its name, of which the first letters are enough.
    ///
    /// # Errors
    /// As for [`Self::ask`].
    pub fn choose<T: Copy>(
        &mut self,
        question: &str,
        options: &[(&str, &str, T)],
        default: usize,
    ) -> Result<T, InitError> {
        self.say(question);
        for (i, (name, explanation, _)) in options.iter().enumerate() {
            self.say(&format!("  {}) {name}: {explanation}", i + 1));
        }
        let default = (default + 1).to_string();
        self.ask("Number or name", &default, |answer| one_of(answer, options))
    }
}

/// The option of this number, name or beginning of its name.
fn one_of<T: Copy>(answer: &str, options: &[(&str, &str, T)]) -> Result<T, String> {
    let number = answer.parse::<usize>().ok();
    let by_number = number.and_then(|number| options.get(number.checked_sub(1)?));
    let lower = answer.to_lowercase();
    let mut by_name = options.iter().filter(|(name, ..)| name.starts_with(&lower));
    let found = match (by_number, by_name.next(), by_name.next()) {
        (Some(found), ..) | (None, Some(found), None) => Some(found),
        _ => None,
    };
    let found = found.filter(|_| !answer.is_empty());
    found.map(|(.., value)| *value).ok_or_else(|| {
        let names: Vec<_> = options.iter().map(|(name, ..)| *name).collect();
        format!(
            "expected 1 to {}, or one of {}",
            options.len(),
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(input: &str) -> (Result<char, InitError>, String) {
        let (mut input, mut output) = (input.as_bytes(), Vec::new());
        let options = [
            ("window", "w", 'w'),
            ("page", "p", 'p'),
            ("pages", "q", 'q'),
        ];
        let answer = Prompt::new(&mut input, &mut output).choose("Where?", &options, 1);
        (answer, String::from_utf8(output).expect("text"))
    }

    #[test]
    fn an_option_has_a_number_and_a_name() {
        for (input, expected) in [
            ("\n", 'p'),
            ("1\n", 'w'),
            (" Win \n", 'w'),
            ("pages\n", 'q'),
        ] {
            assert_eq!(chosen(input).0.ok(), Some(expected), "{input:?}");
        }
        // Neither a number of an option nor one name, then a number.
        let (answer, said) = chosen("0\n9\npa\n3\n");
        assert_eq!(answer.ok(), Some('q'));
        assert_eq!(said.matches("expected 1 to 3").count(), 3, "{said}");
    }

    #[test]
    fn an_end_of_the_input_is_no_answer() {
        assert!(matches!(chosen("").0, Err(InitError::Ended)));
        assert!(matches!(chosen("9\n").0, Err(InitError::Ended)));
        assert!(matches!(
            chosen(&"9\n".repeat(9)).0,
            Err(InitError::NoAnswer(_))
        ));
    }

    #[test]
    fn without_questions_defaults_are_taken() {
        let mut prompt = Prompt::defaults();
        let text = prompt.ask("Name", "x", |answer| Ok(answer.to_owned()));
        assert_eq!(text.ok().as_deref(), Some("x"));
        let refused = prompt.ask::<()>("Name", "", |_| Err("no".to_owned()));
        assert!(matches!(refused, Err(InitError::NoAnswer(_))));
    }
}
