//! Pis that can't run the agent, each for a reason of its own, and a fleet that may not: everything arrives and leaves all the
//! same, by SFTP and by what each Pi's shell finds.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::scene::{Scene, Tree, noise};
use e2e::stand_in::{PI_CONFIG, misbehave, sftp_server, with_sftp};
use e2e::truth::assert_all_true;
use local_fleet::{Fleet, snapshot};
use rusqlite::Connection;

/// Writes a file that was left alone for so long. In whole seconds: SFTP alone says no more.
fn write(scene: &Scene, pi: usize, path: &str, content: &[u8], age: Duration) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let modified = UNIX_EPOCH + Duration::from_secs(now) - age;
    scene.fleet.write(pi, path.as_bytes(), content, modified).unwrap();
    scene.fleet.pi(pi).source().join(path)
}

/// As if all that the collector has noted were a quarter of an hour ago.
fn time_passes(scene: &Scene) {
    let catalog = Connection::open(scene.fleet.state_dir().join("catalog.db")).unwrap();
    let ago = 15 * 60 * 1_000_000_000_i64;
    catalog.execute("UPDATE file SET received_ns = received_ns - ?1", [ago]).unwrap();
    catalog.execute("UPDATE sighting SET first_ns = first_ns - ?1", [ago]).unwrap();
}

const LONG_AGO: Duration = Duration::from_secs(7200);

/// What a Pi's shell finds where `sha256sum` is missing.
const TOOLS: [&str; 14] =
    ["cat", "chmod", "date", "dd", "find", "head", "id", "ls", "mkdir", "rm", "sh", "stat", "uname", "xargs"];

/// A shell whose `~/.cache` is a file system of its own.
fn cache_on(options: &str) -> String {
    with_sftp(&format!(
        "exec unshare --mount sh -c \
         'mount -t tmpfs -o {options} tmpfs \"$HOME/.cache\" && exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"'"
    ))
}

/// Whether mounts of its own are to be had. In a namespace of users nobody's open files are seen, and nothing would be removed.
fn may_mount() -> bool {
    Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success())
}

/// Five Pis: home without programs; SFTP alone; home that can't be written to; no `sha256sum`; all well.
fn crippled() -> Scene {
    let settings = "settle: 1s\ntimeouts: { connect: 60s, idle: 60s }\n";
    let scene = Scene::new(Fleet::builder().pis(5).pi_config(PI_CONFIG).pipeline_config(settings));
    let pi = |number: usize| scene.fleet.pi(number);
    for number in [1, 3] {
        fs::create_dir(pi(number).home().join(".cache")).unwrap();
    }
    misbehave(pi(1), &cache_on("noexec"));
    misbehave(pi(2), &format!("exec {}", sftp_server()));
    misbehave(pi(3), &cache_on("ro"));
    // Nor can it be given the agent: root may write anywhere, but not below a file.
    fs::write(pi(4).home().join(".cache"), "").unwrap();
    let bin = pi(4).home().join("bin");
    fs::create_dir(&bin).unwrap();
    for tool in TOOLS {
        let found = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(tool)).into_iter().find(|path| path.exists());
        symlink(found.unwrap(), bin.join(tool)).unwrap();
    }
    misbehave(pi(4), &with_sftp("PATH=\"$HOME/bin\"; export PATH; exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\""));
    misbehave(pi(5), &with_sftp("exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\""));
    scene
}

