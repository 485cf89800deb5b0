//! Access for a time.

use std::fs;

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
    let line = granted.strip_prefix(&before).unwrap();
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
    let over = format!("{others}expiry-time=\"20200101000000\"{}", &hers["expiry-time=\"20200101000000\"".len()..]);
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
