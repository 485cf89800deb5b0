//! What was ever offered, and whether each file of it is where the promise says: complete on its Pi or complete in the archive.
//!
//! A look needs no standstill. It looks at the Pis first: what is no longer there must be in the archive from then on, and an
//! archive only grows. A file that was hashed before is hashed again only if its inode, size or times have changed since.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use local_fleet::Fleet;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::truth::with_catalog;

/// What the storage may hold at its top besides the devices' directories.
const OURS: [&[u8]; 2] = [b".pipeline", b"SHA256SUMS"];

type Sum = [u8; 32];

/// Everything that was offered on one fleet.
#[derive(Debug, Default)]
pub struct Ledger {
    offered: BTreeMap<Vec<u8>, Sum>,
    known: HashMap<Stamp, Sum>,
}

/// What changes whenever content does.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// How far each file had come at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Names in staging.
    pub staged: BTreeSet<Vec<u8>>,
    /// The others, by the path in the archive.
    pub files: BTreeMap<Vec<u8>, Stage>,
}

/// How far one file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// On the Pi alone.
    Offered,
    /// Under its final name, and in no catalog.
    Placed,
    /// In the catalog, and still on the Pi.
    Catalogued,
    /// Gone from the Pi, which the catalog does not know yet.
    Removed,
    /// The catalog knows that it is gone from the Pi.
    Noted,
}

impl Ledger {
    /// Puts a file on a Pi that has been there for an hour, and returns its path in the archive. No path may be used twice.
    ///
    /// # Panics
    /// Where it can't be written.
    pub fn offer(&mut self, fleet: &Fleet, pi: usize, path: &[u8], content: &[u8]) -> Vec<u8> {
        let modified = SystemTime::now() - Duration::from_secs(3600);
        fleet.write(pi, path, content, modified).unwrap_or_else(|error| panic!("{error}"));
        let path = [fleet.pi(pi).name().as_bytes(), b"/", path].concat();
        let replaced = self.offered.insert(path.clone(), Sha256::digest(content).into());
        assert!(replaced.is_none(), "a path was offered twice");
        path
    }

    /// How many files were offered.
    pub fn len(&self) -> usize {
        self.offered.len()
    }

    /// Whether nothing was offered yet.
    pub fn is_empty(&self) -> bool {
        self.offered.is_empty()
    }

    /// Asserts the promise, and says how far each file has come.
    ///
    /// # Panics
    /// Where a file is complete in neither place; where anything but a complete file has a final name; where the storage holds
    /// what is neither a file of a Pi nor ours; where a file is gone from its Pi without a row in the catalog, or a row has no file.
    pub fn look(&mut self, fleet: &Fleet) -> Look {
        let mut on_pis = BTreeMap::new();
        for pi in fleet.pis() {
            let files = self.sums(&pi.source()).unwrap_or_else(|error| panic!("{}: {error}", pi.name()));
            on_pis.extend(files.into_iter().map(|(path, sum)| ([pi.name().as_bytes(), b"/", &path].concat(), sum)));
        }
        let rows = rows(fleet);
        let mut archived = self.sums(&fleet.storage()).unwrap_or_else(|error| panic!("storage: {error}"));
        let ours = |path: &[u8], name: &[u8]| path.strip_prefix(name).is_some_and(|rest| rest.starts_with(b"/"));
        let staged = archived.keys().filter(|path| ours(path, b".pipeline/staging")).cloned().collect();
        archived.retain(|path, _| !OURS.iter().any(|name| ours(path, name)));

        for (path, sum) in archived.iter().chain(&on_pis) {
            let shown = path.escape_ascii();
            let offered = self.offered.get(path).unwrap_or_else(|| panic!("{shown} was never offered"));
            assert_eq!(sum, offered, "the content of {shown}");
        }
        for entry in fs::read_dir(fleet.storage()).unwrap_or_else(|error| panic!("storage: {error}")) {
            let name = entry.unwrap_or_else(|error| panic!("storage: {error}")).file_name();
            let expected = OURS.contains(&name.as_bytes()) || fleet.pis().iter().any(|pi| name == pi.name());
            assert!(expected, "{name:?} was added to the storage");
        }
        for (path, (sum, _)) in &rows {
            assert_eq!(archived.get(path), Some(sum), "a row, and no such file: {}", path.escape_ascii());
        }
        let stage = |path: &Vec<u8>| {
            let (on_pi, placed) = (on_pis.contains_key(path), archived.contains_key(path));
            assert!(on_pi || placed, "LOST: {}", path.escape_ascii());
            match rows.get(path) {
                None if !on_pi => panic!("removed without a row: {}", path.escape_ascii()),
                None if placed => Stage::Placed,
                None => Stage::Offered,
                Some(_) if on_pi => Stage::Catalogued,
                Some((_, false)) => Stage::Removed,
                Some((_, true)) => Stage::Noted,
            }
        };
        Look { staged, files: self.offered.keys().map(|path| (path.clone(), stage(path))).collect() }
    }

