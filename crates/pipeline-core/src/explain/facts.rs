//! What is known: catalog, configuration, hold, and a look at the storage.

use std::os::unix::ffi::OsStrExt as _;

use super::decide::{DeviceFacts, FileFacts, Left, Policy, Row, SourceFacts, Spell, Verdict, Visits};
use super::query::{Known, Question, Subject, shown};
use super::{ExplainError, Explanation, LeftFiles, Lies, Rival, When, decide, decide_device};
use crate::archive::{Archive, ArchivePath, Lying};
use crate::catalog::Catalog;
use crate::catalog::history::{self, FileRow, Kept, Outstanding, Source};
use crate::clock::now_ns;
use crate::config::{Config, FilterError, Globs};
use crate::error::one_line;
use crate::hold::{self, Standing};
use crate::path::{DeviceName, RelPath};
use crate::rebuild::unmarked;

/// Answers a question: one explanation for each thing that it may mean, at least one.
pub fn about(config: &Config, question: &Question<'_>) -> Result<Vec<Explanation>, ExplainError> {
    let catalog = Catalog::open(&config.state_dir)?;
    let history = catalog.history()?;
    // Without the storage there is less to say, and that is said.
    let opened = Archive::open(&config.storage, catalog.collector(), config.read_back)
        .and_then(|archive| archive.expect(catalog.storage()).map(|()| archive));
    let (archive, why_not) = match opened {
        Ok(archive) => (Some(archive), String::new()),
        Err(error) => (None, one_line(&error)),
    };
    let known = Known { config, history: &history, archive: archive.as_ref() };
    let hold = hold::read(&config.state_dir);
    let facts = Facts { known: &known, why_not, hold: &hold, now: When(now_ns()) };
    known.subjects(question)?.into_iter().map(|subject| facts.explain(subject)).collect()
}

struct Facts<'a> {
    known: &'a Known<'a>,
    /// Why the storage is not there.
    why_not: String,
    hold: &'a Standing,
    now: When,
}

impl Facts<'_> {
    fn explain(&self, subject: Subject) -> Result<Explanation, ExplainError> {
        match subject {
            Subject::Device(device) => self.device(&device),
            Subject::File { device, directory, known, path } => self.file(&device, &directory, known.as_ref(), path),
        }
    }

    fn file(
        &self,
        device: &DeviceName,
        directory: &[u8],
        source: Option<&Source>,
        path: RelPath,
    ) -> Result<Explanation, ExplainError> {
        let (mut rows, mut left, mut visits) = (Vec::new(), None, Visits::default());
        if let Some(source) = source {
            for received in self.known.history.files_of(source, &path)? {
                rows.push(self.row(received)?);
            }
            left = self.known.history.left(source, &path)?.map(Left::from);
            visits = self.visits(source)?;
        }
        let policy = self.policy(device, directory, Some(&path))?;
        let facts =
            FileFacts { device: device.to_string(), source: shown(directory), path, rows, left, visits, policy };
        Ok(Explanation::File(Box::new(decide(&facts, self.hold, self.now))))
    }

    fn device(&self, device: &DeviceName) -> Result<Explanation, ExplainError> {
        let history = self.known.history;
        let mut sources = Vec::new();
        for source in history.sources().iter().filter(|source| source.device == *device) {
            let on_device = history.on_device(source)?;
            let left = history.left_by_kind(source)?.into_iter();
            sources.push(SourceFacts {
                source: shown(&source.path),
                visits: self.visits(source)?,
                newest: source.newest_ns.map(When),
                kept_files: on_device.files,
                kept_bytes: on_device.bytes,
                oldest_received: on_device.oldest_received_ns.map(When),
                left: left.map(|(files, example)| LeftFiles { files, left: Left::from(example) }).collect(),
                unlisted: source.unlisted,
                policy: self.policy(device, &source.path, None)?,
            });
        }
        let configured = self.known.is_configured(device.as_str());
        let facts = DeviceFacts { device: device.to_string(), configured, sources };
        Ok(Explanation::Device(Box::new(decide_device(&facts, self.hold, self.now))))
    }

    fn visits(&self, source: &Source) -> Result<Visits, ExplainError> {
        let history = self.known.history;
        let (now, trouble) = (history.last_spell(source)?, history.trouble(source)?);
        Ok(Visits {
            last: source.visited_ns.map(When),
            succeeded: source.succeeded_ns.map(When),
            now: now.map(Spell::from),
            trouble: trouble.map(Spell::from),
        })
    }

    fn row(&self, received: FileRow) -> Result<Row, ExplainError> {
        Ok(Row {
            id: received.row,
            run: received.run,
            bytes: received.identity.size,
            digest: received.digest,
            lies: self.look(&received),
            rival: self.rival(&received)?,
            beginning: received.kept == Kept::Prefix,
            dropped: received.kept == Kept::Dropped,
            received: When(received.received_ns),
            removed: received.removed_ns.map(When),
            modified: When(received.modified_ns()),
            from_storage: received.is_found(),
            archive_path: received.archive_path,
        })
    }

    /// Who has the place whose second name this is.
    fn rival(&self, received: &FileRow) -> Result<Option<Rival>, ExplainError> {
        let FileRow { archive_path: at, device, path, kept, .. } = received;
        if *kept == Kept::Dropped || at.is_version() {
            return Ok(None);
        }
        let plain = unmarked(at.as_rel_path(), device).and_then(|plain| ArchivePath::from_bytes(plain.as_bytes()).ok());
        let Some(archive_path) = plain else { return Ok(None) };
        let holder = self.known.history.holder(&archive_path)?;
        let other = holder.filter(|holder| holder.device != device.as_str() || holder.path != *path);
        Ok(other.map(|holder| Rival { device: holder.device, path: holder.path, archive_path }))
    }

    fn look(&self, received: &FileRow) -> Lies {
        if received.kept == Kept::Dropped {
            return Lies::Unknown { reason: String::new() };
        }
        let Some(archive) = self.known.archive else { return Lies::Unknown { reason: self.why_not.clone() } };
        match archive.look(&received.archive_path) {
            Ok(Lying::File(stamp) | Lying::OtherCase(stamp)) => {
                let (found, stored) = (stamp.bytes(), received.identity.size);
                let fits = if received.kept == Kept::Prefix { found >= stored } else { found == stored };
                let found = || format!("a file of {found} bytes, where {stored} were stored");
                if fits { Lies::AsCatalogued } else { Lies::Otherwise { found: found() } }
            }
            Ok(Lying::NotAFile) => Lies::Otherwise { found: "something that is no plain file".into() },
            Ok(Lying::Nothing) => Lies::Missing,
            Err(error) => Lies::Unknown { reason: one_line(&error) },
        }
    }

    /// What the configuration wants of a device's directory, and of one file there.
    fn policy(
        &self,
        device: &DeviceName,
        directory: &[u8],
        path: Option<&RelPath>,
    ) -> Result<Option<Policy>, ExplainError> {
        let settings = self.known.config.device(device);
        if !self.known.is_configured(device.as_str()) || settings.source.as_os_str().as_bytes() != directory {
            return Ok(None);
        }
        let filter = match path {
            Some(path) => verdict(&settings.include, &settings.exclude, path)?,
            None => Verdict::Wanted,
        };
        let delete = settings.delete;
        Ok(Some(Policy { delete_after: delete.after, high_water: delete.high_water, filter }))
    }
}

