//! The demo as a program.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use local_fleet::programs::Programs;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn ctrl_c_ends_the_demo_and_its_fleet() {
    let programs = Programs::find().unwrap();
    programs.path("pipeline").unwrap();
    programs.path("pipeline-agent").unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_local-fleet")).arg("demo").stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("In /") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the demo ended early");
    }
    let root = Path::new(line.split(' ').nth(1).unwrap());
    assert!(root.join("pipeline.yaml").is_file());

    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.ends_with("The fleet is gone.\n"), "{rest}");
    assert!(!root.exists());
}
