//! The step between the two halves of a commit: where content is that makes room for other content.

use super::{CatalogError, Recorder};
use crate::archive::Superseded;

/// Proof that the catalog says where superseded content is from here on. [`Archive::commit`](crate::archive::Archive::commit)
/// takes it.
#[derive(Debug)]
pub struct Noted(());

impl Recorder {
    /// Writes down what becomes of content that makes room.
    pub fn supersede(&mut self, superseded: &[Superseded]) -> Result<Noted, CatalogError> {
        debug_assert!(superseded.is_empty(), "nothing makes room yet");
        Ok(Noted(()))
    }
}

impl Noted {
    /// For tests of the archive alone.
    #[cfg(test)]
    pub(crate) fn by_nobody() -> Noted {
        Noted(())
    }
}
