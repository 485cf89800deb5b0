//! Host keys and the user's keys, on real sshds and against ssh-keygen's own reading of known_hosts.

#![cfg(feature = "ssh")]
#![allow(clippy::unwrap_used)]

mod ssh_fixture;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use local_fleet::Fleet;
use pipeline_core::error::{Class, Classified, one_line};
use pipeline_core::ssh::auth::AuthError;
use pipeline_core::ssh::host_key::HostKeyError;
use pipeline_core::ssh::identity::KeyProblem;
use pipeline_core::ssh::{Connector, SshError};
use ssh_fixture::*;

/// A machine whose sshd has a key of each type, its own besides.
struct Machine {
    keys: tempfile::TempDir,
    fleet: Fleet,
}

const TYPES: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

fn machine(more_config: &str) -> Machine {
    let keys = tempfile::tempdir().unwrap();
    let lines: Vec<String> = TYPES
        .iter()
        .map(|kind| format!("HostKey {}\n", keygen(keys.path(), kind, &["-t", kind, "-N", ""]).display()))
        .collect();
    let fleet = Fleet::builder().pis(0).jump_config(&(lines.concat() + more_config)).start().unwrap();
    Machine { keys, fleet }
}

impl Machine {
    /// The public half of a host key: type and base64.
    fn key(&self, kind: &str) -> String {
        let text = fs::read_to_string(self.keys.path().join(format!("{kind}.pub"))).unwrap();
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    fn address(&self) -> String {
        format!("[127.0.0.1]:{}", self.fleet.jump().port())
    }

    /// A connector to `machine` with these lines of known_hosts and these of ssh_config.
    fn connector(&self, known_hosts: impl AsRef<[u8]>, config: &str) -> Connector {
        let file = self.fleet.root().join("known_hosts");
        fs::write(&file, known_hosts).unwrap();
        let config = format!(
            "Host machine\n HostName 127.0.0.1\n Port {}\n{config}\n UserKnownHostsFile {}\n GlobalKnownHostsFile none\n \
             IdentityFile {{root}}/ssh/id_ed25519\n",
            self.fleet.jump().port(),
            file.display()
        );
        connector_with(&self.fleet, &config, options())
    }

    fn outcome(&self, known_hosts: impl AsRef<[u8]>, config: &str) -> Result<(), SshError> {
        self.connector(known_hosts, config).reach(&name("machine"), &()).map(drop)
    }

    /// How the host key was refused.
    fn refusal(&self, known_hosts: impl AsRef<[u8]>, config: &str) -> HostKeyError {
        let shown = known_hosts.as_ref().escape_ascii().to_string();
        match self.outcome(known_hosts, config) {
            Err(SshError::HostKey { source, .. }) => *source,
            Err(error) => panic!("{shown}: {}", one_line(&error)),
            Ok(()) => panic!("{shown}: accepted"),
        }
    }
}

#[test]
fn a_known_key_is_accepted_whatever_its_type_and_however_it_is_listed() {
    let machine = machine("");
    let address = machine.address();
    // The server would rather show another one.
    for kind in TYPES {
        machine.outcome(format!("{address} {}\n", machine.key(kind)), "").unwrap();
    }
    let key = machine.key("ed25519");
    let hashed = machine.fleet.root().join("hashed");
    fs::write(&hashed, format!("{address} {key}\n")).unwrap();
    assert!(
        Command::new("ssh-keygen")
            .args(["-q", "-H", "-f"])
            .arg(&hashed)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let hashed = fs::read_to_string(hashed).unwrap();
    assert!(hashed.starts_with("|1|"));
    let lines = [
        hashed,
        format!("other,{address},more {key}\n"),
        format!("[127.0.0.?]:* {key} a comment\r\n"),
        format!("# a comment\n\n@unknown {address} x y\nnonsense\n{address} ssh-ed25519 AAAA\n{address} {key}"),
    ];
    for line in lines {
        machine.outcome(&line, "").unwrap_or_else(|error| panic!("{line}: {}", one_line(&error)));
    }
    machine.outcome(format!("bees {key}\n"), " HostKeyAlias bees").unwrap();
}

#[test]
fn an_unknown_key_is_refused_and_never_learnt() {
    let machine = machine("");
    let (address, key, port) = (machine.address(), machine.key("ed25519"), machine.fleet.jump().port());
    let lines = [
        String::new(),
        // Without the port it is another machine: a fleet is one address with many ports.
        format!("127.0.0.1 {key}\n"),
        format!("[127.0.0.1]:{} {key}\n", port - 1),
        format!("!{address},[127.0.0.1]:* {key}\n"),
        format!("@cert-authority {address} {key}\n"),
    ];
    for line in lines {
        let error = machine.refusal(&line, "");
        assert!(matches!(error, HostKeyError::Unknown { .. }), "{line}: {error}");
        assert_eq!(error.class(), Class::HostKey);
        assert_eq!(fs::read_to_string(machine.fleet.root().join("known_hosts")).unwrap(), line);
    }
    // With an alias, the address does not count.
    let error = machine.refusal(format!("{address} {key}\n"), " HostKeyAlias bees");
    assert!(matches!(&error, HostKeyError::Unknown { name, .. } if name == "bees"), "{error}");
    let error = machine.refusal(format!("@cert-authority {address} {key}\n"), "");
    assert!(error.hint().unwrap().contains("certificate authority"), "{:?}", error.hint());
}

#[test]
fn another_key_than_the_known_one_is_refused_with_the_line_that_knows_it() {
    let machine = machine("");
    let (address, port) = (machine.address(), machine.fleet.jump().port());
    let other = keygen(machine.fleet.root(), "other", &["-t", "ed25519", "-N", ""]);
    let other = fs::read_to_string(other.with_extension("pub")).unwrap();
    let error = machine.refusal(format!("# one\n# two\n{address} {other}"), "");
    let HostKeyError::Changed { name, shown, place, expected } = &error else { panic!("{error}") };
    assert_eq!((name, place.line), (&address, 3));
    assert_eq!(*shown, fingerprint(&machine.keys.path().join("ed25519.pub")));
    assert_eq!(*expected, fingerprint(&machine.fleet.root().join("other.pub")));
    assert!(error.hint().unwrap().contains(&format!("ssh-keygen -R '[127.0.0.1]:{port}'")));

    let key = machine.key("ed25519");
    let error = machine.refusal(format!("{address} {key}\n@revoked * {key}\n"), "");
    assert!(matches!(&error, HostKeyError::Revoked { place, .. } if place.line == 2), "{error}");
    let latin_1 = [format!("{address} {key}\n@revoked * {key} stolen at the caf").as_bytes(), b"\xe9\n"].concat();
    let error = machine.refusal(latin_1, "");
    assert!(matches!(&error, HostKeyError::Revoked { place, .. } if place.line == 2), "{error}");
    // Other keys of the machine stay good.
    machine.outcome(format!("@revoked {address} {key}\n{address} {}\n", machine.key("rsa")), "").unwrap();
}

/// As `ssh-keygen -l` shows it, with the type as in known_hosts.
fn fingerprint(public: &Path) -> String {
    let output = Command::new("ssh-keygen").arg("-lf").arg(public).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    format!("ssh-ed25519 {}", said.split(' ').nth(1).unwrap())
}

#[test]
fn a_known_hosts_file_that_can_not_be_read_is_told() {
    let machine = machine("");
    let config = format!(" UserKnownHostsFile {}", machine.fleet.root().display());
    let error = machine.refusal("", &config);
    assert!(matches!(error, HostKeyError::Read { .. }), "{error}");
    assert_eq!(error.class(), Class::Config);
}

#[test]
fn names_are_matched_as_ssh_keygen_does() {
    let dir = tempfile::tempdir().unwrap();
    let key = keygen(dir.path(), "key", &["-t", "ed25519", "-N", ""]);
    let key = fs::read_to_string(key.with_extension("pub")).unwrap();
    // In whatever encoding, and where a C string ends.
    let (kind, base64) = key.trim_end().split_once(' ').unwrap();
    let base64 = base64.split_once(' ').map_or(base64, |(base64, _)| base64);
    let lines: [Vec<u8>; 10] = [
        format!("raspberry31 {kind} {base64} a comment\n").into(),
        [b"raspberry31 ", kind.as_bytes(), b" ", base64.as_bytes(), b" caf\xe9\n"].concat(),
        [b"caf\xe9,raspberry31\t", kind.as_bytes(), b"\t \t", base64.as_bytes(), b"\tx\n"].concat(),
        [b"caf\xe9 ", kind.as_bytes(), b" ", base64.as_bytes(), b"\n"].concat(),
        [b" \traspberry?1 ", kind.as_bytes(), b" ", base64.as_bytes(), b"\0 \xe9\n"].concat(),
        [b"raspberry31 ", kind.as_bytes(), b" ", &base64.as_bytes()[..9], b"\x0c\x0b", &base64.as_bytes()[9..], b"\r"]
            .concat(),
        [b"raspberry31\x0c", kind.as_bytes(), b" ", base64.as_bytes(), b"\n"].concat(),
        [b"raspberry31 ", kind.as_bytes(), b"\x0c ", base64.as_bytes(), b"\n"].concat(),
        [b"raspberry31 ", kind.as_bytes(), b" \xe9", base64.as_bytes(), b"\n"].concat(),
        [b" #raspberry31 ", kind.as_bytes(), b" ", base64.as_bytes(), b"\n"].concat(),
    ];
    for line in lines {
        let file = dir.path().join("known_hosts");
        fs::write(&file, &line).unwrap();
        let found = Command::new("ssh-keygen").args(["-l", "-F", "raspberry31", "-f"]).arg(&file).output().unwrap();
        let ours = pipeline_core::ssh::host_key::entries(&[file]).unwrap();
        let ours = ours.iter().any(|entry| entry.is_about("raspberry31"));
        assert_eq!(ours, found.status.success(), "{}", line.escape_ascii());
    }
    let patterns = [
        "raspberry31",
        "Raspberry31",
        "raspberry*",
        "*",
        "rasp*31",
        "r*s*b*3?",
        "raspberry??",
        "raspberry???",
        "?",
        "",
        "!raspberry31,*",
        "*,!raspberry31",
        "!other,*",
        "!other",
        "raspberry31,other",
        "other,raspberry31",
        ",",
        "a**1",
        "[localhost]:5031",
        "[localhost]:*",
        "[*]:5031",
        "[localhost]:503?",
        "localhost",
        "localhost:5031",
        "[l*t]:5031",
    ];
    for looked_up in ["raspberry31", "RASPBERRY31", "[localhost]:5031", "localhost"] {
        for pattern in patterns {
            let file = dir.path().join("known_hosts");
            fs::write(&file, format!("{pattern} {key}")).unwrap();
            let found = Command::new("ssh-keygen").args(["-F", looked_up, "-f"]).arg(&file).output().unwrap();
            let theirs = found.status.success();
            let config = format!(
                "Host x\n HostKeyAlias {looked_up}\n UserKnownHostsFile {}\n GlobalKnownHostsFile none\n",
                file.display()
            );
            let config_file = dir.path().join("config");
            fs::write(&config_file, config).unwrap();
            let config = pipeline_core::ssh_config::SshConfig::load(&config_file, &surroundings(dir.path())).unwrap();
            let keys = pipeline_core::ssh::host_key::HostKeys::load(&host(&config, "x")).unwrap();
            let ours = !matches!(keys.verify(b""), Err(HostKeyError::Unknown { .. }));
            assert_eq!(ours, theirs, "'{pattern}' for '{looked_up}'");
        }
    }
    // A hash is of one spelling: ssh-keygen takes the one that ssh looks up.
    let file = dir.path().join("known_hosts");
    fs::write(&file, format!("Bee31 {key}")).unwrap();
    let hashed = Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&file).output().unwrap();
    assert!(hashed.status.success());
    let config = format!("Host x\n HostKeyAlias Bee31\n UserKnownHostsFile {}\n", file.display());
    let config_file = dir.path().join("config");
    fs::write(&config_file, config).unwrap();
    let config = pipeline_core::ssh_config::SshConfig::load(&config_file, &surroundings(dir.path())).unwrap();
    let keys = pipeline_core::ssh::host_key::HostKeys::load(&host(&config, "x")).unwrap();
    assert!(matches!(keys.verify(b""), Err(HostKeyError::Changed { .. })));
}

/// A machine that lets in the keys given to it.
fn let_in(machine: &Machine, public: &[PathBuf]) {
    let lines: String = public.iter().map(|path| fs::read_to_string(path.with_extension("pub")).unwrap()).collect();
    fs::write(machine.fleet.root().join("awsbox/authorized_keys"), lines).unwrap();
}

/// The outcome with these identity files and nothing else.
fn with_identities(machine: &Machine, files: &[&Path], more: &str) -> Result<(), SshError> {
    let known_hosts = format!("{} {}\n", machine.address(), machine.key("ed25519"));
    let file = machine.fleet.root().join("known_hosts");
    fs::write(&file, known_hosts).unwrap();
    let identities: String = files.iter().map(|path| format!(" IdentityFile {}\n", path.display())).collect();
    let config = format!(
        "Host machine\n HostName 127.0.0.1\n Port {}\n UserKnownHostsFile {}\n{identities}{more}\n User {}\n",
        machine.fleet.jump().port(),
        file.display(),
        whoami(),
    );
    connector_with(&machine.fleet, &config, options()).reach(&name("machine"), &()).map(drop)
}

fn whoami() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned()
}

