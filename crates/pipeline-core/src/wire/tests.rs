#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::entry::{Entry, Identity, OtherKind, Prefix, Vitals};
use crate::health::{Piece, Texts};
use crate::path::RelPath;

fn noise(bytes: usize) -> Vec<u8> {
    let mut x = 1u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

fn path(bytes: &[u8]) -> RelPath {
    RelPath::new(bytes).unwrap()
}

#[test]
fn messages_survive_frames_of_every_kind() {
    let text = "temperature,humidity\n".repeat(4000).into_bytes();
    let noise = noise(MAX_DATA_BYTES);
    let messages = [&text[..], &text, &noise, &text, b"", &noise, &text[..7]];
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::compressed(&mut bytes).unwrap();
    for message in messages {
        writer.push(&Reply::Data(message)).unwrap();
    }
    writer.flush().unwrap();
    assert!(bytes.len() < 2 * noise.len() + 2 * text.len());
    let mut reader = FrameReader::new(&bytes[..]);
    for message in messages {
        assert_eq!(reader.next::<Reply>().unwrap().unwrap(), Reply::Data(message));
    }
    assert!(reader.next::<Reply>().unwrap().is_none());
}

#[test]
fn a_message_that_fits_no_frame_is_refused_and_the_stream_goes_on() {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::plain(&mut bytes);
    assert!(matches!(writer.push(&Reply::Data(&vec![0; MAX_FRAME_BYTES + 1])), Err(WireError::TooLarge)));
    writer.push(&Reply::Scanned { files: 7 }).unwrap();
    writer.flush().unwrap();
    assert_eq!(FrameReader::new(&bytes[..]).next::<Reply>().unwrap().unwrap(), Reply::Scanned { files: 7 });
}

/// Content written straight into the frame is the same message as content that is pushed.
#[test]
fn data_written_in_place_is_the_same_message() {
    let content = noise(MAX_DATA_BYTES);
    for bytes in [1, 127, 128, 129, 16_383, 16_384, 16_385, MAX_DATA_BYTES] {
        let (mut pushed, mut placed) = (Vec::new(), Vec::new());
        let mut writer = FrameWriter::plain(&mut pushed);
        writer.push(&Reply::Data(&content[..bytes])).unwrap();
        writer.flush().unwrap();
        let mut writer = FrameWriter::plain(&mut placed);
        // A file that turns out shorter than it was: the room asked for is not filled.
        let written = writer.push_data(MAX_FRAME_BYTES * 2, |room| {
            assert_eq!(room.len(), MAX_DATA_BYTES);
            room[..bytes].copy_from_slice(&content[..bytes]);
            Ok::<_, ()>(bytes)
        });
        assert_eq!(written.unwrap(), Ok(bytes));
        writer.flush().unwrap();
        assert_eq!(pushed, placed, "{bytes} bytes");
    }
}

#[test]
fn data_fills_a_frame_to_its_end_and_nothing_is_added_for_none_or_an_error() {
    let mut out = Vec::new();
    let mut writer = FrameWriter::plain(&mut out);
    writer.push(&Reply::Data(&noise(MAX_DATA_BYTES - 20_000))).unwrap();
    let pending = writer.pending_bytes();
    assert_eq!(writer.push_data(9, |_| Ok::<_, ()>(0)).unwrap(), Ok(0));
    assert_eq!(writer.push_data(9, |_| Err("broken")).unwrap(), Err("broken"));
    assert_eq!(writer.pending_bytes(), pending);
    let first = writer.push_data(MAX_DATA_BYTES, |room| Ok::<_, ()>(room.len())).unwrap().unwrap();
    assert!((MIN_PIECE_BYTES..20_100).contains(&first), "{first}");
    assert_eq!(writer.pending_bytes(), MAX_FRAME_BYTES);
    let second = writer.push_data(MAX_DATA_BYTES, |room| Ok::<_, ()>(room.len())).unwrap().unwrap();
    assert_eq!(second, MAX_DATA_BYTES);
    writer.flush().unwrap();
    assert_eq!(out.len(), 2 * HEADER_BYTES + MAX_FRAME_BYTES + MAX_DATA_BYTES + DATA_PREFIX_BYTES);
}

#[test]
fn frames_that_announce_what_they_must_not_are_refused() {
    let header = |kind: u8, stored: usize, plain: usize| {
        let mut bytes = vec![0; HEADER_BYTES];
        write_header(&mut bytes, kind, stored, plain);
        bytes
    };
    let table = [
        (header(2, 4, 4), "unknown kind"),
        (header(PLAIN, 0, 0), "empty"),
        (header(PLAIN, 4, 5), "two lengths"),
        (header(ZSTD, 9, 0), "empty when unpacked"),
        (header(PLAIN, MAX_FRAME_BYTES + 1, MAX_FRAME_BYTES + 1), "too long"),
        (header(ZSTD, MAX_FRAME_BYTES + 1, 9), "too long to hold"),
        (header(ZSTD, 9, u32::MAX as usize), "too long when unpacked"),
    ];
    for (bytes, what) in table {
        let mut reader = FrameReader::new(bytes.chain(io::repeat(0)));
        assert!(matches!(reader.next::<Request>(), Err(WireError::Frame { .. })), "{what}");
        assert_eq!(reader.plain.capacity() + reader.stored.capacity(), 0, "{what}: memory was taken");
    }
}

#[test]
fn a_frame_that_unpacks_to_another_length_is_refused() {
    let packed = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert!(packed.len() < MAX_FRAME_BYTES);
    for plain in [MAX_FRAME_BYTES, 1] {
        let mut bytes = vec![0; HEADER_BYTES];
        write_header(&mut bytes, ZSTD, packed.len(), plain);
        bytes.extend_from_slice(&packed);
        let mut reader = FrameReader::new(&bytes[..]);
        assert!(matches!(reader.next::<Request>(), Err(WireError::Compression(_))));
        assert!(reader.plain.capacity() <= MAX_FRAME_BYTES);
    }
    let short = zstd::bulk::compress(&[0; 10], 1).unwrap();
    let mut bytes = vec![0; HEADER_BYTES];
    write_header(&mut bytes, ZSTD, short.len(), 11);
    bytes.extend_from_slice(&short);
    assert!(matches!(FrameReader::new(&bytes[..]).next::<Request>(), Err(WireError::Frame { .. })));
}

/// Encodes as any program could, without our types in the way.
fn raw_frame(message: &impl Serialize) -> Vec<u8> {
    let message = postcard::to_stdvec(message).unwrap();
    let mut bytes = vec![0; HEADER_BYTES];
    write_header(&mut bytes, PLAIN, message.len(), message.len());
    bytes.extend_from_slice(&message);
    bytes
}

#[test]
fn a_path_that_could_leave_the_root_does_not_decode() {
    /// The same as [`FileRef`], with a path that nobody checked.
    #[derive(Serialize)]
    struct Ref<'a>(u32, &'a [u8], [u8; 5]);
    for bad in [&b"../x"[..], b"a/../../x", b"..", b"/etc/passwd", b"a\0b", b"", b"a//b", b"./a", &[b'x'; 4097]] {
        let file = Ref(7, bad, [1; 5]);
        let requests =
            [raw_frame(&(2u8, &file, 0u8)), raw_frame(&(3u8, 1u8, &file)), raw_frame(&(4u8, 1u8, bad, 60u8))];
        for (bytes, what) in requests.iter().zip(["fetch", "remove", "prune"]) {
            let result = FrameReader::new(&bytes[..]).next::<Request>();
            assert!(matches!(result, Err(WireError::Message(_))), "{what} {}", bad.escape_ascii());
        }
        let replies = [raw_frame(&(1u8, bad, [1u8; 5])), raw_frame(&(3u8, bad, 1u8)), raw_frame(&(2u8, bad, 1u8))];
        for (bytes, what) in replies.iter().zip(["found", "empty directory", "other"]) {
            let result = FrameReader::new(&bytes[..]).next::<Reply<'_>>().map(drop);
            assert!(matches!(result, Err(WireError::Message(_))), "{what} {}", bad.escape_ascii());
        }
    }
    // The same bytes with a good path are good: the table above fails for the path and nothing else.
    let good = raw_frame(&(2u8, Ref(7, b"a/b", [2; 5]), 0u8));
    let fetched = FrameReader::new(&good[..]).next::<Request>().unwrap().unwrap();
    let identity = Identity { dev: 2, ino: 2, size: 2, mtime_ns: 1, ctime_ns: 1 };
    assert_eq!(fetched, Request::Fetch { file: FileRef { id: 7, path: path(b"a/b"), identity }, known: vec![] });
}

