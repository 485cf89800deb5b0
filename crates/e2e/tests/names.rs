//! Names that break scripts, and paths that break system calls: whole on the other side, byte for byte.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::{Ended, run};
use local_fleet::{Fleet, field, snapshot};
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn pipeline(fleet: &Fleet, args: &[&str]) -> Ended {
    run(fleet.command("pipeline").unwrap().args(args))
}

/// Long ago, with nanoseconds.
fn modified() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789)
}

/// A path of so many bytes, its names of `name_bytes` but for the last.
fn deep(bytes: usize, name_bytes: usize) -> Vec<u8> {
    let name = [&vec![b'd'; name_bytes][..], b"/"].concat();
    let mut path = name.repeat((bytes - 1) / name.len());
    path.resize(bytes, b'f');
    path
}

/// Names that the demo's list does not have.
fn more_names() -> Vec<Vec<u8>> {
    let names: [&[u8]; 14] = [
        b".pipeline",
        b".pipeline.d/marker.json",
        b"SHA256SUMS",
        b"sums/SHA256SUMS/raspberry1/2026-11-21.sha256",
        b"-",
        b"\n",
        b" ",
        b"\\",
        b"%2e%2e",
        b"..hidden",
        b"con.txt",
        b"\x01\x7f\x1b[31m",
        b"\xed\xa0\x80 surrogate",
        "right\u{202e}gpj.to left".as_bytes(),
    ];
    names.into_iter().map(<[u8]>::to_vec).collect()
}

#[test]
fn every_name_arrives_unchanged() {
    let fleet = Fleet::builder().tunnels(false).start().unwrap();
    for (index, name) in field::awkward_names().into_iter().chain(more_names()).enumerate() {
        fleet.write(1, &name, format!("{index}\n").as_bytes(), modified()).unwrap();
        let below = [b"dir ".as_slice(), &name, b"/", &name].concat();
        if name.len() < 250 {
            fleet.write(1, &below, format!("below {index}\n").as_bytes(), modified()).unwrap();
        }
    }
    fleet.write(1, b"empty", b"", modified()).unwrap();
    let offered = fleet.offered().unwrap();
    assert!(offered.len() > 60, "{}", offered.len());
    assert!(offered.keys().any(|path| path.ends_with(b"/.pipeline")));

    pipeline(&fleet, &["init"]).expect(0);
    let summary = pipeline(&fleet, &["sync", "--json"]).expect(0).summary();
    assert_eq!(summary["removed"], offered.len(), "{summary}");
    assert_eq!(fleet.archived().unwrap(), offered, "name, content and modification time of each file");
    assert!(fleet.offered().unwrap().is_empty());
    let again = pipeline(&fleet, &["sync", "--json"]).expect(0).summary();
    assert_eq!((&again["received"], &again["kept"]), (&0.into(), &0.into()));
}

/// A storage that is itself thousands of bytes deep, and a source whose paths are.
#[test]
fn paths_of_four_thousand_bytes() {
    let fleet = Fleet::builder().tunnels(false).start().unwrap();
    let storage = fleet.root().join(deep_directory(3_000));
    fs::create_dir_all(&storage).unwrap();
    let config = fs::read_to_string(fleet.config_file()).unwrap();
    let line = format!("storage: {}\n", fleet.storage().display());
    assert!(config.contains(&line), "{config}");
    fs::write(fleet.config_file(), config.replace(&line, &format!("storage: {}\n", storage.display()))).unwrap();

    let host = b"raspberry1/".len();
    let fits = [deep(4_000, 200), deep(4_001, 1), deep(4_096 - host, 120)];
    for path in &fits {
        fleet.write(1, path, b"deep\n", modified()).unwrap();
    }
    // With the name of the device before it, the first is too long for the archive; the second for anybody.
    let (too_long, far_too_long) = (deep(4_090, 99), deep(5_000, 150));
    fleet.write(1, &too_long, b"too deep\n", modified()).unwrap();
    fleet.write(1, &far_too_long, b"far too deep\n", modified()).unwrap();
    let mut offered = fleet.offered().unwrap();

    pipeline(&fleet, &["init"]).expect(0);
    let sync = pipeline(&fleet, &["sync", "--json"]).expect(3);
    let reasons: Vec<_> = sync.events().into_iter().filter(|event| event["event"] == "file_failed").collect();
    assert_eq!(reasons.len(), 2, "{sync}");
    let said = |words: &str| reasons.iter().any(|event| event["reason"].as_str().unwrap().contains(words));
    assert!(said("the path is longer than 4096 bytes"), "{reasons:?}");
    assert!(said("it holds paths of more than 4096 bytes"), "{reasons:?}");

    let left: BTreeMap<_, _> = [too_long, far_too_long]
        .iter()
        .map(|path| [b"raspberry1/".as_slice(), path].concat())
        .map(|path| (path.clone(), offered.remove(&path).unwrap()))
        .collect();
    assert_eq!(fleet.offered().unwrap(), left, "what has no place stays where it is");
    let mut archived = snapshot(&storage).unwrap();
    archived.retain(|path, _| !path.starts_with(b".pipeline/") && !path.starts_with(b"SHA256SUMS/"));
    assert_eq!(archived, offered);
}

/// A path of about so many bytes.
fn deep_directory(bytes: usize) -> String {
    vec!["r".repeat(99); bytes / 100].join("/")
}

#[test]
fn what_is_no_file_is_reported_and_left() {
    let fleet = Fleet::builder().tunnels(false).start().unwrap();
    let source = fleet.pi(1).source();
    let outside = fleet.pi(1).home().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("private"), b"not to be copied").unwrap();
    fleet.write(1, b"file.jpg", b"bees\n", modified()).unwrap();
    for (link, target) in [
        ("to-file", "file.jpg"),
        ("to-directory", "../outside"),
        ("to-etc", "/etc"),
        ("to-passwd", "/etc/passwd"),
        ("dangling", "nowhere"),
        ("to-itself", "to-itself"),
    ] {
        symlink(target, source.join(link)).unwrap();
    }
    mknodat(CWD, source.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    let _socket = UnixListener::bind(source.join("socket")).unwrap();
    let names = || -> Vec<_> {
        let mut names: Vec<_> =
            fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };

    pipeline(&fleet, &["init"]).expect(0);
    let sync = pipeline(&fleet, &["sync", "--json"]).expect(0);
    let mut skipped: Vec<_> = sync
        .events()
        .into_iter()
        .filter(|event| event["event"] == "other_skipped")
        .map(|event| format!("{} {}", event["path"].as_str().unwrap(), event["kind"].as_str().unwrap()))
        .collect();
    skipped.sort();
    let left = ["dangling", "fifo", "socket", "to-directory", "to-etc", "to-file", "to-itself", "to-passwd"];
    let kind = |name: &&str| if matches!(*name, "fifo" | "socket") { "special" } else { "symlink" };
    assert_eq!(skipped, left.map(|name| format!("{name} {}", kind(&name))));
    assert_eq!(names(), left);
    let archived: Vec<_> = fleet.archived().unwrap().into_keys().collect();
    assert_eq!(archived, [b"raspberry1/file.jpg"]);
    assert_eq!(fs::read(outside.join("private")).unwrap(), b"not to be copied");
}
