//! How much a document may hold with its aliases expanded, so that a small file cannot fill the memory.

use super::node::{Content, Node};

/// Number of values and bytes of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DocumentSize {
    /// Values: scalars, lists and mappings.
    pub values: usize,
    /// Bytes of all keys and strings.
    pub text_bytes: usize,
}

impl DocumentSize {
    /// The most that a document may hold.
    pub const MAX: Self = Self {
        values: 100_000,
        text_bytes: 4 << 20,
    };

    /// What `node` and all below take.
    pub fn of(node: &Node) -> Self {
        let mut size = Self {
            values: 1,
            text_bytes: 0,
        };
        match &node.content {
            Content::String(text) | Content::Invalid(text) => size.text_bytes = text.len(),
            Content::Sequence(items) => items.iter().for_each(|item| size += Self::of(item)),
            Content::Mapping(entries) => {
                for entry in entries {
                    size += Self::of(&entry.value);
                    size.text_bytes += entry.key.len();
                }
            }
            Content::Null | Content::Bool(_) | Content::Number(_) => {}
        }
        size
    }

    /// `count` times as much.
    pub fn times(self, count: usize) -> Self {
        Self {
            values: self.values.saturating_mul(count),
            text_bytes: self.text_bytes.saturating_mul(count),
        }
    }

    /// What exceeds [`MAX`](Self::MAX), for instance "more than 100000 values".
    pub fn excess(self) -> Option<String> {
        if self.values > Self::MAX.values {
            Some(format!("more than {} values", Self::MAX.values))
        } else if self.text_bytes > Self::MAX.text_bytes {
            Some(format!("more than {} bytes of text", Self::MAX.text_bytes))
        } else {
            None
        }
    }
}

impl std::ops::AddAssign for DocumentSize {
    fn add_assign(&mut self, other: Self) {
        self.values = self.values.saturating_add(other.values);
        self.text_bytes = self.text_bytes.saturating_add(other.text_bytes);
    }
}
