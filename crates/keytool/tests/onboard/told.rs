//! What people are told where a thing is not as they may think: keys that nobody unlocks, lines that stay, logins of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use local_fleet::Fleet;

use crate::scene::{PI_PASSWORD, Scene, authorized, run};

const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS";

/// Gives a key another passphrase.
fn lock(scene: &Scene, key: &str, old: &str, new: &str) {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-p", "-P", old, "-N", new, "-f"]).arg(scene.home(key));
    run(keygen, "").expect(0);
}

fn append(scene: &Scene, file: &str, text: &str) {
    let file = scene.home(file);
    fs::write(&file, fs::read_to_string(&file).unwrap_or_default() + text).unwrap();
}

#[test]
fn what_is_not_as_people_may_think() {
    let scene = Scene::new(Fleet::builder().pis(3).ids(&[31, 34, 40]).cloned(40, 31));

    // A jump host whose key nobody unlocks is not ready, and whether the key is let in already can't be seen.
    fs::create_dir(scene.home(".ssh")).unwrap();
    fs::set_permissions(scene.home(".ssh"), PermissionsExt::from_mode(0o700)).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "three bees", "-f"]).arg(scene.home(".ssh/awsbox"));
    run(keygen, "").expect(0);
    for again in [false, true] {
        let said = scene.init(&[]).expect(0).says(&[
            "awsbox: the login was not tried: the key has a passphrase, and no ssh-agent holds it",
            "can be used once an ssh-agent holds its key: 'ssh-add ~/.ssh/awsbox'",
        ]);
        let text = said.text();
        assert!(!text.contains("awsbox is ready"), "{text}");
        assert_eq!(text.contains("awsbox: whether its key is let in already can't be seen"), again, "{text}");
    }
    lock(&scene, ".ssh/awsbox", "three bees", "");
    scene.init(&[]).expect(0).says(&["awsbox is ready"]);
    scene.init(&["--dry-run"]).expect(0).says(&["everything is there"]);

    // Of two with one key, the one that is pinned is known; in a dry run without any that could be looked at, not all is there.
    scene.add_pi(&["31"], PI_PASSWORD).expect(0);
    let both = scene.add_pi(&["31", "40"], PI_PASSWORD).expect(3);
    let text = both.text();
    assert!(text.contains("'raspberry40' shows ssh-ed25519") && text.contains("of 'raspberry31' too"), "{text}");
    assert!(!text.contains("'raspberry31' shows") && authorized(scene.fleet.pi(40)).is_empty(), "{text}");
    let row = text.lines().find(|line| line.trim_start().starts_with("31 ")).unwrap();
    assert!(row.contains("was there") && row.trim_end().ends_with("done"), "{row}");
    let dry = scene.keytool(&["add-pi", "40", "--dry-run"], "").expect(3).text();
    assert!(!dry.contains("everything is there"), "{dry}");
    // A password with a NUL in it would be cut there.
    let nul = scene.add_pi(&["34"], "rasp\0berry").expect(78).says(&["it holds a NUL character"]);
    assert!(!nul.text().contains("Session("), "{}", nul.text());

    // Others can read the key: no password is asked for that would change nothing.
    let key = scene.home(".ssh/raspberry31");
    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    scene.keytool(&["rotate", "31"], "").expect(3).says(&["others can read the private key", "chmod 600"]);
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    // Nobody tries a key that nobody unlocks.
    lock(&scene, ".ssh/raspberry31", "", "three bees");
    let words = "raspberry31: whether its key is let in already can't be seen";
    scene.keytool(&["add-pi", "31"], "").expect(2).says(&[words, "nobody can be asked"]);
    let check = scene.keytool(&["check", "31"], "").expect(3).says(&["not tried", "the login was not tried: the key"]);
    assert!(!check.text().contains("refused"), "{}", check.text());
    lock(&scene, ".ssh/raspberry31", "three bees", "");
    scene.keytool(&["check", "31"], "").expect(0);

    // The login of an entry is the one whose password is asked for; and what was accepted at that port before is shown.
    let port = scene.fleet.base_port() + 34;
    let config = fs::read_to_string(scene.home(".ssh/config")).unwrap();
    let own = "ProxyJump awsbox\n  HostKeyAlias raspberry34\n  IdentityFile ~/.ssh/raspberry34\n";
    append(
        &scene,
        ".ssh/config",
        &format!("Host raspberry34\n  HostName localhost\n  Port {port}\n  User bob\n  {own}"),
    );
    append(&scene, ".ssh/known_hosts", &format!("[localhost]:{port} {OTHER}\n"));
    let mut terminal = scene.at_terminal(&["add-pi", "34"].map(str::to_owned));
    terminal.wait_for(&format!("raspberry34  but [localhost]:{port} had ssh-ed25519 SHA256:"));
    terminal.wait_for("Password of bob on raspberry34");
    terminal.press_ctrl_c();
    assert_eq!(terminal.end().0.code(), Some(130));
    fs::write(scene.home(".ssh/config"), config).unwrap();

    // A line that is about more than one host stays, and is named.
    append(&scene, ".ssh/known_hosts", &format!("raspberry34,bee34 {OTHER}\n"));
    scene.keytool(&["add-pi", "34", "--offline"], "").expect(0);
    let line = fs::read_to_string(scene.home(".ssh/known_hosts")).unwrap().lines().count();
    let place = format!("~/.ssh/known_hosts:{line}");
    scene.keytool(&["fingerprint", "34"], "").expect(3).says(&[&format!("take its name out of {place} by hand, and ")]);
    append(&scene, ".ssh/raspberry34-tunnel.pub", &format!("{OTHER} tunnel of raspberry34\n"));
    let removed = scene.keytool(&["remove-pi", "34", "--offline"], "").expect(0);
    removed.says(&[&format!("the host key in {place} stays"), "'keytool tunnel 34 --revoke-jump' takes it out"]);
    // What was not tried is not called refused.
    lock(&scene, ".ssh/raspberry31", "", "three bees");
    let removed = scene.keytool(&["remove-pi", "31"], "").expect(3);
    removed
        .says(&["no ssh-agent holds it, so nobody could see whether authorized_keys on raspberry31 still has a line"]);
}
