//! A Pi on the bench gets its tunnel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use local_fleet::Fleet;

use crate::scene::{FOREIGN, PI_PASSWORD, Scene};

/// Stand-ins for what only a real Pi has. `sudo` asks for the password of the login, and `DESTDIR` keeps the script from
/// changing this computer: a real `sudo` would not let that through. `id` and `chown` are root's. The rest is real, `systemctl` too
/// where there is one.
pub fn stand_ins(root: &Path) -> String {
    let (bin, card) = (root.join("bin"), root.join("card"));
    for dir in [&bin, &card.join("etc")] {
        fs::create_dir_all(dir).unwrap();
    }
    fs::write(card.join("etc/passwd"), "ssh-tunnel:x:990:980::/nonexistent:/usr/sbin/nologin\n").unwrap();
    let sudo = format!(
        "[ \"$1\" != -n ] || exit 1\n\
         IFS= read -r given\n\
         [ \"$1 $2 $3 $4 $given\" = '-k -S -p  {PI_PASSWORD}' ] || exit 1\n\
         shift 4\n\
         ROOT=yes exec \"$@\"\n"
    );
    let id = "[ -z \"$ROOT\" ] && exec /usr/bin/id \"$@\"; echo 0\n".to_owned();
    let systemctl = if has_systemd() { "exec /usr/bin/systemctl \"$@\"\n" } else { "" }.to_owned();
    for (name, text) in [("sudo", sudo), ("id", id), ("chown", String::new()), ("systemctl", systemctl)] {
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("SetEnv PATH={}:/usr/bin:/bin DESTDIR={}\n", bin.display(), card.display())
}

/// Whether the programs of systemd are there, whatever runs as the first process.
pub fn has_systemd() -> bool {
    ["systemctl", "systemd-analyze"].iter().all(|name| Path::new("/usr/bin").join(name).exists())
}

#[test]
fn a_pi_on_the_bench_gets_its_key_its_line_and_its_unit() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::new(Fleet::builder().ids(&[31]).pi_config(&stand_ins(dir.path())), &[]);
    let (pi, jump, home) = (scene.fleet.pi(31), scene.fleet.jump(), scene.fleet.home());
    let before = scene.authorized_keys(&jump.home());
    let via = format!("pi@127.0.0.1:{}", pi.port());
    let install = ["tunnel", "31", "--install", "--via", &via, "--install-jump", "--password-stdin"];
    let with_fingerprint =
        |fingerprint: &str| scene.run(&[&install[..], &["--fingerprint", fingerprint]].concat(), PI_PASSWORD);
    let card = dir.path().join("card/etc");
    let is_untouched = || {
        assert_eq!(scene.authorized_keys(&jump.home()), before);
        assert!(!card.join("ssh-tunnel").exists() && !home.join(".ssh/raspberry31-tunnel.pub").exists());
        assert!(!fs::read_to_string(home.join(".ssh/known_hosts")).unwrap().contains("|1|"));
    };

    // Without its key there is no line for it.
    let (code, said) = scene.run(&["tunnel", "31", "--only", "jump"], "");
    assert!(code == 78 && said.contains("is not known here"), "{said}");
    // Nobody can be asked, and a wrong fingerprint is an answer.
    let (code, said) = scene.run(&install, PI_PASSWORD);
    assert!(code == 2 && said.contains("give --fingerprint SHA256:…"), "{said}");
    let (code, said) = with_fingerprint(&scene.fingerprint(&home.join(".ssh/id.pub")));
    assert!(code == 78 && said.contains("--fingerprint"), "{said}");
    is_untouched();
    let right = scene.fingerprint(&scene.fleet.root().join("raspberry31/host_key.pub"));
    // What would be changed can be told without a password.
    let dry_run = ["tunnel", "31", "--install", "--via", &via, "--install-jump", "--dry-run"];
    let (code, said) = scene.run(&dry_run, "");
    let shown = format!("raspberry31 shows ssh-ed25519 {right}");
    let would = [
        "pin ",
        "tunnel key",
        "write public key ~/.ssh/raspberry31-tunnel.pub",
        "hold port",
        "ssh-tunnel.service",
        &shown,
    ];
    assert!(code == 0 && would.iter().all(|words| said.contains(words)), "{said}");
    is_untouched();
    let wrong_password = scene.run(&[&install[..], &["--fingerprint", &right]].concat(), "wrong\n");
    assert!(wrong_password.0 == 78, "{wrong_password:?}");
    is_untouched();

    let (code, said) = with_fingerprint(&right);
    assert_eq!(code, 0, "{said}");
    let line = fs::read_to_string(card.join("ssh-tunnel/raspberry31.pub")).unwrap();
    let after = scene.authorized_keys(&jump.home());
    let added = after.strip_prefix(&before).unwrap();
    let options =
        r#"restrict,port-forwarding,permitlisten="localhost:PORT",command="/bin/false",permitopen="localhost:PORT""#;
    let options = options.replace("PORT", &pi.port().to_string());
    let key = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    assert_eq!(added, format!("{options} {} tunnel of raspberry31\n", key.trim()));
    assert!(after.starts_with(FOREIGN));
    let unit = fs::read_to_string(card.join("systemd/system/ssh-tunnel.service")).unwrap();
    let port = pi.port();
    assert!(unit.contains(&format!("-R localhost:{port}:localhost:22 127.0.0.1")), "{unit}");
    assert_eq!(
        fs::read_to_string(card.join("ssh-tunnel/known_hosts")).unwrap().trim(),
        format!("awsbox {}", scene.host_key("awsbox").split(' ').take(2).collect::<Vec<_>>().join(" "))
    );
    // Whoever stood beside it has vouched for it: its host key is pinned.
    let known_hosts = home.join(".ssh/known_hosts");
    let found = Command::new("ssh-keygen").args(["-F", "raspberry31", "-f"]).arg(&known_hosts).output().unwrap();
    let host_key = scene.host_key("raspberry31");
    assert!(String::from_utf8_lossy(&found.stdout).contains(host_key.split(' ').nth(1).unwrap()), "{found:?}");

    // Once more, now that the key is pinned, without a fingerprint; and nothing is there twice.
    let pinned = fs::read(&known_hosts).unwrap();
    let (code, said) = scene.run(&install, PI_PASSWORD);
    assert_eq!(code, 0, "{said}");
    assert_eq!(scene.authorized_keys(&jump.home()), after);
    assert_eq!(fs::read(&known_hosts).unwrap(), pinned);

    // The printed texts are those.
    let text = |only: &str| scene.run(&["tunnel", "31", "--only", only], "").1;
    assert_eq!((text("jump").as_str(), text("unit")), (added, unit.clone()));
    let (_, all) = scene.run(&["tunnel", "31"], "");
    for part in [unit.as_str(), added, &text("pi"), &text("sshd")] {
        assert!(all.contains(part.trim_end()), "{all}");
    }

    // Another box than the one that is pinned is not set up in its place, nor one that has another's key.
    let (code, said) = scene.run(&["tunnel", "32", "--install", "--via", &via, "--password-stdin"], PI_PASSWORD);
    assert!(code == 78 && said.contains("'raspberry31'"), "{said}");
    // Behind its tunnel nobody need be asked about it.
    let (code, said) = scene.run(&["add-pi", "31", "--password-stdin"], PI_PASSWORD);
    assert_eq!(code, 0, "{said}");
    assert_eq!(scene.fleet.at_home("ssh").unwrap().args(["raspberry31", "echo in"]).output().unwrap().stdout, b"in\n");

    let (code, said) = scene.run(&["tunnel", "31", "--install-jump", "--dry-run"], "");
    assert!(code == 0 && said.contains("nothing to do: everything is there"), "{said}");
    let (code, said) = scene.run(&["tunnel", "31", "--revoke-jump", "--dry-run"], "");
    assert!(code == 0 && said.contains("remove the tunnel key of raspberry31"), "{said}");
    assert_eq!(scene.authorized_keys(&jump.home()), after);
    let (code, said) = scene.run(&["tunnel", "31", "--revoke-jump"], "");
    let known = home.join(".ssh/raspberry31-tunnel.pub");
    let aside = "move ~/.ssh/raspberry31-tunnel.pub to ~/.ssh/raspberry31-tunnel.pub.revoked-";
    assert!(code == 0 && said.contains("no longer") && said.contains(aside), "{said}");
    assert_eq!(scene.authorized_keys(&jump.home()), before);
    // It does not come back unless somebody names it.
    let (code, said) = scene.run(&["tunnel", "31", "--install-jump"], "");
    assert!(code == 78 && said.contains("the tunnel key of raspberry31 is not known here"), "{said}");
    assert_eq!(scene.authorized_keys(&jump.home()), before);
    let mut dir = fs::read_dir(home.join(".ssh")).unwrap().map(|entry| entry.unwrap().path());
    let revoked = dir.find(|path| path.to_str().unwrap().contains("-tunnel.pub.revoked-")).unwrap();
    let public = fs::read_to_string(&revoked).unwrap();
    // Not even then, by mistake: whoever has the Pi has the key. Nor where the Pi says that it has it still.
    let named = home.join("tunnel31.pub");
    fs::write(&named, &public).unwrap();
    let by_name = ["tunnel", "31", "--install-jump", "--key", named.to_str().unwrap()];
    let file_name = revoked.file_name().unwrap().to_str().unwrap();
    for (args, input) in [
        (by_name.to_vec(), ""),
        ([&by_name[..], &["--replace"]].concat(), ""),
        ([&by_name[..], &["--dry-run"]].concat(), ""),
        (install.to_vec(), PI_PASSWORD),
    ] {
        let (code, said) = scene.run(&args, input);
        assert!(code == 78 && said.contains("was revoked") && said.contains(file_name), "{args:?}: {said}");
        assert_eq!(scene.authorized_keys(&jump.home()), before);
        assert!(!known.exists());
    }
    // Somebody who trusts it again says so.
    fs::remove_file(&revoked).unwrap();
    let (code, said) = scene.run(&by_name, "");
    assert!(code == 0 && scene.authorized_keys(&jump.home()) == after, "{said}");
    fs::write(jump.home().join(".ssh/authorized_keys"), &before).unwrap();
    fs::remove_file(&known).unwrap();

    // A key is shut out by what it is, whatever somebody has called it there; by its port where it is not known here.
    let (file, port) = (jump.home().join(".ssh/authorized_keys"), pi.port());
    let by_hand = format!("{before}restrict,port-forwarding,command=\"/bin/false\" {} bee 31\n", key.trim());
    fs::write(&file, &by_hand).unwrap();
    let (code, said) = scene.run(&["tunnel", "31", "--revoke-jump"], "");
    assert!(code == 0 && said.contains("warning: the tunnel key of raspberry31 is not known here"), "{said}");
    assert_eq!(scene.authorized_keys(&jump.home()), by_hand);
    fs::write(&known, &public).unwrap();
    let (code, said) = scene.run(&["tunnel", "31", "--revoke-jump"], "");
    assert!(code == 0 && said.contains("no longer") && !said.contains("not known"), "{said}");
    fs::write(&known, &public).unwrap();
    assert_eq!(scene.authorized_keys(&jump.home()), before);
    // What serves a neighbour as well stays, and somebody is told; nor are we ever shut out ourselves.
    let shared = format!("{before}permitlisten=\"{port}\",permitlisten=\"5001\" {} two bees\n", {
        let other = scene.make_key(&home.join("other"));
        other.rsplit_once(' ').unwrap().0.to_owned()
    });
    fs::write(&file, &shared).unwrap();
    let own = home.join(".ssh/id.pub");
    let (code, said) = scene.run(&["tunnel", "31", "--revoke-jump", "--key", own.to_str().unwrap()], "");
    assert!(code == 3 && said.contains("('two bees')") && said.contains("('id')"), "{said}");
    assert_eq!(scene.authorized_keys(&jump.home()), shared);
    // The key of one that stays is still to be found; that of a Pi that is removed is not.
    assert!(known.exists());
    let (code, said) = scene.run(&["remove-pi", "31", "--offline"], "");
    assert!(code == 0 && said.contains("-tunnel.pub.removed-") && said.contains("tunnel 31 --revoke-jump"), "{said}");
    assert!(!known.exists());
}
