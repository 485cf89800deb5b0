//! A page that takes the place of an earlier one.
//!
//! Guarantees: who has the page open, or serves it, sees an old one or a new one, also after the power failed, and never half of one. Nothing
//! is replaced but a file that begins as a page does; nothing is written into the storage or the state directory, whatever name they are
//! called by. Killed in between, it leaves `.NAME.NUMBER.partial` beside the name, which anybody may delete. Leaves to others: what is
//! on the page.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::ExportError;
use super::destination::Destination;
use crate::config::Config;

/// Writes `page`, which begins with `opening`, to `path`: a name that is free, or that of a file that begins with it as well.
pub fn write_page(path: &Path, page: &[u8], opening: &[u8], config: &Config) -> Result<(), ExportError> {
    let found = match fs::metadata(path) {
        Ok(found) => Some(found.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(ExportError::io("find", path)(error)),
    };
    // Into a pipe or a terminal there is only one way, and no other name: `/dev/stdout` may be one.
    if found.is_some_and(|found| found.is_fifo() || found.is_char_device()) {
        let written = File::options().write(true).open(path).and_then(|mut out| out.write_all(page));
        return match written {
            // Who reads there has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(ExportError::io("write", path)),
        };
    }
    // What a link points to is replaced, and the link stays.
    let real = if path.is_symlink() { path.canonicalize() } else { Ok(path.to_owned()) };
    let real = real.map_err(ExportError::io("find", path))?;
    let destination = Destination::at(&real, config.into())?;
    if found.is_none() {
        return write(&destination, page, &|| destination.publish().map(|_| ()));
    }
    if !found.is_some_and(|found| found.is_file()) || !begins_with(&real, opening)? {
        return Err(ExportError::NoPage(real));
    }
    // RACE: what another program puts there from here on is replaced.
    write(&destination, page, &|| {
        let to = destination.path();
        fs::rename(destination.partial(), to).map_err(ExportError::io("write", to))?;
        let sync = File::open(destination.dir()).and_then(|dir| dir.sync_all());
        sync.map_err(ExportError::io("sync", destination.dir()))
    })
}

/// Puts the page on disk under its other name, and gives it its own.
fn write(
    destination: &Destination,
    page: &[u8],
    publish: &dyn Fn() -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let partial = destination.partial();
    let mut file = File::create_new(partial).map_err(ExportError::io("write", partial))?;
    let written = file.write_all(page).and_then(|()| file.sync_all());
    let published = written.map_err(ExportError::io("write", partial)).and_then(|()| publish());
    if published.is_err() {
        destination.discard();
    }
    published
}

fn begins_with(path: &Path, opening: &[u8]) -> Result<bool, ExportError> {
    // What has become a pipe since it was looked at must not hold us up.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let open = File::options().read(true).custom_flags(flags).open(path);
    let mut begin = Vec::new();
    let read = open.and_then(|file| file.take(opening.len() as u64).read_to_end(&mut begin));
    read.map_err(ExportError::io("read", path))?;
    Ok(begin == opening)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::Surroundings;

    #[test]
    fn a_page_replaces_a_page_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["storage/pi", "state", "www", "www/dir"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let surroundings = Surroundings {
            home: dir.path().to_owned(),
            user: "pi".into(),
            uid: 1000,
            xdg_state_home: None,
            env: Default::default(),
        };
        let dirs = (at("storage"), at("state"));
        let text =
            format!("hosts: [pi]\nsource: /data\nstorage: {}\nstate_dir: {}\n", dirs.0.display(), dirs.1.display());
        let config = Config::parse(&text, Path::new("pipeline.yaml"), &surroundings).unwrap();
        let put = |name: &str, page: &str| write_page(&at(name), page.as_bytes(), b"<page>", &config);

        put("www/page", "<page>one").unwrap();
        put("www/page", "<page>another").unwrap();
        symlink(at("www/page"), at("link")).unwrap();
        put("link", "<page>through a link").unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("www/page")).unwrap(), b"<page>through a link");

        // What was received may be a page as well, and what is there may be reached by another name.
        fs::write(at("storage/pi/page"), "<page>received").unwrap();
        fs::write(at("state/catalog.db"), "SQLite").unwrap();
        fs::write(at("www/notes"), "notes").unwrap();
        fs::write(at("www/empty"), "").unwrap();
        symlink(at("storage"), at("mount")).unwrap();
        symlink(at("storage/pi/page"), at("received")).unwrap();
        symlink(at("state/catalog.db"), at("www/catalog")).unwrap();
        for name in ["storage/pi/page", "storage/pi/new", "mount/pi/page", "mount/new", "received"] {
            assert!(matches!(put(name, "<page>"), Err(ExportError::InStorage(_))), "{name}");
        }
        for name in ["state/catalog.db", "state/new", "www/catalog"] {
            assert!(matches!(put(name, "<page>"), Err(ExportError::InStateDir(_))), "{name}");
        }
        for name in ["www/notes", "www/empty", "www/dir"] {
            assert!(matches!(put(name, "<page>"), Err(ExportError::NoPage(_))), "{name}");
        }
        assert!(matches!(put("nowhere/page", "<page>"), Err(ExportError::Io { .. })));
        assert_eq!(fs::read(at("storage/pi/page")).unwrap(), b"<page>received");
        assert_eq!(fs::read(at("state/catalog.db")).unwrap(), b"SQLite");
        assert_eq!((fs::read(at("www/notes")).unwrap(), fs::read(at("www/empty")).unwrap()), (b"notes".into(), vec![]));
        let left = |name: &str| fs::read_dir(at(name)).unwrap().count();
        assert_eq!((left("storage"), left("storage/pi"), left("state"), left("www")), (1, 1, 1, 5));
    }
}