fn any_path() -> impl Strategy<Value = RelPath> {
    prop::collection::vec(any::<u8>(), 1..40).prop_filter_map("not a path", |bytes| RelPath::new(bytes).ok())
}

fn any_file() -> impl Strategy<Value = FileRef> {
    (any::<(u32, u64, u64, u64, i64, i64)>(), any_path()).prop_map(
        |((id, dev, ino, size, mtime_ns, ctime_ns), path)| FileRef {
            id,
            path,
            identity: Identity { dev, ino, size, mtime_ns, ctime_ns },
        },
    )
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<u16>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(protocol, root)| Request::Open { protocol, root }),
        Just(Request::Scan),
        (any_file(), prop::collection::vec(any::<(u64, [u8; 32])>(), 0..3)).prop_map(|(file, known)| {
            let known = known.into_iter().map(|(bytes, digest)| Prefix { bytes, digest: Digest::from_bytes(digest) });
            let known = known.collect();
            Request::Fetch { file, known }
        }),
        (any_file(), any::<u64>()).prop_map(|(file, signature_bytes)| Request::Delta { file, signature_bytes }),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Request::Signature),
        prop::collection::vec(any_file(), 0..20).prop_map(Request::Remove),
        (prop::collection::vec(any_path(), 0..20), any::<u64>())
            .prop_map(|(dirs, quiet_ns)| Request::Prune { dirs, quiet_ns }),
    ]
}

