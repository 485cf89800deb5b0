//! The manifests, read back.

use super::*;
use crate::archive::Line;

#[test]
fn what_was_stored_is_listed_whatever_its_name() {
    let storage = Storage::new();
    let archive = storage.open();
    assert_eq!(archive.manifests().unwrap(), []);
    let names: [&[u8]; 7] = [
        b"a.jpg",
        b"a b ",
        b"line\nbreak\r",
        b"back\\slash",
        b"\xff\xfe",
        b"-",
        &[b"x".repeat(250), b"/y".to_vec()].concat(),
    ];
    let files: Vec<(&[u8], &[u8])> = names.iter().map(|&name| (name, name)).collect();
    let staging = archive.staging(&device()).unwrap();
    let staged = files.iter().map(|(path, content)| stage(&archive, &staging, path, content)).collect();
    commit_all(&archive, staged).unwrap();

    let manifests = archive.manifests().unwrap();
    let [manifest] = &manifests[..] else { panic!("{manifests:?}") };
    assert_eq!(*manifest.device(), device());
    let lines: Vec<_> = archive.lines(manifest).unwrap().map(Result::unwrap).collect();
    let expected: Vec<_> = files
        .iter()
        .map(|(path, content)| Line::File { path: target(&archive, path), digest: Digest::of(content) })
        .collect();
    assert_eq!(lines, expected);
}
