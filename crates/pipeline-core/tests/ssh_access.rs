//! Machines that are still being set up: real sshds with real password checks, and no key of ours anywhere.

#![cfg(feature = "ssh")]
#![allow(clippy::unwrap_used)]

mod ssh_fixture;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use local_fleet::{Fleet, Machine, account};
use pipeline_core::cancel::Cancel;
use pipeline_core::config::Timeouts;
use pipeline_core::error::{Class, Classified, one_line};
use pipeline_core::ssh::auth::AuthError;
use pipeline_core::ssh::command::{CommandError, MAX_OUTPUT_BYTES};
use pipeline_core::ssh::host_key::{HostKeyError, Marker, entries, others_with};
use pipeline_core::ssh::mux::OpenError;
use pipeline_core::ssh::patience::Patience;
use pipeline_core::ssh::{Access, Connection, Credentials, HostKey, SshError, Trust, access};
use ssh_fixture::*;

const JUMP_PASSWORD: &str = "open sesame, bitte schön";
const PI_PASSWORD: &str = "raspberry-7f3a";

fn fleet(ids: &[u16]) -> local_fleet::Builder {
    Fleet::builder().pis(ids.len()).ids(ids).tunnels(false).passwords(JUMP_PASSWORD, PI_PASSWORD)
}

/// What a person would have in the OpenSSH config by now.
fn config(fleet: &Fleet) -> String {
    let mut text =
        format!("Host awsbox\n HostName 127.0.0.1\n Port {}\n User data-pipeline-svc\n", fleet.jump().port());
    for pi in fleet.pis() {
        let (name, port) = (pi.name(), pi.port());
        text += &format!(
            "Host {name}\n HostName localhost\n Port {port}\n HostKeyAlias {name}\n ProxyJump awsbox\n User pi\n"
        );
        text += &format!("Host {name}-direct\n HostName 127.0.0.1\n Port {port}\n HostKeyAlias {name}\n User pi\n");
    }
    text + "Host *\n IdentityFile {root}/home/id\n UserKnownHostsFile {root}/home/known_hosts\n GlobalKnownHostsFile none\n"
}

fn access(fleet: &Fleet) -> Access {
    access_within(fleet, LONG)
}

fn access_within(fleet: &Fleet, connect: Duration) -> Access {
    let timeouts = Timeouts { connect, idle: LONG };
    Access::new(ssh_config(fleet, &config(fleet)), access::Options { timeouts, cancel: Cancel::new() })
}

fn password(secret: &str) -> Credentials {
    Credentials::Password(secret.to_owned().into())
}

fn refused(outcome: Result<std::sync::Arc<Connection>, SshError>) -> AuthError {
    match outcome {
        Err(SshError::Auth { source, .. }) => source,
        Err(error) => panic!("{}", one_line(&error)),
        Ok(_) => panic!("let in"),
    }
}

fn log(machine: &Machine) -> String {
    fs::read_to_string(machine.log()).unwrap()
}

