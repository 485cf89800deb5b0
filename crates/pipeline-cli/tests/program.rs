//! The program as its callers see it: help, streams, signals, the lock. Black box, through the built program.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::Home;

/// A home whose one device is a port of this test, which accepts and says nothing.
fn with_silent_device() -> (Home, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let home = Home::new();
    home.good_config();
    home.write(
        ".ssh/config",
        &format!("Host raspberry1\n  HostName 127.0.0.1\n  Port {port}\n  User pi\n  IdentityFile ~/.ssh/id\n"),
        0o600,
    );
    home.write(".ssh/known_hosts", &format!("[127.0.0.1]:{port} {PUBLIC_KEY}\n"), 0o600);
    assert!(home.run(&["init"]).status.success());
    (home, listener)
}

/// Some host key: nobody gets as far as to compare it.
const PUBLIC_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

/// A run that is under way: it has connected to the device, which says nothing.
fn under_way(home: &Home, listener: &TcpListener, args: &[&str]) -> (Child, TcpStream) {
    let mut command = home.command(args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (connection, _) = listener.accept().unwrap();
    (child, connection)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_signal_stops_a_run_cleanly_within_five_seconds() {
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let (home, listener) = with_silent_device();
        let (child, _connection) = under_way(&home, &listener, &["sync"]);
        let asked = Instant::now();
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        let seen = home.seen(&output);
        assert_eq!(output.status.code(), Some(code), "{seen}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert!(seen.contains("raspberry1"), "the table names the device: {seen}");
    }
}

/// A run that can't go on, nor end: its first event is stuck in a pipe that nobody reads.
fn stuck(home: &Home) -> (Child, UnixStream) {
    let (writer, reader) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    while (&writer).write(&[b'\n'; 4096]).is_ok() {}
    writer.set_nonblocking(false).unwrap();
    let mut command = home.command(&["sync", "--json"]);
    let child = command.stdout(OwnedFd::from(writer)).stderr(Stdio::null()).spawn().unwrap();
    until(&child, || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & (1 << (15 - 1)) != 0
    });
    (child, reader)
}

/// Waits for something that a process is about to do.
fn until(child: &Child, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "process {} does not get there", child.id());
        std::thread::yield_now();
    }
}

