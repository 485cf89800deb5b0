//! What `inspect`, `report`, `explain`, `history` and the metrics say after a run in which something went wrong that only a person
//! can mend: all of them the same, and until a visit has come past it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use e2e::Ended;
use e2e::scene::Scene;
use e2e::schema::assert_described;
use local_fleet::Fleet;
use serde_json::Value;

struct Story(Scene);

impl Story {
    fn new() -> Story {
        let config = "delete: { after: 1h, max_files: 100 }\n";
        let scene = Scene::bare(Fleet::builder().pis(2).pipeline_config(config));
        let file = scene.fleet.config_file();
        let metrics = format!("metrics: {}\n", scene.fleet.root().join("pipeline.prom").display());
        fs::write(&file, fs::read_to_string(&file).unwrap() + &metrics).unwrap();
        scene.pipeline(&["init"]).expect(0);
        Story(scene)
    }

    #[track_caller]
    fn json(&self, schema: &str, exit: i32, args: &[&str]) -> Value {
        let told: Value = serde_json::from_str(&self.0.pipeline(args).expect(exit).stdout).unwrap();
        assert_described(schema, &told);
        told
    }

    /// What went wrong at each of the devices and in the fleet, as `severity kind: text`. How full this machine's disk is, is no part of the
    /// story.
    #[track_caller]
    fn concerns(&self) -> String {
        const KINDS: [&str; 4] = ["failed", "visit_failed", "run_failed", "storage_unusable"];
        let ended = self.0.pipeline(&["inspect", "--json"]);
        let told: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_described("inspect", &told);
        let of = |name: &str, concerns: &Value| -> Vec<String> {
            let is_ours = |concern: &&Value| KINDS.iter().any(|kind| concern["kind"] == *kind);
            let ours = concerns.as_array().unwrap().iter().filter(is_ours);
            let word = |concern: &Value, field: &str| concern[field].as_str().unwrap().to_owned();
            let line = |c: &Value| format!("{name} {} {}: {}", word(c, "severity"), word(c, "kind"), word(c, "text"));
            ours.map(line).collect()
        };
        let mut lines = of("fleet", &told["concerns"]);
        lines.extend(of("storage", &told["storage"]["concerns"]));
        for device in told["devices"].as_array().unwrap() {
            lines.extend(of(device["device"].as_str().unwrap(), &device["concerns"]));
        }
        if !lines.is_empty() {
            ended.expect(3);
        }
        lines.join("\n")
    }

    /// The page of the report, without its marks.
    fn report(&self) -> String {
        let file = self.0.fleet.root().join("report.html");
        self.0.pipeline(&["report", "-o", file.to_str().unwrap()]).expect(0);
        let page = fs::read_to_string(file).unwrap();
        let (_, body) = page.split_once("<body").unwrap();
        body.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect()
    }

    #[track_caller]
    fn metric(&self, line: &str) {
        let page = fs::read_to_string(self.0.fleet.root().join("pipeline.prom")).unwrap();
        assert!(page.lines().any(|written| written == format!("pipeline_{line}")), "{line}: {page}");
    }

    fn because(&self, args: &[&str]) -> Value {
        let told = self.json("explain", 0, &[&["explain"], args, &["--json"]].concat());
        told["explanations"][0].clone()
    }

    fn last_run(&self) -> Value {
        let told = self.0.pipeline(&["history", "runs", "--json", "--last", "1"]).expect(0);
        serde_json::from_str(told.stdout.trim()).unwrap()
    }

    fn sync(&self, exit: i32) -> Ended {
        self.0.sync().expect(exit)
    }
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    words.iter().for_each(|words| assert!(text.contains(words), "{words:?} is not in: {text}"));
}

