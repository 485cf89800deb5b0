//! What those hear who watch from afar: the Prometheus textfile (`metrics`), the dead-man's switch (`ping`) and the user's own
//! command (`notify`).

#![allow(clippy::unwrap_used)]

mod mailbox;
mod notify;
mod switch;

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::scene::Scene;
use e2e::{Ended, run};
use local_fleet::{Builder, Fleet};
use rustix::process::{Pid, Signal, kill_process};

use switch::{CERTIFICATE, Switch};

/// A path that nobody else must learn.
const SECRET: &str = "/b3a1-secret";

/// A fleet whose runs are watched.
fn watched(fleet: Builder, url: &str) -> Scene {
    let scene = Scene::new(fleet);
    let mut config = fs::File::options().append(true).open(scene.fleet.config_file()).unwrap();
    writeln!(config, "metrics: {}\nping: {url}{SECRET}", textfile(&scene).display()).unwrap();
    scene
}

fn textfile(scene: &Scene) -> PathBuf {
    scene.fleet.root().join("pipeline.prom")
}

/// The value of a metric; of a device, where one is named.
#[track_caller]
fn metric(scene: &Scene, name: &str, device: &str) -> String {
    let page = fs::read_to_string(textfile(scene)).unwrap();
    let label = if device.is_empty() { String::new() } else { format!("{{device=\"{device}\"}}") };
    let series = format!("pipeline_{name}{label} ");
    let mut values = page.lines().filter_map(|line| line.strip_prefix(&series));
    values.next().unwrap_or_else(|| panic!("no {series}in\n{page}")).to_owned()
}

#[track_caller]
fn number(scene: &Scene, name: &str, device: &str) -> f64 {
    metric(scene, name, device).parse().unwrap()
}

/// Asserts what the switch was called with: paths, and how the body began.
#[track_caller]
fn assert_called(switch: &Switch, expected: &[(&str, &str)]) {
    let calls = switch.calls();
    let alike = calls.len() == expected.len()
        && calls.iter().zip(expected).all(|((line, body), (expected, begin))| {
            *line == expected.replacen(" ", &format!(" {SECRET}"), 1)
                && body.starts_with(begin)
                && body.is_empty() == begin.is_empty()
                && !body.contains('\n')
        });
    assert!(alike, "{calls:?}, not {expected:?}");
}

