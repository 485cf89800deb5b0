//! The agent on a device: installed once, started at every visit, and every way in which that can fail.

#![cfg(feature = "ssh")]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod ssh_fixture;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use local_fleet::{Builder, Fleet, snapshot};
use pipeline_core::cancel::Cancel;
use pipeline_core::config::AgentMode;
use pipeline_core::error::{Class, one_line};
use pipeline_core::event::Event;
use pipeline_core::remote::{Connect, ConnectError, Intent, Remote, Scanned};
use pipeline_core::ssh::deploy::{self, Agents};
use pipeline_core::ssh::{Connector, Options};
use ssh_fixture::*;

fn one_pi() -> Builder {
    Fleet::builder().pis(1).tunnels(false)
}

fn options_with(fleet: &Fleet) -> Options {
    let program = PathBuf::from(fleet.command("pipeline-agent").unwrap().get_program());
    Options { agent_dirs: vec![program.parent().unwrap().to_owned()], ..options() }
}

/// Options with one agent that is whatever the test says.
fn options_with_agent(fleet: &Fleet, content: &[u8]) -> Options {
    let dir = fleet.root().join("agents");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("pipeline-agent"), content).unwrap();
    Options { agent_dirs: vec![dir], ..options() }
}

fn scan(remote: &mut dyn Remote) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    remote
        .scan(&mut |item| {
            if let Scanned::File(entry) = item {
                paths.push(entry.path.as_bytes().to_vec());
            }
            Ok(())
        })
        .unwrap();
    paths
}

fn fails(connector: &Connector, fleet: &Fleet) -> ConnectError {
    match connector.connect(&device("raspberry1", &fleet.pi(1).source()), &(), Intent::Change) {
        Ok(_) => panic!("the agent started"),
        Err(error) => error,
    }
}