#[test]
fn a_run_that_can_not_end_cleanly_is_ended() {
    let home = Home::new();
    home.good_config();
    assert!(home.run(&["init"]).status.success());
    let (mut child, _reader) = stuck(&home);
    let asked = Instant::now();
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn a_second_signal_ends_a_run_at_once() {
    let home = Home::new();
    home.good_config();
    assert!(home.run(&["init"]).status.success());
    let (mut child, _reader) = stuck(&home);
    let asked = Instant::now();
    signal(&child, "INT");
    let threads = format!("/proc/{}/task", child.id());
    until(&child, || {
        let name =
            |thread: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(thread.unwrap().path().join("comm"));
        std::fs::read_dir(&threads).unwrap().any(|thread| name(thread).is_ok_and(|name| name == "patience\n"))
    });
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143), "the second signal's code");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let (home, listener) = with_silent_device();
    let program = home.command(&[]).get_program().to_owned();
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" sync"]).arg(program);
    nohup.env_clear().env("HOME", home.path("")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = nohup.spawn().unwrap();
    let (_connection, _) = listener.accept().unwrap();
    signal(&child, "HUP");
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_second_run_meets_the_lock() {
    let (home, listener) = with_silent_device();
    let (first, _connection) = under_way(&home, &listener, &["sync"]);
    let second = home.run(&["sync"]);
    let seen = home.seen(&second);
    assert_eq!(second.status.code(), Some(7), "{seen}");
    assert!(seen.contains(&format!("process {}", first.id())), "it says who: {seen}");
    signal(&first, "TERM");
    first.wait_with_output().unwrap();
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let home = Home::new();
    home.good_config();
    for args in [
        &["init"][..],
        &["export", "csv"],
        &["export", "effort"],
        &["report", "-o", "-"],
        &["report", "-o", "/dev/stdout"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = home.command(args).stdout(OwnedFd::from(writer)).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{args:?}: {}", home.seen(&output));
    }
}

#[test]
fn output_that_can_not_be_written_is_an_error() {
    let home = Home::new();
    home.good_config();
    // A catalog is needed first, for all but the first.
    for args in [&["init"][..], &["export", "csv"], &["export", "effort"], &["report", "-o", "-"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = home.command(args).stdout(full).output().unwrap();
        let seen = home.seen(&output);
        assert_eq!(output.status.code(), Some(5), "{args:?}: {seen}");
        assert!(seen.contains("error: can't write to standard output: no space left on device"), "{args:?}: {seen}");
    }
    let output = home.run(&["report", "-o", "/dev/full"]);
    let seen = home.seen(&output);
    assert_eq!(output.status.code(), Some(5), "{seen}");
    assert!(seen.contains("can't write /dev/full: no space left on device\nhint: make room there"), "{seen}");
}

#[test]
fn init_is_idempotent_and_says_the_same_id() {
    let home = Home::new();
    home.good_config();
    let id = |output: &std::process::Output| {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        text.lines().find_map(|line| line.trim().strip_prefix("id ")).unwrap().trim().to_owned()
    };
    let (first, second) = (home.run(&["init"]), home.run(&["init"]));
    assert!(first.status.success() && second.status.success(), "{}", home.seen(&second));
    assert_eq!(id(&first), id(&second));
    assert_eq!(id(&first).len(), 32);
}

#[test]
fn an_offline_device_is_reported_and_alone_means_that_nobody_was_reached() {
    let home = Home::new();
    home.good_config();
    home.write(".ssh/known_hosts", &format!("[127.0.0.1]:1 {PUBLIC_KEY}\n"), 0o600);
    assert!(home.run(&["init"]).status.success());
    for command in ["check", "sync"] {
        let output = home.run(&[command]);
        let seen = home.seen(&output);
        assert_eq!(output.status.code(), Some(4), "{seen}");
        assert!(seen.contains("raspberry1") && seen.contains("offline"), "{seen}");
    }
}

#[test]
fn json_is_all_that_is_on_standard_output() {
    let home = Home::new();
    home.good_config();
    home.write(".ssh/known_hosts", &format!("[127.0.0.1]:1 {PUBLIC_KEY}\n"), 0o600);
    assert!(home.run(&["init"]).status.success());
    let output = home.run(&["sync", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["schema"] == 1 && event["time"].is_string()), "{text}");
    assert_eq!(events.first().unwrap()["event"], "run_started");
    assert_eq!(events.last().unwrap()["event"], "run_finished");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("error: no device could be reached\nhint: "), "the exit code in words, no more: {told}");
}

#[test]
fn in_the_journal_lines_have_a_priority_and_no_time() {
    use std::os::unix::fs::MetadataExt as _;
    let home = Home::new();
    home.good_config();
    home.write(".ssh/known_hosts", &format!("[127.0.0.1]:1 {PUBLIC_KEY}\n"), 0o600);
    assert!(home.run(&["init"]).status.success());
    let mut journal = tempfile::tempfile().unwrap();
    let metadata = journal.metadata().unwrap();
    let mut command = home.command(&["sync"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()));
    command.stdout(journal.try_clone().unwrap()).stderr(journal.try_clone().unwrap());
    command.status().unwrap();
    std::io::Seek::rewind(&mut journal).unwrap();
    let mut text = String::new();
    journal.read_to_string(&mut text).unwrap();
    assert!(text.contains("<6>raspberry1: offline: "), "{text}");
    assert!(text.lines().all(|line| line.starts_with('<') && line.as_bytes()[2] == b'>'), "{text}");
    assert!(!text.contains("device  "), "no table: {text}");
}

#[test]
fn a_lost_catalog_is_made_anew() {
    let home = Home::new();
    home.good_config();
    assert!(home.run(&["init"]).status.success());
    std::fs::remove_file(home.path("state/catalog.db")).unwrap();
    home.write("storage/raspberry1/a.jpg", "abc", 0o644);
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let manifest = format!("{digest}  raspberry1/a.jpg\n{digest}  raspberry1/gone.jpg\n");
    home.write("storage/SHA256SUMS/raspberry1/2026-11-21.sha256", &manifest, 0o644);
    let output = home.run(&["catalog", "rebuild", "--json"]);
    let seen = home.seen(&output);
    assert_eq!(output.status.code(), Some(3), "{seen}");
    assert!(
        seen.contains(r#""event":"listed_file_skipped","device":"raspberry1","path":"raspberry1/gone.jpg""#),
        "{seen}"
    );
    assert!(
        seen.contains(r#""event":"catalog_rebuilt","manifests":1,"lines":2,"files":1,"bytes":3,"problems":1"#),
        "{seen}"
    );

    std::fs::remove_file(home.path("state/catalog.db")).unwrap();
    home.write("storage/raspberry1/gone.jpg", "abc", 0o644);
    let output = home.run(&["catalog", "rebuild"]);
    let seen = home.seen(&output);
    assert_eq!(output.status.code(), Some(0), "{seen}");
    assert!(seen.contains("the catalog holds 2 files (6 B) now, from 2 lines of 1 manifest; no problem\n"), "{seen}");
}

#[test]
fn what_is_wrong_in_the_storage_is_found_named_and_left_as_it_is() {
    let home = Home::new();
    home.good_config();
    assert!(home.run(&["init"]).status.success());
    std::fs::remove_file(home.path("state/catalog.db")).unwrap();
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let lines: String = ["a", "b", "c"].map(|name| format!("{digest}  raspberry1/{name}.jpg\n")).concat();
    home.write("storage/SHA256SUMS/raspberry1/2026-11-21.sha256", &lines, 0o644);
    ["a", "b", "c"].iter().for_each(|name| home.write(&format!("storage/raspberry1/{name}.jpg"), "abc", 0o644));
    assert!(home.run(&["catalog", "rebuild"]).status.success());
    let seen = |args: &[&str], code| {
        let output = home.run(&[&["verify"], args].concat());
        let seen = home.seen(&output);
        assert_eq!(output.status.code(), Some(code), "{seen}");
        seen
    };
    for args in [&["--bandwidth", "1GiB/s"][..], &["--sample", "100%"], &["--budget", "1/1"], &["raspberry1"]] {
        assert!(seen(args, 0).contains("as the catalog says: 3 files (9 B), in "));
    }

    home.write("storage/raspberry1/a.jpg", "aac", 0o644);
    std::fs::remove_file(home.path("storage/raspberry1/b.jpg")).unwrap();
    home.write("storage/raspberry1/extra.jpg", "abc", 0o644);
    let text = seen(&[], 6);
    for line in [
        "\nchanged  raspberry1/a.jpg\nmissing  raspberry1/b.jpg\nunknown  raspberry1/extra.jpg\n",
        "as the catalog says: 1 file (3 B), in ",
        "\nnot so: 1 missing, 1 changed, 1 unknown\n",
        "error: the storage differs from the catalog in 3 places\nhint: nothing was repaired: ",
    ] {
        assert!(format!("\n{}", text.replace("--- stdout\n", "")).contains(line), "{line:?} in {text}");
    }
    let text = seen(&["--json", "--budget", "1/1"], 6);
    assert!(
        text.contains(r#""event":"archive_fault","fault":"missing","path":"raspberry1/b.jpg","reason":"nothing lies there","device":"raspberry1","source_path":"b.jpg","on_device":false}"#),
        "{text}"
    );
    let last = text.lines().take_while(|line| !line.starts_with("--- stderr")).last().unwrap();
    assert!(
        last.contains(
            r#""event":"archive_verified","files":1,"bytes":3,"missing":1,"changed":1,"unreadable":0,"unknown":0"#
        ),
        "{text}"
    );
    assert_eq!(std::fs::read(home.path("storage/raspberry1/a.jpg")).unwrap(), b"aac");

    seen(&["raspberry2"], 2);
    std::fs::rename(home.path("storage/.pipeline"), home.path("storage/.away")).unwrap();
    assert!(!seen(&[], 5).contains("missing "));
}
