//! A lost catalog, made anew from the storage and what its manifests list.
//!
//! Guarantees that it costs no data whatever the manifests say. A row that is made here holds a place, a digest and a device,
//! and never a licence to remove: when a device offers the file again, its stored bytes are read and compared before they count.
//! So the word of a manifest is enough, and no content is read here; one look at each file finds what is gone. There is a whole
//! new catalog at the end or none, and one that is there already is left alone. Files that no manifest lists are left to the
//! visits, which take them over when a device offers them ([`crate::sync`]).

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::archive::{Archive, ArchiveError, Line, Lying, Manifest};
use crate::cancel::Cancel;
use crate::catalog::{CatalogError, Draft, Listed, Origin};
use crate::config::Config;
use crate::error::{Class, Classified};
use crate::event::{Event, Observer, RebuildReport};
use crate::path::{DeviceName, RelPath};
use crate::plan::beside;
use crate::run::{Lock, LockError};

/// What [`beside`] writes behind the device's name: `~0123abcd`.
const HASH_BYTES: usize = 9;

/// So many files are in memory at a time.
const PAGE: usize = 1000;

/// What keeps a catalog from being made.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A run is under way, or the lock can't be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The storage can't be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The catalog can't be made.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Somebody asked to stop.
    #[error("stopped before the catalog was whole: none was made")]
    Stopped,
}

impl Classified for RebuildError {
    fn class(&self) -> Class {
        match self {
            RebuildError::Lock(error) => error.class(),
            RebuildError::Archive(error) => error.class(),
            RebuildError::Catalog(error) => error.class(),
            RebuildError::Stopped => Class::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RebuildError::Lock(error) => error.hint(),
            RebuildError::Archive(error) => error.hint(),
            RebuildError::Catalog(error) => error.hint(),
            RebuildError::Stopped => Some("run it again".into()),
        }
    }
}

/// Makes the catalog of a storage from its manifests. Fails where there is one already, and where the storage has no marker.
pub fn rebuild(config: &Config, observer: &dyn Observer, cancel: &Cancel) -> Result<RebuildReport, RebuildError> {
    let archive = Archive::open(&config.storage, "rebuild", config.read_back)?;
    let state_error = |source| CatalogError::StateDir { dir: config.state_dir.clone(), source };
    std::fs::create_dir_all(&config.state_dir).map_err(state_error)?;
    let _lock = Lock::acquire(&config.state_dir)?;
    let draft = Draft::begin(&config.state_dir, archive.id())?;
    let mut rebuild = Rebuild { config, archive, draft, observer, cancel, report: RebuildReport::default() };
    rebuild.read_manifests()?;
    rebuild.look_at_files()?;
    // A share that went away meanwhile has looked as if its files were gone.
    rebuild.archive.confirm()?;
    rebuild.draft.finish()?;
    observer.event(&Event::CatalogRebuilt(rebuild.report));
    Ok(rebuild.report)
}

struct Rebuild<'a> {
    config: &'a Config,
    archive: Archive,
    draft: Draft,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    report: RebuildReport,
}

