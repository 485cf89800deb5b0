//! Why a host gets no entry.

use pipeline_core::error::{Class, Classified};
use program::words::printable;

/// A value that OpenSSH would read as something else, or not at all: one such line, and every `ssh` of this user fails.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not one plain word.
    #[error("{what} '{}' can't stand in an OpenSSH config", printable(value))]
    Word {
        /// What it is.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// A path that no way of quoting makes readable.
    #[error("the path '{}' can't stand in an OpenSSH config", printable(path))]
    Path {
        /// The path.
        path: String,
    },
}

impl Classified for EntryError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            EntryError::Word { .. } => "give it without blanks, quotes and the signs of a shell".into(),
            EntryError::Path { .. } => "choose a path without quotes, backslashes, '${' and control characters".into(),
        })
    }
}
