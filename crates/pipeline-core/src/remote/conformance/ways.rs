//! Ways to a device: within this process, with the programs that a device would run, and over real servers.

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use local_fleet::{Builder, Fleet};

use super::*;
use crate::cancel::Cancel;
use crate::config::{AgentMode, DeletePolicy, DeviceSettings, Surroundings, Timeouts, VersionPolicy};
use crate::fleet::Device;
use crate::path::DeviceName;
use crate::remote::agent::AgentRemote;
use crate::remote::sftp::{Channels, SftpRemote};
use crate::remote::{Connect, Intent, Link, Options, RemoteError};
use crate::ssh::Connector;
use crate::ssh_config::SshConfig;

const LONG: Duration = Duration::from_secs(20);

fn options(idle: Duration) -> Options {
    Options { idle, bandwidth: None, until: Instant::now() + 10 * LONG, cancel: Cancel::new() }
}

/// Runs what a device would run.
struct Here {
    /// Where it finds its programs.
    path: Option<PathBuf>,
    shell: bool,
    /// In a namespace of users, from where no open files are seen.
    blind: bool,
}

const HERE: Here = Here { path: None, shell: true, blind: false };

impl Here {
    fn run(&self, program: &Path, arguments: &[&str]) -> Link {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let mut child = command.spawn().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let errors = Arc::new(Mutex::new(Vec::new()));
        let (mut stdin, mut stdout, mut stderr) =
            (child.stdin.take().unwrap(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let mut up = theirs.try_clone().unwrap();
        std::thread::spawn(move || pump(&mut up, &mut stdin));
        let said = errors.clone();
        std::thread::spawn(move || {
            let mut down = theirs;
            pump(&mut stdout, &mut down);
            // Whoever writes to nobody should be told.
            drop(stdout);
            let mut words = Vec::new();
            stderr.read_to_end(&mut words).ok();
            let status = child.wait().unwrap().code().unwrap_or(-1);
            said.lock().unwrap().extend([&words[..], format!("\nexit status {status}").as_bytes()].concat());
            down.shutdown(Shutdown::Both).ok();
        });
        Link { stream: ours, errors, guard: Box::new(()) }
    }
}

/// As a lane does it: whatever has come is passed on at once, until one of the two has gone.
fn pump(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes) = from.read(&mut buffer)
        && bytes > 0
        && to.write_all(&buffer[..bytes]).is_ok()
    {}
}

impl Channels for Here {
    fn sftp(&self) -> Result<Link, RemoteError> {
        let places = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
        let program = places.map(Path::new).into_iter().find(|path| path.exists()).expect("an sftp-server");
        Ok(Here { shell: false, ..HERE }.run(program, &[]))
    }

    fn exec(&self, command: &str) -> Result<Link, RemoteError> {
        match self {
            Here { blind: true, .. } => {
                Ok(self.run(Path::new("/usr/bin/unshare"), &["--map-root-user", "/bin/sh", "-c", command]))
            }
            Here { shell: true, .. } => Ok(self.run(Path::new("/bin/sh"), &["-c", command])),
            Here { shell: false, .. } => self.sftp(),
        }
    }
}

fn has(program: &str) -> bool {
    find(program).is_some()
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.exists())
}

fn with_shell() -> Caps {
    Caps { delta: has("rdiff"), caveats: 2, ..AGENT }
}

const SFTP_ALONE: Caps = Caps { identity: false, writers: false, delta: false, caveats: 5 };

/// A source whose path is awkward, too.
fn source() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let source = std::fs::canonicalize(dir.path()).unwrap().join("it's a \"$source\"\n!");
    std::fs::create_dir(&source).unwrap();
    (dir, source)
}

#[test]
fn the_agent_within_this_process() {
    let (_dir, source) = source();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let served = source.clone();
    std::thread::spawn(move || crate::agent::serve(theirs.try_clone().unwrap(), theirs, &[served]));
    let link = Link { stream: ours, errors: Arc::default(), guard: Box::new(()) };
    conforms(Box::new(AgentRemote::open(link, &source, options(LONG)).unwrap()), &source, AGENT);
}

#[test]
fn sftp_with_the_shell_of_this_computer() {
    let (_dir, source) = source();
    let channels = Box::new(HERE);
    conforms(Box::new(SftpRemote::open(channels, &source, options(LONG)).unwrap()), &source, with_shell());
}

