//! What keeps an export from being made.

use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::catalog::CatalogError;
use crate::error::{Class, Classified};
use crate::path::RelPath;
use crate::run::RunError;

/// What keeps an export from being made. Then there is nothing under its name.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Storage or catalog can't be had.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The storage failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// There is nothing to put into it.
    #[error("nothing that is still kept was received{}", if *.in_a_time { " in that time" } else { "" })]
    Nothing {
        /// Whether a time was named.
        in_a_time: bool,
    },
    /// Something has the name already.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// It would lie among what was received.
    #[error("{} lies in the storage", .0.display())]
    InStorage(PathBuf),
    /// It would lie among what pipeline remembers.
    #[error("{} lies in the state directory", .0.display())]
    InStateDir(PathBuf),
    /// A page would replace something else.
    #[error("{} is there already, and is no page of an earlier report", .0.display())]
    NoPage(PathBuf),
    /// It does not fit there.
    #[error("{} has {free} bytes free, and {needed} are needed", .dir.display())]
    NoRoom {
        /// Where.
        dir: PathBuf,
        /// Free there.
        free: u64,
        /// For the copies alone.
        needed: u64,
    },
    /// The operating system refused.
    #[error("can't {doing} {}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What lies in the storage is not what was received.
    #[error("{path} in the storage is not what was received from {device}: {reason}")]
    Damaged {
        /// Where it lies, below the storage.
        path: RelPath,
        /// Where it came from.
        device: String,
        /// How it differs, in words.
        reason: String,
    },
    /// A line of `bag-info.txt` that is none.
    #[error("'{line}' is no line of bag-info.txt: {why}")]
    Info {
        /// As it was typed.
        line: String,
        /// Why not.
        why: String,
    },
    /// Somebody asked to stop.
    #[error("stopped before it was whole: nothing was left there")]
    Stopped,
}

impl ExportError {
    /// For `map_err`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ExportError {
        move |source| ExportError::Io { doing, path: path.to_owned(), source }
    }
}

impl Classified for ExportError {
    fn class(&self) -> Class {
        match self {
            ExportError::Run(error) => error.class(),
            ExportError::Archive(error) => error.class(),
            ExportError::Catalog(error) => error.class(),
            ExportError::Damaged { .. } => Class::Integrity,
            ExportError::NoRoom { .. } => Class::Storage,
            ExportError::Io { source, .. } => Class::of_state_dir(source),
            ExportError::Stopped => Class::Interrupted,
            ExportError::Nothing { .. }
            | ExportError::Exists(_)
            | ExportError::InStorage(_)
            | ExportError::InStateDir(_)
            | ExportError::NoPage(_)
            | ExportError::Info { .. } => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ExportError::Run(error) => return error.hint(),
            ExportError::Archive(error) => return error.hint(),
            ExportError::Catalog(error) => return error.hint(),
            ExportError::Nothing { .. } => "see what there is with `pipeline history`".into(),
            ExportError::Exists(_) => "nothing is overwritten: take another name".into(),
            ExportError::InStorage(_) => "nothing is added to the storage but what is received: write it elsewhere".into(),
            ExportError::InStateDir(_) => "only pipeline writes there: write it elsewhere".into(),
            ExportError::NoPage(_) => "only a page is overwritten: take another name".into(),
            ExportError::NoRoom { .. } => "make room, write it elsewhere, or take a shorter time".into(),
            ExportError::Io { .. } if self.class() == Class::Storage => {
                "make room there, or see why it is read-only; what was written is taken away again".into()
            }
            ExportError::Io { .. } => {
                "can the user that runs pipeline write there? A disk that was formatted elsewhere may not hold every name".into()
            }
            ExportError::Damaged { .. } => "nothing was exported; see what else differs with `pipeline verify`".into(),
            ExportError::Info { .. } => "a line is like 'Contact-Name: Ada Lovelace'".into(),
            ExportError::Stopped => "run it again".into(),
        })
    }
}