#[test]
fn a_safety_stop_is_told_until_it_is_mended() {
    let story = Story::new();
    let scene = &story.0;
    scene.write(1, "hh/1.jpg", b"bees");
    story.sync(0);
    assert_eq!(story.concerns(), "");

    // The stored copy is damaged while the Pi still has the file.
    let stored = scene.fleet.storage().join("raspberry1/hh/1.jpg");
    fs::write(&stored, b"rot!").unwrap();
    scene.reconfigure("after: 1h", "after: 0s");
    story.sync(6);
    // A hold keeps everybody from looking at that copy, and mends nothing.
    scene.pipeline(&["hold"]).expect(0);
    story.sync(0);
    has(&story.concerns(), &["raspberry1 critical visit_failed: ", "stored files are not what was stored"]);
    scene.pipeline(&["release"]).expect(0);
    story.sync(6);
    let told = story.concerns();
    has(&told, &["raspberry1 critical visit_failed: its visit ", " failed: stored files are not what was stored"]);
    has(&scene.pipeline(&["inspect"]).expect(3).stdout, &["✗ raspberry1: its visit", "2 ready; "]);
    has(&story.report(), &["Criticalraspberry1stored files are not what was stored"]);
    story.metric("failed_devices{class=\"integrity\"} 1");
    assert_eq!(story.because(&["raspberry1"])["sources"][0]["visits"]["trouble"]["class"], "integrity");
    fs::write(&stored, b"bees").unwrap();
    story.sync(0);
    assert_eq!(story.concerns(), "");
    story.metric("failed_devices{class=\"integrity\"} 0");

    // The brake concerns those whose files it keeps.
    (1..4).for_each(|number| drop(scene.write(2, &format!("br/n{number}"), b"brake")));
    scene.reconfigure("max_files: 100", "max_files: 1");
    let reason = "3 files are due for removal, more than delete.max_files: 1";
    let summary = story.sync(6).summary();
    let outcomes: Vec<_> = summary["devices"].as_array().unwrap().iter().map(|report| &report["outcome"]).collect();
    assert_eq!(outcomes, ["done", "failed"], "{summary}");
    assert_eq!(summary["devices"][1]["class"], "brake");
    let told = story.concerns();
    has(&told, &["raspberry2 warning visit_failed: its visit ", reason]);
    assert_eq!(told.lines().count(), 1, "{told}");
    let told = story.because(&["raspberry2", "br/n1"]);
    let because = &told["on_device"]["because"];
    assert_eq!((&because["why"], &because["reason"]), (&"brake".into(), &reason.into()), "{told}");
    has(&story.report(), &[&format!("Warningraspberry2{reason}")]);
    story.metric("failed_devices{class=\"brake\"} 1");
    story.metric("device_failure{device=\"raspberry2\",class=\"brake\"} 1");
    let told = scene.pipeline(&["history", "visits", "raspberry2", "--json"]).expect(0).stdout;
    let visits: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ended: Vec<_> = visits.iter().map(|spell| (&spell["state"], &spell["visits"])).collect();
    assert_eq!(ended, [(&"reached".into(), &5.into()), (&"failed".into(), &1.into())], "{told}");
    scene.pipeline(&["sync", "--no-delete"]).expect(0);
    has(&story.concerns(), &["raspberry2 warning visit_failed: its visit "]);
    scene.reconfigure("max_files: 1", "max_files: 100");
    assert_eq!(story.sync(0).summary()["removed"], 3);
    assert_eq!(story.concerns(), "");
}

#[test]
fn what_is_wrong_stands_while_a_device_is_away_and_runs_that_could_not_begin_leave_a_trace() {
    let story = Story::new();
    let fleet = &story.0.fleet;
    story.sync(0);
    let known = fs::read_to_string(fleet.known_hosts()).unwrap();
    let key_of = |name: &str| known.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap().to_owned();
    fs::write(fleet.known_hosts(), known.replace(&key_of("raspberry2"), &key_of("raspberry1"))).unwrap();
    story.sync(3);
    let key = "host 'raspberry2' is not trusted";
    has(&story.concerns(), &["raspberry2 critical failed: ", key]);
    assert!(Command::new("kill").arg(fleet.pi(2).sshd_pid().to_string()).status().unwrap().success());
    // Unplugged, which mends nothing.
    story.sync(0);
    has(&story.concerns(), &["raspberry2 critical visit_failed: its visit ", key]);
    has(&story.report(), &["Criticalraspberry2its visit ", key]);
    story.metric("failed_devices{class=\"host_key\"} 1");
    let visits = &story.because(&["raspberry2"])["sources"][0]["visits"];
    assert_eq!((&visits["now"]["state"], &visits["trouble"]["class"]), (&"offline".into(), &"host_key".into()));
    let told = story.0.pipeline(&["explain", "raspberry2"]).expect(0).stdout;
    has(&told.split_whitespace().collect::<Vec<_>>().join(" "), &["Before that visits failed, the last one at ", key]);

    let away = fleet.root().join("moved away");
    fs::rename(fleet.storage(), &away).unwrap();
    story.sync(5);
    story.sync(5);
    let run = story.last_run();
    assert_eq!((&run["run"], &run["class"], &run["devices"]), (&5.into(), &"storage".into(), &2.into()), "{run}");
    let reason = run["stopped_by"].as_str().unwrap().to_owned();
    has(&reason, &[fleet.storage().to_str().unwrap()]);
    has(&story.report(), &["CriticalAll devicesthe last run, ", &reason]);
    let told = story.concerns();
    has(&told, &["storage critical storage_unusable: "]);
    assert!(!told.contains("run_failed"), "twice: {told}");
    fs::rename(&away, fleet.storage()).unwrap();
    has(&story.concerns(), &["fleet critical run_failed: the last run, ", &reason]);

    // Nor with an OpenSSH config that can't be read.
    let (config, hidden) = (fleet.ssh_config(), fleet.root().join("hidden"));
    fs::rename(&config, &hidden).unwrap();
    story.sync(78);
    fs::rename(&hidden, &config).unwrap();
    let run = story.last_run();
    assert_eq!((&run["run"], &run["class"], &run["state"]), (&6.into(), &"config".into(), &"ended".into()), "{run}");
    has(&story.concerns(), &["fleet warning run_failed: the last run, "]);
    story.sync(0);
    assert!(!story.concerns().contains("run_failed"));

    // A dead jump host is one thing, and what it keeps away is said once.
    assert!(Command::new("kill").arg(fleet.jump().sshd_pid().to_string()).status().unwrap().success());
    let told = story.0.pipeline(&["inspect"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    has(&told, &["- jump host 'awsbox' can't be used: ", "; 2 devices are behind 'awsbox'"]);
    has(&told, &["- raspberry2, raspberry1: offline: jump host 'awsbox' can't be used"]);
}
