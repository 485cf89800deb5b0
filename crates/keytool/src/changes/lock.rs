//! One keytool at a time changes files.
//!
//! A lock of the operating system, so that it ends with its process however that ends. It is held for as long as files are
//! written, never while a person or a machine is asked.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::ChangeError;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Writing a few small files takes far less, but a dozen of us may be waiting for a slow share; a process that was stopped must not
/// stop us for ever.
const PATIENCE: Duration = Duration::from_secs(120);

impl Lock {
    /// Waits for the lock. The directory it lies in must be there.
    pub(super) fn take(path: &Path) -> Result<Lock, ChangeError> {
        let write = |source| ChangeError::Write { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(write)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::Error(source)) => return Err(write(source)),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    return Err(ChangeError::Locked { path: path.to_owned() });
                }
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(20)),
            }
        }
    }
}
