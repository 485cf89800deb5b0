//! SFTP servers that keep to the protocol and are awkward, and some that do not.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::time::Instant;

use super::*;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::Identity;

/// What a server does with one request: its kind, its number, and what follows.
type Serve = fn(&[u8; 1], [u8; 4], &[u8]) -> Vec<Vec<u8>>;

/// Speaks SFTP as the function says. Answers as they come where `backwards` is not set; otherwise whatever has been asked is
/// answered last things first.
struct Server {
    serve: Serve,
    backwards: bool,
}

impl Channels for Server {
    fn sftp(&self) -> Result<Link, RemoteError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (serve, backwards) = (self.serve, self.backwards);
        std::thread::spawn(move || {
            let mut input = theirs.try_clone().unwrap();
            let mut hello = [0; 9];
            input.read_exact(&mut hello).unwrap();
            theirs.write_all(&[0, 0, 0, 5, 2, 0, 0, 0, 3]).unwrap();
            let mut held: Vec<Vec<u8>> = Vec::new();
            let mut buffer = vec![0; 256 * 1024];
            let mut asked = Vec::new();
            // Ends with the client.
            while let Ok(bytes) = input.read(&mut buffer) {
                if bytes == 0 {
                    break;
                }
                asked.extend_from_slice(&buffer[..bytes]);
                while let Some(length) = asked.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)
                    && asked.len() >= 4 + length
                {
                    let packet: Vec<u8> = asked.drain(..4 + length).skip(4).collect();
                    let (kind, rest) = packet.split_first_chunk::<1>().unwrap();
                    let (id, rest) = rest.split_first_chunk::<4>().unwrap();
                    held.extend(serve(kind, *id, rest));
                }
                if backwards {
                    held.reverse();
                }
                for answer in held.drain(..) {
                    let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
                    if theirs.write_all(&[&length[..], &answer].concat()).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Link { stream: ours, errors: std::sync::Arc::default(), guard: Box::new(()) })
    }

    fn exec(&self, _: &str) -> Result<Link, RemoteError> {
        Err(RemoteError::NoChannel("not here".into()))
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// Made once: the awkward server is asked for it by the kilobyte.
fn content() -> &'static [u8] {
    static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| (0..200_000u32).flat_map(u32::to_be_bytes).collect());
    &CONTENT
}

/// Size and mode and times, as of a file of this content.
fn attributes() -> Vec<u8> {
    let size = content().len() as u64;
    [&13u32.to_be_bytes()[..], &size.to_be_bytes(), &0o100_644u32.to_be_bytes(), &[0; 4], &7u32.to_be_bytes()].concat()
}

/// One file at every path. Gives no more than a thousand bytes at a time.
fn awkward(kind: &[u8; 1], id: [u8; 4], rest: &[u8]) -> Vec<Vec<u8>> {
    let answer = |kind: u8, body: &[u8]| vec![[&[kind][..], &id, body].concat()];
    let path = || rest[4..].to_vec();
    match kind[0] {
        3 => answer(102, &string(b"handle")),
        5 => {
            let at = &rest[10..];
            let offset = usize::try_from(u64::from_be_bytes(at[..8].try_into().unwrap())).unwrap();
            let bytes = u32::from_be_bytes(at[8..12].try_into().unwrap()) as usize;
            let content = content();
            answer(103, &string(&content[offset..(offset + bytes.min(1000)).min(content.len())]))
        }
        7 | 8 => answer(105, &attributes()),
        16 => answer(104, &[&[0, 0, 0, 1][..], &string(&path()), &string(b""), &[0; 4]].concat()),
        _ => answer(101, &[[0; 4], [0; 4], [0; 4]].concat()),
    }
}

fn entry() -> Entry {
    let identity = Identity { dev: 0, ino: 0, size: content().len() as u64, mtime_ns: 7_000_000_000, ctime_ns: 0 };
    Entry { path: RelPath::new("a").unwrap(), identity }
}

fn open(serve: Serve, backwards: bool) -> Result<SftpRemote, RemoteError> {
    let long = Duration::from_secs(60);
    let options = Options { idle: long, bandwidth: None, until: Instant::now() + long, cancel: Cancel::new() };
    SftpRemote::open(Box::new(Server { serve, backwards }), Path::new("/source"), options)
}

fn fetch(mut remote: SftpRemote) -> Result<(Vec<u8>, FetchEnd), RemoteError> {
    remote.fetch(1, &entry(), &[])?;
    let mut content = Vec::new();
    loop {
        match remote.answer()? {
            Answer::Data(bytes) => content.extend_from_slice(bytes),
            Answer::Fetched(_, end) => return Ok((content, end)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn short_pieces_in_any_order_are_put_together() {
    for backwards in [false, true] {
        let (read, end) = fetch(open(awkward, backwards).unwrap()).unwrap();
        assert!(read == content() && end == FetchEnd::Complete(Digest::of(content())), "{backwards}: {end:?}");
    }
}

#[test]
fn more_than_was_asked_for_is_refused() {
    fn generous(kind: &[u8; 1], id: [u8; 4], rest: &[u8]) -> Vec<Vec<u8>> {
        if kind == &[5] { vec![[&[103][..], &id, &string(&[0; 40_000])].concat()] } else { awkward(kind, id, rest) }
    }
    assert!(matches!(fetch(open(generous, false).unwrap()), Err(RemoteError::Protocol(_))));
}

#[test]
fn answers_to_nobody_are_refused() {
    fn talkative(kind: &[u8; 1], id: [u8; 4], rest: &[u8]) -> Vec<Vec<u8>> {
        let mut answers = awkward(kind, id, rest);
        if kind == &[3] {
            answers.insert(0, [&[101][..], &[0xff; 4], &[0; 12]].concat());
        }
        answers
    }
    assert!(matches!(fetch(open(talkative, false).unwrap()), Err(RemoteError::Protocol(_))));
}

/// What changes while other files are read is seen by one more look, and stays.
#[test]
fn a_file_that_changes_after_it_was_read_is_not_removed() {
    use std::cell::Cell;

    thread_local! {
        /// The second of two files was opened and read, which is as long as it takes.
        static READ: Cell<bool> = const { Cell::new(false) };
    }
    /// The first file changes once the second is read.
    fn busy(kind: &[u8; 1], id: [u8; 4], rest: &[u8]) -> Vec<Vec<u8>> {
        let second = rest.get(4..).is_some_and(|path| path.starts_with(b"/source/b"));
        match kind[0] {
            7 if second => READ.set(true),
            7 if READ.get() => {
                let changed = [&attributes()[..20], &8u32.to_be_bytes()].concat();
                return vec![[&[105][..], &id, &changed].concat()];
            }
            _ => {}
        }
        awkward(kind, id, rest)
    }
    let mut remote = open(busy, false).unwrap();
    let receipt = |path: &str| Receipt::unproven(RelPath::new(path).unwrap(), entry().identity, Digest::of(content()));
    remote.remove(vec![(1, receipt("a")), (2, receipt("b"))]).unwrap();
    let mut ends = Vec::new();
    for _ in 0..2 {
        match remote.answer().unwrap() {
            Answer::Removed(id, end) => ends.push((id, end)),
            other => panic!("{other:?}"),
        }
    }
    ends.sort_by_key(|(id, _)| *id);
    assert_eq!(ends, [(1, RemoveEnd::Changed), (2, RemoveEnd::Removed)]);
}

/// A slow clock gives an old time to a file that is being written.
#[test]
fn without_a_clock_a_file_stays_until_we_have_known_it_for_long() {
    let mut remote = open(awkward, false).unwrap();
    assert_eq!(remote.clock_offset_ns(), None);
    let minute_ns = 60_000_000_000;
    for (minutes, expected) in [(0, RemoveEnd::Busy), (9, RemoveEnd::Busy), (11, RemoveEnd::Removed)] {
        let receipt = Receipt::unproven(entry().path, entry().identity, Digest::of(content()));
        remote.remove(vec![(1, receipt.at(now_ns() - minutes * minute_ns))]).unwrap();
        match remote.answer().unwrap() {
            Answer::Removed(1, end) => assert_eq!(end, expected, "{minutes} minutes"),
            other => panic!("{other:?}"),
        }
    }
    assert!(remote.busy().contains("clock can't be asked"));
}

#[test]
fn a_list_without_an_end_is_ended() {
    /// No directory ends, and all hold directories.
    fn endless(kind: &[u8; 1], id: [u8; 4], rest: &[u8]) -> Vec<Vec<u8>> {
        match kind[0] {
            11 => vec![[&[102][..], &id, &string(b"handle")].concat()],
            12 => {
                let directory = [&4u32.to_be_bytes()[..], &0o040_755u32.to_be_bytes()].concat();
                let name = |_| [string(b"d"), string(b""), directory.clone()].concat();
                let names: Vec<u8> = (0..500).flat_map(name).collect();
                vec![[&[104][..], &id, &500u32.to_be_bytes(), &names].concat()]
            }
            _ => awkward(kind, id, rest),
        }
    }
    let mut remote = open(endless, false).unwrap();
    assert!(matches!(remote.scan(&mut |_| Ok(())), Err(RemoteError::Protocol(_))));
}
