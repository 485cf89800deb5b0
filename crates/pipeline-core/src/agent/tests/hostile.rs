//! A collector that sends anything at all gets an answer, a refusal or an end; never more than it may have.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// A root with a file, a directory and a link out of it, and a file outside.
fn tree() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    write(&temp.path().join("secret"), b"SECRET");
    write(&temp.path().join("root/file"), b"content");
    write(&temp.path().join("root/dir/file"), b"content");
    std::os::unix::fs::symlink("..", temp.path().join("root/out")).unwrap();
    temp
}

/// Serves a whole stream of requests and checks that the answers are a well-formed stream. Returns the refusal, if any.
fn serve_bytes(root: &Path, requests: Vec<u8>) -> Option<String> {
    let mut answers = Vec::new();
    let result = serve(Cursor::new(requests), &mut answers, &[root.to_owned()]);
    let mut reader = FrameReader::new(&answers[..]);
    reader.expect_magic().unwrap();
    let mut refused = None;
    while let Some(reply) = reader.next::<Reply<'_>>().unwrap() {
        assert_eq!(refused, None, "a refusal is the last word");
        match reply {
            Reply::Refused { reason } => refused = Some(reason.to_owned()),
            Reply::Data(bytes) => assert!(!bytes.windows(6).any(|window| window == b"SECRET")),
            _ => {}
        }
    }
    assert_eq!(result.is_err(), refused.is_some());
    refused
}

fn stream(root: &Path) -> Vec<u8> {
    let file = |id, name: &str| FileRef { id, path: path(name), identity: identity(&root.join(name)) };
    let signature = crate::delta::signature(&[7; 700][..], 700).unwrap();
    let requests = [
        Request::Open { protocol: PROTOCOL, root: root.as_os_str().as_bytes().to_vec() },
        Request::Scan,
        Request::Fetch { file: file(1, "file"), known: vec![] },
        Request::Fetch { file: file(2, "dir/file"), known: vec![] },
        Request::Fetch {
            file: FileRef { id: 3, path: path("out/secret"), identity: identity(&root.join("../secret")) },
            known: vec![],
        },
        Request::Remove(vec![FileRef { id: 4, path: path("out/secret"), identity: identity(&root.join("../secret")) }]),
        Request::Fetch {
            file: file(5, "file"),
            known: vec![Prefix { bytes: 3, digest: crate::digest::Digest::of(b"con") }],
        },
        Request::Delta { file: file(6, "dir/file"), signature_bytes: signature.len() as u64 },
        Request::Signature(signature[..20].to_vec()),
        Request::Signature(signature[20..].to_vec()),
        Request::Prune { dirs: vec![path("dir"), path("out")], quiet_ns: 0 },
        Request::Scan,
    ];
    let mut bytes = Vec::new();
    for request in requests {
        let mut writer = FrameWriter::compressed(&mut bytes).unwrap();
        writer.push(&request).unwrap();
        writer.flush().unwrap();
    }
    bytes
}

#[test]
fn a_stream_that_ends_inside_a_message_is_told_so() {
    let temp = tree();
    let root = temp.path().join("root");
    let whole = stream(&root);
    assert_eq!(serve_bytes(&root, whole.clone()), None);
    let refused = serve_bytes(&root, whole[..whole.len() - 1].to_vec());
    assert_eq!(refused.unwrap(), "the collector broke the protocol: the stream ended in the middle of a message");
}

#[test]
fn what_a_person_types_is_refused_at_once() {
    let temp = tree();
    let refused = serve_bytes(&temp.path().join("root"), b"hello?\nis anybody there\n".to_vec());
    assert!(refused.unwrap().starts_with("the collector broke the protocol: a frame of kind 104"));
}

#[test]
fn paths_that_could_leave_the_root_are_refused() {
    /// The same as [`FileRef`], with a path that nobody checked.
    #[derive(serde::Serialize)]
    struct Ref<'a>(u32, &'a [u8], [u8; 5]);
    let temp = tree();
    let root = temp.path().join("root");
    let open = Request::Open { protocol: PROTOCOL, root: root.as_os_str().as_bytes().to_vec() };
    for bad in [&b"../secret"[..], b"dir/../../secret", b"/etc/passwd", b"file\0"] {
        for request in [2u8, 3, 4] {
            let mut bytes = Vec::new();
            let mut writer = FrameWriter::plain(&mut bytes);
            writer.push(&open).unwrap();
            match request {
                2 => writer.push(&(2u8, Ref(1, bad, [1; 5]), 0u8)),
                3 => writer.push(&(3u8, 1u8, Ref(1, bad, [1; 5]))),
                _ => writer.push(&(4u8, 1u8, bad, 0u8)),
            }
            .unwrap();
            writer.flush().unwrap();
            let refused = serve_bytes(&root, bytes).unwrap();
            assert!(
                refused.starts_with("the collector broke the protocol: a message could not be decoded"),
                "{refused}"
            );
        }
    }
    assert!(temp.path().join("secret").exists());
}

/// Somebody swaps a directory for a link out of the root, and back, as fast as he can.
#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, Ordering};

    let temp = tree();
    let root = temp.path().join("root");
    write(&temp.path().join("outside/file"), b"SECRET");
    std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
    let (inside, outside) = (identity(&root.join("dir/file")), identity(&temp.path().join("outside/file")));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut odd = false;
            while !done.load(Ordering::Relaxed) || odd {
                renameat_with(CWD, root.join("dir"), CWD, root.join("link"), RenameFlags::EXCHANGE).unwrap();
                odd = !odd;
            }
        });
        let mut agent = Agent::open(&root);
        for _ in 0..300 {
            assert!(agent.scan().files.values().all(|identity| *identity != outside));
            let (content, end) = agent.fetch(&path("dir/file"), outside);
            assert_eq!((content, end), (vec![], FetchEnd::Changed));
            assert_eq!(agent.remove(&path("dir/file"), outside), RemoveEnd::Changed);
            match agent.fetch(&path("dir/file"), inside) {
                (content, FetchEnd::Complete(_)) => assert_eq!(content, b"content"),
                (content, end) => assert_eq!((content, end), (vec![], FetchEnd::Changed)),
            }
            assert!(agent.prune(&["dir/file", "link/file"], Duration::ZERO).iter().all(|removed| !removed));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(temp.path().join("outside/file").exists() && root.join("dir/file").exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 1..3000), after in 0..3usize) {
        let temp = tree();
        let root = temp.path().join("root");
        let whole = stream(&root);
        // Noise at once, after the stream, and as the content of a frame after it.
        let mut bytes = if after == 0 { Vec::new() } else { whole };
        if after == 2 {
            let length = u32::try_from(noise.len()).unwrap().to_le_bytes();
            bytes.push(0);
            bytes.extend([length, length].concat());
        }
        bytes.extend(&noise);
        serve_bytes(&root, bytes);
        prop_assert!(temp.path().join("secret").exists());
    }

    #[test]
    fn a_changed_stream_ends_in_order_or_is_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let temp = tree();
        let root = temp.path().join("root");
        let mut bytes = stream(&root);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        serve_bytes(&root, bytes);
        prop_assert!(temp.path().join("secret").exists());
    }
}
