//! Clock, disk, and which file is which: what the kernel says, in the words of the wire.

use rustix::fs::Stat;
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::entry::{Identity, Vitals, usable};
use crate::rooted::Rooted;

/// Clock, and the file system that holds the source; 0 where that is unknown.
pub(super) fn vitals(source: Option<&Rooted>) -> Vitals {
    let disk = source.and_then(|root| rustix::fs::fstatvfs(root).ok());
    let of_disk = |number: fn(&rustix::fs::StatVfs) -> u64| disk.as_ref().map_or(0, number);
    Vitals {
        clock_ns: now_ns(),
        total_bytes: of_disk(|d| usable(d.f_blocks, d.f_bfree, d.f_bavail).saturating_mul(d.f_frsize)),
        free_bytes: of_disk(|d| d.f_bavail.saturating_mul(d.f_frsize)),
        total_files: of_disk(|d| d.f_files),
        free_files: of_disk(|d| d.f_favail),
    }
}

/// The device's clock, nanoseconds since 1970.
pub(super) fn now_ns() -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    nanoseconds(tv_sec, tv_nsec)
}

/// Which file this is.
// The types of the fields differ from architecture to architecture.
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, clippy::useless_conversion)]
pub(super) fn identity(stat: &Stat) -> Identity {
    Identity {
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        size: stat.st_size as u64,
        mtime_ns: nanoseconds(stat.st_mtime.into(), stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime.into(), stat.st_ctime_nsec),
    }
}

/// Saturates in the year 2262.
fn nanoseconds(seconds: i64, nanoseconds: impl TryInto<i64>) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.try_into().unwrap_or(0))
}

/// An error of the system, as a person says it.
pub(super) fn words(error: Errno) -> String {
    crate::error::describe(&std::io::Error::from(error))
}