/// Reads to the end or the first error, and counts. Whatever comes, memory stays bounded.
fn drain(bytes: &[u8]) -> (Vec<Request>, Option<WireError>) {
    let mut reader = FrameReader::new(bytes);
    let mut seen = Vec::new();
    let error = loop {
        match reader.next() {
            Ok(Some(request)) => seen.push(request),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(reader.plain.capacity() <= MAX_FRAME_BYTES && reader.stored.capacity() <= MAX_FRAME_BYTES);
    (seen, error)
}

proptest! {
    #[test]
    fn requests_come_out_as_they_went_in(requests in prop::collection::vec(any_request(), 0..20)) {
        for compressed in [false, true] {
            let mut bytes = Vec::new();
            let mut writer =
                if compressed { FrameWriter::compressed(&mut bytes).unwrap() } else { FrameWriter::plain(&mut bytes) };
            for request in &requests {
                writer.push(request).unwrap();
            }
            writer.flush().unwrap();
            let (seen, error) = drain(&bytes);
            prop_assert!(error.is_none());
            prop_assert_eq!(&seen, &requests);
        }
    }

    #[test]
    fn noise_ends_with_an_error_or_the_end(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        drain(&bytes);
        // Past the header, too.
        let mut framed = vec![0; HEADER_BYTES];
        write_header(&mut framed, PLAIN, bytes.len(), bytes.len());
        framed.extend_from_slice(&bytes);
        drain(&framed);
        let mut reader = FrameReader::new(&framed[..]);
        while let Ok(Some(_)) = reader.next::<Reply<'_>>() {}
        write_header(&mut framed, ZSTD, bytes.len(), 4096);
        drain(&framed);
    }

    #[test]
    fn a_broken_frame_harms_nothing_before_it(
        requests in prop::collection::vec(any_request(), 1..10),
        at in any::<prop::sample::Index>(),
        change in prop_oneof![any::<u8>().prop_map(Some), Just(None)],
    ) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for request in &requests {
            let mut writer = FrameWriter::compressed(&mut bytes).unwrap();
            writer.push(request).unwrap();
            writer.flush().unwrap();
            ends.push(bytes.len());
        }
        let at = at.index(bytes.len());
        match change {
            Some(byte) => bytes[at] ^= byte,
            None => bytes.truncate(at),
        }
        let whole = ends.iter().filter(|&&end| end <= at).count();
        let (seen, error) = drain(&bytes);
        prop_assert!(seen.len() >= whole);
        prop_assert_eq!(&seen[..whole], &requests[..whole]);
        if change.is_none() {
            prop_assert_eq!(seen.len(), whole);
            let cut_inside = at != whole.checked_sub(1).map_or(0, |last| ends[last]);
            prop_assert_eq!(error.is_some(), cut_inside);
        }
    }
}

/// `docs/wire.md` shows one message of each kind; what it shows is what is sent.
#[test]
fn the_documented_bytes_are_the_bytes() {
    let identity = Identity { dev: 2049, ino: 12, size: 300, mtime_ns: 1_700_000_000_000_000_000, ctime_ns: -1 };
    let file = FileRef { id: 7, path: path(b"a/b"), identity };
    let vitals = Vitals { clock_ns: 1, total_bytes: 1 << 30, free_bytes: 1 << 20, total_files: 100, free_files: 99 };
    let digest = Digest::from_bytes([0xab; 32]);
    let requests = [
        Request::Open { protocol: PROTOCOL, root: b"/data".to_vec() },
        Request::Scan,
        Request::Fetch { file: file.clone(), known: vec![] },
        Request::Fetch { file: file.clone(), known: vec![Prefix { bytes: 200, digest }] },
        Request::Remove(vec![file.clone()]),
        Request::Prune { dirs: vec![path(b"a")], quiet_ns: 3_600_000_000_000 },
        Request::Delta { file, signature_bytes: 12 },
        Request::Signature(b"abc".to_vec()),
        Request::Health,
    ];
    let replies = [
        Reply::Opened { version: "0.1.0", vitals },
        Reply::Found(Entry { path: path(b"a/b"), identity }),
        Reply::Other { path: path(b"l"), kind: OtherKind::Symlink },
        Reply::EmptyDir { path: path(b"d"), mtime_ns: 64 },
        Reply::Unreadable { path: None, reason: "no" },
        Reply::Scanned { files: 1 },
        Reply::Data(b"abc"),
        Reply::Fetched { id: 7, end: FetchEnd::Complete(digest) },
        Reply::Removed { id: 7, end: RemoveEnd::Failed("no".into()) },
        Reply::Pruned { path: path(b"d"), removed: true },
        Reply::Refused { reason: "no" },
        Reply::Working,
        Reply::Health(Texts(vec![(Piece::Load, b"0.52".to_vec())])),
    ];
    let page = include_str!("../../../../docs/wire.md");
    let shown = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let all = requests.iter().map(|m| postcard::to_stdvec(m).unwrap());
    for bytes in all.chain(replies.iter().map(|m| postcard::to_stdvec(m).unwrap())) {
        assert!(page.contains(&format!("`{}`", shown(&bytes))), "not in docs/wire.md: {}", shown(&bytes));
    }
    let mut frame = Vec::new();
    let mut writer = FrameWriter::plain(&mut frame);
    writer.push(&Request::Scan).unwrap();
    writer.flush().unwrap();
    assert!(page.contains(&format!("`{}`", shown(&frame))), "not in docs/wire.md: {}", shown(&frame));
    assert!(page.contains(&format!("`{}`", shown(&MAGIC))));
    for limit in [MAX_FRAME_BYTES, MAX_DATA_BYTES, MAX_REMOVALS, MAX_UNANSWERED_BYTES, crate::path::MAX_PATH_BYTES] {
        let digits = limit.to_string();
        let thousands =
            digits.as_bytes().rchunks(3).rev().map(|d| std::str::from_utf8(d).unwrap()).collect::<Vec<_>>().join(",");
        assert!(page.contains(&thousands), "the limit {thousands} is not in docs/wire.md");
    }
}