fn refused(outcome: Result<(), SshError>) -> AuthError {
    match outcome {
        Err(SshError::Auth { source, .. }) => source,
        Err(error) => panic!("{}", one_line(&error)),
        Ok(()) => panic!("let in"),
    }
}

#[test]
fn keys_of_every_form_let_us_in() {
    let machine = machine("");
    let dir = machine.keys.path();
    let forms: [(&str, &[&str]); 9] = [
        ("o-ed25519", &["-t", "ed25519"]),
        ("o-ecdsa256", &["-t", "ecdsa", "-b", "256"]),
        ("o-ecdsa384", &["-t", "ecdsa", "-b", "384"]),
        ("o-ecdsa521", &["-t", "ecdsa", "-b", "521"]),
        ("o-rsa", &["-t", "rsa"]),
        ("pem-rsa", &["-t", "rsa", "-m", "PEM"]),
        ("pem-ecdsa", &["-t", "ecdsa", "-m", "PEM"]),
        ("pkcs8-rsa", &["-t", "rsa", "-m", "PKCS8"]),
        ("pkcs8-ecdsa", &["-t", "ecdsa", "-m", "PKCS8"]),
    ];
    for (name, arguments) in forms {
        let key = keygen(dir, name, &[arguments, &["-N", ""]].concat());
        let_in(&machine, std::slice::from_ref(&key));
        // Only the private half: that is what an administrator copies to the collector.
        fs::remove_file(key.with_extension("pub")).unwrap();
        with_identities(&machine, &[&key], "").unwrap_or_else(|error| panic!("{name}: {}", one_line(&error)));
    }
}

