//! Digests that the device computes by itself, of files that it opens once and identifies before and after.
//!
//! One script serves a whole visit: files are asked about ahead, and the answers come in the same order. Guarantees that
//! [`End::Read`] is said only of a file that was the requested one before and after every byte of it was read, as far as the
//! device's clock can tell changes apart. Leaves the content to `contents`.

use std::collections::VecDeque;

use super::lines::Script;
use super::shell;
use crate::digest::Digest;
use crate::entry::{Entry, Identity, Prefix};
use crate::remote::RemoteError;
use crate::remote::bounds::words;

/// Changes within one tick of a kernel's clock may show the same time. Longer than any such tick: 10 ms where it is slowest.
const TICK_NS: i64 = 20_000_000;
/// The same for file systems that count in seconds, such as FAT, which counts in twos.
const COARSE_TICK_NS: i64 = 2_000_000_000;
/// Farther in the future than this, a time of change tells nothing that could be waited for.
const MAX_WAIT_NS: i64 = 5_000_000_000;

/// How the device found a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is the file that was asked for, and this is the digest of all of it.
    Read(Digest),
    /// Its beginning is not what was known.
    Differs,
    /// It is not, or no longer, the file that was asked for.
    Changed,
    /// It is gone.
    Gone,
    /// It could not be read; why.
    Failed(String),
}

/// A file that was asked about.
struct Asked {
    identity: Identity,
    begins: Option<bool>,
    end: Option<End>,
}

/// The script that looks at files.
pub(super) struct Examiner {
    script: Script,
    asked: VecDeque<Asked>,
    pending: Vec<u8>,
}

impl Examiner {
    /// Over a script that was started with [`shell::examine`].
    pub(super) fn new(script: Script) -> Examiner {
        Examiner { script, asked: VecDeque::new(), pending: Vec::new() }
    }

    /// Asks about one more file. `now_ns` is the device's clock.
    pub(super) fn ask(&mut self, entry: &Entry, known: &[Prefix], now_ns: i64) {
        let wait = not_before(entry.identity.ctime_ns, now_ns);
        let known: Vec<String> = known.iter().map(|known| format!("{} {}", known.bytes, known.digest)).collect();
        self.pending.extend(format!("{wait}\0{}\0", known.join(" ")).as_bytes());
        self.pending.extend(entry.path.as_bytes());
        self.pending.push(0);
        // A beginning of nothing is every file's.
        let begins = known.is_empty().then_some(true);
        self.asked.push_back(Asked { identity: entry.identity, begins, end: None });
    }

    /// Whether the `index`th of the files whose end was not taken begins as was known; none while that is not known.
    pub(super) fn begins(&mut self, index: usize) -> Result<Option<bool>, RemoteError> {
        self.flush()?;
        while self.asked.get(index).is_some_and(|asked| asked.begins.is_none()) && self.script.is_ready() {
            self.read_line()?;
        }
        Ok(self.asked.get(index).and_then(|asked| asked.begins))
    }

    /// Waits until it is known whether the oldest of them begins as was known.
    pub(super) fn wait_for_beginning(&mut self) -> Result<bool, RemoteError> {
        self.flush()?;
        loop {
            match self.asked.front() {
                Some(Asked { begins: Some(begins), .. }) => return Ok(*begins),
                Some(_) => self.read_line()?,
                None => return Err(RemoteError::Protocol("it examined what nobody asked for")),
            }
        }
    }

    /// Waits for the end of the oldest of them, and takes it.
    pub(super) fn wait_for_end(&mut self) -> Result<End, RemoteError> {
        self.flush()?;
        loop {
            match self.asked.front() {
                Some(Asked { end: Some(_), .. }) => {}
                Some(_) => {
                    self.read_line()?;
                    continue;
                }
                None => return Err(RemoteError::Protocol("it examined what nobody asked for")),
            }
            if let Some(Asked { end: Some(end), .. }) = self.asked.pop_front() {
                return Ok(end);
            }
        }
    }

    fn flush(&mut self) -> Result<(), RemoteError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let sent = self.script.give(&self.pending);
        self.pending.clear();
        sent
    }

    fn read_line(&mut self) -> Result<(), RemoteError> {
        const OTHER: RemoteError = RemoteError::Protocol("its shell answered something else");
        let line = self.script.line()?;
        let asked = self.asked.iter_mut().find(|asked| asked.end.is_none()).ok_or(OTHER)?;
        let (letter, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match (letter, rest) {
            ("w", _) => {}
            ("p", "1") => asked.begins = Some(true),
            ("p", "0") => asked.end(End::Differs),
            ("g", _) => asked.end(End::Gone),
            ("c", _) => asked.end(End::Changed),
            ("f", reason) => asked.end(End::Failed(words(&reason.to_lowercase()))),
            ("e", read) => {
                let mut parts = read.split(';');
                let mut next = || parts.next().ok_or(OTHER);
                let (before, digest, after) = (shell::read(next()?), next()?, shell::read(next()?));
                let digest = Digest::from_hex(digest).ok_or(OTHER)?;
                let same = before == Some(asked.identity) && after == Some(asked.identity);
                asked.end(if same { End::Read(digest) } else { End::Changed });
            }
            _ => return Err(OTHER),
        }
        Ok(())
    }
}

impl Asked {
    fn end(&mut self, end: End) {
        self.begins = self.begins.or(Some(false));
        self.end = Some(end);
    }
}

/// The second of the device's clock before which a file must not be read, so that whatever is written from then on shows in its
/// time of change; 0 where it has passed.
fn not_before(ctime_ns: i64, now_ns: i64) -> i64 {
    let tick_ns = if ctime_ns % 1_000_000_000 == 0 { COARSE_TICK_NS } else { TICK_NS };
    let second = ctime_ns.saturating_add(tick_ns) / 1_000_000_000 + 1;
    let wait_ns = second.saturating_mul(1_000_000_000).saturating_sub(now_ns);
    if (0..MAX_WAIT_NS).contains(&wait_ns) { second } else { 0 }
}