#[test]
fn sftp_with_busybox() {
    let Some(busybox) = find("busybox") else {
        #[allow(clippy::print_stderr)] // how a test says that it tested nothing
        {
            eprintln!("not tested: there is no busybox here");
        }
        return;
    };
    let (dir, source) = source();
    let programs = dir.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    for name in [
        "cat",
        "date",
        "dd",
        "dmesg",
        "echo",
        "find",
        "grep",
        "head",
        "id",
        "ls",
        "rm",
        "sh",
        "sha256sum",
        "sleep",
        "stat",
        "tail",
        "tr",
        "xargs",
    ] {
        std::os::unix::fs::symlink(&busybox, programs.join(name)).unwrap();
    }
    let channels = Box::new(Here { path: Some(programs), ..HERE });
    let caps = Caps { delta: false, ..with_shell() };
    conforms(Box::new(SftpRemote::open(channels, &source, options(LONG)).unwrap()), &source, caps);
}

#[test]
fn sftp_alone_within_this_process() {
    let (_dir, source) = source();
    let channels = Box::new(Here { shell: false, ..HERE });
    conforms(Box::new(SftpRemote::open(channels, &source, options(LONG)).unwrap()), &source, SFTP_ALONE);
}

#[test]
fn who_sees_nobody_removes_nothing() {
    let allowed = Command::new("/usr/bin/unshare").args(["--map-root-user", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        #[allow(clippy::print_stderr)] // how a test says that it tested nothing
        {
            eprintln!("not tested: namespaces of users are not to be had");
        }
        return;
    }
    let (_dir, source) = source();
    let remote = SftpRemote::open(Box::new(Here { blind: true, ..HERE }), &source, options(LONG)).unwrap();
    let mut subject = Subject { remote: Box::new(remote), source, caps: with_shell(), next_id: 0 };
    let entry = subject.write("a", b"content");
    assert!(matches!(subject.remove(&entry, b"content"), RemoveEnd::Failed(why) if why.contains("may not see")));
    assert!(subject.exists("a"));
}

/// A device that finds this program of ours before its own.
fn with_program(dir: &Path, name: &str, script: &str) -> Here {
    let programs = dir.join("bin");
    std::fs::create_dir(&programs).unwrap();
    std::fs::write(programs.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(programs.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([programs, "/usr/bin".into(), "/bin".into()]).unwrap();
    Here { path: Some(path.into()), ..HERE }
}

#[test]
fn a_look_at_writers_that_fails_removes_nothing() {
    let real = find("find").unwrap();
    let ways = [
        ("it does not know -perm", "echo \"find: unrecognized: -perm\" >&2; exit 1"),
        ("it is killed", "kill -KILL $$"),
        ("it is killed when it has seen us, and not the others", "stat -L -c %d:%i /dev/null; kill -KILL $$"),
    ];
    for (what, way) in ways {
        let (dir, source) = source();
        let script = format!("case \"$*\" in *-perm*) {way} ;; esac\nexec {} \"$@\"", real.display());
        let channels = Box::new(with_program(dir.path(), "find", &script));
        let remote = SftpRemote::open(channels, &source, options(LONG)).unwrap();
        let mut subject = Subject { remote: Box::new(remote), source, caps: with_shell(), next_id: 0 };
        let entry = subject.write("a", b"content");
        let writer = std::fs::File::options().append(true).open(subject.at(b"a")).unwrap();
        let end = subject.remove(&entry, b"content");
        assert!(matches!(&end, RemoveEnd::Failed(why) if why.contains("may not see")), "{what}: {end:?}");
        assert!(subject.exists("a"), "{what}");
        drop(writer);
    }
}

/// As one of old, which does not know signatures of our kind, and goes before it has read the whole.
#[test]
fn an_rdiff_that_refuses_a_long_signature_costs_no_visit() {
    let (dir, source) = source();
    let channels = Box::new(with_program(dir.path(), "rdiff", "head -c 4 > /dev/null; exit 1"));
    let remote = SftpRemote::open(channels, &source, options(LONG)).unwrap();
    let mut subject = Subject { remote: Box::new(remote), source, caps: with_shell(), next_id: 0 };
    let entry = subject.write("db", b"content");
    subject.ask_delta(&entry, &noise(8 << 20));
    assert!(matches!(subject.answer(), Answered::Fetched(_, _, FetchEnd::Differs)));
    assert_eq!(subject.fetch(&entry, None), (b"content".to_vec(), FetchEnd::Complete(Digest::of(b"content"))));
}

#[test]
fn a_source_that_is_not_there_is_told() {
    let (_dir, source) = source();
    for shell in [true, false] {
        let channels = Box::new(Here { shell, ..HERE });
        let mut remote = SftpRemote::open(channels, &source.join("gone"), options(LONG)).unwrap();
        let mut items = Vec::new();
        remote
            .scan(&mut |item| {
                items.push(item);
                Ok(())
            })
            .unwrap();
        assert!(matches!(&items[..], [Scanned::Unreadable(None, _)]), "{items:?}");
    }
}

/// Servers that say nothing, or nothing more.
#[test]
fn waiting_is_bounded() {
    struct Silent;
    impl Channels for Silent {
        fn sftp(&self) -> Result<Link, RemoteError> {
            Ok(HERE.run(Path::new("/bin/sleep"), &["60"]))
        }

        fn exec(&self, _: &str) -> Result<Link, RemoteError> {
            self.sftp()
        }
    }
    let idle = Duration::from_millis(300);
    let error = SftpRemote::open(Box::new(Silent), Path::new("/"), options(idle)).err().unwrap();
    assert!(matches!(error, RemoteError::Silent(_)), "{error}");
    let overdue = Options { until: Instant::now(), ..options(LONG) };
    let error = SftpRemote::open(Box::new(HERE), Path::new("/"), overdue).err().unwrap();
    assert!(matches!(error, RemoteError::Overdue(_)), "{error}");
}

/// What is no SFTP server.
#[test]
fn what_prints_is_no_sftp_server() {
    struct Prints;
    impl Channels for Prints {
        fn sftp(&self) -> Result<Link, RemoteError> {
            Ok(HERE.run(Path::new("/bin/echo"), &["This account is not available"]))
        }

        fn exec(&self, _: &str) -> Result<Link, RemoteError> {
            self.sftp()
        }
    }
    let error = SftpRemote::open(Box::new(Prints), Path::new("/"), options(LONG)).err().unwrap();
    assert_eq!(error.to_string(), "no sftp server answers on the device: it printed 'This account is not available'");
}

/// Over real servers, as the connector makes its way.
fn over_sshd(builder: Builder, prepare: impl Fn(&Fleet), agent: AgentMode, caps: Caps) {
    let fleet = builder.pis(1).tunnels(false).start().unwrap();
    prepare(&fleet);
    let source = fleet.pi(1).source();
    let surroundings = Surroundings {
        home: fleet.root().into(),
        user: "nobody".into(),
        uid: rustix::process::getuid().as_raw(),
        xdg_state_home: None,
        env: BTreeMap::new(),
    };
    let timeouts = Timeouts { connect: LONG, idle: LONG };
    let options = crate::ssh::Options { timeouts, jobs: 8, agent, agent_dirs: Vec::new(), cancel: Cancel::new() };
    let connector = Connector::new(SshConfig::load(&fleet.ssh_config(), &surroundings).unwrap(), options);
    let settings = DeviceSettings {
        source: source.clone(),
        layout: "{host}/{path}".into(),
        include: Vec::new(),
        exclude: Vec::new(),
        settle: Duration::ZERO,
        delete: DeletePolicy { after: None, high_water: None, low_water: None, max_files: None },
        bandwidth: None,
        versions: VersionPolicy::default(),
        alert_after: None,
    };
    let device = Device { name: DeviceName::new("raspberry1").unwrap(), settings };
    conforms(connector.connect(&device, &(), Intent::Change).unwrap(), &source, caps);
}

#[test]
fn sftp_with_a_shell_over_sshd() {
    over_sshd(Fleet::builder(), |_| {}, AgentMode::Never, with_shell());
}

#[test]
fn sftp_alone_over_sshd() {
    over_sshd(Fleet::builder().pi_config("ForceCommand internal-sftp"), |_| {}, AgentMode::Auto, SFTP_ALONE);
}

#[test]
fn the_agent_over_sshd() {
    // As a key that is bound to it, which spares its upload.
    let bind = |fleet: &Fleet| {
        let agent = PathBuf::from(fleet.command("pipeline-agent").unwrap().get_program());
        let authorized = fleet.root().join("raspberry1/authorized_keys");
        let key = std::fs::read_to_string(&authorized).unwrap();
        let command = format!("{} serve --root {}", agent.display(), fleet.pi(1).source().display());
        std::fs::write(&authorized, format!("restrict,command=\"{command}\" {key}")).unwrap();
    };
    over_sshd(Fleet::builder(), bind, AgentMode::Auto, AGENT);
}
