//! A rename that never replaces what is there.
//!
//! Guarantees: `EXIST` where something lies under the new name, and then nothing has changed. Starts with the way that the
//! marker says, and goes on to a weaker one where the storage turns out not to know the call. Leaves to others: syncing.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, RenameFlags, linkat, renameat, renameat_with, statat, unlinkat};
use rustix::io::{Errno, Result};

use crate::archive::capabilities::Capabilities;
use crate::archive::store::is_unsupported;

/// Ways to rename without replacing, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Method {
    /// The storage does it in one step.
    Flag = 0,
    /// A second name, which can't replace anything, then the first name is removed.
    Link = 1,
    /// Looks first.
    Look = 2,
}

impl Method {
    /// The best way that the storage is known to have.
    pub fn of(capabilities: &Capabilities) -> Method {
        if capabilities.rename_without_replacing {
            Method::Flag
        } else if capabilities.hard_links {
            Method::Link
        } else {
            Method::Look
        }
    }

    /// This way and the weaker ones.
    fn and_weaker(number: u8) -> &'static [Method] {
        let ways = &[Method::Flag, Method::Link, Method::Look];
        &ways[usize::from(number).min(ways.len() - 1)..]
    }
}

/// A name in a directory.
pub(super) type At<'a> = (BorrowedFd<'a>, &'a [u8]);

/// Renames `from` to `to`, by the way in `method` or, where the storage does not know that one, a weaker one; remembers which
/// one worked.
pub(super) fn without_replacing(method: &AtomicU8, from: At<'_>, to: At<'_>) -> Result<()> {
    let mut result = Ok(());
    for &way in Method::and_weaker(method.load(Ordering::Relaxed)) {
        result = match way {
            Method::Flag => renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE),
            Method::Link => link(from, to),
            Method::Look => look(from, to),
        };
        match result {
            // The same errors may be about this one name: then the weaker ways fail too, and nothing is remembered.
            Err(e) if is_unsupported(e) => {}
            // How Linux says that a file system has no links.
            Err(Errno::PERM | Errno::MLINK) if way == Method::Link => {}
            Ok(()) | Err(Errno::EXIST) => {
                method.fetch_max(way as u8, Ordering::Relaxed);
                return result;
            }
            Err(_) => return result,
        }
    }
    result
}

/// Killed between the two steps, it leaves both names: the old one is in staging, which is swept.
fn link(from: At<'_>, to: At<'_>) -> Result<()> {
    linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?;
    // The file is where it belongs; a name left in staging is swept later.
    unlinkat(from.0, from.1, AtFlags::empty()).ok();
    Ok(())
}

/// RACE: what another program puts under the new name between the look and the rename is replaced. Only a storage without
/// either of the other ways gets here. Two devices of ours can't meet: one looks and renames at a time.
fn look(from: At<'_>, to: At<'_>) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => renameat(from.0, from.1, to.0, to.1),
        Ok(_) => Err(Errno::EXIST),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn no_way_ever_replaces() {
        for way in [Method::Flag, Method::Link, Method::Look] {
            let temp = tempfile::tempdir().unwrap();
            let dir = fs::File::open(temp.path()).unwrap();
            let at = |name: &'static str| (dir.as_fd(), name.as_bytes());
            let method = AtomicU8::new(way as u8);
            fs::write(temp.path().join("new"), "new").unwrap();
            fs::write(temp.path().join("old"), "old").unwrap();
            fs::create_dir(temp.path().join("dir")).unwrap();
            std::os::unix::fs::symlink("nowhere", temp.path().join("link")).unwrap();

            for taken in ["old", "dir", "link"] {
                assert_eq!(without_replacing(&method, at("new"), at(taken)), Err(Errno::EXIST), "{way:?} {taken}");
            }
            assert_eq!(fs::read(temp.path().join("old")).unwrap(), b"old");

            without_replacing(&method, at("new"), at("free")).unwrap();
            assert_eq!(fs::read(temp.path().join("free")).unwrap(), b"new");
            assert!(!temp.path().join("new").exists());
            assert_eq!(method.load(Ordering::Relaxed), way as u8);
        }
    }

    #[test]
    fn an_error_that_is_none_of_the_ways_fault_is_returned() {
        let temp = tempfile::tempdir().unwrap();
        let dir = fs::File::open(temp.path()).unwrap();
        let method = AtomicU8::new(0);
        let at = |name: &'static str| (dir.as_fd(), name.as_bytes());
        assert_eq!(without_replacing(&method, at("missing"), at("free")), Err(Errno::NOENT));
        assert_eq!(method.load(Ordering::Relaxed), Method::Flag as u8);
    }

    /// Moving a directory into itself is what every way refuses, each with the error that says "unknown call".
    #[test]
    fn a_name_that_no_way_can_give_does_not_weaken_the_rest() {
        let temp = tempfile::tempdir().unwrap();
        let dir = fs::File::open(temp.path()).unwrap();
        fs::create_dir(temp.path().join("dir")).unwrap();
        let method = AtomicU8::new(Method::Flag as u8);
        let result = without_replacing(&method, (dir.as_fd(), b"dir"), (dir.as_fd(), b"dir/itself"));
        assert_eq!(result, Err(Errno::INVAL));
        assert_eq!(method.load(Ordering::Relaxed), Method::Flag as u8);
    }

    /// A directory can't have a second link: the one call that a local file system refuses, as others refuse it for files.
    #[test]
    fn goes_on_to_a_weaker_way_and_remembers_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = fs::File::open(temp.path()).unwrap();
        fs::create_dir(temp.path().join("dir")).unwrap();
        let method = AtomicU8::new(Method::Link as u8);
        without_replacing(&method, (dir.as_fd(), b"dir"), (dir.as_fd(), b"moved")).unwrap();
        assert!(temp.path().join("moved").is_dir());
        assert_eq!(method.load(Ordering::Relaxed), Method::Look as u8);
    }
}
