//! Whether what is written down is true: each row of the catalog, and each line of the manifests.
//!
//! A row claims that its content lies whole at its archive path, or is the beginning of what lies there, or is no longer kept. The
//! manifests claim a digest of each file, and the real `sha256sum` is who says whether they are right.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::Command;

use local_fleet::Fleet;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};

/// What a row of the catalog claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The device that it came from.
    pub device: String,
    /// Its path there.
    pub path: Vec<u8>,
    /// How long the content is.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Where it lies below the storage.
    pub archive_path: Vec<u8>,
    /// Whether it lies there `whole`, as a `prefix`, or was `dropped`.
    pub kept: String,
    /// Whether it left the device, or something else took its place there.
    pub removed: bool,
}

/// Every row, oldest first.
///
/// # Panics
/// Where the catalog can't be read.
pub fn rows(fleet: &Fleet) -> Vec<Row> {
    with_catalog(fleet, |catalog| {
        let sql = "SELECT device, file.path, size, sha256, archive_path, kept, removed_ns IS NOT NULL
                   FROM file JOIN source ON source.id = file.source ORDER BY file.id";
        let mut statement = catalog.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            Ok(Row {
                device: row.get(0)?,
                path: row.get(1)?,
                bytes: row.get::<_, i64>(2)?.cast_unsigned(),
                sha256: row.get(3)?,
                archive_path: row.get(4)?,
                kept: row.get(5)?,
                removed: row.get(6)?,
            })
        })?;
        rows.collect()
    })
}

/// Asserts that every row is true, that the manifests are, and that they list what the rows say is there and nothing else. Needs
/// no standstill of the Pis, but that no run is under way. Returns the rows.
///
/// # Panics
/// Where something is not true.
#[track_caller]
pub fn assert_all_true(fleet: &Fleet) -> Vec<Row> {
    let rows = rows(fleet);
    let mut there = BTreeSet::new();
    for row in &rows {
        let shown = row.archive_path.escape_ascii();
        match row.kept.as_str() {
            "whole" => {
                let (found, more) = digest(fleet, row).unwrap_or_else(|error| panic!("{shown}: {error}"));
                assert!(found == row.sha256 && !more, "{shown} is not what the catalog says: {row:?}");
                there.insert(row.archive_path.clone());
            }
            "prefix" => {
                let (found, _) = digest(fleet, row).unwrap_or_else(|error| panic!("{shown}: {error}"));
                assert!(found == row.sha256, "{shown} does not begin as the catalog says: {row:?}");
            }
            _ => {}
        }
    }
    let listed = manifests_hold(fleet);
    let shown =
        |paths: &BTreeSet<Vec<u8>>| paths.iter().map(|path| path.escape_ascii().to_string()).collect::<Vec<_>>();
    assert_eq!(shown(&listed), shown(&there), "what the manifests list, and what the catalog says is there");
    rows
}

/// Digest of as many bytes of a row's file as the row has, and whether there are more.
fn digest(fleet: &Fleet, row: &Row) -> io::Result<([u8; 32], bool)> {
    let path = PathBuf::from(std::ffi::OsString::from_vec(row.archive_path.clone()));
    let mut file = File::open(fleet.storage().join(path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut begin = (&mut file).take(row.bytes);
    loop {
        match begin.read(&mut buffer)? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    Ok((digest.finalize().into(), file.read(&mut [0])? > 0))
}

/// Asserts that `sha256sum --check` accepts every line of every manifest, and returns the files that they list. Names with a
/// backslash or a line's end in them are not for this.
///
/// # Panics
/// Where it finds fault.
#[track_caller]
pub fn manifests_hold(fleet: &Fleet) -> BTreeSet<Vec<u8>> {
    // Before the first file has arrived there is none.
    if !fleet.storage().join("SHA256SUMS").exists() {
        return BTreeSet::new();
    }
    let mut shell = Command::new("sh");
    let check = "sha256sum --check --strict SHA256SUMS/*/*.sha256";
    let output = shell.current_dir(fleet.storage()).args(["-c", check]).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("sh: {error}"));
    let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}{}", said.0, said.1);
    let lines = output.stdout.split(|&byte| byte == b'\n');
    lines.filter_map(|line| line.strip_suffix(b": OK")).map(<[u8]>::to_vec).collect()
}

/// Reads a copy of the catalog: to open the real one would repair it, which is the next run's business.
///
/// # Panics
/// Where it can't be read.
pub fn with_catalog<T>(fleet: &Fleet, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> T {
    let copied = || -> io::Result<tempfile::TempDir> {
        let copy = tempfile::tempdir()?;
        for name in ["catalog.db", "catalog.db-wal"] {
            let from = fleet.state_dir().join(name);
            if from.exists() {
                fs::copy(from, copy.path().join(name))?;
            }
        }
        Ok(copy)
    };
    let copy = copied().unwrap_or_else(|error| panic!("the catalog can't be copied: {error}"));
    let open = Connection::open_with_flags(copy.path().join("catalog.db"), OpenFlags::SQLITE_OPEN_READ_WRITE);
    open.and_then(|catalog| read(&catalog)).unwrap_or_else(|error| panic!("the catalog can't be read: {error}"))
}