/// What ssh-keygen says of a public key: the fingerprint.
fn fingerprint(public: &Path) -> String {
    let output = Command::new("ssh-keygen").arg("-lf").arg(public).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

fn pin(fleet: &Fleet, name: &str, key: &HostKey) {
    let file = fleet.home().join("known_hosts");
    let known = fs::read_to_string(&file).unwrap_or_default();
    fs::write(file, format!("{known}{name} {}\n", key.openssh())).unwrap();
}

#[test]
fn from_nothing_to_a_pi_behind_the_jump_host() {
    let keys = tempfile::tempdir().unwrap();
    let kinds = ["rsa", "ecdsa"].map(|kind| keygen(keys.path(), kind, &["-t", kind, "-N", ""]));
    let lines: String = kinds.iter().map(|key| format!("HostKey {}\n", key.display())).collect();
    let fleet = fleet(&[31, 34, 35]).cloned(35, 31).jump_config(&(lines + "LogLevel DEBUG1\n")).start().unwrap();
    let jump = fleet.root().join("awsbox/host_key.pub");
    let publics = [&jump, &kinds[1].with_extension("pub"), &kinds[0].with_extension("pub")];

    // Of each kind one, and nobody is asked to log in or learns anything.
    let first = access(&fleet);
    let awsbox = first.target("awsbox").unwrap();
    let shown = first.host_keys(&awsbox, &()).unwrap();
    assert_eq!(shown.iter().map(HostKey::fingerprint).collect::<Vec<_>>(), publics.map(|path| fingerprint(path)));
    for (key, public) in shown.iter().zip(publics) {
        assert_eq!(HostKey::parse(&fs::read_to_string(public).unwrap()).as_ref(), Some(key));
    }
    assert!(!log(fleet.jump()).contains("userauth-request"), "{}", log(fleet.jump()));
    assert!(!fleet.home().join("known_hosts").exists());
    match first.log_in(&awsbox, Trust::KnownHosts, &password(JUMP_PASSWORD), &()) {
        Err(SshError::HostKey { source, .. }) => assert!(matches!(*source, HostKeyError::Unknown { .. }), "{source}"),
        other => panic!("{:?}", other.err()),
    }

    // The right machine and the wrong password. Any of its keys will do.
    let error = refused(first.log_in(&awsbox, Trust::Exactly(&shown[2..]), &password(PI_PASSWORD), &()));
    assert!(matches!(&error, AuthError::WrongPassword { user } if user == account::JUMP_USER), "{error}");
    assert_eq!(error.class(), Class::Config);
    assert!(!format!("{error:?} {error} {:?} {:?}", error.hint(), password(PI_PASSWORD)).contains(PI_PASSWORD));
    let connection = first.log_in(&awsbox, Trust::Exactly(&shown), &password(JUMP_PASSWORD), &()).unwrap();
    let key = keygen(&fleet.home(), "id", &["-t", "ed25519", "-N", ""]);
    let install = "mkdir -p -m 700 ~/.ssh && umask 077 && cat >> ~/.ssh/authorized_keys && id -un";
    let public = fs::read(key.with_extension("pub")).unwrap();
    let output = connection.run(install, &public, &patience()).unwrap();
    assert!(output.success(), "{}", output.words());
    assert_eq!(output.stdout, b"data-pipeline-svc\n");
    pin(&fleet, &awsbox.known_as(), &shown[0]);
    assert_eq!(awsbox.known_as(), format!("[127.0.0.1]:{}", fleet.jump().port()));

    // The Pis are behind it; their keys are looked at through it, and the password goes through it.
    let access = access(&fleet);
    access.log_in(&awsbox, Trust::KnownHosts, &Credentials::Config, &()).unwrap();
    let target = |id: u16| access.target(&format!("raspberry{id}")).unwrap();
    let [one, other, clone] = [31, 34, 35].map(|id| access.host_keys(&target(id), &()).unwrap());
    assert_eq!((one.len(), &one), (1, &clone));
    assert_ne!(one, other);
    assert_eq!(fingerprint(&fleet.root().join("raspberry34/host_key.pub")), other[0].fingerprint());
    let pi = access.log_in(&target(34), Trust::Exactly(&other), &password(PI_PASSWORD), &()).unwrap();
    let output = pi.run("cd && pwd && echo $USER ~", b"", &patience()).unwrap();
    let home = fleet.pi(34).home().display().to_string();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{home}\npi {home}\n"));
    // All of them over one connection to the jump host.
    drop(connection);
    eventually("one connection", || fleet.jump().session_pids().len() == 1);

    // A cloned card is known by its key under another name, hashed as it may be.
    pin(&fleet, "raspberry31", &one[0]);
    let file = fleet.home().join("known_hosts");
    let hash = Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&file).output().unwrap();
    assert!(hash.status.success());
    let files = [file];
    let found = others_with(&clone[0], "raspberry35", &files).unwrap();
    assert!(matches!(&found[..], [entry] if entry.is_hashed() && entry.is_about("raspberry31")), "{found:?}");
    assert!(others_with(&one[0], "raspberry31", &files).unwrap().is_empty());
    assert!(entries(&files).unwrap().iter().all(|entry| entry.marker == Marker::None));
}

