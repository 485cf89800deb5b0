//! One run at a time for each state directory, and beside it one verification.
//!
//! A lock of the operating system, so that it ends with its process however that ends; the file's text says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Class, Classified, STATE_DISK_HINT};

/// What excludes another of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Whatever changes storage, catalog or devices.
    Run,
    /// Reading the storage again. It takes hours, and a run may begin meanwhile.
    Verification,
}

impl Work {
    fn file_name(self) -> &'static str {
        match self {
            Work::Run => "lock",
            Work::Verification => "verify.lock",
        }
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Work::Run => "run",
            Work::Verification => "verification",
        })
    }
}

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another one holds it.
    #[error("another {work} is under way: {holder}")]
    Held {
        /// What it keeps out.
        work: Work,
        /// What the lock file says: process and time.
        holder: String,
        /// The lock file.
        file: PathBuf,
    },
    /// The state directory can't be used.
    #[error("can't lock {}", .file.display())]
    Io {
        /// The lock file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Classified for LockError {
    fn class(&self) -> Class {
        match self {
            LockError::Held { .. } => Class::Locked,
            LockError::Io { source, .. } => Class::of_state_dir(source),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            LockError::Held { .. } => "wait until it ends; the lock goes with its process".into(),
            LockError::Io { .. } if self.class() == Class::Storage => STATE_DISK_HINT.into(),
            LockError::Io { .. } => "run `pipeline init` once, as the user that runs `pipeline sync`".into(),
        })
    }
}

impl Lock {
    /// Takes the lock of a state directory for a run, without waiting.
    pub fn acquire(state_dir: &Path) -> Result<Lock, LockError> {
        Lock::acquire_for(Work::Run, state_dir)
    }

    /// Takes the lock for this work, without waiting.
    pub fn acquire_for(work: Work, state_dir: &Path) -> Result<Lock, LockError> {
        let path = state_dir.join(work.file_name());
        let io = |source| LockError::Io { file: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // It may be just now writing: then the text is short, which is no harm.
                file.read_to_string(&mut holder).ok();
                return Err(LockError::Held { work, holder: holder.trim().to_owned(), file: path });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let since = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let text = format!("process {} since {since}\n", std::process::id());
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes())).map_err(io)?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_second_run_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::acquire(dir.path()).unwrap();
        let _beside = Lock::acquire_for(Work::Verification, dir.path()).unwrap();
        let error = Lock::acquire(dir.path()).unwrap_err();
        assert_eq!(error.class(), Class::Locked);
        assert!(error.to_string().contains(&format!("process {} since 2", std::process::id())), "{error}");
        drop(first);
        Lock::acquire(dir.path()).unwrap();
    }
}
