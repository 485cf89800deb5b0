//! What the Pis of the story hold: photos in dated folders, names that break scripts, and a log that is still being written.
//!
//! The demo shows it, and the end-to-end test of the same story asserts it. Content comes from a fixed seed, so every fleet
//! holds the same bytes; dates are the last days, because a Pi's clock is this computer's.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use jiff::{Timestamp, ToSpan, Zoned};

use crate::{Error, Fleet, Machine, Result};

/// Days with photos, today not among them.
const DAYS: i64 = 3;
/// Photos of a day on one Pi.
const PHOTOS: u64 = 3;
/// Bytes of the smallest photo; the others are up to half as large again.
const PHOTO_BYTES: u64 = 440_000;

/// Fills every Pi that works: photos on all of them, about 5 MB each; the awkward names on the last.
pub fn fill(fleet: &Fleet) -> Result<()> {
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    for (number, pi) in (1..).zip(fleet.pis()) {
        for day in 1..=DAYS {
            for photo in 0..PHOTOS {
                let taken = taken(&now, day, photo);
                let path = format!("{}/bee{}.jpg", taken.strftime("%Y-%m-%d/cam1"), taken.strftime("-%H%M%S"));
                let seed = (number as u64) << 32 | day.unsigned_abs() << 16 | photo;
                fleet.write(number, path.as_bytes(), &self::photo(seed), SystemTime::from(taken.timestamp()))?;
            }
        }
        if number == fleet.pis().len() {
            let modified = SystemTime::from(taken(&now, 1, 0).timestamp());
            for (index, name) in awkward_names().into_iter().enumerate() {
                let path = [b"odd names/".as_slice(), &name].concat();
                fleet.write(number, &path, format!("{index} {}\n", pi.name()).as_bytes(), modified)?;
            }
        }
    }
    Ok(())
}

/// The first line of the [`Logger`]'s file.
pub const CSV_HEADER: &str = "time,celsius\n";

/// When a photo was taken: on the hour, that many days ago.
fn taken(now: &Zoned, days_ago: i64, hour: u64) -> Zoned {
    let hour = i8::try_from(9 + hour).unwrap_or(23);
    now.saturating_sub(days_ago.days())
        .with()
        .hour(hour)
        .minute(0)
        .second(0)
        .subsec_nanosecond(123_456_789)
        .build()
        .unwrap_or_else(|_| now.clone())
}

/// Bytes that begin like a JPEG and can't be compressed, as those of a real one.
fn photo(seed: u64) -> Vec<u8> {
    // Marsaglia's xorshift64; the seed is never 0.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = (PHOTO_BYTES + next() % (PHOTO_BYTES / 2)) / 8;
    let mut bytes = b"\xff\xd8\xff\xe0\x00\x10JFIF".to_vec();
    bytes.extend((0..words).flat_map(|_| next().to_le_bytes()));
    bytes
}

/// Names that are legal and that programs get wrong.
pub fn awkward_names() -> Vec<Vec<u8>> {
    let longest = [b"255 bytes ".as_slice(), &[b'x'; 241], b".txt"].concat();
    let names: [&[u8]; 18] = [
        b"new\nline.txt",
        b"carriage\rreturn.txt",
        b"tab\there.txt",
        b"latin-1 \xe9t\xe9.txt",
        b"-rf",
        b"--help",
        b"single 'quote'.txt",
        b"double \"quote\" `id` $(id) ${HOME}.txt",
        b"back\\slash\\n.txt",
        b"glob *?[a-z]{x,y}.txt",
        b" leading space.txt",
        b"trailing space ",
        b"...",
        b"~",
        b"# 100% {host}: <a|b>&;!.txt",
        "bee \u{1f41d}.txt".as_bytes(),
        "composed caf\u{e9}.txt".as_bytes(),
        "composed cafe\u{301}.txt".as_bytes(),
    ];
    names.into_iter().map(<[u8]>::to_vec).chain([longest]).collect()
}

/// A program on a Pi that appends a line to its CSV five times a second and keeps the file open, until it is dropped.
#[derive(Debug)]
pub struct Logger {
    path: PathBuf,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Logger {
    /// Starts to write; the header and the first line are there when this returns.
    pub fn start(pi: &Machine) -> Result<Logger> {
        let path = pi.source().join("temperature.csv");
        let mut file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(Error::file("create", &path))?;
        file.write_all(CSV_HEADER.as_bytes()).and_then(|()| append(&mut file)).map_err(Error::file("write", &path))?;
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
                // A card that is full or gone ends the logger; whoever reads the file sees where.
                if append(&mut file).is_err() {
                    break;
                }
            }
        });
        Ok(Logger { path, stop: Some(stop), thread: Some(thread) })
    }

    /// The file that is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn append(file: &mut File) -> std::io::Result<()> {
    let now = Timestamp::now();
    // One call for each line, so that no reader sees half of one.
    file.write_all(format!("{now:.3},{}.5\n", 20 + now.as_second() % 10).as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn awkward_names_are_legal_and_distinct() {
        let names = awkward_names();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| (1..=255).contains(&name.len()) && !name.contains(&b'/')));
        assert!(names.iter().any(|name| name.len() == 255));
        assert!(names.iter().any(|name| std::str::from_utf8(name).is_err()));
    }

    #[test]
    fn photos_differ_and_stay_the_same() {
        assert_eq!(photo(1), photo(1));
        assert_ne!(photo(1)[..100], photo(2)[..100]);
        let total: usize = (1..=36).map(|seed| photo(seed).len()).sum();
        assert!((15_000_000..25_000_000).contains(&total), "{total}");
    }

    #[test]
    fn photos_were_taken_in_the_past() {
        // Just after midnight on the first of a month, in a leap year.
        let now: Zoned = "2024-03-01T00:00:01+00:00[UTC]".parse().unwrap();
        assert_eq!(taken(&now, 1, 7).strftime("%F %T").to_string(), "2024-02-29 16:00:00");
        assert!(
            (1..=DAYS).flat_map(|day| (0..PHOTOS).map(move |hour| (day, hour))).all(|(d, h)| taken(&now, d, h) < now)
        );
    }
}
