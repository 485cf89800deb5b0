//! What can be wrong with the configuration file.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Class, Classified};

/// A place in the configuration file. Displays as `FILE:LINE:COLUMN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line and column, from 1; none where the whole file is meant.
    pub position: Option<(usize, usize)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.position {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// Why a configuration can't be used. Always the first thing that is wrong, never a list.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not YAML.
    #[error("{place}: not valid YAML: {problem}")]
    Syntax {
        /// Where.
        place: Place,
        /// The YAML reader's words.
        problem: String,
    },
    /// A key that means nothing here.
    #[error("{place}: unknown key '{key}'")]
    UnknownKey {
        /// Where the key stands.
        place: Place,
        /// The key with those above it: `delete.befor`.
        key: String,
        /// What may stand there.
        allowed: String,
    },
    /// A key that is there twice.
    #[error("{place}: '{key}' is there twice")]
    Twice {
        /// Where it stands the second time.
        place: Place,
        /// The key with those above it.
        key: String,
    },
    /// A key that must be there.
    #[error("{place}: '{key}' is missing")]
    Missing {
        /// The section, or the file.
        place: Place,
        /// The key with those above it.
        key: String,
        /// What it may be.
        allowed: String,
    },
    /// A value that can't be.
    #[error("{place}: {key}: {problem}")]
    Value {
        /// Where the value stands.
        place: Place,
        /// The key with those above it.
        key: String,
        /// The value, and what is wrong with it.
        problem: String,
        /// What it may be.
        allowed: String,
    },
}

impl Classified for ConfigError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ConfigError::Read { .. } => "name another file with --config FILE, or make this one readable".into(),
            ConfigError::Syntax { .. } => {
                "quote what YAML could take for something else: \"*.tmp\", \"pi[1-9]\", \"!pi3\"; indent with blanks"
                    .into()
            }
            ConfigError::Twice { .. } => "keep one of them".into(),
            ConfigError::UnknownKey { allowed, .. }
            | ConfigError::Missing { allowed, .. }
            | ConfigError::Value { allowed, .. } => allowed.clone(),
        })
    }
}
