//! The step between the two halves of a commit: where content is that makes room for other content.
//!
//! Guarantees that each row is true when it is written and stays so whether the second half of the commit happens or not: a content
//! that becomes a version has its second name by then, and what a file has grown from is still the beginning of itself.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::visit::IDENTITY;
use super::{CatalogError, Recorder, sqlite};
use crate::archive::{ArchivePath, Became, Superseded};
use crate::clock::now_ns;
use crate::path::RelPath;

/// Proof that the catalog says where superseded content is from here on. [`Archive::commit`](crate::archive::Archive::commit)
/// takes it.
#[derive(Debug)]
pub struct Noted(());

impl Recorder {
    /// Whether content of another device lies at an archive path, or is the beginning of what lies there. Holds as long as the path is
    /// claimed.
    pub fn is_shared(&self, at: &ArchivePath) -> Result<bool, CatalogError> {
        is_anothers(&self.conn, at, self.source).map_err(|e| sqlite(&self.file, "looking up an archive path", e))
    }

    /// Writes down what becomes of content that makes room, all of it or nothing, synced. `sources` says which file of the device
    /// each archive path is for.
    pub fn supersede(
        &mut self,
        superseded: &[Superseded],
        sources: &HashMap<ArchivePath, RelPath>,
    ) -> Result<Noted, CatalogError> {
        if superseded.is_empty() {
            return Ok(Noted(()));
        }
        let (source, run) = (self.source, self.run);
        let mut note = || {
            let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for one in superseded {
                if one.became == Became::Dropped && is_anothers(&transaction, &one.path, source)? {
                    return Ok(Some(one.path.clone()));
                }
                let known = is_known(&transaction, one)?;
                match &one.became {
                    Became::Version(version) => {
                        move_rows(&transaction, one, version, known)?;
                        if let (false, Some(path)) = (known, sources.get(&one.path)) {
                            add_row(&transaction, one, version, (source, run, path))?;
                        }
                    }
                    Became::Prefix => shorten_rows(&transaction, one, known)?,
                    Became::Dropped => end_rows(&transaction, one)?,
                }
            }
            transaction.commit()?;
            Ok(None)
        };
        match note().map_err(|e| sqlite(&self.file, "noting what makes room", e))? {
            Some(path) => Err(CatalogError::Shared { path }),
            None => Ok(Noted(())),
        }
    }
}

/// Whether a row says that this very content lies there. Only then are the rows of what it has grown from true as well.
fn is_known(transaction: &Transaction<'_>, one: &Superseded) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM file
               WHERE archive_path = ?1 AND kept <> 'dropped' AND sha256 = ?2 AND size = ?3)";
    let digest = one.held.digest.as_bytes();
    let values = params![one.path.as_bytes(), digest, one.held.bytes.cast_signed()];
    transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))
}

/// Whether another device has a row for what lies there: one of the two took it over when the catalog did not know that it was whole.
fn is_anothers(conn: &Connection, at: &ArchivePath, source: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM file JOIN source ON source.id = file.source
               WHERE archive_path = ?1 AND kept <> 'dropped' AND device <> (SELECT device FROM source WHERE id = ?2))";
    conn.prepare_cached(sql)?.query_row(params![at.as_bytes(), source], |row| row.get(0))
}

/// The content lies at `version` as well, whole: its rows say so from now on, and those of what it has grown from.
fn move_rows(
    transaction: &Transaction<'_>,
    one: &Superseded,
    version: &ArchivePath,
    known: bool,
) -> rusqlite::Result<()> {
    let (path, digest) = (one.path.as_bytes(), one.held.digest.as_bytes());
    end_others(transaction, one, known)?;
    let sql = "UPDATE file SET archive_path = ?3, kept = CASE sha256 WHEN ?2 THEN 'whole' ELSE kept END
               WHERE archive_path = ?1 AND kept <> 'dropped'";
    transaction.prepare_cached(sql)?.execute(params![path, digest, version.as_bytes()]).map(drop)
}

/// The content is the beginning of a longer one. Such a row licenses no removal, because what it is for can't be read back alone:
/// so no row that does is ever of this kind.
fn shorten_rows(transaction: &Transaction<'_>, one: &Superseded, known: bool) -> rusqlite::Result<()> {
    end_others(transaction, one, known)?;
    let sql = "UPDATE file SET kept = 'prefix', removed_ns = coalesce(removed_ns, ?2)
               WHERE archive_path = ?1 AND kept = 'whole'";
    transaction.prepare_cached(sql)?.execute(params![one.path.as_bytes(), now_ns()]).map(drop)
}

/// Nothing of what lies there is kept.
fn end_rows(transaction: &Transaction<'_>, one: &Superseded) -> rusqlite::Result<()> {
    let sql = "UPDATE file SET kept = 'dropped', removed_ns = coalesce(removed_ns, ?2)
               WHERE archive_path = ?1 AND kept <> 'dropped'";
    transaction.prepare_cached(sql)?.execute(params![one.path.as_bytes(), now_ns()]).map(drop)
}

/// Rows that claim the place for content that does not lie there were made untrue behind our back.
fn end_others(transaction: &Transaction<'_>, one: &Superseded, known: bool) -> rusqlite::Result<()> {
    if !known {
        return end_rows(transaction, one);
    }
    let sql = "UPDATE file SET kept = 'dropped', removed_ns = coalesce(removed_ns, ?3)
               WHERE archive_path = ?1 AND kept = 'whole' AND sha256 <> ?2";
    let values = params![one.path.as_bytes(), one.held.digest.as_bytes(), now_ns()];
    transaction.prepare_cached(sql)?.execute(values).map(drop)
}

/// A row for content that nobody had catalogued: a place and a digest, never a licence.
fn add_row(
    transaction: &Transaction<'_>,
    one: &Superseded,
    version: &ArchivePath,
    (source, run, path): (i64, i64, &RelPath),
) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO file
         (source, path, {IDENTITY}, clock_offset_ns, sha256, archive_path, kept, received_ns, removed_ns, run)
         SELECT ?1, ?2, ?3, 0, 0, 0, 0, 0, ?4, ?5, 'whole', ?6, ?6, ?7
         WHERE NOT EXISTS (SELECT 1 FROM file WHERE archive_path = ?5 AND sha256 = ?4 AND kept = 'whole')"
    );
    let (bytes, digest) = (one.held.bytes.cast_signed(), one.held.digest.as_bytes());
    let values = params![source, path.as_bytes(), bytes, digest, version.as_bytes(), now_ns(), run];
    transaction.prepare_cached(&sql)?.execute(values).map(drop)
}

impl Noted {
    /// For tests of the archive alone.
    #[cfg(test)]
    pub(crate) fn by_nobody() -> Noted {
        Noted(())
    }
}
