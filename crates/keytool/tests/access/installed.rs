//! What `tunnel --install` has put on a Pi, used: by systemd's own programs, and as the tunnel that it is for.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use local_fleet::Fleet;

use crate::scene::{PI_PASSWORD, Scene};
use crate::tunnelling::{has_systemd, stand_ins};

/// Generous: computers that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

fn says_banner(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut banner = [0; 4];
    stream.read_exact(&mut banner).is_ok() && &banner == b"SSH-"
}

#[test]
fn a_tunnel_as_it_was_installed_leads_to_the_pi() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::new(Fleet::builder().ids(&[31]).pi_config(&stand_ins(dir.path())), &[]);
    let sshd_port = scene.fleet.pi(31).port();
    // RACE: somebody else may take it before ssh does; the kernel gives out others first.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::write(scene.yaml(), format!("onboarding: {{ base_port: {} }}\n", port - 31)).unwrap();
    let (via, own) = (format!("pi@127.0.0.1:{sshd_port}"), sshd_port.to_string());
    let fingerprint = scene.fingerprint(&scene.fleet.root().join("raspberry31/host_key.pub"));
    let install =
        ["tunnel", "31", "--install", "--via", &via, "--sshd-port", &own, "--install-jump", "--password-stdin"];
    let (code, said) = scene.run(&[&install[..], &["--fingerprint", &fingerprint]].concat(), PI_PASSWORD);
    assert_eq!(code, 0, "{said}");

    let card = dir.path().join("card");
    let unit = card.join("etc/systemd/system/ssh-tunnel.service");
    if has_systemd() {
        let root = format!("--root={}", card.display());
        let enabled = Command::new("systemctl").args([&root, "is-enabled", "ssh-tunnel.service"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&enabled.stdout).trim(), "enabled", "{enabled:?}");
        let judged = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
        let words = String::from_utf8_lossy(&judged.stderr).into_owned();
        // Those that came with systemd 254.
        let newer = |line: &&str| !line.contains("RestartSteps") && !line.contains("RestartMaxDelaySec");
        let about_us: Vec<&str> = words.lines().filter(|line| line.contains("ssh-tunnel")).filter(newer).collect();
        assert!(judged.status.success() && about_us.is_empty(), "{words}");
    }

    // As systemd would start it, with the card in the place of `/etc`.
    let text = fs::read_to_string(&unit).unwrap().replace("\\\n", "");
    let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let start = start.replace("/etc/ssh-tunnel/", &format!("{}/etc/ssh-tunnel/", card.display()));
    let mut words = start.split_ascii_whitespace();
    let mut ssh = Command::new(words.next().unwrap());
    let mut tunnel = Running(ssh.args(words).stdin(Stdio::null()).spawn().unwrap());
    let began = Instant::now();
    while !says_banner(port) {
        assert_eq!(tunnel.0.try_wait().unwrap(), None, "the tunnel ended");
        assert!(began.elapsed() < PATIENCE, "no banner");
        std::thread::yield_now();
    }

    // Whoever stood beside the Pi has pinned it: through the tunnel nobody need be asked.
    let (code, said) = scene.run(&["add-pi", "31", "--password-stdin"], PI_PASSWORD);
    assert_eq!(code, 0, "{said}");
    let mut ssh = scene.fleet.at_home("ssh").unwrap();
    assert_eq!(ssh.args(["raspberry31", "echo in"]).output().unwrap().stdout, b"in\n");
    let (code, said) = scene.run(&["check", "31"], "");
    assert!(code == 0 && said.contains("works"), "{said}");
    // Not by another way: without the tunnel there is none.
    drop(tunnel);
    let (code, said) = scene.run(&["check", "31"], "");
    assert_eq!(code, 4, "{said}");
}
