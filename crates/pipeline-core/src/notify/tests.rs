#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, ToSpan as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::troubles::PATIENCE;
use super::*;
use crate::event::{Counts, DeviceReport, Outcome};
use crate::hold::Hold;
use crate::path::DeviceName;

/// Devices and how their visits ended.
type Devices<'a> = &'a [(&'a str, Outcome)];

/// A command of ours in a directory of its own, and what is remembered of it.
struct Scene {
    dir: tempfile::TempDir,
    notify: Notify,
    /// How many minutes have passed.
    minutes: i64,
    /// Whether removals are on hold.
    on_hold: bool,
}

fn never() -> bool {
    false
}

impl Scene {
    /// The script finds its directory as `$1`.
    fn new(when: NotifyWhen, script: &str) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().to_str().unwrap().to_owned();
        let arguments = ["-c", script, "hook", &here].map(str::to_owned).into();
        let notify = Notify { program: "/bin/sh".into(), arguments, when, timeout: Duration::from_secs(600) };
        Scene { dir, notify, minutes: 0, on_hold: false }
    }

    /// One that writes down what it reads.
    fn listening(when: NotifyWhen) -> Scene {
        Scene::new(when, "cat > \"$1/heard\"; test ! -e \"$1/deaf\"")
    }

    fn run(&self, input: &[u8]) -> Result<(), HookError> {
        hook::run(&self.notify, input, &never)
    }

    /// Ends a run like this a minute after the last, and returns what the command read, if it was called.
    fn ended(&mut self, exit_code: u8, stopped_by: Option<Class>, devices: Devices<'_>) -> Option<Value> {
        self.minutes += 1;
        let report = |(name, outcome): &(&str, Outcome)| DeviceReport {
            device: DeviceName::new(*name).unwrap(),
            outcome: outcome.clone(),
            counts: Counts { held: self.on_hold.into(), ..Counts::default() },
            elapsed_ms: 5,
        };
        let devices = devices.iter().map(report).collect();
        let stopped_by =
            stopped_by.map(|class| StopReason { class, reason: "stop".into(), hint: Some("go on".into()) });
        let hold = self.on_hold.then(Hold::default);
        let report = RunReport { run: 7, devices, counts: Counts::default(), hold, stopped_by, elapsed_ms: 9 };
        let ended = Ended {
            exit_code,
            at: "2026-11-22T08:00:00Z".parse::<Timestamp>().unwrap() + self.minutes.minutes(),
            summary: "exit 3: what happened",
            stopped_by: report.stopped_by.as_ref(),
            fleet: Some(&["pi1", "pi2"]),
            report: Some(&report),
        };
        let deaf = self.dir.path().join("deaf").exists();
        let told = notify(&self.notify, self.dir.path(), &ended, &never);
        let heard = fs::read(self.dir.path().join("heard")).ok();
        fs::remove_file(self.dir.path().join("heard")).ok();
        assert_eq!(told.is_err(), deaf && heard.is_some(), "{told:?}");
        heard.map(|text| serde_json::from_slice(&text).unwrap())
    }

    /// The same, in short: who is named under `new`, `lasting` and `over`, with the class.
    fn news(&mut self, exit_code: u8, stopped_by: Option<Class>, devices: Devices<'_>) -> String {
        let Some(notice) = self.ended(exit_code, stopped_by, devices) else { return "-".into() };
        let who = |list: &str| {
            let troubles = notice[list].as_array().unwrap().iter();
            let names = troubles.map(|trouble| {
                let device = trouble["device"].as_str().unwrap_or("run");
                format!("{device}/{}", trouble["class"].as_str().unwrap())
            });
            names.collect::<Vec<_>>().join(" ")
        };
        format!("new: {}, lasting: {}, over: {}", who("new"), who("lasting"), who("over"))
    }
}

fn failed(class: Class) -> Outcome {
    Outcome::Failed { class, reason: "broke".into(), hint: None }
}

fn offline() -> Outcome {
    Outcome::Offline { reason: "no tunnel".into(), hint: None }
}

#[test]
fn a_notice_says_what_is_new() {
    let mut scene = Scene::listening(NotifyWhen::Change);
    let mut notice = scene.ended(3, None, &[("pi1", failed(Class::HostKey)), ("pi2", Outcome::Done)]).unwrap();
    assert_eq!(notice["run"].take()["devices"][0]["reason"], "broke");
    assert!(!notice["collector"].take().as_str().unwrap().is_empty());
    let expected = json!({
        "schema": 1,
        "time": "2026-11-22T08:01:00.000Z",
        "collector": null,
        "exit_code": 3,
        "summary": "exit 3: what happened",
        "new": [{ "device": "pi1", "class": "host_key", "reason": "broke", "since": "2026-11-22T08:01:00.000Z" }],
        "lasting": [],
        "over": [],
        "run": null,
    });
    assert_eq!(notice, expected);
    let notice = scene.ended(5, Some(Class::Storage), &[]).unwrap();
    assert_eq!(
        notice["new"][0],
        json!({ "class": "storage", "reason": "stop", "hint": "go on", "since": notice["time"] })
    );
}

#[test]
fn a_trouble_is_told_once_and_its_end_as_well() {
    let (host_key, config) = (|| failed(Class::HostKey), || failed(Class::Config));
    let mut scene = Scene::listening(NotifyWhen::Change);
    let nothing_changed = "-";
    let table: [(u8, Option<Class>, Devices<'_>, &str); 12] = [
        (0, None, &[("pi1", Outcome::Done), ("pi2", offline())], nothing_changed),
        (3, None, &[("pi1", host_key()), ("pi2", Outcome::Done)], "new: pi1/host_key, lasting: , over: "),
        (3, None, &[("pi1", host_key()), ("pi2", Outcome::Done)], nothing_changed),
        (3, None, &[("pi1", host_key()), ("pi2", config())], "new: pi2/config, lasting: pi1/host_key, over: "),
        // Neither says that anything is well again: not there, not visited, or broken off.
        (4, None, &[("pi1", offline())], nothing_changed),
        (3, None, &[("pi1", failed(Class::Transient)), ("pi2", Outcome::Stopped)], nothing_changed),
        // Another class is another trouble.
        (3, None, &[("pi1", config())], "new: pi1/config, lasting: pi2/config, over: "),
        // The storage is the run's trouble, whichever device met it.
        (
            5,
            Some(Class::Storage),
            &[("pi1", failed(Class::Storage)), ("pi2", Outcome::Stopped)],
            "new: run/storage, lasting: pi1/config pi2/config, over: ",
        ),
        (
            5,
            Some(Class::Storage),
            &[("pi1", Outcome::Done)],
            "new: , lasting: run/storage pi2/config, over: pi1/config",
        ),
        (3, None, &[("pi2", config())], "new: , lasting: pi2/config, over: run/storage"),
        (0, None, &[("pi2", Outcome::Done)], "new: , lasting: , over: pi2/config"),
        (0, None, &[("pi1", Outcome::Done), ("pi2", Outcome::Done)], nothing_changed),
    ];
    for (at, (exit_code, stopped_by, devices, expected)) in table.into_iter().enumerate() {
        assert_eq!(scene.news(exit_code, stopped_by, devices), expected, "{at}");
    }
}

#[test]
fn a_hold_ends_no_trouble_that_only_a_removal_meets() {
    let mut scene = Scene::listening(NotifyWhen::Change);
    let troubles: Devices<'_> = &[("pi1", failed(Class::Integrity)), ("pi2", failed(Class::HostKey))];
    let well: Devices<'_> = &[("pi1", Outcome::Done), ("pi2", Outcome::Done)];
    let told = scene.news(6, Some(Class::Brake), troubles);
    assert_eq!(told, "new: run/brake pi1/integrity pi2/host_key, lasting: , over: ");
    scene.on_hold = true;
    assert_eq!(scene.news(0, None, well), "new: , lasting: run/brake pi1/integrity, over: pi2/host_key");
    scene.on_hold = false;
    assert_eq!(scene.news(0, None, well), "new: , lasting: , over: run/brake pi1/integrity");
}

#[test]
fn what_may_pass_is_told_once_it_has_lasted() {
    let mut scene = Scene::listening(NotifyWhen::Change);
    let broken: Devices<'_> = &[("pi1", failed(Class::Transient))];
    assert_eq!(scene.news(3, None, broken), "-");
    assert_eq!(scene.news(0, None, &[("pi1", Outcome::Done)]), "-", "nobody heard of it");
    assert_eq!(scene.news(3, None, broken), "-");
    scene.minutes += PATIENCE.as_mins() - 2;
    assert_eq!(scene.news(3, None, broken), "-");
    assert_eq!(scene.news(3, None, broken), "new: pi1/transient, lasting: , over: ");
    assert_eq!(scene.news(4, Some(Class::Unreachable), &[("pi1", offline())]), "-");
    scene.minutes += PATIENCE.as_mins();
    let lasting = "new: run/unreachable, lasting: pi1/transient, over: ";
    assert_eq!(scene.news(4, Some(Class::Unreachable), &[("pi1", offline())]), lasting);
    let over = "new: , lasting: , over: run/unreachable pi1/transient";
    assert_eq!(scene.news(0, None, &[("pi1", Outcome::Done)]), over);
    assert_eq!(PATIENCE, SignedDuration::from_mins(15), "as documented");
}

#[test]
fn a_command_that_fails_is_told_again() {
    let mut scene = Scene::listening(NotifyWhen::Change);
    let deaf = scene.dir.path().join("deaf");
    let wrong: Devices<'_> = &[("pi1", failed(Class::Config))];
    let told = "new: pi1/config, lasting: , over: ";
    fs::write(&deaf, "").unwrap();
    assert_eq!([scene.news(3, None, wrong), scene.news(3, None, wrong)], [told; 2]);
    fs::remove_file(&deaf).unwrap();
    assert_eq!([scene.news(3, None, wrong), scene.news(3, None, wrong)], [told, "-"]);
    fs::write(&deaf, "").unwrap();
    let over = "new: , lasting: , over: pi1/config";
    assert_eq!([scene.news(0, None, &[("pi1", Outcome::Done)]), scene.news(0, None, &[])], [over; 2]);
    // Back before anybody heard that it was gone.
    assert_eq!(scene.news(3, None, wrong), "-");
    fs::remove_file(&deaf).unwrap();
    assert_eq!(scene.news(0, None, &[("pi1", Outcome::Done)]), over);
}

#[test]
fn who_wants_failures_alone_or_everything_gets_that() {
    let wrong: Devices<'_> = &[("pi1", failed(Class::Transient))];
    let well: Devices<'_> = &[("pi1", Outcome::Done)];
    let mut failures = Scene::listening(NotifyWhen::Failure);
    let new = "new: pi1/transient, lasting: , over: ";
    assert_eq!(failures.news(3, None, wrong), new);
    assert_eq!(failures.news(3, None, wrong), "new: , lasting: pi1/transient, over: ");
    assert_eq!([failures.news(0, None, well), failures.news(3, None, wrong)], ["-", new]);
    let mut everything = Scene::listening(NotifyWhen::Always);
    assert_eq!(everything.news(0, None, well), "new: , lasting: , over: ");
    assert_eq!(everything.news(3, None, wrong), new);
    assert_eq!(everything.news(0, None, well), "new: , lasting: , over: pi1/transient");
}

#[test]
fn a_device_that_has_left_the_fleet_is_nobodys_trouble() {
    let mut scene = Scene::listening(NotifyWhen::Change);
    scene.news(3, None, &[("gone", failed(Class::Config)), ("pi2", failed(Class::Config))]);
    let news = scene.news(3, None, &[("pi1", failed(Class::Config))]);
    assert_eq!(news, "new: pi1/config, lasting: pi2/config, over: ");
}

#[test]
fn a_memory_that_is_lost_or_damaged_is_told_again() {
    let mut scene = Scene::listening(NotifyWhen::Change);
    let file = scene.dir.path().join(memory::FILE_NAME);
    scene.ended(0, None, &[("pi1", Outcome::Done)]);
    assert!(!file.exists(), "all is well, and nothing is written each minute");
    let wrong: Devices<'_> = &[("pi1", failed(Class::Config))];
    let told = scene.news(3, None, wrong);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for damaged in ["", "{\"troubles\": 7}", "\u{0}\u{0}"] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(scene.news(3, None, wrong), told, "{damaged:?}");
    }
    assert_eq!(scene.news(3, None, wrong), "-");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let report = StopReason { class: Class::Config, reason: "x".into(), hint: None };
    let (at, summary) = (Timestamp::UNIX_EPOCH, "");
    let ended = Ended { exit_code: 78, at, summary, stopped_by: Some(&report), fleet: None, report: None };
    let error = notify(&scene.notify, scene.dir.path(), &ended, &never).unwrap_err();
    let expected = format!("can't write {}, which remembers what notify was told: is a directory", file.display());
    assert_eq!(crate::error::one_line(&error), expected);
}

#[test]
fn what_a_fleet_in_trouble_says_at_length_is_remembered_all_the_same() {
    let mut scene = Scene::listening(NotifyWhen::Change);
    let long = |text: &str| text.repeat(100_000);
    let names: Vec<String> = (1..=10).map(|n| format!("pi{n}")).collect();
    let wrong = |sign: &str| {
        let outcome = Outcome::Failed { class: Class::Config, reason: long(sign), hint: Some(long("\u{1}")) };
        names.iter().map(|name| (name.as_str(), outcome.clone())).collect::<Vec<_>>()
    };
    let notice = scene.ended(3, None, &wrong("\u{1f41d}")).unwrap();
    assert_eq!(notice["new"].as_array().unwrap().len(), 10);
    assert_eq!(notice["new"][9]["reason"], long("\u{1f41d}").as_str());
    assert_eq!(scene.news(3, None, &wrong("\u{1f41d}")), "-");
    let kept = fs::metadata(scene.dir.path().join(memory::FILE_NAME)).unwrap().len();
    assert!(kept < 10 * 4096, "{kept}");
    let over = scene.news(0, None, &names.iter().map(|name| (name.as_str(), Outcome::Done)).collect::<Vec<_>>());
    assert!(over.starts_with("new: , lasting: , over: pi1/config pi2/config"), "{over}");
}

#[test]
fn the_command_gets_its_arguments_and_all_that_is_to_be_read() {
    let mut scene = Scene::new(NotifyWhen::Change, "pwd > \"$1/where\"; wc -c > \"$1/read\"");
    let much = vec![b'x'; 3 << 20];
    scene.run(&much).unwrap();
    let file = |name: &str| fs::read_to_string(scene.dir.path().join(name)).unwrap();
    assert_eq!((file("read").trim(), file("where").trim()), (much.len().to_string().as_str(), "/"));
    // Who reads nothing does no harm.
    scene.notify.arguments = vec!["-c".into(), "exit 0".into()];
    scene.run(&much).unwrap();
}

#[test]
fn how_it_failed_is_said_in_one_line() {
    let said = |script: &str| Scene::new(NotifyWhen::Change, script).run(b"{}").unwrap_err().to_string();
    let name = "the command of notify, /bin/sh, ";
    assert_eq!(said("exit 3"), format!("{name}ended with exit code 3"));
    assert_eq!(said("kill -KILL $$"), format!("{name}was killed by signal 9"));
    let flood = "head -c 9999999 /dev/zero; echo; echo no route to the mail server >&2; echo; exit 1";
    assert_eq!(said(flood), format!("{name}ended with exit code 1; it said: no route to the mail server"));
    let long = said("head -c 9999999 /dev/zero | tr '\\0' x; exit 1");
    assert_eq!(long, format!("{name}ended with exit code 1; it said: {}", "x".repeat(200)));
    let mut scene = Scene::new(NotifyWhen::Change, "");
    scene.notify.program = "/nowhere/mail".into();
    let error = scene.run(b"").unwrap_err();
    let expected = "can't run the command of notify, /nowhere/mail: no such file or directory";
    assert_eq!(crate::error::one_line(&error), expected);
}

#[test]
fn a_command_that_does_not_end_is_killed() {
    let mut scene = Scene::new(NotifyWhen::Change, "trap '' TERM HUP INT; exec sleep 1000");
    scene.notify.timeout = Duration::from_millis(50);
    let error = scene.run(b"").unwrap_err();
    assert!(matches!(error, HookError::TooSlow { .. }), "{error}");
    let words = "the command of notify, /bin/sh, did not end within 0 s and was killed";
    assert_eq!(error.to_string(), words);
}

/// The number of a process that the script has noted; it is written whole.
fn noted(scene: &Scene) -> Option<i32> {
    fs::read_to_string(scene.dir.path().join("pid")).ok()?.strip_suffix('\n')?.parse().ok()
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Dead and not yet waited for by whoever took it over.
    !stat.is_empty() && !stat.contains(") Z ") && !stat.contains(") X ")
}

#[test]
fn what_it_started_is_killed_with_it() {
    let scene = Scene::new(NotifyWhen::Change, "sleep 1000 & echo $! > \"$1/pid\"; wait");
    let stop = || noted(&scene).is_some();
    let error = hook::run(&scene.notify, b"", &stop).unwrap_err();
    assert!(matches!(error, HookError::Stopped { .. }), "{error}");
    let (child, since) = (noted(&scene).unwrap(), Instant::now());
    while lives(child) {
        assert!(since.elapsed() < Duration::from_secs(60), "{child} lives on");
        std::thread::yield_now();
    }
}

#[test]
fn what_it_leaves_in_the_background_is_not_waited_for() {
    let scene = Scene::new(NotifyWhen::Change, "sleep 1000 & echo $! > \"$1/pid\"");
    scene.run(b"").unwrap();
    let child = noted(&scene).unwrap();
    assert!(lives(child), "it is its own business");
    kill_process(Pid::from_raw(child).unwrap(), Signal::KILL).unwrap();
}
