#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::error::{Class, Classified};

const MINIMAL: &str = "hosts: [pi1]\nsource: /data\nstorage: /srv\n";

fn surroundings() -> Surroundings {
    Surroundings { home: "/home/bee".into(), user: "bee".into(), uid: 1000, xdg_state_home: None, env: BTreeMap::new() }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("p.yaml"), &surroundings())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn three_keys_are_enough() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.hosts, [HostPattern::parse("pi1").unwrap()]);
    assert_eq!(config.storage, Path::new("/srv"));
    assert_eq!(config.ssh_config, Path::new("/home/bee/.ssh/config"));
    assert_eq!(config.jobs, 8);
    assert_eq!(config.timeouts, Timeouts { connect: seconds(15), idle: seconds(60) });
    assert_eq!(config.state_dir, Path::new("/home/bee/.local/state/pipeline"));
    assert_eq!((config.agent, config.read_back), (AgentMode::Auto, ReadBack::Auto));
    assert_eq!(config.agent_dir, None);
    assert_eq!((config.metrics, config.ping, config.notify), (None, None, None));
    assert!(config.devices.is_empty());
    assert_eq!(config.onboarding, Onboarding::default());
    let expected = DeviceSettings {
        source: "/data".into(),
        layout: "{host}/{path}".into(),
        include: vec![],
        exclude: vec!["*.tmp".into(), "*.part".into()],
        settle: seconds(10),
        delete: DeletePolicy { after: Some(Duration::ZERO), high_water: None, low_water: None, max_files: None },
        versions: VersionPolicy { replace: vec![] },
        bandwidth: None,
        alert_after: Some(seconds(86_400)),
    };
    assert_eq!(config.defaults, expected);
}

#[test]
fn the_state_is_kept_where_the_user_may_write() {
    let state_dir = |change: fn(&mut Surroundings)| {
        let mut surroundings = surroundings();
        change(&mut surroundings);
        Config::parse(MINIMAL, Path::new("p.yaml"), &surroundings).unwrap().state_dir
    };
    assert_eq!(state_dir(|s| s.uid = 0), Path::new("/var/lib/pipeline"));
    assert_eq!(state_dir(|s| s.xdg_state_home = Some("/state".into())), Path::new("/state/pipeline"));
}

#[test]
fn every_key_is_heard() {
    let text = "hosts: ['pi*', '!pi3']\nsource: /data//raw/\nstorage: ~/archive\nssh_config: /etc/fleet\n\
                layout: 'all/{source_name}/{path}'\ninclude: ['*.jpg']\nexclude: []\nsettle: 1h30m\n\
                delete: { after: never, high_water: 80%, low_water: 60%, max_files: 10 }\nversions: { replace: ['*.db', state/] }\njobs: 2\nbandwidth: 1MB/s\nalert_after: 7d\n\
                timeouts: { connect: 2s, idle: 3s }\nstate_dir: ~/state\nagent: never\nagent_dir: ~/agents\nread_back: always\n\
                metrics: /m.prom\nping: http://localhost:80/x\nnotify: { command: [~/mail, me], when: always, timeout: 1m }\n\
                onboarding: { jump: j, name: 'p{id}', user: u, base_port: 6000, key_type: rsa }\n";
    let config = parse(text).unwrap();
    assert_eq!(config.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), ["pi*", "!pi3"]);
    assert_eq!(config.storage, Path::new("/home/bee/archive"));
    assert_eq!(config.ssh_config, Path::new("/etc/fleet"));
    assert_eq!(config.jobs, 2);
    assert_eq!(config.timeouts, Timeouts { connect: seconds(2), idle: seconds(3) });
    assert_eq!(config.state_dir, Path::new("/home/bee/state"));
    assert_eq!((config.agent, config.read_back), (AgentMode::Never, ReadBack::Always));
    assert_eq!(config.agent_dir, Some("/home/bee/agents".into()));
    assert_eq!(config.metrics, Some("/m.prom".into()));
    assert_eq!(config.ping, Some("http://localhost:80/x".into()));
    let (program, arguments) = ("/home/bee/mail".into(), vec!["me".into()]);
    let notify = Notify { program, arguments, when: NotifyWhen::Always, timeout: seconds(60) };
    assert_eq!(config.notify, Some(notify));
    let expected = Onboarding {
        jump: "j".into(),
        name: "p{id}".into(),
        user: "u".into(),
        base_port: 6000,
        key_type: "rsa".into(),
    };
    assert_eq!(config.onboarding, expected);
    let expected = DeviceSettings {
        source: "/data/raw".into(),
        layout: "all/{source_name}/{path}".into(),
        include: vec!["*.jpg".into()],
        exclude: vec![],
        settle: seconds(5400),
        delete: DeletePolicy { after: None, high_water: Some(80), low_water: Some(60), max_files: Some(10) },
        versions: VersionPolicy { replace: vec!["*.db".into(), "state/".into()] },
        bandwidth: Some(1_000_000),
        alert_after: Some(seconds(7 * 86_400)),
    };
    assert_eq!(config.defaults, expected);
}

#[test]
fn a_textfile_has_the_name_that_its_reader_takes() {
    for name in ["/m/pipeline.txt", "/m/pipeline", "/m/.prom", "m.prom"] {
        let error = parse(&format!("{MINIMAL}metrics: {name}\n")).unwrap_err();
        assert!(error.hint().unwrap().contains("ends in .prom"), "{name}");
    }
    assert_eq!(parse(&format!("{MINIMAL}metrics: ~/m.prom\n")).unwrap().metrics, Some("/home/bee/m.prom".into()));
}

