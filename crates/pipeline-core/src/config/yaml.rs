//! YAML to a tree, and the place of every value in the text. The only file that knows serde_yaml.
//!
//! serde_yaml keeps no places beside its values; its errors have one. So a place is found, when an error needs it, by a second
//! reading that follows the same path and fails on purpose when it arrives.

use std::fmt;
use std::path::Path;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::error::{ConfigError, Place};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// As YAML understood it: `0x10` is `16`.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; keys that are not text are written as text.
    Map(Vec<(String, Node)>),
    /// Something behind `!name`, which is a tag to YAML: the name.
    Tagged(String),
}

/// As an error message names it.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Null => f.write_str("nothing"),
            Node::Bool(value) => write!(f, "'{value}'"),
            Node::Number(text) | Node::Text(text) => write!(f, "'{text}'"),
            Node::List(_) => f.write_str("a list"),
            Node::Map(_) => f.write_str("a section"),
            Node::Tagged(tag) => write!(f, "'{tag}' without quotes, a tag to YAML,"),
        }
    }
}

/// A file that was read.
pub(super) struct Document<'a> {
    pub file: &'a Path,
    text: &'a str,
    pub root: Node,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Key,
    Value,
}

impl<'a> Document<'a> {
    pub(super) fn parse(text: &'a str, file: &'a Path) -> Result<Document<'a>, ConfigError> {
        let root = TreeSeed.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
            let position = error.location().map(|at| (at.line(), at.column()));
            let mut problem = error.to_string();
            // The place is told in one form, and once.
            if let Some((line, column)) = position {
                problem = problem.replacen(&format!(" at line {line} column {column}"), "", 1);
            }
            ConfigError::Syntax { place: Place { file: file.to_owned(), position }, problem }
        })?;
        Ok(Document { file, text, root })
    }

    /// The place of a value: `path` counts entries of maps and items of lists, from the root.
    pub(super) fn place(&self, path: &[usize], target: Target) -> Place {
        let find = Find { path, target };
        let position = match find.deserialize(serde_yaml::Deserializer::from_str(self.text)) {
            Err(error) => error.location().map(|at| (at.line(), at.column())),
            Ok(()) => None,
        };
        Place { file: self.file.to_owned(), position }
    }
}

/// Reads a tree.
struct TreeSeed;

impl<'de> DeserializeSeed<'de> for TreeSeed {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeSeed {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    /// An empty file.
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(TreeSeed)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(TreeSeed)? {
            let key = match key {
                Node::Text(text) | Node::Number(text) | Node::Tagged(text) => text,
                other => other.to_string(),
            };
            map.push((key, entries.next_value_seed(TreeSeed)?));
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let (tag, content) = tagged.variant::<String>()?;
        content.newtype_variant::<IgnoredAny>()?;
        Ok(Node::Tagged(format!("!{tag}")))
    }
}

/// Follows a path and fails where it ends.
struct Find<'p> {
    path: &'p [usize],
    target: Target,
}

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Met by whatever is found at the end of the path: every kind of value that has no method below.
        f.write_str("nothing")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((&index, path)) = self.path.split_first() else { return Err(A::Error::custom("found")) };
        for _ in 0..index {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Find { path, target: self.target })?;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((&index, path)) = self.path.split_first() else { return Err(A::Error::custom("found")) };
        for _ in 0..index {
            entries.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if path.is_empty() && self.target == Target::Key {
            entries.next_key_seed(Find { path, target: self.target })?;
        } else {
            entries.next_key::<IgnoredAny>()?;
            entries.next_value_seed(Find { path, target: self.target })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn position(text: &str, path: &[usize], target: Target) -> Option<(usize, usize)> {
        Document::parse(text, Path::new("f")).unwrap().place(path, target).position
    }

    #[test]
    fn places_of_keys_and_values() {
        let text = "a: 1\nb:\n  c: [x, {y: 2}]\n  d: >\n    folded\ne: null\nf: !tag z\n? g\n: \"h\"\n";
        let table: [(&[usize], Target, (usize, usize)); 13] = [
            (&[0], Target::Key, (1, 1)),
            (&[0], Target::Value, (1, 4)),
            (&[1], Target::Key, (2, 1)),
            (&[1], Target::Value, (3, 3)),
            (&[1, 0], Target::Value, (3, 6)),
            (&[1, 0, 0], Target::Value, (3, 7)),
            (&[1, 0, 1], Target::Value, (3, 10)),
            (&[1, 0, 1, 0], Target::Key, (3, 11)),
            (&[1, 0, 1, 0], Target::Value, (3, 14)),
            (&[1, 1], Target::Value, (4, 6)),
            (&[2], Target::Value, (6, 4)),
            (&[3], Target::Value, (7, 4)),
            (&[4], Target::Value, (9, 3)),
        ];
        for (path, target, expected) in table {
            let target_name = if target == Target::Key { "key" } else { "value" };
            assert_eq!(position(text, path, target), Some(expected), "{target_name} {path:?}");
        }
    }

    #[test]
    fn the_tree_keeps_order_and_repetitions() {
        let document = Document::parse("b: 1\na: [x, 2, true, ~, !t u]\nb: &x 1.5\n7: *x\n", Path::new("f")).unwrap();
        let text = |text: &str| text.to_owned();
        let list = vec![
            Node::Text(text("x")),
            Node::Number(text("2")),
            Node::Bool(true),
            Node::Null,
            Node::Tagged(text("!t")),
        ];
        let expected = vec![
            (text("b"), Node::Number(text("1"))),
            (text("a"), Node::List(list)),
            (text("b"), Node::Number(text("1.5"))),
            (text("7"), Node::Number(text("1.5"))),
        ];
        assert_eq!(document.root, Node::Map(expected));
    }
}
