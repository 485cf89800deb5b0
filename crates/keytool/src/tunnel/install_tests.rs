//! Becoming root on a Pi, and the line on the jump host, on a shell of this machine with stand-ins for what would change it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::*;
use crate::shell::tests::Local;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYd1r1NgIK6sUBKvnIGlo8y7eWRyOtw5dQuIj6LIZdR";
const LINE: &str =
    r#"restrict,port-forwarding,permitlisten="localhost:5031",command="/bin/false",permitopen="localhost:5031""#;

fn tunnel(device: &str, root: &Path) -> Tunnel {
    let jump = Jump {
        alias: "awsbox".into(),
        hostname: "127.0.0.1".into(),
        port: 1,
        user: "tunnel".into(),
        host_keys: vec![HostKey::parse(OTHER).unwrap()],
    };
    let tunnel = Tunnel::new(device, 5031, 22, jump).unwrap();
    Tunnel { etc: root.join("etc").to_str().unwrap().to_owned(), ..tunnel }
}

/// A Pi whose `sudo` is as the file `sudoers` says: `free`, a password, or not there.
fn pi(root: &Path) -> Local {
    let bin = root.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/passwd"), "ssh-tunnel:x:990:980::/nonexistent:/usr/sbin/nologin\n").unwrap();
    let sudoers = root.join("sudoers");
    let sudo = format!(
        "IFS= read -r wanted <'{}'\n\
         if [ \"$1\" = -n ]; then\n\
             [ \"$wanted\" = free ] || exit 1\n\
             shift\n\
         else\n\
             [ \"$1 $2 $3 $4\" = '-k -S -p ' ] && IFS= read -r given && [ \"$given\" = \"$wanted\" ] || exit 1\n\
             shift 4\n\
         fi\n\
         ROOT=yes exec \"$@\"\n",
        sudoers.display()
    );
    let id = "[ -z \"$ROOT\" ] && echo 1000 || echo 0\n".to_owned();
    for (name, text) in
        [("sudo", sudo), ("id", id), ("chown", String::new()), ("systemctl", "[ \"$1\" != is-active ]\n".into())]
    {
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    Local { shell: vec!["dash".into()], home: root.to_owned(), path }
}

#[test]
fn a_login_becomes_root_as_its_sudo_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let (root, pi) = (dir.path(), pi(dir.path()));
    let tunnel = tunnel("raspberry31", root);
    let password = Zeroizing::new("a b'c\"d".to_owned());
    let sudo = |says: &str| fs::write(root.join("sudoers"), format!("{says}\n")).unwrap();

    sudo(&password);
    assert!(matches!(on_pi(&pi, &tunnel, Step::Key, false, None), Err(InstallError::SudoPassword)));
    let wrong = Zeroizing::new("wrong".to_owned());
    assert!(matches!(on_pi(&pi, &tunnel, Step::Key, false, Some(&wrong)), Err(InstallError::Failed(_))));
    assert!(!root.join("etc/ssh-tunnel").exists());
    let by_password = on_pi(&pi, &tunnel, Step::Key, false, Some(&password)).unwrap();
    sudo("free");
    let freely = on_pi(&pi, &tunnel, Step::Key, false, Some(&password)).unwrap();
    assert!(freely.key.is_some() && freely == by_password, "{freely:?}");
    // Nobody listens there.
    let set_up = on_pi(&pi, &tunnel, Step::Unit, false, None).unwrap();
    assert!(set_up.login.clone().unwrap().unwrap_err().contains("Connection refused"), "{set_up:?}");
    fs::remove_file(root.join("bin/sudo")).unwrap();
    // The rest of the path has one where this machine has.
    if !Path::new("/usr/bin/sudo").exists() {
        assert!(matches!(on_pi(&pi, &tunnel, Step::Key, false, None), Err(InstallError::NoSudo)));
    }
}

