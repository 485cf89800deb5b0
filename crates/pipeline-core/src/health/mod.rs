//! How a device is, besides its clock and disk: load, memory, temperature, supply, what is mounted, errors of the card.
//!
//! A device gives texts, as its kernel has them, and judges nothing: the agent reads them itself (`collect`), a shell is told to
//! (`script`), and both give the same. One parser on the collector understands them (`parse`). Guarantees that the texts are few
//! and short, that nothing is asked of a device that needs more rights than an ordinary user has, and that hostile texts make no more
//! than odd numbers. What a device does not have, or does not show, is left out.

#[cfg(feature = "agent")]
mod collect;
#[cfg(feature = "collector")]
mod parse;
#[cfg(feature = "collector")]
mod script;
#[cfg(all(test, feature = "agent", feature = "collector"))]
mod tests;

use serde::{Deserialize, Serialize};

#[cfg(feature = "agent")]
pub(crate) use collect::collect;
#[cfg(feature = "collector")]
pub use parse::{Health, parse};
#[cfg(feature = "collector")]
pub(crate) use script::{read, script};

/// A text is cut to this length: the beginning of a file, the end of the log. A record of a shell's answer holds it.
pub const MAX_TEXT_BYTES: usize = 12 * 1024;

/// What a device said of itself, text by text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts(pub Vec<(Piece, Vec<u8>)>);

/// Which text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Piece {
    /// Load averages.
    Load,
    /// Seconds since the start.
    Uptime,
    /// Memory.
    Memory,
    /// What is mounted where, and how.
    Mounts,
    /// Thousandths of a degree Celsius.
    Temperature,
    /// What the firmware of a Raspberry Pi says of supply and temperature, in hexadecimal.
    Throttled,
    /// Errors that each ext4 file system has written down of itself.
    Ext4Errors,
    /// The lines of the kernel's log that tell of trouble with the card, as `dmesg` writes them.
    Log,
}

/// Every text that is a file, and where it lies below the root. A component with `*` stands for all that match, in order; their
/// contents are put together.
pub(crate) const FILES: [(Piece, &str); 7] = [
    (Piece::Load, "proc/loadavg"),
    (Piece::Uptime, "proc/uptime"),
    (Piece::Memory, "proc/meminfo"),
    (Piece::Mounts, "proc/self/mounts"),
    (Piece::Temperature, "sys/class/thermal/thermal_zone0/temp"),
    // "soc/soc:firmware" until Raspberry Pi 4, "soc@107c000000/soc@107c000000:firmware" since.
    (Piece::Throttled, "sys/devices/platform/soc*/*firmware/get_throttled"),
    (Piece::Ext4Errors, "sys/fs/ext4/*/errors_count"),
];

/// A line of the log is about the card where it has one of these, in any case,
pub(crate) const CARD: [&str; 4] = ["mmc", "ext4-fs", "jbd2", "i/o error"];
/// and about trouble where it has one of these,
pub(crate) const TROUBLE: [&str; 7] = ["error", "timeout", "timed out", "failed", "aborting", "corrupt", "read-only"];
/// and none of these: the wireless chip sits behind an mmc controller too, and complains at each start of a healthy Pi.
pub(crate) const OTHER: [&str; 3] = ["brcm", "firmware", "sdio"];
/// The last lines of those; older ones add nothing to "the card fails".
pub(crate) const MAX_LINES: usize = 50;

/// Whether a line of the kernel's log tells of trouble with the card.
pub(crate) fn tells_of_the_card(line: &[u8]) -> bool {
    let line = line.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| line.windows(word.len()).any(|part| part == word.as_bytes()));
    has(&CARD) && has(&TROUBLE) && !has(&OTHER)
}