/// Connects without the agent, and sees the files all the same. Why, and what would bring it.
fn falls_back(connector: &Connector, fleet: &Fleet) -> (String, Option<String>) {
    fleet.write(1, b"a.jpg", b"bee", UNIX_EPOCH).unwrap();
    let recorder = Recorder::default();
    let device = device("raspberry1", &fleet.pi(1).source());
    let mut remote = connector.connect(&device, &recorder, Intent::Change).unwrap();
    assert_eq!(scan(&mut *remote), [b"a.jpg"]);
    assert!(!remote.caveats().is_empty());
    let mut events = std::mem::take(&mut *recorder.0.lock().unwrap());
    events.retain(|event| !matches!(event, Event::AgentInstalled { .. }));
    let [Event::FellBack { reason, hint, caveats, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(caveats, remote.caveats());
    (reason.clone(), hint.clone())
}

/// The error's class and text as a user sees it.
fn shown(error: &ConnectError) -> (Class, String) {
    (error.class(), one_line(&**error))
}

fn installed(fleet: &Fleet) -> Vec<PathBuf> {
    let dir = fleet.pi(1).home().join(".cache/pipeline");
    std::fs::read_dir(dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

#[test]
fn the_agent_is_installed_once_and_then_started() {
    let fleet = one_pi().start().unwrap();
    fleet.write(1, b"a.jpg", b"bee", UNIX_EPOCH).unwrap();
    let stale = fleet.pi(1).home().join(".cache/pipeline/pipeline-agent-0.0.1-0123456789ab-x86_64");
    std::fs::create_dir_all(stale.parent().unwrap()).unwrap();
    std::fs::write(&stale, b"old").unwrap();
    let connector = connector(&fleet, options_with(&fleet));
    let device = device("raspberry1", &fleet.pi(1).source());
    let recorder = Recorder::default();
    for _ in 0..3 {
        let mut remote = connector.connect(&device, &recorder, Intent::Change).unwrap();
        assert_eq!(scan(&mut *remote), [b"a.jpg"]);
    }
    assert_eq!(recorder.count(|event| matches!(event, Event::AgentInstalled { .. })), 1);
    let files = installed(&fleet);
    assert_eq!(files.len(), 1, "{files:?}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&files[0]), mode(files[0].parent().unwrap())), (0o700, 0o700));
}

#[test]
fn an_agent_that_the_card_has_spoilt_is_put_there_anew() {
    let fleet = one_pi().start().unwrap();
    fleet.write(1, b"a.jpg", b"bee", UNIX_EPOCH).unwrap();
    let connector = connector(&fleet, options_with(&fleet));
    let device = device("raspberry1", &fleet.pi(1).source());
    drop(connector.connect(&device, &(), Intent::Change).unwrap());
    let whole = std::fs::read(&installed(&fleet)[0]).unwrap();
    // As after a power cut: the name is there, and the content is not, or not all of it.
    for spoilt in [Vec::new(), vec![0; whole.len()], whole[..4096].to_vec()] {
        // As long as an agent runs, its file can't be written to.
        eventually("the agent ends", || std::fs::write(&installed(&fleet)[0], &spoilt).is_ok());
        // A look finds a way without it, and leaves that to others.
        let recorder = Recorder::default();
        assert_eq!(scan(&mut *connector.connect(&device, &recorder, Intent::Look).unwrap()), [b"a.jpg"]);
        assert_eq!(recorder.count(|event| matches!(event, Event::FellBack { .. })), 1);
        assert!(std::fs::read(&installed(&fleet)[0]).unwrap() == spoilt);
        let recorder = Recorder::default();
        assert_eq!(scan(&mut *connector.connect(&device, &recorder, Intent::Change).unwrap()), [b"a.jpg"]);
        assert_eq!(recorder.count(|event| matches!(event, Event::AgentInstalled { .. })), 1);
        assert!(std::fs::read(&installed(&fleet)[0]).unwrap() == whole);
    }
}

#[test]
fn any_source_can_be_served() {
    let fleet = one_pi().start().unwrap();
    let connector = connector(&fleet, options_with(&fleet));
    for odd in [&b"it's a \"$(dir)\" `x` \\0101 !! *"[..], b"new\nline\n", b"\xff\xfe bytes", b"~", b"-rf"] {
        let source = fleet.pi(1).home().join(OsStr::from_bytes(odd));
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("here"), b"").unwrap();
        let mut remote = connector.connect(&device("raspberry1", &source), &(), Intent::Change).unwrap();
        assert_eq!(scan(&mut *remote), [b"here"], "{odd:?}");
    }
}

#[test]
fn what_a_shell_prints_first_is_passed_over() {
    let fleet = one_pi()
        .pi_config("ForceCommand echo Welcome to this Pi; printf 'no newline: '; exec sh -c \"$SSH_ORIGINAL_COMMAND\"")
        .start()
        .unwrap();
    fleet.write(1, b"a.jpg", b"bee", UNIX_EPOCH).unwrap();
    let connector = connector(&fleet, options_with(&fleet));
    let device = device("raspberry1", &fleet.pi(1).source());
    for _ in 0..2 {
        assert_eq!(scan(&mut *connector.connect(&device, &(), Intent::Change).unwrap()), [b"a.jpg"]);
    }
}

#[test]
fn a_key_that_runs_something_else_is_told() {
    let fleet = one_pi().pi_config("ForceCommand echo This account is not available; exit 1").start().unwrap();
    let (class, line) = shown(&fails(&connector(&fleet, options_with(&fleet)), &fleet));
    assert_eq!(class, Class::Config);
    assert_eq!(line, "the device's shell answers something else: This account is not available");
}

#[test]
fn a_login_without_a_home_is_told() {
    let fleet = one_pi().pi_config("SetEnv HOME=/nonexistent/pi").start().unwrap();
    let (reason, hint) = falls_back(&connector(&fleet, options_with(&fleet)), &fleet);
    assert_eq!(reason, "the login has no home directory on the device");
    assert_eq!(hint.unwrap(), "give the login a home directory that it can write to");
}

#[test]
fn a_home_that_can_not_be_written_to_is_told() {
    let fleet = one_pi().start().unwrap();
    // Root may write anywhere, but not below a file.
    std::fs::write(fleet.pi(1).home().join(".cache"), b"").unwrap();
    let (reason, _) = falls_back(&connector(&fleet, options_with(&fleet)), &fleet);
    assert!(reason.starts_with("the agent can't be put into ~/.cache/pipeline on the device: mkdir:"), "{reason}");
}

#[test]
fn a_machine_without_an_agent_is_told() {
    let fleet = one_pi().start().unwrap();
    let without = Options { agent_dirs: vec!["/opt/none".into()], ..options() };
    let (reason, hint) = falls_back(&connector(&fleet, without), &fleet);
    let machine = std::env::consts::ARCH;
    assert_eq!(reason, format!("there is no agent for a machine that calls itself '{machine}'"));
    assert_eq!(hint.unwrap(), format!("put 'pipeline-agent-{machine}' into one of /opt/none"));
}

#[test]
fn an_agent_that_ends_at_once_is_told() {
    let fleet = one_pi().start().unwrap();
    let ends = options_with_agent(&fleet, &std::fs::read("/bin/false").unwrap());
    assert_eq!(falls_back(&connector(&fleet, ends), &fleet).0, "the agent ends at once: exit status 1");
}

#[test]
fn a_program_that_the_machine_can_not_run_is_told() {
    let fleet = one_pi().start().unwrap();
    // The header is that of a program, and nothing follows.
    let header = &std::fs::read("/bin/true").unwrap()[..64];
    let (reason, _) = falls_back(&connector(&fleet, options_with_agent(&fleet, header)), &fleet);
    assert!(reason.starts_with("the device can't run this kind of program: "), "{reason}");
}

#[test]
fn the_configuration_may_forbid_the_agent() {
    let fleet = one_pi().start().unwrap();
    let never = Options { agent: AgentMode::Never, ..options_with(&fleet) };
    assert_eq!(falls_back(&connector(&fleet, never), &fleet).0, "the configuration says 'agent: never'");
    assert!(installed(&fleet).is_empty());
}

#[test]
fn a_look_puts_nothing_on_the_device() {
    let fleet = one_pi().start().unwrap();
    fleet.write(1, b"a.jpg", b"bee", UNIX_EPOCH).unwrap();
    let before = snapshot(&fleet.pi(1).home()).unwrap();
    let connector = connector(&fleet, options_with(&fleet));
    let device = device("raspberry1", &fleet.pi(1).source());
    let look = || {
        let recorder = Recorder::default();
        assert_eq!(scan(&mut *connector.connect(&device, &recorder, Intent::Look).unwrap()), [b"a.jpg"]);
        recorder.count(|event| matches!(event, Event::FellBack { .. }))
    };
    assert_eq!(look(), 1);
    assert_eq!(snapshot(&fleet.pi(1).home()).unwrap(), before);
    // An agent that is there is used.
    drop(connector.connect(&device, &(), Intent::Change).unwrap());
    let before = snapshot(&fleet.pi(1).home()).unwrap();
    assert_eq!(look(), 0);
    assert_eq!(snapshot(&fleet.pi(1).home()).unwrap(), before);
}

#[test]
fn a_jump_that_dies_while_the_agent_starts_is_a_broken_connection() {
    let fleet = one_pi().pi_config("ForceCommand sleep 300").start().unwrap();
    let connector = connector(&fleet, options_with(&fleet));
    let (class, line) = std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("a command runs", || !fleet.pi(1).pids_of("sleep").is_empty());
            fleet.jump().kill_sessions();
        });
        shown(&fails(&connector, &fleet))
    });
    assert_eq!(class, Class::Transient);
    assert!(line.starts_with("the connection to 'raspberry1' broke: "), "{line}");
}