#[test]
fn a_key_that_can_not_be_used_says_why() {
    let machine = machine("");
    let dir = machine.keys.path();
    let good = keygen(dir, "good", &["-t", "ed25519", "-N", ""]);
    let open = keygen(dir, "open", &["-t", "ed25519", "-N", ""]);
    fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).unwrap();
    let locked = keygen(dir, "locked", &["-t", "ed25519", "-N", "secret"]);
    let notes = dir.join("notes");
    fs::write(&notes, "nothing").unwrap();
    let missing = dir.join("missing");
    let_in(&machine, &[open.clone(), locked.clone()]);

    let files = [&*missing, &*open, &*locked, &*notes];
    let error = refused(with_identities(&machine, &files, ""));
    let AuthError::NoKey { problems, .. } = &error else { panic!("{error}") };
    let problems: Vec<_> = problems.iter().map(|(path, why)| (path.as_path(), why)).collect();
    assert!(
        matches!(
            problems[..],
            [
                (_, KeyProblem::Missing),
                (_, KeyProblem::TooOpen(0o644)),
                (_, KeyProblem::Encrypted),
                (_, KeyProblem::NotAKey)
            ]
        ),
        "{error}"
    );
    assert_eq!(error.class(), Class::Config);
    let hint = |files: &[&Path]| refused(with_identities(&machine, files, "")).hint().unwrap();
    assert_eq!(hint(&[&open]), format!("chmod 600 {}", open.display()));
    assert!(hint(&[&locked]).starts_with(&format!("'ssh-add {}'", locked.display())));

    // What can be used is used, whatever else is listed.
    let_in(&machine, std::slice::from_ref(&good));
    with_identities(&machine, &[&missing, &open, &locked, &good], "").unwrap();
}

