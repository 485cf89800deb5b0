//! What a person sees when something is not as it must be: exactly one error, with line and column where there is one, and what
//! to do next. Black box, through the built program; the golden files are in `snapshots`.

#![allow(clippy::unwrap_used)]

mod support;

use std::process::Output;

use support::Home;

const CONFIG: i32 = 78;
const USAGE: i32 = 2;

/// How many errors were told.
fn errors(output: &Output) -> usize {
    let told =
        |bytes: &[u8], begin: &str| String::from_utf8_lossy(bytes).lines().filter(|l| l.starts_with(begin)).count();
    told(&output.stderr, "error: ") + told(&output.stdout, "✗ ")
}

/// Runs and compares. `INSTA_UPDATE=always` writes what is seen now.
fn golden(name: &str, home: &Home, args: &[&str], exit: i32) {
    let output = home.run(args);
    let seen = home.seen(&output);
    insta::assert_snapshot!(name, seen);
    assert_eq!(output.status.code(), Some(exit), "{seen}");
    assert_eq!(errors(&output), 1, "{seen}");
    for never in ["os error", "Os {", "RUST_BACKTRACE", "panicked"] {
        assert!(!seen.contains(never), "{never}: {seen}");
    }
}

#[test]
fn no_configuration_at_all() {
    // Wherever this runs, the machine may have one.
    if !std::path::Path::new("/etc/pipeline/pipeline.yaml").exists() {
        golden("no_configuration", &Home::new(), &["sync"], CONFIG);
    }
}

#[test]
fn the_configuration_that_was_named_is_not_there() {
    golden("missing_file", &Home::new(), &["sync", "--config", "missing.yaml"], CONFIG);
    let home = Home::new();
    let output = home.command(&["sync"]).env("PIPELINE_CONFIG", home.path("gone.yaml")).output().unwrap();
    insta::assert_snapshot!("missing_file_of_the_environment", home.seen(&output));
}

#[test]
fn the_configuration_can_not_be_read() {
    // Root reads everything but a directory.
    let home = Home::new();
    std::fs::create_dir(home.path("pipeline.yaml")).unwrap();
    golden("unreadable_file", &home, &["sync", "--config", "pipeline.yaml"], CONFIG);
}

#[test]
fn bad_yaml() {
    let home = Home::new();
    home.config("hosts: [raspberry1]\nsource: /data\nstorage: \"~/storage\n");
    golden("bad_yaml", &home, &["sync"], CONFIG);
    home.config("hosts: [*.local]\nsource: /data\nstorage: ~/storage\n");
    golden("bad_yaml_alias", &home, &["sync"], CONFIG);
}

#[test]
fn unknown_key() {
    let home = Home::new();
    home.config("hosts: [raspberry1]\nsource: /data\nstorage: ~/storage\ndelete:\n  befor: 3d\n");
    golden("unknown_key", &home, &["sync"], CONFIG);
}

#[test]
fn missing_key() {
    let home = Home::new();
    home.config("hosts: [raspberry1]\nstorage: ~/storage\n");
    golden("missing_key", &home, &["sync"], CONFIG);
}

#[test]
fn impossible_value() {
    let home = Home::new();
    home.config("hosts: [raspberry1]\nsource: /data\nstorage: ~/storage\nsettle: soon\n");
    golden("impossible_duration", &home, &["sync"], CONFIG);
    home.config("hosts: [raspberry1]\nsource: /data\nstorage: ~/storage\njobs: 0\n");
    golden("impossible_number", &home, &["sync"], CONFIG);
}

#[test]
fn unknown_host_alias() {
    let home = Home::new();
    home.config("hosts: [raspberry1, rasberry1]\nsource: /data\nstorage: ~/storage\n");
    golden("unknown_alias", &home, &["sync"], CONFIG);
}

#[test]
fn a_host_that_is_not_of_the_fleet() {
    let home = Home::new();
    home.good_config();
    golden("not_of_the_fleet", &home, &["sync", "raspberry2"], USAGE);
}

#[test]
fn the_openssh_config_is_not_there() {
    let home = Home::new();
    home.config("hosts: [raspberry1]\nsource: /data\nstorage: ~/storage\nssh_config: ~/.ssh/missing\n");
    golden("missing_ssh_config", &home, &["sync"], CONFIG);
}

#[test]
fn a_bad_line_in_the_openssh_config() {
    let home = Home::new();
    home.good_config();
    home.write(".ssh/config", "Host raspberry1\n  Port many\n", 0o600);
    golden("bad_ssh_config", &home, &["sync"], CONFIG);
}

/// A home where everything is right but for what the test changes: the check would go on to the device.
fn initialised() -> Home {
    let home = Home::new();
    home.good_config();
    assert!(home.run(&["init"]).status.success());
    home
}

/// The lines about a key, and how the check ended. The storage's id differs from home to home, and which agents there are
/// from build to build.
fn golden_check(name: &str, home: &Home) {
    let output = home.run(&["check"]);
    let seen = home.seen(&output);
    let steady: Vec<&str> = seen.lines().filter(|line| ![": id ", "agents"].iter().any(|w| line.contains(w))).collect();
    insta::assert_snapshot!(name, steady.join("\n"));
    assert_eq!(output.status.code(), Some(CONFIG), "{seen}");
    assert_eq!(errors(&output), 1, "{seen}");
}

#[test]
fn an_unreadable_key() {
    let home = initialised();
    std::fs::remove_file(home.path(".ssh/id")).unwrap();
    std::fs::create_dir(home.path(".ssh/id")).unwrap();
    golden_check("unreadable_key", &home);
}

#[test]
fn a_key_that_the_world_can_read() {
    let home = initialised();
    home.mode(".ssh/id", 0o644);
    golden_check("world_readable_key", &home);
}

#[test]
fn a_key_that_is_not_there() {
    let home = initialised();
    std::fs::remove_file(home.path(".ssh/id")).unwrap();
    golden_check("missing_key_file", &home);
}

#[test]
fn a_key_that_is_none() {
    let home = initialised();
    home.write(".ssh/id", "not a key\n", 0o600);
    golden_check("not_a_key", &home);
}

#[test]
fn a_storage_without_its_marker_stops_everything() {
    let home = initialised();
    std::fs::remove_dir_all(home.path("storage/.pipeline")).unwrap();
    golden("no_marker", &home, &["sync"], 5);
}

#[test]
fn a_catalog_that_is_there_is_not_made_anew() {
    golden("catalog_exists", &initialised(), &["catalog", "rebuild"], CONFIG);
}

#[test]
fn usage() {
    golden("usage_unknown_option", &Home::new(), &["sync", "--dry"], USAGE);
    golden("usage_contradiction", &Home::new(), &["sync", "-q", "-v"], USAGE);
    golden("usage_impossible_number", &Home::new(), &["sync", "--jobs", "0"], USAGE);
}
