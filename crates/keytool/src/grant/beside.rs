//! Lines that let a key in beside its grant: sshd lets in whom any line lets in, and a grant that ends does not end those.

use std::fmt;

use super::{Clock, Grant, Left};
use crate::authorized_keys::{AuthorizedKeys, Entry, Key};
use crate::shell::one_line;

/// A line that lets a key in, and is no grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Whom it lets in.
    pub key: Key,
    /// Where it is: `FILE:LINE`.
    pub place: String,
    comment: String,
}

/// With the place and what somebody has called it.
impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        match one_line(&self.comment).as_str() {
            "" => Ok(()),
            comment => write!(f, " ('{comment}')"),
        }
    }
}

/// The lines of these files, each with its name, that are about a key which `wanted` names and are no grants. What is over lets
/// nobody in.
pub fn beside(files: &[(&str, AuthorizedKeys)], clock: &Clock, wanted: impl Fn(&Key) -> bool) -> Vec<Beside> {
    let is_one = |entry: &Entry| wanted(&entry.key) && Grant::of(entry).is_none();
    let mut found = Vec::new();
    for (name, keys) in files {
        let lines = keys.numbered().into_iter().filter(|(_, entry)| is_one(entry));
        found.extend(lines.filter(|(_, entry)| super::left(entry, clock) != Left::Over).map(|(line, entry)| Beside {
            key: entry.key,
            place: format!("{name}:{line}"),
            comment: entry.comment,
        }));
    }
    found
}
