//! The catalog as anyone may read it, and whether what it says is so.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use pipeline_core::digest::Digest;

/// A row of `file`.
#[derive(Debug)]
pub struct Row {
    pub device: String,
    pub path: Vec<u8>,
    pub size: usize,
    pub digest: Vec<u8>,
    pub archive_path: Vec<u8>,
    pub kept: String,
    pub removed: bool,
}

impl Row {
    /// Whether the content is where it is said to be.
    pub fn is_true(&self, storage: &Path) -> bool {
        let content = || fs::read(storage.join(std::ffi::OsStr::from_bytes(&self.archive_path))).unwrap_or_default();
        let is_it = |content: &[u8]| Digest::of(content).as_bytes()[..] == self.digest[..];
        match self.kept.as_str() {
            "whole" => is_it(&content()),
            // Whatever licenses a removal can be read back.
            "prefix" => self.removed && content().get(..self.size).is_some_and(is_it),
            kept => kept == "dropped" && self.removed,
        }
    }
}

/// All rows.
pub fn rows(state_dir: &Path) -> Vec<Row> {
    let conn = rusqlite::Connection::open(state_dir.join("catalog.db")).unwrap();
    let sql = "SELECT device, file.path, size, sha256, archive_path, kept, removed_ns IS NOT NULL
               FROM file JOIN source ON source.id = file.source";
    let mut statement = conn.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            device: row.get(0)?,
            path: row.get(1)?,
            size: usize::try_from(row.get::<_, i64>(2)?).unwrap(),
            digest: row.get(3)?,
            archive_path: row.get(4)?,
            kept: row.get(5)?,
            removed: row.get(6)?,
        })
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}