impl Rebuild<'_> {
    fn read_manifests(&mut self) -> Result<(), RebuildError> {
        for manifest in self.archive.manifests()? {
            self.go_on()?;
            self.report.manifests += 1;
            let stored_ns = midnight_ns(manifest.date());
            let device = manifest.device().as_str();
            for (number, line) in (1..).zip(self.archive.lines(&manifest)?) {
                self.go_on()?;
                self.report.lines += 1;
                match line? {
                    Line::File { path, digest } => {
                        self.draft.list(&Listed { path, digest, device: device.to_owned(), stored_ns })?;
                    }
                    Line::Bad(reason) => skip_line(self.observer, &mut self.report, &manifest, number, reason),
                }
            }
        }
        Ok(())
    }

    fn look_at_files(&mut self) -> Result<(), RebuildError> {
        let mut last = None;
        loop {
            self.go_on()?;
            let page = self.draft.listed_after(last.as_ref(), PAGE)?;
            let Some(end) = page.last() else { return Ok(()) };
            last = Some(end.path.clone());
            for listed in &page {
                self.go_on()?;
                self.look_at(listed)?;
            }
        }
    }

    fn look_at(&mut self, listed: &Listed) -> Result<(), RebuildError> {
        let device = DeviceName::new(listed.device.as_str()).map_err(|_| self.draft.damaged())?;
        // A name that is written otherwise there: the directory had that name before, and the line is of this very path.
        let reason = match self.archive.look(&listed.path)? {
            Lying::File(stamp) | Lying::OtherCase(stamp) => {
                let (source, path) = self.origin(&device, listed)?;
                let path = path.as_ref().unwrap_or(listed.path.as_rel_path());
                let origin = Origin { source: &source, path, bytes: stamp.bytes(), mtime_ns: stamp.mtime_ns() };
                self.draft.add(listed, &origin)?;
                self.report.files += 1;
                self.report.bytes += stamp.bytes();
                return Ok(());
            }
            Lying::Nothing => "a manifest lists it, and it is gone",
            Lying::NotAFile => "a manifest lists it, and it is no plain file",
        };
        self.report.problems += 1;
        let path = listed.path.as_rel_path().clone();
        self.observer.event(&Event::ListedFileSkipped { device, path, reason: reason.to_owned() });
        Ok(())
    }

    /// The directory and the path on the device that the configuration of today gives this place in the archive; where it gives
    /// it to none, nothing is claimed.
    fn origin(&self, device: &DeviceName, listed: &Listed) -> Result<(Vec<u8>, Option<RelPath>), RebuildError> {
        let Listed { path: at, digest, .. } = listed;
        let settings = self.config.device(device);
        let source = settings.source.as_os_str().as_encoded_bytes();
        let source_name = settings.source.file_name().unwrap_or_default().as_encoded_bytes();
        let plain = match at.is_version() {
            true => self.archive.unversioned(at, digest),
            false => Some(at.clone()),
        };
        let path = plain.and_then(|plain| self.archive.source_of(&settings.layout, device, source_name, &plain));
        let Some(path) = path else { return Ok((Vec::new(), None)) };
        // A name that looks like that of a clash is one only where the plain name is listed for another device.
        if let Some(clashed) = unmarked(&path, device)
            && let Ok(home) = self.archive.place(&settings.layout, device, source_name, &clashed)
            && self.draft.device_of(&home)?.is_some_and(|other| other != device.as_str())
        {
            return Ok((source.to_owned(), Some(clashed)));
        }
        Ok((source.to_owned(), Some(path)))
    }

    fn go_on(&self) -> Result<(), RebuildError> {
        if self.cancel.is_set() { Err(RebuildError::Stopped) } else { Ok(()) }
    }
}

fn skip_line(observer: &dyn Observer, report: &mut RebuildReport, manifest: &Manifest, line: u64, reason: String) {
    report.problems += 1;
    let (device, manifest) = (manifest.device().clone(), manifest.path().clone());
    observer.event(&Event::ManifestLineSkipped { device, manifest, line, reason });
}

/// The beginning of a day, UTC.
fn midnight_ns(date: Date) -> i64 {
    let midnight = date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp().as_nanosecond());
    midnight.ok().and_then(|ns| i64::try_from(ns).ok()).unwrap_or_default()
}

/// The path that this is the second name of, where something else has the first: `a.jpg` for `a~pi31.jpg`. See [`beside`].
pub(crate) fn unmarked(path: &RelPath, device: &DeviceName) -> Option<RelPath> {
    let name = path.file_name();
    let mark = [b"~", device.as_str().as_bytes()].concat();
    let begin = name.windows(mark.len()).rposition(|window| window == mark)?;
    let dir = &path.as_bytes()[..path.as_bytes().len() - name.len()];
    // With a hash behind the device, or without.
    [mark.len(), mark.len() + HASH_BYTES].into_iter().find_map(|marked| {
        let rest = name.get(begin + marked..)?;
        let plain = RelPath::new([dir, &name[..begin], rest].concat()).ok()?;
        beside(&plain, device).contains(path).then_some(plain)
    })
}

#[cfg(test)]
mod tests;