impl From<history::Spell> for Spell {
    fn from(spell: history::Spell) -> Spell {
        let history::Spell { state, class, reason, hint, began_ns, last_ns, .. } = spell;
        Spell { state, class, reason, hint, since: When(began_ns), last: When(last_ns) }
    }
}

impl From<Outstanding> for Left {
    fn from(left: Outstanding) -> Left {
        Left { kind: left.kind, reason: left.reason, of: left.path, since: When(left.first_ns) }
    }
}

/// Which glob leaves a file out, by the rules of [`crate::config::Filter`].
fn verdict(include: &[String], exclude: &[String], path: &RelPath) -> Result<Verdict, FilterError> {
    for glob in exclude {
        if Globs::new(std::slice::from_ref(glob))?.matches(path) {
            return Ok(Verdict::Excluded(glob.clone()));
        }
    }
    let included = include.is_empty() || Globs::new(include)?.matches(path);
    Ok(if included { Verdict::Wanted } else { Verdict::NotIncluded })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Filter;

    #[test]
    fn a_verdict_is_the_filters() {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        let lists: [(&[&str], &[&str]); 4] =
            [(&[], &[]), (&["*.jpg"], &[]), (&[], &["*.tmp", "cache/"]), (&["*.jpg", "*.csv"], &["cache/"])];
        for (include, exclude) in lists {
            let (include, exclude) = (owned(include), owned(exclude));
            let filter = Filter::new(&include, &exclude).unwrap();
            for path in ["a.jpg", "cache/a.jpg", "x/cache/a.csv", "a.tmp", "a.txt"] {
                let path = RelPath::new(path).unwrap();
                let verdict = verdict(&include, &exclude, &path).unwrap();
                assert_eq!(verdict == Verdict::Wanted, filter.takes(&path), "{include:?} {exclude:?} {path}");
            }
        }
        let path = RelPath::new("x/cache/a.tmp").unwrap();
        let excluded = verdict(&[], &owned(&["*.csv", "cache/", "*.tmp"]), &path).unwrap();
        assert_eq!(excluded, Verdict::Excluded("cache/".into()));
    }
}