#[test]
fn nothing_secret_goes_to_another_machine() {
    let fleet = fleet(&[31]).pi_config("LogLevel DEBUG1\n").start().unwrap();
    let access = access(&fleet);
    let pi = access.target("raspberry31-direct").unwrap();
    let shown = access.host_keys(&pi, &()).unwrap();
    let jump = access.host_keys(&access.target("awsbox").unwrap(), &()).unwrap();

    // What the person has confirmed is not what answers now.
    match access.log_in(&pi, Trust::Exactly(&jump), &password(PI_PASSWORD), &()) {
        Err(error @ SshError::HostKey { .. }) => {
            let SshError::HostKey { source, .. } = &error else { unreachable!() };
            assert!(matches!(**source, HostKeyError::Unexpected { .. }), "{source}");
            assert_eq!(error.class(), Class::HostKey);
            let words = one_line(&error);
            assert!(words.contains(&shown[0].fingerprint()) && words.contains(&jump[0].fingerprint()), "{words}");
        }
        other => panic!("{:?}", other.err()),
    }
    // What was confirmed is revoked.
    fs::write(fleet.home().join("known_hosts"), format!("@revoked * {}\n", shown[0].openssh())).unwrap();
    match access.log_in(&pi, Trust::Exactly(&shown), &password(PI_PASSWORD), &()) {
        Err(SshError::HostKey { source, .. }) => assert!(matches!(*source, HostKeyError::Revoked { .. }), "{source}"),
        other => panic!("{:?}", other.err()),
    }
    // The look at its keys, and these two.
    let ended = |line: &str| line.contains("Connection closed by") && line.ends_with("[preauth]");
    eventually("the end of all three", || log(fleet.pi(31)).lines().filter(|line| ended(line)).count() >= 3);
    assert!(!log(fleet.pi(31)).contains("userauth-request"), "{}", log(fleet.pi(31)));

    // That is how it would have looked.
    fs::remove_file(fleet.home().join("known_hosts")).unwrap();
    access.log_in(&pi, Trust::Exactly(&shown), &password(PI_PASSWORD), &()).unwrap();
    let asked = "userauth-request for user pi service ssh-connection method password";
    eventually("a request in the log", || log(fleet.pi(31)).contains(asked));
}

#[test]
fn a_server_may_ask_in_other_ways_or_not_at_all() {
    let asks = "PasswordAuthentication no\nKbdInteractiveAuthentication yes\n";
    let fleet = fleet(&[31]).jump_config(asks).pi_config("PasswordAuthentication no\n").start().unwrap();
    let access = access(&fleet);
    let log_in = |alias: &str, secret: &str| {
        let target = access.target(alias).unwrap();
        let keys = access.host_keys(&target, &()).unwrap();
        access.log_in(&target, Trust::Exactly(&keys), &password(secret), &())
    };
    let jump = log_in("awsbox", JUMP_PASSWORD).unwrap();
    assert_eq!(jump.run("id -un", b"", &patience()).unwrap().stdout, b"data-pipeline-svc\n");
    let error = refused(log_in("awsbox", "guess"));
    assert!(matches!(error, AuthError::WrongPassword { .. }), "{error}");
    // Once: a machine that counts wrong passwords must not count two.
    eventually("the end", || log(fleet.jump()).contains("authenticating user data-pipeline-svc"));
    assert_eq!(log(fleet.jump()).matches("PAM: Authentication failure").count(), 1, "{}", log(fleet.jump()));

    let error = refused(log_in("raspberry31-direct", PI_PASSWORD));
    assert!(matches!(&error, AuthError::NoPasswordMethod { methods } if methods == &["publickey"]), "{error}");
    assert_eq!(error.class(), Class::Config);
    assert!(error.hint().unwrap().contains("PasswordAuthentication yes"));
}

