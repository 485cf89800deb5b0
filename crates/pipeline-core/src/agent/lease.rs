//! Read leases: the kernel's word that nobody has a file open for writing, and that nobody gets to while the lease is held.
//!
//! Guarantees that a lease that is broken kills nobody. Leaves to the caller to hold a lease only for moments:
//! who wants to write waits until it is given up, or the file is closed.
//! The only unsafe code of the agent: no safe crate offers these calls of `fcntl`.

use std::fs::File;
use std::os::fd::AsRawFd;

/// From `asm-generic/fcntl.h`; the `libc` crate leaves it out.
const F_SETSIG: libc::c_int = 10;

/// What asking for a lease said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// Nobody has the file open for writing. Whoever tries to now waits until the file is closed here.
    Held,
    /// Somebody has it open for writing, or mapped for writing.
    Refused,
    /// Not on this file system, or not for a file of somebody else: nothing is known.
    Unknown,
}

/// Asks for a read lease on a file that is open for reading.
pub(super) fn take(file: &File) -> Lease {
    // Whoever wants to write while the lease is held makes the kernel send a signal: by default SIGIO, which kills. SIGURG is
    // ignored by default, and asking for it touches nothing but this descriptor.
    if control(file, F_SETSIG, libc::SIGURG).is_none() {
        return Lease::Unknown;
    }
    match control(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Some(_) => Lease::Held,
        None if std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN) => Lease::Refused,
        None => Lease::Unknown,
    }
}

/// Whether the lease that was taken is still whole: false once somebody waits to write.
pub(super) fn is_whole(file: &File) -> bool {
    control(file, libc::F_GETLEASE, 0) == Some(libc::F_RDLCK)
}

/// Gives a lease up, if there is one.
pub(super) fn give_up(file: &File) {
    control(file, libc::F_SETLEASE, libc::F_UNLCK);
}

/// None for an error, which is in `errno`.
#[allow(unsafe_code)]
fn control(file: &File, command: libc::c_int, argument: libc::c_int) -> Option<libc::c_int> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and these commands take an integer, no pointer.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    (result >= 0).then_some(result)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn a_writer_refuses_the_lease_and_a_reader_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ours = File::open(file.path()).unwrap();
        assert_eq!(take(&ours), Lease::Refused);
        let path = file.into_temp_path();
        let _reader = File::open(&path).unwrap();
        assert_eq!(take(&ours), Lease::Held);
        assert!(is_whole(&ours));
    }

    #[test]
    fn who_wants_to_write_breaks_the_lease_and_kills_nobody() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let ours = File::open(&path).unwrap();
        assert_eq!(take(&ours), Lease::Held);
        // Without this flag the writer would wait until the lease is given up.
        let writer = File::options().append(true).custom_flags(libc::O_NONBLOCK).open(&path);
        assert_eq!(writer.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert!(!is_whole(&ours));
        give_up(&ours);
        assert!(File::options().append(true).open(&path).is_ok());
    }

    #[test]
    fn what_has_no_leases_is_unknown() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(take(&File::from(std::os::fd::OwnedFd::from(reader))), Lease::Unknown);
    }
}
