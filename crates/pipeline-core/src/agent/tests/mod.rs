//! The agent as a collector meets it: requests in, answers out, over a pair of sockets.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::entry::{Entry, Identity, OtherKind, Prefix, Vitals};
use crate::path::RelPath;
use crate::wire::{FetchEnd, FileRef, FrameWriter, RemoveEnd};

mod delta;
mod fetch;
mod hostile;
mod known;
mod prune;
mod remove;
mod scan;
mod session;

/// Long enough for a busy machine; a test that would wait for ever fails after it.
const PATIENCE: Duration = Duration::from_secs(60);

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn identity(at: &Path) -> Identity {
    vitals::identity(&rustix::fs::lstat(at).unwrap())
}

fn write(at: &Path, content: &[u8]) {
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::write(at, content).unwrap();
}

fn append(at: &Path, bytes: &[u8]) {
    std::fs::File::options().append(true).open(at).unwrap().write_all(bytes).unwrap();
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut x = 88_172_645_463_325_252_u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()[4]
    };
    (0..bytes).map(|_| next()).collect()
}

/// Sets the modification time back to what it was, as a program can; ctime changes with it.
fn restore_mtime(at: &Path, identity: &Identity) {
    let modified = std::time::UNIX_EPOCH + Duration::from_nanos(identity.mtime_ns.unsigned_abs());
    std::fs::File::options().write(true).open(at).unwrap().set_modified(modified).unwrap();
}

/// What a scan said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listing {
    files: BTreeMap<RelPath, Identity>,
    others: BTreeMap<RelPath, OtherKind>,
    empty: BTreeMap<RelPath, i64>,
    unreadable: Vec<(Option<RelPath>, String)>,
}

/// A running agent, and the collector's end of its streams.
struct Agent {
    requests: FrameWriter<UnixStream>,
    replies: FrameReader<UnixStream>,
    thread: JoinHandle<Result<(), AgentError>>,
}

impl Agent {
    /// Starts an agent that may serve `root`; sends nothing.
    fn start(root: &Path) -> Agent {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        ours.set_write_timeout(Some(PATIENCE)).unwrap();
        let roots = [root.to_owned()];
        let thread = std::thread::spawn(move || serve(theirs.try_clone().unwrap(), theirs, &roots));
        let mut replies = FrameReader::new(ours.try_clone().unwrap());
        replies.expect_magic().unwrap();
        Agent { requests: FrameWriter::plain(ours), replies, thread }
    }

    /// Starts an agent and opens `root`.
    fn open(root: &Path) -> Agent {
        Agent::open_and_look(root).0
    }

    fn open_and_look(root: &Path) -> (Agent, Vitals) {
        let mut agent = Agent::start(root);
        agent.ask(&Request::Open { protocol: PROTOCOL, root: root.as_os_str().as_bytes().to_vec() });
        match agent.replies.next::<Reply<'_>>().unwrap().unwrap() {
            Reply::Opened { version, vitals } => {
                assert_eq!(version, VERSION);
                (agent, vitals)
            }
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, request: &Request) {
        self.requests.push(request).unwrap();
        self.requests.flush().unwrap();
    }

    fn scan(&mut self) -> Listing {
        self.ask(&Request::Scan);
        let mut listing = Listing::default();
        loop {
            let doubled = match self.replies.next::<Reply<'_>>().unwrap().unwrap() {
                Reply::Found(Entry { path, identity }) => listing.files.insert(path, identity).is_some(),
                Reply::Other { path, kind } => listing.others.insert(path, kind).is_some(),
                Reply::EmptyDir { path, mtime_ns } => listing.empty.insert(path, mtime_ns).is_some(),
                Reply::Unreadable { path, reason } => {
                    listing.unreadable.push((path, reason.to_owned()));
                    false
                }
                Reply::Scanned { files } => {
                    assert_eq!(files, listing.files.len() as u64);
                    return listing;
                }
                other => panic!("{other:?}"),
            };
            assert!(!doubled);
        }
    }

    fn fetch(&mut self, path: &RelPath, identity: Identity) -> (Vec<u8>, FetchEnd) {
        self.fetch_after(path, identity, &[])
    }

    fn fetch_after(&mut self, path: &RelPath, identity: Identity, known: &[Prefix]) -> (Vec<u8>, FetchEnd) {
        self.ask(&Request::Fetch { file: FileRef { id: 41, path: path.clone(), identity }, known: known.to_vec() });
        self.fetched(41)
    }

    /// Reads the answer to a `Fetch` to its end.
    fn fetched(&mut self, expected: u32) -> (Vec<u8>, FetchEnd) {
        let mut content = Vec::new();
        loop {
            match self.replies.next::<Reply<'_>>().unwrap().unwrap() {
                Reply::Data(bytes) => content.extend_from_slice(bytes),
                Reply::Working => {}
                Reply::Fetched { id, end } => {
                    assert_eq!(id, expected);
                    return (content, end);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn remove(&mut self, path: &RelPath, identity: Identity) -> RemoveEnd {
        self.remove_all(&[(path.clone(), identity)]).remove(0)
    }

    fn remove_all(&mut self, files: &[(RelPath, Identity)]) -> Vec<RemoveEnd> {
        let refs = files.iter().zip(100..).map(|((path, identity), id)| FileRef {
            id,
            path: path.clone(),
            identity: *identity,
        });
        let refs = refs.collect::<Vec<_>>();
        self.ask(&Request::Remove(refs.clone()));
        let answer = |file: &FileRef| match self.replies.next::<Reply<'_>>().unwrap().unwrap() {
            Reply::Removed { id, end } if id == file.id => end,
            other => panic!("{other:?}"),
        };
        refs.iter().map(answer).collect()
    }

    fn prune(&mut self, dirs: &[&str], quiet: Duration) -> Vec<bool> {
        let dirs = dirs.iter().map(|dir| path(dir)).collect::<Vec<_>>();
        let quiet_ns = u64::try_from(quiet.as_nanos()).unwrap();
        self.ask(&Request::Prune { dirs: dirs.clone(), quiet_ns });
        let answer = |dir: &RelPath| match self.replies.next::<Reply<'_>>().unwrap().unwrap() {
            Reply::Pruned { path, removed } if path == *dir => removed,
            other => panic!("{other:?}"),
        };
        dirs.iter().map(answer).collect()
    }

    /// Reads the refusal that ends the session.
    fn refusal(mut self) -> String {
        let reason = loop {
            match self.replies.next::<Reply<'_>>().unwrap().unwrap() {
                Reply::Refused { reason } => break reason.to_owned(),
                Reply::Opened { .. } | Reply::Fetched { end: FetchEnd::Differs, .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert!(self.thread.join().unwrap().is_err());
        reason
    }

    /// Ends the requests, and expects an orderly end.
    fn end(self) {
        drop(self.requests);
        self.replies.input().shutdown(std::net::Shutdown::Write).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}
