//! Why there is nothing to explain.

use crate::catalog::CatalogError;
use crate::config::FilterError;
use crate::error::{Class, Classified};

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The catalog can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The filters of the configuration are none.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Nobody knows such a device.
    #[error("neither the configuration nor the catalog knows a device '{name}'")]
    NoDevice {
        /// As typed.
        name: String,
        /// Devices that are nearly the same.
        near: Vec<String>,
    },
    /// Nothing of that name was ever seen, and it does not say on which device it should be.
    #[error("no visit has seen '{path}', and nothing was ever stored there")]
    Unknown {
        /// As typed.
        path: String,
        /// Devices that are nearly called so.
        near: Vec<String>,
    },
    /// Several files, which nobody can explain in one paragraph.
    #[error("no visit has seen a file called '{path}'")]
    Glob {
        /// As typed.
        path: String,
        /// The device, where one was named.
        device: Option<String>,
    },
    /// All that was ever received.
    #[error("'{path}' is the storage itself")]
    Storage {
        /// As typed.
        path: String,
    },
    /// Many files at once.
    #[error("'{path}' is a directory that {} came from", crate::event::files(*files))]
    Directory {
        /// As typed.
        path: String,
        /// How many files there are below it.
        files: u64,
    },
    /// A path on a device that no visit looks at.
    #[error("'{path}' is not below what is received of {device}: {}", .sources.join(", "))]
    Outside {
        /// The device.
        device: String,
        /// As typed.
        path: String,
        /// Its source directories.
        sources: Vec<String>,
    },
    /// It can't be a path.
    #[error("'{path}' names no file")]
    NotAPath {
        /// As typed.
        path: String,
    },
}

impl Classified for ExplainError {
    fn class(&self) -> Class {
        match self {
            ExplainError::Catalog(error) => error.class(),
            ExplainError::Filter(error) => error.class(),
            _ => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ExplainError::Catalog(error) => return error.hint(),
            ExplainError::Filter(error) => return error.hint(),
            ExplainError::NoDevice { near, .. } if !near.is_empty() => {
                format!("did you mean '{}'?", near.join("' or '"))
            }
            ExplainError::NoDevice { .. } => "devices are named as in `hosts`, or as when their files came".into(),
            ExplainError::Unknown { near, .. } if !near.is_empty() => {
                format!("no device is called so either: did you mean '{}'?", near.join("' or '"))
            }
            ExplainError::Unknown { path, .. } if !path.contains('/') => {
                "no device is called so either. For a file that never came, name its device first: pipeline explain raspberry31 a.jpg"
                    .into()
            }
            ExplainError::Glob { path, device } => {
                let host = device.as_ref().map(|device| format!("{device} ")).unwrap_or_default();
                format!("it explains one file at a time; `pipeline history files {host}--path '{path}'` lists those of a glob")
            }
            ExplainError::Storage { .. } => {
                "name a file in it, or a device; `pipeline history files` lists what came, `pipeline verify` reads what lies there"
                    .into()
            }
            ExplainError::Unknown { .. } => {
                "for a file that never came, name the device first: pipeline explain raspberry31 2026-11-22/a.jpg"
                    .into()
            }
            ExplainError::Directory { .. } => {
                "name one of them; `pipeline history files --path 'DIRECTORY/'` lists them".into()
            }
            ExplainError::Outside { .. } => "nothing else on the device is looked at, received or removed".into(),
            ExplainError::NotAPath { .. } => {
                "a path is below the storage, or on a device: as it is there, or below its source directory".into()
            }
        })
    }
}