#[test]
fn a_pi_that_is_another_one_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (root, pi) = (dir.path(), pi(dir.path()));
    fs::write(root.join("sudoers"), "free\n").unwrap();
    for step in [Step::Key, Step::Unit] {
        on_pi(&pi, &tunnel("raspberry31", root), step, false, None).unwrap();
    }
    let other = tunnel("raspberry32", root);
    let refused = on_pi(&pi, &other, Step::Key, false, None).unwrap_err();
    assert_eq!(refused.to_string(), "it holds the tunnel of raspberry31 already");
    let unit = root.join("etc/systemd/system/ssh-tunnel.service");
    fs::write(&unit, "[Service]\n").unwrap();
    assert!(matches!(on_pi(&pi, &other, Step::Unit, false, None), Err(InstallError::OtherUnit)));
    on_pi(&pi, &other, Step::Key, true, None).unwrap();
    on_pi(&pi, &other, Step::Unit, true, None).unwrap();
    assert_eq!(fs::read_to_string(&unit).unwrap(), other.unit());
    assert_eq!(fs::read_to_string(unit.with_extension("service.old")).unwrap(), "[Service]\n");
}

#[test]
fn the_jump_host_has_one_tunnel_key_for_each_pi() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let jump = Local { shell: vec!["dash".into()], home: root.to_owned(), path: "/usr/bin:/bin".into() };
    let (tunnel, key, other) = (tunnel("raspberry31", root), Key::parse(KEY).unwrap().0, Key::parse(OTHER).unwrap().0);
    let file = root.join(".ssh/authorized_keys");
    let read = || fs::read_to_string(&file).unwrap();
    let neighbours = format!("# tunnels\n{} {OTHER} tunnel of raspberry3", LINE.replace("5031", "5003"));
    fs::create_dir(root.join(".ssh")).unwrap();
    fs::write(&file, &neighbours).unwrap();

    let ours = format!("{LINE} {KEY} tunnel of raspberry31\n");
    assert_eq!(admit(&jump, &tunnel, &key, false).unwrap(), Admission::Added);
    assert_eq!(read(), format!("{neighbours}\n{ours}"));
    assert_eq!(admit(&jump, &tunnel, &key, false).unwrap(), Admission::WasThere);

    // A neighbour's key, from a cloned card: his tunnel is not taken from him.
    let refused = admit(&jump, &tunnel, &other, false).unwrap_err();
    assert!(matches!(&refused, InstallError::OtherKey(fingerprint) if *fingerprint == key.fingerprint()), "{refused}");
    // Nor a login from whoever has one.
    for taken in [neighbours, format!("{OTHER} alice@collector\n")] {
        fs::write(&file, &taken).unwrap();
        for replace in [false, true] {
            assert!(matches!(admit(&jump, &tunnel, &other, replace), Err(InstallError::OtherUse(_))), "{taken}");
        }
        assert_eq!(read(), taken);
    }

    // An older form of the Pi's own line.
    let older = format!("restrict {KEY} tunnel of raspberry31\n");
    fs::write(&file, &older).unwrap();
    assert!(matches!(admit(&jump, &tunnel, &key, false), Err(InstallError::OtherLine)));
    assert_eq!(read(), older);
    assert_eq!(admit(&jump, &tunnel, &key, true).unwrap(), Admission::Added);
    assert_eq!(read(), ours);

    // A card that was written anew.
    fs::write(&file, format!("# ours\n{ours}")).unwrap();
    assert_eq!(admit(&jump, &tunnel, &other, true).unwrap(), Admission::Added);
    assert_eq!(read(), format!("# ours\n{LINE} {OTHER} tunnel of raspberry31\n"));
    let holder = Holder { device: "raspberry31", port: 5031, key: None, own: Vec::new() };
    assert_eq!(dismiss(&jump, &holder).unwrap().gone.len(), 1);
    assert_eq!(read(), "# ours\n");
    assert_eq!(dismiss(&jump, &holder).unwrap(), Dismissal::default());
}
