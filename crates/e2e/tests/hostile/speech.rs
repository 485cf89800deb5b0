//! What an impostor says: bytes of the wire, right and wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use pipeline_core::digest::Digest;
use pipeline_core::entry::{Entry, Identity, Vitals};
use pipeline_core::path::RelPath;
use pipeline_core::wire::{self, FetchEnd, FrameWriter, RemoveEnd, Reply};

pub const MAGIC: [u8; 8] = wire::MAGIC;

/// More than the storage of any test has room for.
pub const HUGE: u64 = 1 << 50;

pub fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn identity(size: u64) -> Identity {
    Identity { dev: 1, ino: 2, size, mtime_ns: 3, ctime_ns: 4 }
}

pub fn found(path: &str, size: u64) -> Reply<'static> {
    Reply::Found(Entry { path: rel(path), identity: identity(size) })
}

pub fn scanned(files: u64) -> Reply<'static> {
    Reply::Scanned { files }
}

/// The end of a fetch, with the digest of this content.
pub fn complete(id: u32, content: &[u8]) -> Reply<'static> {
    Reply::Fetched { id, end: FetchEnd::Complete(Digest::of(content)) }
}

/// Frames with these messages.
pub fn messages(replies: &[Reply<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::plain(&mut bytes);
    replies.iter().for_each(|reply| writer.push(reply).unwrap());
    writer.flush().unwrap();
    drop(writer);
    bytes
}

fn greeting(vitals: Vitals) -> Vec<u8> {
    [MAGIC.to_vec(), messages(&[Reply::Opened { version: "0.1.0", vitals }])].concat()
}

/// A greeting as it should be.
pub fn opened() -> Vec<u8> {
    let clock_ns = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    greeting(Vitals { clock_ns, total_bytes: 1 << 35, free_bytes: 1 << 34, total_files: 0, free_files: 0 })
}

/// A greeting as it should be, and these messages.
pub fn session(replies: &[Reply<'_>]) -> Vec<u8> {
    [opened(), messages(replies)].concat()
}

/// A scan that finds a path which no [`RelPath`] can hold.
pub fn scan_of_path(path: &[u8]) -> Vec<u8> {
    // The same message as `Found`, whose path is bytes.
    let found = pipeline_core_message(path);
    let length = u32::try_from(found.len()).unwrap();
    [opened(), frame(0, length, length, &found), messages(&[scanned(1)])].concat()
}

/// `Found` with any bytes for a path: its tag, the length of the path in seven bits a byte, the path, and the rest.
fn pipeline_core_message(path: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: usize = 9;
    let whole = messages(&[found("x", 1)])[HEADER_BYTES..].to_vec();
    let (tag, identity) = (whole[0], &whole[3..]);
    assert_eq!(&whole[1..3], b"\x01x", "the form of a path on the wire");
    let mut bytes = vec![tag];
    let mut length = path.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    [&bytes, path, identity].concat()
}

/// A frame whose header may lie.
pub fn frame(kind: u8, stored: u32, plain: u32, content: &[u8]) -> Vec<u8> {
    [&[kind], &stored.to_le_bytes()[..], &plain.to_le_bytes(), content].concat()
}

/// A frame that decompresses to 256 MiB, and announces `plain` bytes.
pub fn bomb(plain: u32) -> Vec<u8> {
    let packed = zstd::bulk::compress(&vec![0; 256 << 20], 19).unwrap();
    assert!(packed.len() < wire::MAX_FRAME_BYTES, "{}", packed.len());
    frame(1, u32::try_from(packed.len()).unwrap(), plain, &packed)
}

/// Two whole files, from a device whose every number is the smallest or the largest that there is.
pub fn from_the_edge() -> Vec<u8> {
    let vitals = Vitals {
        clock_ns: i64::MIN,
        total_bytes: 1,
        free_bytes: u64::MAX,
        total_files: u64::MAX,
        free_files: u64::MAX,
    };
    let edge = |path, ns| {
        let identity = Identity { dev: u64::MAX, ino: u64::MAX, size: 1, mtime_ns: ns, ctime_ns: ns };
        Reply::Found(Entry { path: rel(path), identity })
    };
    let said = messages(&[
        edge("first", i64::MIN),
        edge("last", i64::MAX),
        Reply::EmptyDir { path: rel("empty"), mtime_ns: i64::MIN },
        scanned(2),
        Reply::Data(b"1"),
        complete(1, b"1"),
        Reply::Data(b"2"),
        complete(2, b"2"),
        Reply::Removed { id: 3, end: RemoveEnd::Removed },
        Reply::Removed { id: 4, end: RemoveEnd::Gone },
    ]);
    [greeting(vitals), said].concat()
}
