//! Topics below the pipeline's own.

use std::fmt::Write;

/// `name` as one level of a topic: `+`, `#` and `/`, which MQTT reserves, are percent-encoded, and so
/// is a `%` that would read as an encoded character, so that no two names share a topic.
pub fn topic_level(name: &str) -> String {
    let mut level = String::with_capacity(name.len());
    for (i, c) in name.char_indices() {
        let is_encoded = match c {
            '+' | '#' | '/' => true,
            '%' => {
                let next = name.as_bytes().get(i + 1..i + 3);
                next.is_some_and(|next| next.iter().all(u8::is_ascii_hexdigit))
            }
            c => c.is_control(),
        };
        if is_encoded {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(level, "%{byte:02X}");
            }
        } else {
            level.push(c);
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_encoded_and_names_stay_apart() {
        for (name, expected) in [
            ("gate", "gate"),
            ("前门 2", "前门 2"),
            ("front+back", "front%2Bback"),
            ("a/b", "a%2Fb"),
            ("a%2Fb", "a%252Fb"),
            ("#1", "%231"),
            ("100%", "100%"),
            ("%/", "%%2F"),
            ("a\nb", "a%0Ab"),
        ] {
            assert_eq!(topic_level(name), expected);
        }
    }
}
