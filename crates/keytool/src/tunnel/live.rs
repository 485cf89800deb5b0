//! The texts in their places: a jump host's real sshd, and `ssh` as the unit starts it.
#![allow(clippy::unwrap_used)]

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use local_fleet::Fleet;

use super::*;

/// Generous: computers that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Pi's own directory, in place of its `/etc`, and stand-ins for what would change this computer.
struct Pi {
    fleet: Fleet,
    etc: PathBuf,
    bin: PathBuf,
}

impl Pi {
    fn new() -> Pi {
        let snippet = sshd_snippet(None).unwrap();
        let fleet =
            Fleet::builder().tunnels(false).jump_config(&snippet).start().unwrap_or_else(|error| panic!("{error}"));
        let (etc, bin) = (fleet.root().join("etc"), fleet.root().join("bin"));
        for dir in [&etc, &bin] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(etc.join("passwd"), "ssh-tunnel:x:990:980::/nonexistent:/usr/sbin/nologin\n").unwrap();
        let active = format!("[ \"$1\" != is-active ] || exec test -e '{}'\n", etc.join("active").display());
        let told = format!("echo \"$*\" >>'{}'\n", etc.join("told").display());
        for (name, text) in [("id", "echo 0\n".to_owned()), ("chown", String::new()), ("systemctl", active + &told)] {
            let file = bin.join(name);
            fs::write(&file, format!("#!/bin/sh\n{text}")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Pi { fleet, etc, bin }
    }

    fn tunnel(&self, port: u16) -> Tunnel {
        let host_key = fs::read_to_string(self.fleet.root().join("awsbox/host_key.pub")).unwrap();
        let jump = Jump {
            alias: "awsbox".into(),
            hostname: "127.0.0.1".into(),
            port: self.fleet.jump().port(),
            user: text(Command::new("/usr/bin/id").arg("-un").output().unwrap()).trim().to_owned(),
            host_keys: vec![HostKey::parse(&host_key).unwrap()],
        };
        let tunnel = Tunnel::new("raspberry31", port, self.fleet.pi(1).port(), jump).unwrap();
        Tunnel { etc: self.etc.to_str().unwrap().to_owned(), ..tunnel }
    }

    fn run(&self, tunnel: &Tunnel, step: Step) -> Report {
        let path = format!("{}:/usr/bin:/bin", self.bin.display());
        let mut command = Command::new("sh");
        command.args(["-s", &step.to_string()]).env("PATH", path);
        let output = with_input(&mut command, &tunnel.script(false));
        assert!(output.status.success(), "{output:?}");
        Report::parse(&output.stdout)
    }

    fn unit(&self) -> PathBuf {
        self.etc.join("systemd/system/ssh-tunnel.service")
    }

    fn told(&self) -> String {
        fs::read_to_string(self.etc.join("told")).unwrap_or_default()
    }

    fn let_in(&self, line: &Entry) {
        let file = self.fleet.root().join("awsbox/authorized_keys");
        writeln!(OpenOptions::new().append(true).open(file).unwrap(), "{line}").unwrap();
    }
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

fn with_input(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not read is a result as well.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

/// The `ssh` of the unit, without what it is to do. What it is wrongly allowed would go on for ever.
fn ssh(tunnel: &Tunnel) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").args(unit::command(tunnel).join(" ").split(' '));
    command
}

/// `ExecStart` of a unit file.
fn exec_start(unit: &Path) -> Command {
    let text = fs::read_to_string(unit).unwrap().replace("\\\n", "");
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let mut words = line.split_ascii_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

fn says_banner(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut banner = [0; 4];
    stream.read_exact(&mut banner).is_ok() && &banner == b"SSH-"
}

/// Two ports that nobody listens on.
fn free_ports() -> [u16; 2] {
    // RACE: somebody else may take one before ssh does; the kernel gives out others first.
    [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()).map(|port| port.local_addr().unwrap().port())
}

#[test]
fn a_tunnel_key_holds_its_own_port_and_can_do_nothing_else() {
    let pi = Pi::new();
    let [own, neighbours] = free_ports();
    let tunnel = pi.tunnel(own);
    let key = pi.run(&tunnel, Step::Key).key.unwrap();

    // A tunnel that runs is not given up for one that the jump host would refuse.
    fs::create_dir_all(pi.unit().parent().unwrap()).unwrap();
    let before = tunnel.unit().replace("-T -R", "-R");
    fs::write(pi.unit(), &before).unwrap();
    fs::write(pi.etc.join("active"), "").unwrap();
    let refused = pi.run(&tunnel, Step::Unit);
    assert_eq!(refused.service, Some(Service::Kept));
    assert!(refused.login.clone().unwrap().unwrap_err().contains("Permission denied"), "{refused:?}");
    assert_eq!(fs::read_to_string(pi.unit()).unwrap(), before);
    assert_eq!(pi.told(), "");

    pi.let_in(&tunnel.authorization(key.clone()).unwrap());
    let accepted = pi.run(&tunnel, Step::Unit);
    assert_eq!((accepted.login, accepted.service), (Some(Ok(())), Some(Service::Restarted)));
    assert_eq!(fs::read_to_string(pi.unit()).unwrap(), tunnel.unit());
    assert!(pi.told().contains("--no-block restart ssh-tunnel.service"), "{}", pi.told());
    assert_eq!(pi.run(&tunnel, Step::Unit).service, Some(Service::Started));

    // Its own port.
    let mut held = Running(exec_start(&pi.unit()).spawn().unwrap());
    let start = Instant::now();
    while !says_banner(own) {
        assert_eq!(held.0.try_wait().unwrap(), None, "the tunnel ended");
        assert!(start.elapsed() < PATIENCE, "no banner");
        std::thread::yield_now();
    }

    // Not its neighbour's, not on an interface that others reach, and no socket in the jump host's file system.
    let socket = pi.etc.join("socket");
    let wrong = [format!("localhost:{neighbours}"), format!("0.0.0.0:{own}"), format!("*:{neighbours}")];
    for wrong in wrong.into_iter().chain([socket.display().to_string()]) {
        let forward = format!("{wrong}:localhost:{}", pi.fleet.pi(1).port());
        let args = ["-o", "ExitOnForwardFailure=yes", "-N", "-R", &forward, "127.0.0.1"];
        let output = ssh(&tunnel).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("remote port forwarding failed"), "{wrong}: {said}");
    }
    assert!(!socket.exists());

    // No command, no shell, no files.
    for args in [&["127.0.0.1", "echo GOT-IT"][..], &["-T", "127.0.0.1"], &["-tt", "127.0.0.1"]] {
        let output = with_input(ssh(&tunnel).args(args), "echo GOT-IT\nexit\n");
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}: {output:?}");
    }
    let output = with_input(ssh(&tunnel).args(["-s", "127.0.0.1", "sftp"]), "\0\0\0\x05\x01\0\0\0\x03");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");

    // Through the jump host to nobody but itself.
    let reach = |port: u16| with_input(ssh(&tunnel).args(["-W", &format!("localhost:{port}"), "127.0.0.1"]), "\n");
    assert!(text(reach(own)).starts_with("SSH-"));
    let through = reach(pi.fleet.pi(1).port());
    assert!(through.stdout.is_empty() && !through.status.success(), "{through:?}");

    // Another jump host is none, whatever it would let in.
    let stranger = Tunnel {
        jump: Jump { host_keys: vec![HostKey::parse(&key.to_string()).unwrap()], ..tunnel.jump.clone() },
        ..tunnel
    };
    let login = pi.run(&stranger, Step::Unit).login.unwrap().unwrap_err();
    assert!(login.contains("Host key verification failed"), "{login}");
}