#[test]
fn a_command_has_all_its_input_and_an_end() {
    let fleet = fleet(&[31]).start().unwrap();
    let access = access(&fleet);
    let target = access.target("raspberry31-direct").unwrap();
    let keys = access.host_keys(&target, &()).unwrap();
    let pi = access.log_in(&target, Trust::Exactly(&keys), &password(PI_PASSWORD), &()).unwrap();
    let run = |command: &str, stdin: &[u8]| pi.run(command, stdin, &patience());

    let bytes = noise(1, MAX_OUTPUT_BYTES);
    let output = run("cat", &bytes).unwrap();
    assert!(output.success() && output.stdout == bytes && output.stderr.is_empty());
    let bytes = noise(2, 5_000_000);
    let expected = pipeline_core::digest::Digest::of(&bytes).to_string();
    let output = run("sha256sum", &bytes).unwrap();
    assert!(output.stdout.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&output.stdout));

    // How it ended is what the server says, whatever the command does.
    let output = run("echo out; echo exit status 0 >&2; exit 4", &bytes).unwrap();
    assert_eq!((output.status, &*output.stdout, &*output.stderr), (Some(4), &b"out\n"[..], &b"exit status 0\n"[..]));
    let output = run("kill -9 $$", b"").unwrap();
    assert_eq!((output.status, output.success()), (None, false));

    let failure = |outcome: Result<_, SshError>| match outcome {
        Err(SshError::Command { host, source }) => {
            assert_eq!(host, "raspberry31-direct");
            source
        }
        other => panic!("{other:?}"),
    };
    let error = failure(run(&format!("head -c {} /dev/zero", MAX_OUTPUT_BYTES + 1), b""));
    assert!(matches!(error, CommandError::TooMuchOutput), "{error}");
    let soon = Patience::new(Duration::from_millis(300), &Cancel::new());
    let error = failure(pi.run("sleep 1000", b"", &soon));
    // On a very busy computer it has not even begun by then.
    assert!(matches!(error, CommandError::TimedOut | CommandError::NotStarted(OpenError::TimedOut)), "{error}");
    let stopped = Cancel::new();
    stopped.set();
    let outcome = pi.run("sleep 1000", b"", &Patience::new(LONG, &stopped));
    assert!(matches!(outcome, Err(SshError::Stopped)), "{outcome:?}");
    // The connection is none the worse for it.
    assert!(run("true", b"").unwrap().success());
}

#[test]
fn a_machine_that_hangs_is_given_up() {
    let fleet = fleet(&[31]).start().unwrap();
    let patient = access(&fleet);
    let target = patient.target("raspberry31-direct").unwrap();
    let keys = patient.host_keys(&target, &()).unwrap();
    let pi = patient.log_in(&target, Trust::Exactly(&keys), &password(PI_PASSWORD), &()).unwrap();
    fleet.pi(31).stop();

    let soon = Duration::from_millis(300);
    let error = pi.run("true", b"", &Patience::new(soon, &Cancel::new())).unwrap_err();
    assert_eq!(error.class(), Class::Unreachable, "{}", one_line(&error));
    let impatient = access_within(&fleet, soon);
    let error = impatient.host_keys(&target, &()).unwrap_err();
    assert!(matches!(error, SshError::NoBanner { .. }), "{}", one_line(&error));
    let error = impatient.log_in(&target, Trust::Exactly(&keys), &password(PI_PASSWORD), &()).err().unwrap();
    assert!(matches!(error, SshError::NoBanner { .. }), "{}", one_line(&error));
    fleet.pi(31).cont();
    eventually("life", || pi.run("true", b"", &patience()).is_ok_and(|output| output.success()));
}
