//! Access for a time.

use std::fs;
use std::process::Command;

use local_fleet::Fleet;
use serde_json::Value;

use crate::scene::{FOREIGN, PI_PASSWORD, Scene};

#[test]
fn a_login_after_its_end_fails_and_nobody_else_notices() {
    let scene = Scene::new(Fleet::builder().pis(1).ids(&[31, 32]).offline(1), &[31, 32]);
    let pi = scene.fleet.pi(31);
    let before = scene.authorized_keys(&pi.home());
    let alice = scene.fleet.home().join("alice");
    let public = scene.make_key(&alice);
    let public_file = alice.with_extension("pub");
    let key = public_file.to_str().unwrap();
    let logs_in = |identity: &str| {
        let mut ssh = scene.fleet.at_home("ssh").unwrap();
        let ended = ssh.args(["-o", "BatchMode=yes", "-i", identity, "raspberry31", "echo in"]).output().unwrap();
        ended.stdout == b"in\n"
    };
    let ssh_config = scene.fleet.home().join(".ssh/config");
    let text = fs::read_to_string(&ssh_config).unwrap();
    // From here on ssh offers only the key that it is told.
    let only = |identity: &str| fs::write(&ssh_config, text.replace("~/.ssh/id", identity)).unwrap();
    let alice_logs_in = || {
        // The jump host lets us in, and not her: her ssh has the key of both.
        only(alice.to_str().unwrap());
        let jump = text
            .replacen("Port", "IdentityFile ~/.ssh/id\n Port", 1)
            .replace(" *\n IdentityFile ~/.ssh/id", " raspberry*\n");
        fs::write(&ssh_config, jump).unwrap();
        let let_in = logs_in(alice.to_str().unwrap());
        fs::write(&ssh_config, &text).unwrap();
        let_in
    };
    assert!(!alice_logs_in());

    let (code, said) = scene.run(&["grant", "31", "--key", key, "--expires", "7d", "--dry-run"], "");
    assert!(code == 0 && said.contains("raspberry31: let alice in until ") && said.contains("nothing was"), "{said}");
    assert_eq!(scene.authorized_keys(&pi.home()), before);

    // One Pi is away; that does not keep the other.
    let (code, said) = scene.run(&["grant", "31,32", "--key", key, "--expires", "7d"], "");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("raspberry31: alice is let in until ") && said.contains("raspberry32: "), "{said}");
    assert!(alice_logs_in());
    let granted = scene.authorized_keys(&pi.home());
    assert!(said.contains("a session that is open then goes on"), "{said}");
    let line = granted.strip_prefix(&before).unwrap();
    // A moment, whatever the zone, where sshd there can read that.
    let version = Command::new("ssh").arg("-V").output().unwrap().stderr;
    let version = String::from_utf8_lossy(&version).into_owned();
    let reads_utc = !["_7.", "_8.", "_9.0"].iter().any(|old| version.contains(old));
    assert_eq!(line.split('"').nth(1).unwrap().ends_with('Z'), reads_utc, "{line}");
    assert!(line.starts_with("expiry-time=\"2") && line.contains(public.split(' ').nth(1).unwrap()), "{line}");

    let file = pi.home().join(".ssh/authorized_keys");
    let (code, said) = scene.run(&["revoke", "31", "--all", "--dry-run"], "");
    let words = format!("raspberry31: take back the access of alice ({})", scene.fingerprint(&public_file));
    assert!(code == 0 && said.contains(&words) && said.contains("nothing was changed"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), granted);

    // Longer, and still one line.
    assert_eq!(scene.run(&["grant", "31", "--key", key, "--expires", "14d"], "").0, 0);
    assert_eq!(scene.authorized_keys(&pi.home()).lines().count(), granted.lines().count());
    assert!(alice_logs_in());
    let json = |args: &[&str]| -> Value { serde_json::from_slice(&scene.keytool(args, "").stdout).unwrap() };
    let listed = json(&["grants", "31", "--json"]);
    let grant = &listed["pis"][0]["grants"][0];
    assert_eq!((&listed["schema"], &grant["who"], &grant["expired"]), (&1.into(), &"alice".into(), &false.into()));
    assert_eq!(grant["fingerprint"], scene.fingerprint(&public_file));
    assert!(grant["seconds_left"].as_u64().unwrap().abs_diff(14 * 86_400) < 600, "{grant}");

    // Time passes.
    let granted = fs::read_to_string(&file).unwrap();
    let (others, hers) = granted.split_at(before.len());
    let (_, without_end) = hers.split_once(' ').unwrap();
    let over = format!("{others}expiry-time=\"20200101000000\" {without_end}");
    fs::write(&file, &over).unwrap();
    assert!(!alice_logs_in());
    assert!(logs_in("~/.ssh/id"));
    let (code, said) = scene.run(&["grants", "31"], "");
    assert!(code == 0 && said.contains("alice") && said.contains("over"), "{said}");

    assert_eq!(scene.run(&["revoke", "31", "--expired"], "").0, 0);
    assert_eq!(scene.authorized_keys(&pi.home()), before);
    let (code, said) = scene.run(&["revoke", "31", "--all"], "");
    assert!(code == 0 && said.contains("nothing to take back"), "{said}");

    // Where our own key may do one thing only, somebody who may do more lets her in.
    let (foreign, ours_line) = before.split_at(FOREIGN.len());
    fs::write(&file, format!("{foreign}restrict,command=\"echo no\" {ours_line}")).unwrap();
    let (code, said) = scene.run(&["grant", "31", "--key", key, "--expires", "1h"], "");
    assert!(code == 3 && said.contains("give --password-stdin or --identity"), "{said}");
    assert!(said.contains("as one that is bound to the agent: it is answered 'no'"), "{said}");
    // Where nobody could look, nobody says that there is nothing.
    let (code, said) = scene.run(&["grants", "31"], "");
    assert!(code == 3 && said.contains("bound to the agent") && !said.contains("nobody"), "{said}");
    assert_eq!(json(&["grants", "31", "--json"])["pis"][0]["grants"], Value::Null);
    let (code, said) = scene.run(&["revoke", "31", "--all"], "");
    assert!(code == 3 && said.contains("bound to the agent"), "{said}");
    let by_password = ["grant", "31", "--key", key, "--expires", "1h", "--password-stdin"];
    assert_eq!(scene.run(&by_password, PI_PASSWORD).0, 0);
    assert!(alice_logs_in());
    assert_eq!(scene.run(&["revoke", "31", "--key", key, "--password-stdin"], PI_PASSWORD).0, 0);
    fs::write(&file, &before).unwrap();

    // What keytool did not write it does not take for its own.
    let ours = scene.fleet.home().join(".ssh/id.pub");
    let (code, said) = scene.run(&["grant", "31", "--key", ours.to_str().unwrap(), "--expires", "1h"], "");
    assert!(code == 3 && said.contains("let in already"), "{said}");
    assert!(before.starts_with(FOREIGN) && scene.authorized_keys(&pi.home()) == before);
    assert_eq!(scene.run(&["grants", "32"], "").0, 4);
    assert_eq!(scene.run(&["grant", "31", "--key", key, "--expires", "soon"], "").0, 2);
    assert_eq!(scene.run(&["grant", "31", "--key", alice.to_str().unwrap(), "--expires", "7d"], "").0, 78);
}