/// Ends a Pi's sshd, and waits until its port is refused.
fn shut_down(scene: &Scene, pi: usize) {
    let pi = scene.fleet.pi(pi);
    kill_process(Pid::from_raw(pi.sshd_pid().try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", pi.port())).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(60), "its port stays open");
        std::thread::yield_now();
    }
}

#[test]
fn a_run_is_told_of_and_a_device_that_goes_away_is_remembered() {
    let switch = Switch::start(200);
    let scene = watched(Fleet::builder().pis(1).offline(1), &switch.url);
    scene.write(1, "bees.jpg", b"bees\n");

    scene.pipeline(&["sync", "--dry-run"]).expect(0);
    assert_called(&switch, &[]);
    assert!(!textfile(&scene).exists(), "a dry run changes nothing");

    // As a service with a strict umask.
    let program = scene.command();
    let mut strict = Command::new("sh");
    strict.args(["-c", "umask 077; exec \"$0\" \"$@\" sync"]).arg(program.get_program()).args(program.get_args());
    strict.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(&mut strict).expect(0);
    assert_called(&switch, &[("GET /start", ""), ("POST ", "exit 0: run 1 ended after ")]);
    assert_eq!(fs::metadata(textfile(&scene)).unwrap().permissions().mode() & 0o777, 0o644);
    for (name, device, value) in [
        ("exit_code", "", "0"),
        ("device_reachable", "raspberry1", "1"),
        ("device_reachable", "raspberry2", "0"),
        ("device_received_files_total", "raspberry1", "1"),
        ("device_received_bytes_total", "raspberry1", "5"),
        ("device_removed_files_total", "raspberry1", "1"),
        ("device_failed_files", "raspberry1", "0"),
        ("device_alert_after_seconds", "raspberry2", "86400"),
        ("device_waiting_files", "raspberry1", "0"),
    ] {
        assert_eq!(metric(&scene, name, device), value, "{name} {device}");
    }
    assert!(number(&scene, "device_card_bytes", "raspberry1") > number(&scene, "device_card_free_bytes", "raspberry1"));
    assert!(number(&scene, "storage_bytes", "") > number(&scene, "storage_free_bytes", ""));
    let success = metric(&scene, "last_success_timestamp_seconds", "");
    let device_success = metric(&scene, "device_last_success_timestamp_seconds", "raspberry1");
    assert_eq!(metric(&scene, "last_run_timestamp_seconds", ""), success);
    assert!(device_success.parse::<f64>().unwrap() <= success.parse().unwrap());
    assert!(
        !fs::read_to_string(textfile(&scene)).unwrap().contains("success_timestamp_seconds{device=\"raspberry2\"}")
    );

    shut_down(&scene, 1);
    // The catalog remembers the device, even where the page is lost.
    let page = fs::read_to_string(textfile(&scene)).unwrap();
    let without = page.lines().filter(|line| !line.contains("device_last_success")).map(|line| format!("{line}\n"));
    fs::write(textfile(&scene), without.collect::<String>()).unwrap();
    scene.pipeline(&["sync"]).expect(4);
    assert_called(&switch, &[("GET /start", ""), ("POST /fail", "exit 4: run 2 ended after ")]);
    assert_eq!(metric(&scene, "exit_code", ""), "4");
    assert_eq!(metric(&scene, "device_reachable", "raspberry1"), "0");
    assert_eq!(metric(&scene, "device_received_files_total", "raspberry1"), "1");
    assert!(number(&scene, "device_silent_seconds", "raspberry1") < 3600.0);
    assert_eq!(metric(&scene, "device_last_success_timestamp_seconds", "raspberry1"), device_success);
    assert_eq!(metric(&scene, "last_success_timestamp_seconds", ""), success);
    assert!(number(&scene, "last_run_timestamp_seconds", "") > success.parse().unwrap());
}

#[test]
fn a_device_that_answers_and_fails_is_no_success() {
    let switch = Switch::start(200);
    let scene = watched(Fleet::builder().pis(1), &switch.url);
    scene.pipeline(&["sync"]).expect(0);
    let success = metric(&scene, "device_last_success_timestamp_seconds", "raspberry1");
    fs::rename(scene.fleet.pi(1).source(), scene.fleet.pi(1).source().with_extension("gone")).unwrap();
    let failed = scene.pipeline(&["sync"]).expect(3);
    let told =
        format!("raspberry1 failed: the source directory {} can't be listed: ", scene.fleet.pi(1).source().display());
    assert!(failed.stdout.contains(&told), "{failed:?}");
    let start = ("GET /start", "");
    assert_called(&switch, &[start, ("POST ", "exit 0: "), start, ("POST /fail", "exit 3: ")]);
    assert_eq!(metric(&scene, "device_reachable", "raspberry1"), "1");
    assert_eq!(metric(&scene, "device_last_success_timestamp_seconds", "raspberry1"), success);
}

#[test]
fn a_run_that_can_not_begin_is_told_of_and_a_slip_is_not() {
    let switch = Switch::start(200);
    let scene = watched(Fleet::builder().pis(0).offline(2), &switch.url);
    scene.pipeline(&["sync"]).expect(4);
    assert_called(&switch, &[("GET /start", ""), ("POST /fail", "exit 4: ")]);

    scene.pipeline(&["sync", "raspberry9"]).expect(2);
    assert_called(&switch, &[]);
    assert_eq!(metric(&scene, "exit_code", ""), "4");

    fs::remove_dir_all(scene.fleet.storage().join(".pipeline")).unwrap();
    scene.pipeline(&["sync"]).expect(5);
    assert_called(&switch, &[("POST /fail", "exit 5: ")]);
    assert_eq!(metric(&scene, "exit_code", ""), "5");
    assert_eq!(metric(&scene, "device_reachable", "raspberry2"), "0");

    fs::remove_file(scene.fleet.ssh_config()).unwrap();
    scene.pipeline(&["sync"]).expect(78);
    assert_called(&switch, &[("POST /fail", "exit 78: ")]);
    assert_eq!(metric(&scene, "exit_code", ""), "78");
    assert_eq!(metric(&scene, "device_reachable", "raspberry2"), "0", "not forgotten, though the fleet is not known");
}

#[test]
fn a_run_that_meets_the_lock_leaves_the_word_to_the_other() {
    let switch = Switch::start(200);
    let scene = watched(Fleet::builder().pis(0).silent(1), &switch.url);
    let mut first = scene.start_sync();
    first.until(|event| event["event"] == "device_started");
    scene.pipeline(&["sync"]).expect(7);
    assert!(!textfile(&scene).exists());
    first.end().expect(4);
    assert_called(&switch, &[("GET /start", ""), ("POST /fail", "exit 4: ")]);
    assert_eq!(metric(&scene, "exit_code", ""), "4");
}

/// Asserts one warning for each of these, and that none of them gives the URL away.
#[track_caller]
fn assert_warned(ended: &Ended, expected: &[&str]) {
    let warnings: Vec<_> = ended.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    let alike = warnings.len() == expected.len()
        && warnings.iter().zip(expected).all(|(warning, expected)| warning.contains(expected));
    assert!(alike && !ended.stderr.contains(SECRET), "{ended}");
}

#[test]
fn monitors_that_can_not_be_told_are_a_warning_and_nothing_more() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scene = watched(Fleet::builder().pis(1), &format!("http://{closed}"));
    fs::create_dir(textfile(&scene)).unwrap();
    let offered = scene.write(1, "bees.jpg", b"bees\n");
    let ended = scene.pipeline(&["sync"]).expect(0);
    assert!(!offered.exists(), "the run did its work");
    assert_warned(&ended, &["can't write the metrics to", &format!("switch at {closed} was not told: ")]);

    let refusing = Switch::start(404);
    scene.reconfigure(&format!("http://{closed}"), &refusing.url);
    let ended = scene.pipeline(&["sync"]).expect(0);
    assert_warned(&ended, &["can't write the metrics to", "was not told: it answers with status 404"]);
}

#[test]
fn a_switch_behind_https_must_be_who_it_says() {
    let switch = Switch::start_tls();
    let scene = watched(Fleet::builder().pis(0).offline(1), &switch.url);
    let ended = scene.pipeline(&["sync"]).expect(4);
    assert_warned(&ended, &["was not told: "]);
    assert!(ended.stderr.contains("certificate"), "{ended}");
    assert_called(&switch, &[]);
    let ended = run(scene.command().arg("sync").env("SSL_CERT_FILE", CERTIFICATE)).expect(4);
    assert_warned(&ended, &[]);
    assert_called(&switch, &[("GET /start", ""), ("POST /fail", "exit 4: ")]);
}