#[test]
fn a_command_is_told_of_changes_and_without_one_nobody_is() {
    let notify = |text: &str| parse(&format!("{MINIMAL}notify: {text}\n")).unwrap().notify;
    let (program, arguments) = ("/bin/true".into(), vec![]);
    let expected = Notify { program, arguments, when: NotifyWhen::Change, timeout: seconds(30) };
    assert_eq!(notify("{ command: [/bin/true] }"), Some(expected));
    assert_eq!(notify("{ when: failure }"), None);
    assert_eq!(notify("null"), None);
}

#[test]
fn overrides_are_merged_by_pattern_and_later_ones_win() {
    let text = "delete: { after: 7d, high_water: 80%, low_water: 60%, max_files: 9 }\nbandwidth: 1MB/s\nversions: { replace: [a] }\n\
                devices:\n  \
                'pi[1-3]': { source: /one, settle: 1m, delete: { after: 30d } }\n  \
                'pi*': { source: /two, exclude: [x], include: [y], layout: 'z/{path}', versions: { replace: [b] } }\n  \
                pi3: { bandwidth: null, delete: { high_water: null } }\n  \
                pi4: { bandwidth: 2MB/s, versions: { replace: [] }, delete: { after: never, high_water: 50%, low_water: 40% } }\n  \
                pi5: { versions: { replace: null }, alert_after: never }\n";
    let config = parse(&format!("{MINIMAL}{text}")).unwrap();
    let device = |name: &str| config.device(&DeviceName::new(name).unwrap());

    assert_eq!(device("other"), config.defaults);
    let pi1 = device("pi1");
    assert_eq!((pi1.source.as_path(), pi1.settle, pi1.layout.as_str()), (Path::new("/two"), seconds(60), "z/{path}"));
    assert_eq!((pi1.exclude, pi1.include), (vec!["x".to_owned()], vec!["y".to_owned()]));
    assert_eq!(pi1.bandwidth, Some(1_000_000));
    let policy = |after, high_water, low_water, max_files| DeletePolicy { after, high_water, low_water, max_files };
    assert_eq!(pi1.delete, policy(Some(seconds(30 * 86_400)), Some(80), Some(60), Some(9)));

    let pi3 = device("pi3");
    assert_eq!(pi3.bandwidth, None);
    assert_eq!(pi3.delete, policy(Some(seconds(30 * 86_400)), None, None, Some(9)));

    let pi4 = device("pi4");
    assert_eq!((pi4.settle, pi4.bandwidth), (seconds(10), Some(2_000_000)));
    assert_eq!(pi4.delete, policy(None, Some(50), Some(40), Some(9)));
    assert_eq!(device("pi5").source, Path::new("/two"));
    assert_eq!((pi4.alert_after, device("pi5").alert_after), (Some(seconds(86_400)), None));
    let replaced = ["other", "pi1", "pi4", "pi5"].map(|name| device(name).versions.replace.concat());
    assert_eq!(replaced, ["a", "b", "", "b"]);
}

#[test]
fn the_example_says_the_defaults() {
    let text = include_str!("../../../../examples/pipeline.yaml");
    let root = Surroundings { home: "/root".into(), user: "root".into(), uid: 0, ..surroundings() };
    let example = Config::parse(text, Path::new("pipeline.yaml"), &root).unwrap();
    let needed = "hosts: [pi1]\nsource: /home/pi/beephotos\nstorage: /mnt/san/shared/Shared\n";
    let mut minimal = Config::parse(needed, Path::new("p.yaml"), &root).unwrap();
    minimal.hosts.clone_from(&example.hosts);
    minimal.devices.clone_from(&example.devices);
    assert_eq!(format!("{example:#?}"), format!("{minimal:#?}"));
    // It shows every key.
    for key in keys::ALL.iter().copied().flatten() {
        assert!(text.lines().any(|line| line.trim_start().starts_with(&format!("{key}:"))), "{key}");
    }
}

/// Blocks of YAML behind `|`, the error, its hint. A line with nothing but `…` stands for the three keys that are needed.
const ERRORS: &str = include_str!("../../tests/golden/config_errors.txt");

#[test]
fn each_error_says_where_what_and_what_is_allowed() {
    let mut said = String::new();
    for block in ERRORS.trim_end().split("\n\n") {
        let yaml: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix('|')).collect();
        let text: String = yaml.iter().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
        let error = parse(&text.replacen("…\n", MINIMAL, 1)).expect_err(block);
        assert_eq!(error.class(), Class::Config);
        let lines = yaml.iter().map(|line| format!("|{line}\n")).collect::<String>();
        said.push_str(&format!("{lines}{error}\nhint: {}\n\n", error.hint().unwrap()));
    }
    assert!(said.matches("hint: ").count() > 90);
    assert_eq!(said.trim_end(), ERRORS.trim_end());
}

#[test]
fn a_file_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("absent.yaml");
    let error = Config::load(&missing, &surroundings()).unwrap_err();
    assert_eq!(
        crate::error::one_line(&error),
        format!("can't read the configuration {}: no such file or directory", missing.display())
    );

    let latin1 = dir.path().join("latin1.yaml");
    std::fs::write(&latin1, b"hosts: [pi1]\n# f\xfcr\n").unwrap();
    let error = Config::load(&latin1, &surroundings()).unwrap_err();
    assert_eq!(error.to_string(), format!("{}:2:1: not valid YAML: the line is not UTF-8", latin1.display()));

    let good = dir.path().join("good.yaml");
    std::fs::write(&good, MINIMAL).unwrap();
    assert_eq!(Config::load(&good, &surroundings()).unwrap().jobs, 8);
}