#[test]
fn everything_arrives_and_leaves_without_an_agent() {
    if !may_mount() {
        #[allow(clippy::print_stderr)] // how a test says that it tested nothing
        {
            eprintln!("not tested: mounts of its own are not to be had; root has them");
        }
        return;
    }
    let scene = crippled();
    let log = |lines: usize| "12.5;2026-11-21T12:00:00Z;north hive\n".repeat(lines).into_bytes();
    for number in 1..=5 {
        write(&scene, number, "2026-11-21/it's a \"bee\".jpg", &noise(300_000, number as u64), LONG_AGO);
        write(&scene, number, "log.csv", &log(1000), LONG_AGO);
        write(&scene, number, "empty", b"", LONG_AGO);
    }
    let mut ever = scene.offered();

    // A look at Pis that have no agent yet leaves no trace.
    let homes = || scene.fleet.pis().iter().map(|pi| snapshot(&pi.home()).unwrap()).collect::<Vec<_>>();
    let before = homes();
    let checked = scene.pipeline(&["check"]).expect(0);
    assert!(checked.stdout.contains("free, without the agent: the agent is not on the device yet"), "{checked}");
    assert!(checked.stdout.contains("clock unknown"), "{checked}");
    let looked = scene.pipeline(&["sync", "--dry-run", "--json"]).expect(0);
    let connected = looked.events_of("device_connected");
    let clocks = connected.iter().map(|event| (event["device"].clone(), event["clock_offset_ms"].is_null()));
    assert!(clocks.clone().all(|(device, unknown)| unknown == (device == "raspberry2")), "{looked}");
    assert_eq!(clocks.count(), 5, "{looked}");
    assert_eq!(looked.events_of("file_planned").len() + looked.events_of("file_deferred").len(), ever.len());
    assert_eq!(homes(), before);
    assert_eq!(reason(&looked.events_of("fell_back"), "raspberry5"), "the agent is not on the device yet");

    // The clock of the second can't be asked: what lies there is looked at twice, and stays until it has been known for 10 minutes.
    let first = scene.sync().expect(0);
    let deferred = first.events_of("file_deferred");
    assert!(deferred.iter().all(|event| event["device"] == "raspberry2"), "{deferred:?}");
    assert_eq!(deferred.len(), 3, "{deferred:?}");
    time_passes(&scene);
    let run = scene.sync().expect(0);
    assert_eq!(scene.archived(), ever);
    let kept = run.events_of("file_deferred");
    assert!(kept.iter().all(|event| event["reason"].to_string().contains("clock can't be asked")), "{kept:?}");
    assert_eq!(kept.len(), 3, "{kept:?}");
    time_passes(&scene);
    scene.sync().expect(0);
    scene.assert_all_received(&ever);
    let told = run.events_of("fell_back");
    let expected = [
        ("raspberry1", "programs in ~/.cache/pipeline can't be run on the device"),
        ("raspberry2", "the login may use SFTP only"),
        ("raspberry3", "the agent can't be put into ~/.cache/pipeline on the device"),
        ("raspberry4", "the agent can't be put into ~/.cache/pipeline on the device"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (device, words) in expected {
        assert!(reason(&told, device).starts_with(words), "{told:?}");
    }
    for event in &told {
        let bare = ["raspberry2", "raspberry4"].iter().any(|device| event["device"] == *device);
        let says = event["caveats"].to_string().contains("read again before they are removed");
        assert_eq!(says, bare, "{event}");
    }

    // The log goes on under its name; somebody writes to a file, and another has just been written.
    scene.reconfigure("settle: 1s", "settle: 1s\nagent: never");
    for number in 1..=5 {
        write(&scene, number, "log.csv", &log(1500), LONG_AGO);
    }
    let busy = write(&scene, 1, "busy.csv", b"half a li", LONG_AGO);
    let writer = File::options().append(true).open(&busy).unwrap();
    let young = write(&scene, 2, "young.csv", b"perhaps more comes", Duration::from_secs(60));
    ever.extend(scene.offered());
    scene.sync().expect(0);
    time_passes(&scene);
    let run = scene.pipeline(&["sync"]).expect(0);
    let lines = run.stderr.lines().filter(|line| line.contains("without the agent") && line.contains("agent: never"));
    assert_eq!(lines.count(), 5, "{run}");
    assert!(
        run.stdout.contains("raspberry4, raspberry5 without the agent: the configuration says 'agent: never'"),
        "{run}"
    );
    assert_eq!(scene.archived(), ever);
    time_passes(&scene);
    scene.sync().expect(0);
    let left = ["raspberry1/busy.csv", "raspberry2/young.csv"].map(|path| path.as_bytes().to_vec());
    assert_eq!(scene.offered().into_keys().collect::<Vec<_>>(), left);

    // Closed, and left alone for long enough, they go too.
    drop(writer);
    File::open(&young).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    scene.sync().expect(0);
    time_passes(&scene);
    scene.sync().expect(0);
    time_passes(&scene);
    scene.sync().expect(0);
    assert_eq!(scene.offered(), Tree::new());
    assert_all_true(&scene.fleet);
}

/// Why a device fell back.
fn reason<'a>(events: &'a [serde_json::Value], device: &str) -> &'a str {
    events.iter().find(|event| event["device"] == device).unwrap()["reason"].as_str().unwrap()
}
