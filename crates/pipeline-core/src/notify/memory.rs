//! What the command has heard, from run to run: a small file in the state directory.
//!
//! Guarantees that it is whole or absent, and that what is written is read again, however many devices are in trouble. Lost or
//! damaged it is as if nothing had been told: it is told again.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::NotifyError;
use super::troubles::Trouble;
use crate::replace::replace;

/// In the state directory.
pub(super) const FILE_NAME: &str = "notify.json";

/// Sixteen thousand devices, each with a trouble of as much text as is kept of it, in the longest way that JSON has of writing it.
/// What is longer is no file of ours.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Of a reason and of a hint no more is remembered. What a device said may be long, and is told in full while it is news.
const MAX_TEXT_CHARS: usize = 300;

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

    /// What is remembered of these.
    pub(super) fn of(mut troubles: Vec<Trouble>) -> Memory {
        for trouble in &mut troubles {
            cut(&mut trouble.reason);
            trouble.hint.iter_mut().for_each(cut);
        }
        Memory { troubles }
    }

    pub(super) fn write(&self, state_dir: &Path) -> Result<(), NotifyError> {
        let file = state_dir.join(FILE_NAME);
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        text.and_then(|text| replace(&file, 0o600, &text)).map_err(|source| NotifyError::Memory { file, source })
    }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT_CHARS) {
        text.truncate(end);
        text.push('…');
    }
}
