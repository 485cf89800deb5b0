#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS";

fn jump() -> Jump {
    Jump {
        alias: "awsbox".into(),
        hostname: "jump.example.org".into(),
        port: 22,
        user: "tunnel".into(),
        host_keys: vec![HostKey::parse(KEY).unwrap()],
    }
}

fn key() -> Key {
    Key::parse(KEY).unwrap().0
}

fn tunnel() -> Tunnel {
    Tunnel::new("raspberry31", 5031, 22, jump()).unwrap()
}

/// The stand-ins for what only a real Pi has: an account to make, an owner to give a file to, a service to start.
fn run_script(root: &Path, script: &str, step: &str, card: bool) -> Output {
    let bin = root.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    let passwd = root.join("etc/passwd");
    if !passwd.exists() {
        fs::write(&passwd, "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    }
    let told = |name: &str| format!("echo \"{name} $*\" >>'{}'\n", root.join("told").display());
    let programs = [
        ("id", "echo 0\n".to_owned()),
        ("useradd", told("useradd") + &format!("echo ssh-tunnel:x:990:980::/: >>'{}'\n", passwd.display())),
        ("chown", told("chown")),
        ("systemctl", told("systemctl")),
    ];
    for (name, text) in programs {
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let file = root.join("script");
    fs::write(&file, script).unwrap();
    let mut command = Command::new("sh");
    command.arg(&file).arg(step).env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    if card {
        command.env("DESTDIR", root);
    }
    command.output().unwrap()
}

fn report(output: &Output) -> Report {
    assert!(output.status.success(), "{output:?}");
    Report::parse(&output.stdout)
}

/// Every line of a text that is not a comment.
fn plain(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn the_unit_is_what_systemd_understands() {
    let unit = tunnel().unit();
    for wanted in [
        "ExitOnForwardFailure=yes",
        "ServerAliveInterval=30",
        "ServerAliveCountMax=3",
        "StrictHostKeyChecking=yes",
        "-R localhost:5031:localhost:22 jump.example.org",
        "Restart=always",
        "StartLimitIntervalSec=0",
    ] {
        assert!(unit.contains(wanted), "{wanted}: {unit}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ssh-tunnel.service");
    fs::write(&file, &unit).unwrap();
    // Not everywhere, and where it is it says more than it fails.
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&file).output() else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    let about_us = said.lines().filter(|line| line.contains("ssh-tunnel"));
    // Those that came with systemd 254.
    let unexpected: Vec<_> =
        about_us.filter(|line| !line.contains("RestartSteps") && !line.contains("RestartMaxDelaySec")).collect();
    assert!(output.status.success() && unexpected.is_empty(), "{said}");
}

#[test]
fn the_unit_in_the_repository_is_the_one_that_is_installed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd/device/ssh-tunnel.service");
    assert_eq!(fs::read_to_string(file).unwrap(), tunnel().unit());
}

#[test]
fn the_jump_hosts_line() {
    let line = tunnel().authorization(key()).unwrap();
    let options =
        r#"restrict,port-forwarding,permitlisten="localhost:5031",command="/bin/false",permitopen="localhost:5031""#;
    assert_eq!(line.to_string(), format!("{options} {KEY} tunnel of raspberry31"));
    assert!(belongs_to(&line, "raspberry31"));
    assert!(!belongs_to(&line, "raspberry3"));
    assert!(!belongs_to(&Entry::plain(key(), "raspberry31"), "raspberry31"));
}

#[test]
fn the_snippet_is_what_sshd_understands() {
    let text = sshd_snippet(None).unwrap();
    let everywhere =
        ["ClientAliveInterval 30", "ClientAliveCountMax 3", "GatewayPorts no", "AllowStreamLocalForwarding no"];
    assert_eq!(plain(&text), everywhere);
    let text = sshd_snippet(Some("tunnel")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (config, key) = (dir.path().join("sshd_config"), dir.path().join("key"));
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    fs::write(&config, format!("HostKey {}\n{text}", key.display())).unwrap();
    let who = "user=tunnel,host=a,addr=127.0.0.1";
    let output = Command::new("/usr/sbin/sshd").args(["-T", "-C", who, "-f"]).arg(&config).output().unwrap();
    let meant = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    for line in ["clientaliveinterval 30", "allowtcpforwarding remote", "gatewayports no", "forcecommand /bin/false"] {
        assert!(meant.lines().any(|meant| meant == line), "{line}: {meant}");
    }
}

#[test]
fn no_word_adds_a_line_an_option_or_a_command() {
    for bad in ["", "-oProxyCommand=x", "a b", "a\nb", "a'b", "a$(b)", "a%h", "a\"b", "a*", "a;b"] {
        assert!(Tunnel::new(bad, 5031, 22, jump()).is_err(), "{bad:?}");
        assert!(Tunnel::new("pi", 5031, 22, Jump { alias: bad.into(), ..jump() }).is_err(), "{bad:?}");
        assert!(Tunnel::new("pi", 5031, 22, Jump { hostname: bad.into(), ..jump() }).is_err(), "{bad:?}");
        assert!(Tunnel::new("pi", 5031, 22, Jump { user: bad.into(), ..jump() }).is_err(), "{bad:?}");
        assert!(sshd_snippet(Some(bad)).is_err() && authorization(bad, 5031, key()).is_err(), "{bad:?}");
    }
    assert!(Tunnel::new("pi", 5031, 22, Jump { hostname: "2001:db8::1".into(), ..jump() }).is_ok());
    let unknown = Tunnel::new("pi", 5031, 22, Jump { host_keys: Vec::new(), ..jump() });
    assert_eq!(unknown, Err(TunnelError::NoHostKey { alias: "awsbox".into() }));
}

#[test]
fn a_card_is_set_up_and_a_second_time_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let script = tunnel().script(false);
    let first = report(&run_script(root, &script, "all", true));
    assert_eq!((first.service, &first.login), (Some(Service::Enabled), &None));
    let private = root.join("etc/ssh-tunnel/raspberry31");
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    let judged = Command::new("ssh-keygen").arg("-yf").arg(&private).output().unwrap();
    assert!(String::from_utf8_lossy(&judged.stdout).starts_with(&first.key.clone().unwrap().to_string()), "{judged:?}");
    let read = |name: &str| fs::read_to_string(root.join("etc").join(name)).unwrap();
    assert_eq!(read("ssh-tunnel/known_hosts"), tunnel().known_hosts());
    assert_eq!(read("systemd/system/ssh-tunnel.service"), tunnel().unit());
    assert_eq!(Key::parse(&read("ssh-tunnel/raspberry31.pub")).map(|(key, _)| key), first.key);

    assert_eq!(report(&run_script(root, &script, "all", true)), first);
    let told = fs::read_to_string(root.join("told")).unwrap();
    assert_eq!(told.matches("useradd").count(), 1, "{told}");
    assert_eq!(told.matches("chown 990:980").count(), 1, "{told}");
    assert!(told.contains(&format!("systemctl --root={} enable ssh-tunnel.service", root.display())), "{told}");
    let left: Vec<_> = fs::read_dir(root.join("etc/ssh-tunnel")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

/// Nothing stands in for anything: root may set up a card that is mounted somewhere, and only he.
#[test]
fn a_card_is_set_up_by_the_real_programs() {
    let has = |name: &str| ["/usr/sbin", "/usr/bin"].iter().any(|dir| Path::new(dir).join(name).exists());
    let dir = tempfile::tempdir().unwrap();
    let may_give_away = std::os::unix::fs::chown(dir.path(), Some(990), Some(980)).is_ok();
    if !may_give_away || !has("useradd") || !has("systemctl") {
        return;
    }
    std::os::unix::fs::chown(dir.path(), Some(0), Some(0)).unwrap();
    let (root, etc) = (dir.path(), dir.path().join("etc"));
    fs::create_dir(&etc).unwrap();
    for (name, text) in
        [("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n"), ("shadow", "root:*:1::::::\n")]
    {
        fs::write(etc.join(name), text).unwrap();
    }
    let run = || {
        let mut sh = Command::new("sh");
        report(&sh.args(["-c", &tunnel().script(false), "sh", "all"]).env("DESTDIR", root).output().unwrap())
    };
    let first = run();
    assert_eq!(run(), first, "a second time nothing changes");
    let passwd = fs::read_to_string(etc.join("passwd")).unwrap();
    let account: Vec<&str> = passwd.lines().nth(1).unwrap().split(':').collect();
    assert_eq!((account[0], account[5], account[6]), (ACCOUNT, "/nonexistent", "/usr/sbin/nologin"), "{passwd}");
    let private = fs::metadata(etc.join("ssh-tunnel/raspberry31")).unwrap();
    assert_eq!((private.uid().to_string().as_str(), private.gid().to_string().as_str()), (account[2], account[3]));
    assert_eq!(private.mode() & 0o777, 0o600);
    let enabled =
        Command::new("systemctl").arg(format!("--root={}", root.display())).args(["is-enabled", "ssh-tunnel"]).output();
    assert_eq!(enabled.unwrap().stdout, b"enabled\n");
}

#[test]
fn torn_at_any_step_it_is_carried_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let tunnels = root.join("etc/ssh-tunnel");
    fs::create_dir_all(&tunnels).unwrap();
    // What a power cut can leave: an empty key, half a key of the next try, a public half without its private one.
    for name in ["raspberry31", "raspberry31.new", "raspberry31.new.pub", "raspberry31.pub", "known_hosts.new"] {
        fs::write(tunnels.join(name), "").unwrap();
    }
    let made = report(&run_script(root, &tunnel().script(false), "all", true));
    let judged = Command::new("ssh-keygen").arg("-yf").arg(tunnels.join("raspberry31")).output().unwrap();
    assert!(String::from_utf8_lossy(&judged.stdout).starts_with(&made.key.unwrap().to_string()), "{judged:?}");
}

#[test]
fn another_devices_tunnel_is_not_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let first = report(&run_script(root, &tunnel().script(false), "all", true));
    let other = Tunnel::new("raspberry32", 5032, 22, jump()).unwrap();
    let refused = run_script(root, &other.script(false), "all", true);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(Report::parse(&refused.stdout).other.as_deref(), Some("raspberry31"));
    let unit = root.join("etc/systemd/system/ssh-tunnel.service");
    assert_eq!(fs::read_to_string(&unit).unwrap(), tunnel().unit());

    let second = report(&run_script(root, &other.script(true), "all", true));
    assert_ne!(second.key, first.key);
    assert_eq!(fs::read_to_string(&unit).unwrap(), other.unit());

    fs::write(&unit, "[Service]\nExecStart=/usr/bin/autossh\n").unwrap();
    let refused = run_script(root, &other.script(false), "all", true);
    assert_eq!(Report::parse(&refused.stdout).other.as_deref(), Some("unit"));
}

#[test]
fn what_the_pi_says_is_read_and_never_obeyed() {
    let answer = format!("Welcome!\nkey {KEY} tunnel of x\nlogin refused \x1b[31mPermission denied\nservice kept\n");
    let report = Report::parse(answer.as_bytes());
    assert_eq!(report.key, Some(key()));
    assert_eq!(report.login, Some(Err("\\x1b[31mPermission denied".into())));
    assert_eq!(report.service, Some(Service::Kept));
    assert_eq!(Report::parse(b"key\nkey ssh-ed25519 AAAA command=\"x\"\nservice gone\n\xff\n"), Report::default());
}
