//! Python literals in the metadata of exported files: `{0: 'person', 1: 'bicycle'}`, `[640, 640]`.

use std::collections::BTreeMap;

/// Most names that are read.
const MAX_NAMES: usize = 65_536;

/// The names of a dict literal from channels to names, or of a list literal; `None` if it is neither, or channels
/// are left out.
pub fn parse_names(text: &str) -> Option<Vec<String>> {
    let mut rest = Reader(text.trim());
    let mut names = BTreeMap::new();
    let (is_dict, end) = match rest.take()? {
        '{' => (true, '}'),
        '[' => (false, ']'),
        _ => return None,
    };
    loop {
        rest.skip_spaces();
        if rest.eat(end) {
            break;
        }
        let key = if is_dict {
            let key = rest.number()?;
            rest.skip_spaces();
            rest.eat(':').then_some(())?;
            rest.skip_spaces();
            key
        } else {
            names.len()
        };
        names.insert(key, rest.string()?);
        rest.skip_spaces();
        if !rest.eat(',') {
            rest.eat(end).then_some(())?;
            break;
        }
    }
    let is_whole = names.len() <= MAX_NAMES && names.keys().copied().eq(0..names.len());
    (is_whole && !names.is_empty()).then(|| names.into_values().collect())
}

/// The numbers of a list literal.
pub fn parse_list(text: &str) -> Option<Vec<usize>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    inner.split(',').map(|n| n.trim().parse().ok()).collect()
}

struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let first = self.0.chars().next()?;
        self.0 = &self.0[first.len_utf8()..];
        Some(first)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn number(&mut self) -> Option<usize> {
        // JSON has its keys in quotes.
        let quote = ['\'', '"'].into_iter().find(|quote| self.eat(*quote));
        let end = self
            .0
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.0.len());
        let number = self.0[..end].parse().ok()?;
        self.0 = &self.0[end..];
        quote.is_none_or(|quote| self.eat(quote)).then_some(number)
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.take().filter(|c| ['\'', '"'].contains(c))?;
        let mut text = String::new();
        loop {
            match self.take()? {
                '\\' => text.push(match self.take()? {
                    'n' => ' ',
                    't' => ' ',
                    other => other,
                }),
                c if c == quote => return Some(text),
                c => text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_exporters_are_read() {
        let names = parse_names(r#"{0: 'person', 1: "d'eau", 2: 'a\'b'}"#).expect("names");
        assert_eq!(names, ["person", "d'eau", "a'b"]);
        assert_eq!(
            parse_names(r#"{"0": "a", "1": "b",}"#).expect("names"),
            ["a", "b"]
        );
        assert_eq!(parse_names("['a', 'b']").expect("names"), ["a", "b"]);
        for wrong in [
            "",
            "{",
            "{}",
            "{0: 1}",
            "{1: 'a'}",
            "{0: 'a' 1: 'b'}",
            "person",
            "{0: 'a",
        ] {
            assert_eq!(parse_names(wrong), None, "{wrong}");
        }
        assert_eq!(parse_list("[640, 480]"), Some(vec![640, 480]));
        assert_eq!(parse_list("640"), None);
    }
}
