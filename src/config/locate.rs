//! Where each key and value of a YAML text stands.
//!
//! serde_yaml tells values and not places; a second reading of the events tells places and not
//! values. Positions count from 1, columns in characters.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScanError, Span};

/// A key or an index on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Of a mapping.
    Key(String),
    /// Of a sequence.
    Index(usize),
}

/// Nothing that a person writes is deeper.
const MAX_DEPTH: usize = 64;

/// Line and column, from 1.
type Position = (usize, usize);

/// The places of one text.
#[derive(Debug, Default)]
pub struct Places {
    keys: HashMap<Vec<Step>, Position>,
    values: HashMap<Vec<Step>, Position>,
    /// Keys that were given a second time; without what is inside them.
    pub repeated: Vec<Repeated>,
}

/// A key that was given a second time.
#[derive(Debug, PartialEq, Eq)]
pub struct Repeated {
    /// The key.
    pub path: Vec<Step>,
    /// Where it stood before.
    pub first: Position,
}

/// What is wrong with a text that is no YAML.
#[derive(Debug, PartialEq, Eq)]
pub struct NotYaml {
    /// Where.
    pub position: Position,
    /// What.
    pub why: String,
}

impl Places {
    /// Reads the events of `text`.
    pub fn of(text: &str) -> Result<Self, NotYaml> {
        let mut reader = Reader {
            places: Self::default(),
            path: Vec::new(),
            open: Vec::new(),
            documents: 0,
        };
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|e| not_yaml(&e))?;
            reader.take(&event, span)?;
        }
        Ok(reader.places)
    }

    /// Where the key at the end of `path` stands.
    pub fn key(&self, path: &[Step]) -> Option<Position> {
        self.keys.get(path).copied().or_else(|| self.value(path))
    }

    /// Where the value at `path` begins, or that of the nearest thing around it.
    pub fn value(&self, path: &[Step]) -> Option<Position> {
        (0..=path.len())
            .rev()
            .find_map(|n| self.values.get(&path[..n]).copied())
    }
}

fn not_yaml(error: &ScanError) -> NotYaml {
    NotYaml {
        position: position(error.marker()),
        why: error.info().to_owned(),
    }
}

fn position(marker: &Marker) -> Position {
    (marker.line(), marker.col() + 1)
}

struct Reader {
    places: Places,
    path: Vec<Step>,
    open: Vec<Open>,
    documents: usize,
}

enum Open {
    /// A mapping that waits for a key, or for the value of the key on the path.
    Mapping { key_is_next: bool },
    /// A sequence and its next index.
    Sequence(usize),
}

impl Reader {
    fn take(&mut self, event: &Event<'_>, span: Span) -> Result<(), NotYaml> {
        let at = position(&span.start);
        let refuse = |why: &str| {
            Err(NotYaml {
                position: at,
                why: why.to_owned(),
            })
        };
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return refuse("a second document begins here; one file holds one");
                }
            }
            Event::Scalar(text, ..) => {
                if let Some(Open::Mapping { key_is_next }) = self.open.last_mut()
                    && *key_is_next
                {
                    *key_is_next = false;
                    self.path.push(Step::Key(text.to_string()));
                    if let Some(first) = self.places.keys.insert(self.path.clone(), at) {
                        self.repeated(first);
                    }
                    return Ok(());
                }
                self.begin(at);
                self.end();
            }
            Event::Alias(_) => {
                if self.waits_for_key() {
                    return refuse("an alias cannot be a key");
                }
                self.begin(at);
                self.end();
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                if self.waits_for_key() {
                    return refuse("a key must be a word");
                }
                if self.open.len() >= MAX_DEPTH {
                    return refuse("nested too deep");
                }
                self.begin(at);
                self.open.push(if matches!(event, Event::MappingStart(..)) {
                    Open::Mapping { key_is_next: true }
                } else {
                    Open::Sequence(0)
                });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                self.end();
            }
            _ => {}
        }
        Ok(())
    }

    fn repeated(&mut self, first: Position) {
        let known = &mut self.places.repeated;
        if !known.iter().any(|again| self.path.starts_with(&again.path)) {
            known.push(Repeated {
                path: self.path.clone(),
                first,
            });
        }
    }

    fn waits_for_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Mapping { key_is_next: true }))
    }

    /// A value begins: in a sequence, it has an index.
    fn begin(&mut self, at: Position) {
        if let Some(Open::Sequence(index)) = self.open.last() {
            self.path.push(Step::Index(*index));
        }
        self.places.values.insert(self.path.clone(), at);
    }

    /// A value ended: what is around it waits for the next.
    fn end(&mut self) {
        match self.open.last_mut() {
            Some(Open::Mapping { key_is_next }) => {
                self.path.pop();
                *key_is_next = true;
            }
            Some(Open::Sequence(index)) => {
                self.path.pop();
                *index += 1;
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(dotted: &str) -> Vec<Step> {
        dotted
            .split('.')
            .map(|s| {
                s.parse()
                    .map_or_else(|_| Step::Key(s.to_owned()), Step::Index)
            })
            .collect()
    }

    #[test]
    fn keys_and_values_have_places() {
        let text = "a:\n  b: 1\n  c: [x, {d: 2}]\ne:\n- f: 3\n- 4\n";
        let places = Places::of(text).expect("YAML");
        assert_eq!(places.key(&path("a.b")), Some((2, 3)));
        assert_eq!(places.value(&path("a.b")), Some((2, 6)));
        assert_eq!(places.value(&path("a.c.1.d")), Some((3, 14)));
        assert_eq!(places.key(&path("e.0.f")), Some((5, 3)));
        assert_eq!(places.value(&path("e.1")), Some((6, 3)));
        // What is not there stands where the thing around it stands.
        assert_eq!(places.value(&path("a.zzz.y")), places.value(&path("a")));
    }

    #[test]
    fn what_stands_twice_is_noticed() {
        let places = Places::of("a: {b: 1, b: 2}\n").expect("YAML");
        let again = Repeated {
            path: path("a.b"),
            first: (1, 5),
        };
        assert_eq!(places.repeated, vec![again]);
    }
}
