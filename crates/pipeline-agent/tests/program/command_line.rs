use std::io::Write;

use super::*;

#[test]
fn says_its_version_and_its_use() {
    let run = |arg: &str| Command::new(PROGRAM).arg(arg).output().unwrap();
    let version = run("--version");
    assert!(version.status.success());
    let expected = format!("pipeline-agent {} protocol {PROTOCOL}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
    let help = run("--help");
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("serve --root PATH"));
}

#[test]
fn a_mistake_on_the_command_line_is_status_2() {
    let output = Command::new(PROGRAM).args(["serve", "--root", "relative"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let expected = "pipeline-agent: 'relative' is not an absolute path; see pipeline-agent --help\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

#[test]
fn a_refusal_is_an_answer_a_line_on_stderr_and_status_1() {
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--root", "/tmp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut requests = FrameWriter::plain(child.stdin.take().unwrap());
    requests.push(&Request::Open { protocol: PROTOCOL, root: b"/etc".to_vec() }).unwrap();
    requests.flush().unwrap();
    // The input stays open: a refusal must not wait for its end.
    let output = child.wait_with_output().unwrap();
    drop(requests);
    assert_eq!(output.status.code(), Some(1));
    let reason = "it was not started with --root /etc";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("pipeline-agent: {reason}\n"));
    let mut replies = FrameReader::new(&output.stdout[..]);
    replies.expect_magic().unwrap();
    assert_eq!(replies.next::<Reply<'_>>().unwrap().unwrap(), Reply::Refused { reason });
    assert!(replies.next::<Reply<'_>>().unwrap().is_none());
}

#[test]
fn no_requests_at_all_are_an_orderly_end() {
    let output = Command::new(PROGRAM).args(["serve", "--root", "/tmp"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, pipeline_core::wire::MAGIC);
    assert!(output.stderr.is_empty());
}

#[test]
fn one_of_several_roots_is_opened() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::File::create(two.path().join("file")).unwrap().write_all(b"content").unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("serve").arg("--root").arg(one.path()).arg("--root").arg(two.path());
    let mut agent = Agent::run(&mut command, two.path());
    let mut names = Vec::new();
    agent.scan(|entry| names.push(entry.path), |other| panic!("{other:?}"));
    assert_eq!(names, [path("file")]);
    agent.end();
}