#[test]
fn whoever_is_let_in_by_another_line_is_named() {
    let scene = Scene::new(Fleet::builder().ids(&[31]), &[31]);
    let file = scene.fleet.pi(31).home().join(".ssh/authorized_keys");
    let before = fs::read_to_string(&file).unwrap();
    let line = before.lines().count() + 1;
    let public = scene.make_key(&scene.fleet.home().join("bob"));
    let public_file = scene.fleet.home().join("bob.pub");
    let (key, fingerprint) = (public_file.to_str().unwrap(), scene.fingerprint(&public_file));
    assert_eq!(scene.run(&["grant", "31", "--key", key, "--expires", "7d"], "").0, 0);

    // He writes a line of his own, in the file that sshd reads besides.
    let second = file.with_file_name("authorized_keys2");
    fs::write(&second, format!("# bees\n{public}")).unwrap();
    let (code, said) = scene.run(&["grants", "31"], "");
    let besides = "let in besides by ~/.ssh/authorized_keys2:2";
    assert!(code == 0 && said.contains(&fingerprint) && said.contains(besides), "{said}");
    assert!(said.lines().all(|line| line.starts_with("warning") || line.chars().count() <= 80), "{said}");
    let json: Value = serde_json::from_slice(&scene.keytool(&["grants", "31", "--json"], "").stdout).unwrap();
    assert_eq!(json["pis"][0]["grants"][0]["besides"][0], "~/.ssh/authorized_keys2:2");
    let stays = format!("raspberry31: still lets {fingerprint} in, by ~/.ssh/authorized_keys2:2 ('bob')");
    for more in [&["--key", key, "--dry-run"][..], &["--all", "--dry-run"], &["--key", key]] {
        let (code, said) = scene.run(&[&["revoke", "31"], more].concat(), "");
        assert!(code == 3 && said.contains(&stays) && !said.contains('✓'), "{said}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    // One that is let in by such a line alone. What is over lets nobody in.
    fs::remove_file(&second).unwrap();
    fs::write(&file, format!("{before}{public}")).unwrap();
    // Some tools pad.
    let (code, said) = scene.run(&["revoke", "31", "--fingerprint", &format!("{fingerprint}=")], "");
    let stays = format!("still lets {fingerprint} in, by ~/.ssh/authorized_keys:{line} ('bob')");
    assert!(code == 3 && said.contains(&stays) && !said.contains('✓'), "{said}");
    fs::write(&file, format!("{before}expiry-time=\"20250101\" {public}")).unwrap();
    let (code, said) = scene.run(&["revoke", "31", "--key", key], "");
    assert!(code == 0 && said.contains("there was nothing to take back") && !said.contains('✓'), "{said}");

    // Ends as people write them; what sshd can't read either is told as that.
    let public = public.replace(" bob", " keytool-grant bob");
    for (end, words, is_over) in [
        ("20250101", "2025-01-01 00:00:00", true),
        ("202501012359", "2025-01-01 23:59:00", true),
        ("20250101000000Z", "2025-01-01 00:00:00Z", true),
        ("next week", "unreadable", false),
    ] {
        fs::write(&file, format!("{before}expiry-time=\"{end}\" {public}")).unwrap();
        let (code, said) = scene.run(&["grants", "31"], "");
        assert!(code == 0 && said.contains(words) && said.contains("over") == is_over, "{end}: {said}");
        assert_eq!(scene.run(&["revoke", "31", "--expired"], "").0, 0);
        assert_eq!(fs::read_to_string(&file).unwrap() == before, is_over, "{end}");
    }
    for wrong in ["foo", "SHA256:short", &format!("{fingerprint}x"), &fingerprint["SHA256:".len()..]] {
        let (code, said) = scene.run(&["revoke", "31", "--fingerprint", wrong], "");
        assert!(code == 2 && said.contains("43 characters"), "{wrong}: {said}");
    }
}