#[test]
fn a_refusal_names_the_keys() {
    let machine = machine("");
    let keys: Vec<_> =
        (0..3).map(|n| keygen(machine.keys.path(), &format!("k{n}"), &["-t", "ed25519", "-N", ""])).collect();
    let_in(&machine, &keys[2..]);
    let files: Vec<&Path> = keys.iter().map(PathBuf::as_path).collect();
    let error = refused(with_identities(&machine, &files[..2], ""));
    let AuthError::Refused { offered, .. } = &error else { panic!("{error}") };
    assert_eq!(*offered, [keys[0].display().to_string(), keys[1].display().to_string()]);
    assert_eq!(error.class(), Class::Config);
    with_identities(&machine, &files, "").unwrap();
}

#[test]
fn too_many_keys_are_told_apart_from_wrong_ones() {
    let machine = machine("MaxAuthTries 2\n");
    let keys: Vec<_> =
        (0..4).map(|n| keygen(machine.keys.path(), &format!("k{n}"), &["-t", "ed25519", "-N", ""])).collect();
    let files: Vec<&Path> = keys.iter().map(PathBuf::as_path).collect();
    let error = refused(with_identities(&machine, &files, ""));
    assert!(matches!(error, AuthError::Ended { .. }), "{error}");
    assert_eq!(error.class(), Class::Config);
    assert!(error.hint().unwrap().contains("IdentitiesOnly"));
}

