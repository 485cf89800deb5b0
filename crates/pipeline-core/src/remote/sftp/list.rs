//! Lists the source by the device's own `find` and `stat`: with full identities.
//!
//! Guarantees that a list that is not complete is an error, or says so. Leaves to [`shell`] the script, and to
//! the caller what to do with a file.

use super::lines::Script;
use super::shell;
use crate::entry::{Entry, Identity, OtherKind};
use crate::path::{MAX_PATH_BYTES, RelPath};
use crate::remote::bounds::Tally;
use crate::remote::{RemoteError, Scanned};

const OTHER: RemoteError = RemoteError::Protocol("its shell answered something else than a list");

/// A directory whose content comes next, if it has any.
struct Dir {
    path: Vec<u8>,
    mtime_ns: i64,
}

/// Reads what a script that was started with [`shell::list`] says.
pub(super) fn read(
    script: &mut Script,
    each: &mut dyn FnMut(Scanned) -> Result<(), RemoteError>,
) -> Result<(), RemoteError> {
    let mut tally = Tally::default();
    let mut each = |item: Scanned| tally.count(&item).and_then(|()| each(item));
    let (mut dev, mut last, mut unreadable, mut too_long) = (None, None, 0, Vec::new());
    loop {
        let (what, path) = (script.record(0)?, script.record(0)?);
        let what = String::from_utf8(what).map_err(|_| OTHER)?;
        // Directories come before what is in them: whatever is not in the last one ends it.
        if let Some(Dir { path: dir, mtime_ns }) = last.take()
            && !path.strip_prefix(&dir[..]).is_some_and(|rest| rest.starts_with(b"/"))
        {
            each(Scanned::EmptyDir(RelPath::new(dir).map_err(|_| OTHER)?, mtime_ns))?;
        }
        let (letter, what) = what.split_once(' ').ok_or(OTHER)?;
        match letter {
            "E" if what == "0" || unreadable > 0 => return Ok(()),
            "E" => {
                let reason = if what == "cd" { "it can't be entered".into() } else { in_words(&script.last_words()?) };
                return each(Scanned::Unreadable(None, reason));
            }
            _ => {}
        }
        let Identity { dev: its_dev, mtime_ns, .. } = shell::read(what).ok_or(OTHER)?;
        if path.is_empty() {
            // The source itself.
            dev = Some(its_dev);
            if letter == "u" {
                unreadable += 1;
                each(Scanned::Unreadable(None, "permission denied".into()))?;
            }
            continue;
        }
        let Ok(rel) = RelPath::new(&path[..]) else {
            unreadable += 1;
            let end = path[..path.len().min(MAX_PATH_BYTES)].iter().rposition(|&b| b == b'/').unwrap_or(0);
            // Once for each directory.
            if too_long == path[..end] {
                continue;
            }
            too_long = path[..end].to_vec();
            let within = RelPath::new(&path[..end]).ok();
            each(Scanned::Unreadable(within, format!("it holds paths of more than {MAX_PATH_BYTES} bytes")))?;
            continue;
        };
        match letter {
            "f" => each(Scanned::File(Entry { path: rel, identity: shell::read(what).ok_or(OTHER)? }))?,
            "d" if dev.is_some_and(|dev| dev != its_dev) => each(Scanned::Other(rel, OtherKind::MountPoint))?,
            "d" => last = Some(Dir { path, mtime_ns }),
            "l" => each(Scanned::Other(rel, OtherKind::Symlink))?,
            "u" => {
                unreadable += 1;
                each(Scanned::Unreadable(Some(rel), "permission denied".into()))?;
            }
            _ => each(Scanned::Other(rel, OtherKind::Special))?,
        }
    }
}

/// What `find` said, without the names that are told of elsewhere.
fn in_words(said: &str) -> String {
    match said.rsplit(": ").next() {
        Some(reason) if !reason.is_empty() => format!("the list is not complete: {}", reason.to_lowercase()),
        _ => "the list is not complete".into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cancel::Cancel;
    use crate::remote::{Link, Options};

    /// The words are said after the answer, and before the end: as two streams may have it.
    #[test]
    fn a_list_that_is_not_complete_says_why() {
        const LONG: Duration = Duration::from_secs(20);
        for (said, expected) in [
            ("find: ./a: Input/output error\nexit status 0", "the list is not complete: input/output error"),
            ("exit status 0", "the list is not complete"),
        ] {
            let (stream, mut theirs) = UnixStream::pair().unwrap();
            let errors = Arc::new(Mutex::new(Vec::new()));
            let link = Link { stream, errors: errors.clone(), guard: Box::new(()) };
            let options = Options { idle: LONG, bandwidth: None, until: Instant::now() + LONG, cancel: Cancel::new() };
            let mut script = Script::new(link, &options).unwrap();
            let speaking = std::thread::spawn(move || {
                theirs.write_all(format!("{}\nE 1\0\0", shell::MARK).as_bytes()).unwrap();
                errors.lock().unwrap().extend_from_slice(said.as_bytes());
            });
            let mut items = Vec::new();
            read(&mut script, &mut |item| {
                items.push(item);
                Ok(())
            })
            .unwrap();
            assert_eq!(items, [Scanned::Unreadable(None, expected.into())]);
            speaking.join().unwrap();
        }
    }
}
