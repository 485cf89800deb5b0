//! A section of the file: typed values out, or the one error that says where and why not.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::error::{ConfigError, Place};
use super::nearest::nearest;
use super::yaml::{Document, Node, Target};

/// One map of the document. A key that is absent or `null` gives none.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    path: Vec<usize>,
    /// The keys above, joined by dots; empty for the whole file.
    name: String,
    entries: &'d [(String, Node)],
}

impl<'d> Section<'d> {
    /// The whole file.
    pub(super) fn root(document: &'d Document<'d>, keys: &[&str]) -> Result<Section<'d>, ConfigError> {
        match &document.root {
            Node::Map(entries) => Section { document, path: Vec::new(), name: String::new(), entries }.checked(keys),
            Node::Null => Ok(Section { document, path: Vec::new(), name: String::new(), entries: &[] }),
            other => Err(ConfigError::Value {
                place: document.place(&[], Target::Value),
                key: "configuration".into(),
                problem: format!("{other} is not allowed"),
                allowed: "the file is lines of 'key: value'".into(),
            }),
        }
    }

    /// The section below a key; it may have these keys and no others.
    pub(super) fn section(&self, key: &str, keys: &[&str], allowed: &str) -> Result<Option<Section<'d>>, ConfigError> {
        let Some((index, node)) = self.find(key) else { return Ok(None) };
        self.below(index, node, keys, allowed)
    }

    /// Every entry as a section, for keys that the user makes up.
    pub(super) fn sections(&self, keys: &[&str], allowed: &str) -> Result<Vec<(&'d str, Section<'d>)>, ConfigError> {
        let mut sections = Vec::new();
        for (index, (key, node)) in self.entries.iter().enumerate() {
            if let Some(section) = self.below(index, node, keys, allowed)? {
                sections.push((key.as_str(), section));
            }
        }
        Ok(sections)
    }

    fn below(
        &self,
        index: usize,
        node: &'d Node,
        keys: &[&str],
        allowed: &str,
    ) -> Result<Option<Section<'d>>, ConfigError> {
        let key = &self.entries[index].0;
        match node {
            Node::Null => Ok(None),
            Node::Map(entries) => {
                let path = self.path_to(&[index]);
                Section { document: self.document, path, name: self.full(key), entries }.checked(keys).map(Some)
            }
            other => Err(self.refuse(key, format!("{other} is not allowed"), allowed)),
        }
    }

    /// Text that `read` understands.
    pub(super) fn text<T>(
        &self,
        key: &str,
        allowed: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((_, node)) = self.present(key) else { return Ok(None) };
        let value = if let Node::Text(text) = node { read(text) } else { None };
        value.map(Some).ok_or_else(|| self.refuse(key, format!("{node} is not allowed"), allowed))
    }

    /// A whole number.
    pub(super) fn number(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ConfigError> {
        let Some((_, node)) = self.present(key) else { return Ok(None) };
        let value = if let Node::Number(text) = node { text.parse().ok() } else { None };
        value.filter(|number| range.contains(number)).map(Some).ok_or_else(|| {
            let allowed = match *range.end() {
                u64::MAX => format!("{key} is a whole number, {} or more", range.start()),
                end => format!("{key} is a whole number from {} to {end}", range.start()),
            };
            self.refuse(key, format!("{node} is not allowed"), &allowed)
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>, ConfigError> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.text(key, &format!("{key} is {}", words.join(" or ")), |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
        })
    }

    /// A list of texts that `read` understands.
    pub(super) fn list<T, E: Display>(
        &self,
        key: &str,
        allowed: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some((index, node)) = self.present(key) else { return Ok(None) };
        let Node::List(items) = node else { return Err(self.refuse(key, format!("{node} is not allowed"), allowed)) };
        let mut values = Vec::new();
        for (item_index, item) in items.iter().enumerate() {
            let value = match item {
                Node::Text(text) => read(text).map_err(|error| error.to_string()),
                other => Err(format!("{other} is not allowed")),
            };
            values.push(value.map_err(|problem| ConfigError::Value {
                place: self.document.place(&self.path_to(&[index, item_index]), Target::Value),
                key: self.full(key),
                problem,
                allowed: allowed.to_owned(),
            })?);
        }
        Ok(Some(values))
    }

    /// Makes an error of a value that is not there.
    pub(super) fn required<T>(&self, key: &str, allowed: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| ConfigError::Missing {
            place: Place { file: self.document.file.to_owned(), position: None },
            key: self.full(key),
            allowed: allowed.to_owned(),
        })
    }

    /// Whether the key is there, if only as `null`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// An error about the value of a key.
    pub(super) fn refuse(&self, key: &str, problem: String, allowed: &str) -> ConfigError {
        self.refuse_at(key, Target::Value, problem, allowed)
    }

    /// An error about a key that the user made up.
    pub(super) fn refuse_key(&self, key: &str, problem: String, allowed: &str) -> ConfigError {
        self.refuse_at(key, Target::Key, problem, allowed)
    }

    fn refuse_at(&self, key: &str, target: Target, problem: String, allowed: &str) -> ConfigError {
        let path = self.find(key).map_or_else(|| self.path.clone(), |(index, _)| self.path_to(&[index]));
        ConfigError::Value {
            place: self.document.place(&path, target),
            key: self.full(key),
            problem,
            allowed: allowed.to_owned(),
        }
    }

    /// Refuses unknown and repeated keys. An empty list of keys: the user makes them up.
    fn checked(self, keys: &[&str]) -> Result<Section<'d>, ConfigError> {
        let mut seen = HashSet::new();
        for (index, (key, _)) in self.entries.iter().enumerate() {
            let place = || self.document.place(&self.path_to(&[index]), Target::Key);
            if !keys.is_empty() && !keys.contains(&key.as_str()) {
                return Err(ConfigError::UnknownKey {
                    place: place(),
                    key: self.full(key),
                    allowed: suggest(key, keys),
                });
            }
            if !seen.insert(key) {
                return Err(ConfigError::Twice { place: place(), key: self.full(key) });
            }
        }
        Ok(self)
    }

    fn find(&self, key: &str) -> Option<(usize, &'d Node)> {
        let index = self.entries.iter().position(|(name, _)| name == key)?;
        Some((index, &self.entries[index].1))
    }

    fn present(&self, key: &str) -> Option<(usize, &'d Node)> {
        self.find(key).filter(|(_, node)| *node != &Node::Null)
    }

    fn path_to(&self, more: &[usize]) -> Vec<usize> {
        [self.path.as_slice(), more].concat()
    }

    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

fn suggest(key: &str, keys: &[&str]) -> String {
    match nearest(key, keys.iter().copied()).first() {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("the keys here are {}", keys.join(", ")),
    }
}
