//! Reads one file, whole or what comes after what the collector holds.
//!
//! Guarantees that each file is read once; that nothing is sent of one that does not begin with what the collector holds; that
//! the digest is of all that was read, and `Complete` is said only if what was sent is all of the rest; and that never more is
//! sent than the announced size. Leaves to the collector what to do with a file that has changed.

use std::io::{self, Write};

use rustix::io::Result;

use super::content::{Atime, Content};
use super::outbox::Outbox;
use crate::digest::Hasher;
use crate::entry::Prefix;
use crate::error::describe;
use crate::rooted::Rooted;
use crate::wire::{FetchEnd, FileRef, MAX_DATA_BYTES, Reply, WireError};

/// Answers one `Fetch`.
pub(super) fn answer<W: Write>(
    root: Result<&Rooted>,
    file: &FileRef,
    known: &[Prefix],
    atime: &mut Atime,
    out: &mut Outbox<W>,
) -> std::result::Result<(), WireError> {
    let end = match Content::open(root, file, atime) {
        Ok(content) => send(&content, known, out)?,
        Err(end) => end,
    };
    out.push(&Reply::Fetched { id: file.id, end })
}

fn send<W: Write>(
    content: &Content,
    known: &[Prefix],
    out: &mut Outbox<W>,
) -> std::result::Result<FetchEnd, WireError> {
    let mut hasher = Hasher::new();
    let mut left = content.size();
    for beginning in known {
        let passed = content.size() - left;
        match pass_over(content, beginning, passed, &mut hasher, out)? {
            None => left = content.size() - beginning.bytes,
            Some(end) => return Ok(end),
        }
    }
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let read = out.push_data(wanted, |room| {
            let bytes = content.read_full(room)?;
            hasher.update(&room[..bytes]);
            Ok::<_, io::Error>(bytes)
        })?;
        match read {
            Ok(0) => return Ok(FetchEnd::Changed),
            Ok(bytes) => left -= bytes as u64,
            Err(error) => return Ok(FetchEnd::Failed(describe(&error))),
        }
    }
    Ok(content.end(hasher))
}

/// Reads and hashes what the collector holds, after the bytes passed before. Returns the answer where the file begins otherwise.
fn pass_over<W: Write>(
    content: &Content,
    known: &Prefix,
    passed: u64,
    hasher: &mut Hasher,
    out: &mut Outbox<W>,
) -> std::result::Result<Option<FetchEnd>, WireError> {
    let Some(mut left) = known.bytes.checked_sub(passed).filter(|_| known.bytes <= content.size()) else {
        return Ok(Some(FetchEnd::Differs));
    };
    let mut buffer = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(MAX_DATA_BYTES)];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match content.read_full(&mut buffer[..most]) {
            Ok(0) => return Ok(Some(FetchEnd::Changed)),
            Ok(bytes) => {
                hasher.update(&buffer[..bytes]);
                left -= bytes as u64;
            }
            Err(error) => return Ok(Some(FetchEnd::Failed(describe(&error)))),
        }
        out.working()?;
    }
    let same = hasher.clone().finish().0 == known.digest;
    Ok((!same).then_some(FetchEnd::Differs))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::digest::Digest;
    use crate::path::RelPath;
    use crate::wire::FrameReader;

    #[test]
    fn to_pass_over_what_is_known_is_no_silence() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"content").unwrap();
        let stat = rustix::fs::lstat(dir.path().join("a")).unwrap();
        let identity = super::super::vitals::identity(&stat);
        let file = FileRef { id: 1, path: RelPath::new("a").unwrap(), identity };
        let root = Rooted::open(dir.path()).unwrap();
        let mut sent = Vec::new();
        let mut out = Outbox::new(&mut sent).unwrap();
        out.fall_silent();
        let known = Prefix { bytes: 7, digest: Digest::of(b"content") };
        answer(Ok(&root), &file, &[known], &mut Atime::default(), &mut out).unwrap();
        drop(out);
        assert_eq!(FrameReader::new(&sent[..]).next::<Reply<'_>>().unwrap(), Some(Reply::Working));
    }
}