    /// Asserts that nothing is left to do: all is in the archive, catalogued once and noted as removed; Pis and staging are empty;
    /// and `sha256sum --check` accepts each file.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn expect_finished(&mut self, fleet: &Fleet) -> Look {
        let look = self.look(fleet);
        assert!(look.staged.is_empty(), "left in staging: {:?}", look.staged.len());
        for (path, stage) in &look.files {
            assert_eq!(*stage, Stage::Noted, "{}", path.escape_ascii());
        }
        let count =
            |catalog: &Connection| catalog.query_row("SELECT count(*) FROM file", [], |row| row.get::<_, i64>(0));
        assert_eq!(usize::try_from(with_catalog(fleet, count)), Ok(self.offered.len()), "rows in the catalog");

        let mut shell = Command::new("sh");
        shell.current_dir(fleet.storage()).args(["-c", "sha256sum --check SHA256SUMS/*/*.sha256"]).env("LC_ALL", "C");
        let output = shell.output().unwrap_or_else(|error| panic!("sh: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        // A killed run may have listed a file that the next one lists again.
        let accepted: BTreeSet<_> =
            output.stdout.split(|&byte| byte == b'\n').filter(|l| l.ends_with(b": OK")).collect();
        assert_eq!(accepted.len(), self.offered.len(), "files that the manifests list");
        look
    }

    /// Forgets what was hashed, so that the next look reads every byte again.
    pub fn forget_sums(&mut self) {
        self.known.clear();
    }

    /// The digest of each regular file below a directory.
    fn sums(&mut self, root: &Path) -> io::Result<BTreeMap<Vec<u8>, Sum>> {
        let (mut found, mut pending) = (BTreeMap::new(), vec![PathBuf::new()]);
        while let Some(dir) = pending.pop() {
            let entries = match fs::read_dir(root.join(&dir)) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let path = dir.join(entry.file_name());
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    pending.push(path);
                    continue;
                }
                assert!(kind.is_file(), "{} is neither file nor directory", path.display());
                match self.sum(&entry.path()) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    sum => drop(found.insert(path.into_os_string().into_vec(), sum?)),
                }
            }
        }
        Ok(found)
    }

    fn sum(&mut self, path: &Path) -> io::Result<Sum> {
        let mut file = File::open(path)?;
        let stat = file.metadata()?;
        let stamp =
            (stat.dev(), stat.ino(), stat.size(), stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec());
        if let Some(sum) = self.known.get(&stamp) {
            return Ok(*sum);
        }
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => digest.update(&buffer[..read]),
            }
        }
        let sum = digest.finalize().into();
        self.known.insert(stamp, sum);
        Ok(sum)
    }
}

/// Digest and whether the removal is noted, by archive path.
fn rows(fleet: &Fleet) -> BTreeMap<Vec<u8>, (Sum, bool)> {
    with_catalog(fleet, |catalog| {
        let mut statement = catalog.prepare("SELECT archive_path, sha256, removed_ns IS NOT NULL FROM file")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        rows.collect()
    })
}

/// The names that are left in the directory of the Pi's agents.
///
/// # Panics
/// Where there is no such directory.
pub fn agents(fleet: &Fleet, pi: usize) -> Vec<OsString> {
    let dir = fleet.pi(pi).home().join(".cache/pipeline");
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.flatten().map(|entry| entry.file_name()).collect()
}