/// An ssh agent of the test's own.
struct SshAgent {
    process: Child,
    socket: PathBuf,
}

impl SshAgent {
    fn start(dir: &Path) -> SshAgent {
        let socket = dir.join("agent.sock");
        let mut process =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::piped()).spawn().unwrap();
        // It says where it listens once it does.
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(socket.exists(), "{line}");
        SshAgent { process, socket }
    }

    /// Adds a key without passphrase.
    fn add(&self, key: &Path) {
        let status = Command::new("ssh-add").env("SSH_AUTH_SOCK", &self.socket).arg("-q").arg(key).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn the_ssh_agent_holds_what_the_files_do_not() {
    let machine = machine("");
    let dir = machine.keys.path();
    let agent = SshAgent::start(dir);
    let mine = keygen(dir, "mine", &["-t", "ecdsa", "-N", ""]);
    let other = keygen(dir, "another", &["-t", "ed25519", "-N", ""]);
    agent.add(&other);
    agent.add(&mine);
    let_in(&machine, std::slice::from_ref(&mine));
    let lock = |key: &Path| {
        let status =
            Command::new("ssh-keygen").args(["-q", "-p", "-N", "secret", "-f"]).arg(key).stdout(Stdio::null()).status();
        assert!(status.unwrap().success());
    };
    lock(&mine);
    let with_agent = format!(" IdentityAgent {}", agent.socket.display());
    let only = format!("{with_agent}\n IdentitiesOnly yes");
    // The file is locked; the agent has it open.
    with_identities(&machine, &[&mine], &only).unwrap();
    let public = mine.with_extension("pub");
    with_identities(&machine, &[&public], &only).unwrap();
    with_identities(&machine, &[], &with_agent).unwrap();
    // Not listed: not offered.
    let error = refused(with_identities(&machine, &[&dir.join("missing")], &only));
    assert!(matches!(error, AuthError::NoKey { .. }), "{error}");
    // No agent.
    let error = refused(with_identities(&machine, &[&mine], " IdentityAgent none"));
    assert!(
        matches!(&error, AuthError::NoKey { problems, .. } if matches!(problems[..], [(_, KeyProblem::Encrypted)]))
    );
    let silent = dir.join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    for socket in [Path::new("/nonexistent/agent"), &silent] {
        let error = refused(with_identities(&machine, &[&mine], &format!(" IdentityAgent {}", socket.display())));
        let AuthError::NoKey { problems, .. } = &error else { panic!("{error}") };
        assert!(matches!(problems[..], [(_, KeyProblem::NoAgent(_)), (_, KeyProblem::Encrypted)]), "{error}");
    }
}

#[test]
fn every_hop_must_be_the_right_one() {
    let fleet = Fleet::builder().pis(2).tunnels(false).start().unwrap();
    let reach = |config: &str| {
        let config = format!("{config}\nHost *\nInclude {}\n", fleet.ssh_config().display());
        connector_with(&fleet, &config, options()).reach(&name("raspberry1"), &()).map(drop)
    };
    reach("").unwrap();
    // Another device answers at the port, or another machine in place of the jump host.
    match reach("Host raspberry1\n HostKeyAlias raspberry2") {
        Err(SshError::HostKey { host, source }) => {
            assert_eq!(host, "raspberry1");
            assert!(matches!(*source, HostKeyError::Changed { .. }), "{source}");
        }
        other => panic!("{other:?}"),
    }
    match reach("Host awsbox\n HostKeyAlias raspberry2") {
        Err(SshError::Hop { hop, source }) => {
            assert_eq!(hop, "awsbox");
            assert!(matches!(*source, SshError::HostKey { .. }), "{source}");
            assert_eq!(source.class(), Class::HostKey);
        }
        other => panic!("{other:?}"),
    }
}