#[test]
fn a_key_may_be_bound_to_an_agent() {
    let fleet = one_pi().start().unwrap();
    fleet.write(1, b"a.jpg", b"bee", UNIX_EPOCH).unwrap();
    let source = fleet.pi(1).source();
    let agent = PathBuf::from(fleet.command("pipeline-agent").unwrap().get_program());
    let authorized = fleet.pi(1).home().parent().unwrap().parent().unwrap().join("authorized_keys");
    let key = std::fs::read_to_string(&authorized).unwrap();
    let bind = |command: &str| std::fs::write(&authorized, format!("restrict,command=\"{command}\" {key}")).unwrap();
    let connector = connector(&fleet, options_with(&fleet));
    bind(&format!("{} serve --root {}", agent.display(), source.display()));
    let recorder = Recorder::default();
    let device = device("raspberry1", &source);
    assert_eq!(scan(&mut *connector.connect(&device, &recorder, Intent::Change).unwrap()), [b"a.jpg"]);
    assert!(recorder.0.lock().unwrap().is_empty());
    assert!(installed(&fleet).is_empty());
    // One that serves another source, and one that speaks another protocol.
    let refused: &[u8] = b"\x00\x12\0\0\0\x12\0\0\0\x0a\x10another protocol";
    let speech = fleet.root().join("speech");
    std::fs::write(&speech, [b"pl-agent", refused].concat()).unwrap();
    for (command, said) in [
        (
            format!("{} serve --root /elsewhere", agent.display()),
            format!("it was not started with --root {}", source.display()),
        ),
        (format!("cat {} -", speech.display()), "another protocol".into()),
    ] {
        bind(&command);
        let error = fails(&connector, &fleet);
        let (class, line) = shown(&error);
        assert_eq!(class, Class::Config);
        let expected = format!("the agent that the key is bound to does not serve us: {said}");
        assert!(line.starts_with(&expected), "{line}");
        assert!(error.hint().unwrap().contains("authorized_keys"));
    }
}

