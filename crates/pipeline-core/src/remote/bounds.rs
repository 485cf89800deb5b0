//! How much of a device's word is taken: bounds on what it lists and on what it says.
//!
//! Guarantees that a device that lists without an end fills neither the collector's disk nor its time with it, that no sum of
//! sizes overflows, and that a reason fits a screen. Leaves to [`super::agent`] what is listed.

use super::{RemoteError, Scanned};

/// Twenty times what a card full of small files was measured to hold.
const MAX_ITEMS: u64 = 10_000_000;
/// Bytes of all paths together: what the catalog's temporary table takes of the collector's disk.
const MAX_PATH_BYTES: u64 = 1 << 30;
/// Bytes of all files together: far beyond any card, and sums over thousands of devices still fit 64 bits.
const MAX_CONTENT_BYTES: u64 = 1 << 53;
/// Characters of a reason.
const MAX_REASON_CHARS: usize = 400;

/// What a scan has listed so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    files: u64,
    items: u64,
    path_bytes: u64,
    content_bytes: u64,
}

impl Tally {
    /// Counts one more item; an error where no source holds so much.
    pub(super) fn count(&mut self, item: &Scanned) -> Result<(), RemoteError> {
        let (path, size) = match item {
            Scanned::File(entry) => {
                self.files += 1;
                (Some(&entry.path), entry.identity.size)
            }
            Scanned::Other(path, _) | Scanned::EmptyDir(path, _) => (Some(path), 0),
            Scanned::Unreadable(path, _) => (path.as_ref(), 0),
        };
        self.items += 1;
        self.path_bytes += path.map_or(0, |path| path.as_bytes().len() as u64);
        self.content_bytes = self.content_bytes.saturating_add(size);
        if self.content_bytes > MAX_CONTENT_BYTES {
            return Err(RemoteError::Protocol("it lists larger files than a device can hold"));
        }
        if self.items > MAX_ITEMS || self.path_bytes > MAX_PATH_BYTES {
            return Err(RemoteError::Protocol("it lists more files than a device can hold"));
        }
        Ok(())
    }

    /// How many regular files were among them.
    pub(super) fn files(&self) -> u64 {
        self.files
    }
}

/// The beginning of a device's own words.
pub(super) fn words(reason: &str) -> String {
    match reason.char_indices().nth(MAX_REASON_CHARS) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::entry::{Entry, Identity};
    use crate::path::RelPath;

    fn file(path: &[u8], size: u64) -> Scanned {
        let identity = Identity { dev: 1, ino: 2, size, mtime_ns: 3, ctime_ns: 4 };
        Scanned::File(Entry { path: RelPath::new(path).unwrap(), identity })
    }

    /// How many of these items are taken, up to a limit that no test should reach.
    fn taken(item: &Scanned) -> u64 {
        let mut tally = Tally::default();
        (0..=MAX_ITEMS).take_while(|_| tally.count(item).is_ok()).count() as u64
    }

    #[test]
    fn a_list_without_an_end_is_ended() {
        assert_eq!(taken(&file(b"a", 0)), MAX_ITEMS);
        assert_eq!(taken(&Scanned::Unreadable(None, String::new())), MAX_ITEMS);
        assert_eq!(taken(&file(&[b'x'; 4096], 0)), MAX_PATH_BYTES / 4096);
    }

    #[test]
    fn sizes_are_summed_without_overflow() {
        assert_eq!(taken(&file(b"a", u64::MAX)), 0);
        assert_eq!(taken(&file(b"a", MAX_CONTENT_BYTES / 2)), 2);
    }

    #[test]
    fn a_long_reason_is_cut() {
        assert_eq!(words("permission denied"), "permission denied");
        let long = words(&"ü".repeat(100_000));
        assert_eq!(long.chars().count(), MAX_REASON_CHARS + 1);
    }
}
