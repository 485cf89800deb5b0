//! SQLite: what was received, from where, and when it was removed.

use crate::entry::Identity;
use crate::path::RelPath;

/// A stored file whose row is committed.
#[derive(Debug)]
pub struct Catalogued {
    row: i64,
    path: RelPath,
    identity: Identity,
}

impl Catalogued {
    pub(crate) fn into_parts(self) -> (i64, RelPath, Identity) {
        (self.row, self.path, self.identity)
    }
}