#[test]
fn an_agent_is_put_there_without_being_used() {
    let fleet = one_pi().start().unwrap();
    let (connector, recorder) = (connector(&fleet, options()), Recorder::default());
    let connection = connector.reach(&name("raspberry1"), &()).unwrap();
    let agents = Agents::new(options_with(&fleet).agent_dirs);
    let put = || deploy::put(&agents, &connection, &name("raspberry1"), LONG, &Cancel::new(), &recorder).unwrap();
    let path = put();
    assert_eq!([fleet.pi(1).home().join(&path)], &installed(&fleet)[..]);
    assert_eq!(put(), path);
    let events = recorder.0.lock().unwrap();
    assert!(matches!(&events[..], [Event::AgentInstalled { .. }]), "{events:?}");
}

/// A Pi whose `~/.cache` is a file system of its own, mounted with these options for each command.
fn pi_with_cache_mounted(options: &str) -> Option<Fleet> {
    // Ordinary users may do this where the kernel lets them have namespaces; elsewhere there is nothing to test with.
    let allowed = std::process::Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|s| s.success());
    if !allowed {
        eprintln!("skipped: unshare -rm is not allowed here");
        return None;
    }
    let mount = format!("mount -t tmpfs -o {options} tmpfs $HOME/.cache");
    let command = format!("unshare -rm sh -c '{mount} && exec sh -c \"$SSH_ORIGINAL_COMMAND\"'");
    let fleet = one_pi().pi_config(&format!("ForceCommand {command}")).start().unwrap();
    std::fs::create_dir(fleet.pi(1).home().join(".cache")).unwrap();
    Some(fleet)
}

#[test]
fn a_full_card_is_told() {
    let Some(fleet) = pi_with_cache_mounted("size=64k") else { return };
    let error = fails(&connector(&fleet, options_with(&fleet)), &fleet);
    let (class, line) = shown(&error);
    assert_eq!(class, Class::Config);
    assert!(line.starts_with("there is no space for the agent on the device: "), "{line}");
    assert!(error.hint().unwrap().starts_with("free a few megabytes"));
}

#[test]
fn a_home_where_nothing_may_be_run_is_told() {
    let Some(fleet) = pi_with_cache_mounted("noexec") else { return };
    let (class, line) = shown(&fails(&connector(&fleet, options_with(&fleet)), &fleet));
    assert_eq!(class, Class::Config);
    assert!(line.starts_with("programs in ~/.cache/pipeline can't be run on the device: "), "{line}");
}
