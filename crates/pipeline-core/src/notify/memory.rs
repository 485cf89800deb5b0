//! What the command has heard, from run to run: a small file in the state directory.
//!
//! Guarantees that it is whole or absent. Lost or damaged it is as if nothing had been told: it is told again.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::NotifyError;
use super::troubles::Trouble;
use crate::replace::replace;

/// In the state directory.
pub(super) const FILE_NAME: &str = "notify.json";

/// A thousand devices, each with a trouble of a kilobyte.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// As it is written.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub troubles: Vec<Trouble>,
}

impl Memory {
    pub(super) fn read(state_dir: &Path) -> Memory {
        let read = || -> io::Result<Memory> {
            let mut text = Vec::new();
            File::open(state_dir.join(FILE_NAME))?.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
            Ok(serde_json::from_slice(&text)?)
        };
        read().unwrap_or_default()
    }

    pub(super) fn write(&self, state_dir: &Path) -> Result<(), NotifyError> {
        let file = state_dir.join(FILE_NAME);
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        text.and_then(|text| replace(&file, 0o600, &text)).map_err(|source| NotifyError::Memory { file, source })
    }
}
