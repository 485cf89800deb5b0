//! Jump host and Pis are taken in, or kept out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use local_fleet::{Fleet, account};

use crate::scene::{FOREIGN, JUMP_PASSWORD, PI_PASSWORD, Scene, authorized, content, fingerprint, public_key, run};

#[test]
fn from_nothing_to_logins_that_openssh_makes_by_itself() {
    // The jump host has a key of another kind besides, as every real machine has.
    let dir = tempfile::tempdir().unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ecdsa", "-N", "", "-f"]).arg(dir.path().join("ecdsa"));
    run(keygen, "").expect(0);
    let second = format!("HostKey {}\n", dir.path().join("ecdsa").display());
    let scene = Scene::new(Fleet::builder().pis(2).ids(&[31, 34]).jump_config(&second));
    let (jump, pi) = (scene.fleet.jump(), scene.fleet.pi(31));
    account::authorize(&pi.home(), FOREIGN).unwrap();

    // A dry run and a wrong password leave no trace on either side.
    scene.init(&["--dry-run"]).expect(0).says(&["make private ed25519 key", "append the public key"]);
    assert_eq!(content(&scene.fleet.home()), []);
    let port = jump.port().to_string();
    let other = "SHA256:OQwzHNaJf+yRKYeKJagzYdnXYje+xqBSfHhDDjupeOg";
    let host = ["init", "--host", "127.0.0.1", "--port", &port, "--user", account::JUMP_USER, "--password-stdin"];
    let refused = scene.keytool(&[&host[..], &["--fingerprint", other]].concat(), JUMP_PASSWORD).expect(3);
    refused.says(&["'awsbox' shows ssh-ed25519 SHA256:", "which is not what --fingerprint has for it"]);
    scene.keytool(&[&host[..], &["--fingerprint", &fingerprint(jump)]].concat(), "wrong").expect(3).says(&["refused"]);
    scene.keytool(&host, JUMP_PASSWORD).expect(2).says(&["nobody can be asked", "--fingerprint"]);
    assert_eq!(content(&scene.fleet.home()), []);
    assert_eq!(authorized(jump), "");

    // A person who says no: the password was not even asked for.
    let named = [scene.init_args(), ["--alias", "awsbox"].map(str::to_owned).to_vec()].concat();
    let mut terminal = scene.at_terminal(&named);
    terminal.wait_for(&fingerprint(jump));
    terminal.wait_for("Is this awsbox?");
    terminal.press(b'n');
    let (status, shown) = terminal.end();
    assert!(status.code() == Some(3) && shown.contains("not confirmed") && !shown.contains("Password"), "{shown}");
    assert_eq!(content(&scene.fleet.home()), []);
    // Nor of one who gives up, who gets the terminal back.
    let mut terminal = scene.at_terminal(&named);
    terminal.wait_for("Is this awsbox?");
    terminal.press_ctrl_c();
    let (status, shown) = terminal.end();
    assert!(status.code() == Some(130) && !shown.contains("\x1b[?25l") && !shown.contains("Password"), "{shown}");
    assert_eq!(content(&scene.fleet.home()), []);
    // And one who says yes.
    let mut terminal = scene.at_terminal(&scene.init_args());
    terminal.wait_for("to call the jump host [awsbox]: ");
    terminal.type_seen("");
    terminal.wait_for("Is this awsbox?");
    terminal.press(b'y');
    terminal.wait_for("Password of data-pipeline-svc on awsbox");
    terminal.type_unseen(JUMP_PASSWORD);
    let (status, shown) = terminal.end();
    assert!(status.success() && !shown.contains(JUMP_PASSWORD), "{shown}");
    // One yes is about one key. The other was shown in another connection, and whoever relays them may have sent that one elsewhere.
    let pinned = fs::read_to_string(scene.home(".ssh/known_hosts")).unwrap();
    assert!(pinned.lines().count() == 1 && pinned.contains(" ssh-ed25519 "), "{pinned}");
    assert_eq!(authorized(jump), public_key(&scene, "awsbox"));
    scene.ssh(&["awsbox", "true"]).expect(0);
    let before = content(&scene.fleet.home());
    scene.init(&[]).expect(0).says(&["was there"]);
    assert_eq!(content(&scene.fleet.home()), before);

    let source = scene.fleet.pi(34).source();
    let config = scene.fleet.config_file();
    let devices = format!("devices:\n  \"raspberry34\": {{ source: {} }}\n", source.display());
    fs::write(&config, fs::read_to_string(&config).unwrap() + &devices).unwrap();

    let before = content(&scene.fleet.home());
    let planned = scene.add_pi(&["31", "34", "--dry-run"], PI_PASSWORD).expect(0);
    let text = planned.says(&["would be", "raspberry34"]).text();
    let row = text.lines().find(|line| line.contains("would be ")).unwrap();
    assert!(row.chars().count() <= 80, "{row}");
    let refused = scene.add_pi(&["31"], "wrong").expect(3);
    // What was only planned for is not shown as what would be.
    assert!(!refused.text().contains("would be"), "{}", refused.text());
    scene.golden("wrong_password", &refused);
    // With nobody there to say that it is the right Pi, no password is sent: a wrong one would be refused.
    scene.keytool(&["add-pi", "31", "--password-stdin"], "wrong").expect(2).says(&["--fingerprints FILE"]);
    // A yes to whatever answers is none.
    let blind = ["add-pi", "31", "--yes", "--password-stdin"];
    scene.keytool(&blind, PI_PASSWORD).expect(2).says(&["not provided", "--fingerprints <FILE>"]);
    assert_eq!(content(&scene.fleet.home()), before);
    assert_eq!(authorized(pi), FOREIGN);

    for (key, code) in [(b'n', 3), (b'y', 0)] {
        let mut terminal = scene.at_terminal(&["add-pi".to_owned(), "34".to_owned()]);
        // What can be known without a login is shown before the password is asked for.
        terminal.wait_for(&format!("  raspberry34  ssh-ed25519 {}", fingerprint(scene.fleet.pi(34))));
        terminal.wait_for("Password of pi on raspberry34");
        terminal.type_unseen(PI_PASSWORD);
        for shown in [&fingerprint(scene.fleet.pi(34)), "hostname", "Is this raspberry34?"] {
            terminal.wait_for(shown);
        }
        assert_eq!(authorized(scene.fleet.pi(34)), "");
        assert_eq!(content(&scene.fleet.home()), before);
        terminal.press(key);
        let (status, shown) = terminal.end();
        assert!(status.code() == Some(code) && !shown.contains(PI_PASSWORD), "{shown}");
    }
    // Who sits there is asked about the box even where its fingerprint was written down, unless he said yes before.
    let list = scene.fingerprints();
    let listed = ["add-pi", "31", "--fingerprints", list.to_str().unwrap(), "--yes"].map(str::to_owned);
    for (args, code) in [(&listed[..4], 3), (&listed[..], 0)] {
        let mut terminal = scene.at_terminal(args);
        terminal.wait_for("Password of pi on raspberry31");
        terminal.type_unseen(PI_PASSWORD);
        if code == 3 {
            terminal.wait_for("Is this raspberry31?");
            terminal.press(b'n');
        }
        let (status, shown) = terminal.end();
        assert!(status.code() == Some(code) && (code == 3 || !shown.contains("Is this")), "{shown}");
    }
    let both = scene.add_pi(&["60000", "31", "34", "-v"], PI_PASSWORD).expect(3);
    both.says(&["raspberry34: log in by the written entries"]).says(&[
        "raspberry31",
        "raspberry34",
        "was there",
        "60000 would need port",
    ]);
    assert_eq!(authorized(pi), format!("{FOREIGN}\n{}", public_key(&scene, "raspberry31")));
    assert_eq!(authorized(scene.fleet.pi(34)), public_key(&scene, "raspberry34"));
    for name in ["raspberry31", "raspberry34"] {
        let said = scene.ssh(&[name, "echo $HOME"]).expect(0).stdout();
        assert!(said.contains(name), "{said}");
    }
    // Again there is nothing to do, and no password is needed.
    let before = content(&scene.fleet.home());
    let again = scene.keytool(&["add-pi", "31", "34"], "").expect(0);
    assert!(!again.stdout().contains("done done"), "{}", again.text());
    assert_eq!(content(&scene.fleet.home()), before);
    assert_eq!(authorized(pi), format!("{FOREIGN}\n{}", public_key(&scene, "raspberry31")));
}

#[test]
fn one_that_is_not_what_it_should_be_keeps_no_other() {
    let fleet = Fleet::builder().pis(3).offline(1).ids(&[31, 34, 35, 36]).cloned(35, 31);
    let scene = Scene::new(fleet);
    // Pis have a file of their own for host keys, and the jump host has not.
    fs::create_dir_all(scene.home(".ssh")).unwrap();
    fs::write(scene.home(".ssh/config"), "Host raspberry*\n  UserKnownHostsFile ~/.ssh/known_pis\n").unwrap();
    scene.init(&[]).expect(0);

    // One that can't have its key here keeps no other, and gets no password.
    std::os::unix::fs::symlink("/nonexistent/key", scene.home(".ssh/raspberry31")).unwrap();
    scene.add_pi(&["31", "34"], PI_PASSWORD).expect(3).says(&[".ssh/raspberry31"]);
    assert_eq!(
        (authorized(scene.fleet.pi(31)).lines().count(), authorized(scene.fleet.pi(34)).lines().count()),
        (0, 1)
    );
    let log = fs::read_to_string(scene.fleet.pi(31).log()).unwrap();
    assert!(log.contains("Connection closed") && !log.contains("Accepted password"), "{log}");
    fs::remove_file(scene.home(".ssh/raspberry31")).unwrap();

    // Two cards of one image in one batch: nobody can tell which of them is the copy.
    let all = scene.add_pi(&["31", "34", "35", "36"], PI_PASSWORD).expect(3);
    let text = all.text();
    assert!(
        text.contains("'raspberry31' shows ssh-ed25519 SHA256:") && text.contains("of 'raspberry35' too"),
        "{text}"
    );
    assert!(text.contains("sudo dpkg-reconfigure openssh-server"), "{text}");
    assert!(text.contains("raspberry36"), "{text}");
    for (id, lines) in [(31, 0), (34, 1), (35, 0)] {
        assert_eq!(authorized(scene.fleet.pi(id)).lines().count(), lines, "{id}");
        assert_eq!(scene.home(&format!(".ssh/raspberry{id}")).exists(), lines == 1, "{id}");
    }
    scene.ssh(&["raspberry34", "true"]).expect(0);

    // And one after the other. sshd passes the file over while others may write to the home.
    let home = scene.fleet.pi(31).home();
    fs::set_permissions(&home, PermissionsExt::from_mode(0o777)).unwrap();
    scene.add_pi(&["31"], PI_PASSWORD).expect(3).says(&["is installed, but is not let in", "chmod go-w ~"]);
    fs::set_permissions(&home, PermissionsExt::from_mode(0o755)).unwrap();
    scene.add_pi(&["31"], PI_PASSWORD).expect(0);
    scene.golden("cloned_host_key", &scene.add_pi(&["35"], PI_PASSWORD).expect(3));
    scene.golden("pi_down", &scene.add_pi(&["36"], PI_PASSWORD).expect(4));

    // Another machine answers in the place of 34: it gets no password, and stays out.
    let known_hosts = scene.home(".ssh/known_pis");
    let pinned = fs::read_to_string(&known_hosts).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-R", "raspberry34", "-f"]).arg(&known_hosts);
    run(keygen, "").expect(0);
    let wrong = "raspberry34 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS\n";
    fs::write(&known_hosts, fs::read_to_string(&known_hosts).unwrap() + wrong).unwrap();
    scene.golden("host_key_changed", &scene.add_pi(&["34"], PI_PASSWORD).expect(3));
    scene.keytool(&["fingerprint", "34"], "").expect(3).says(&["shown now, not pinned", "pinned for it"]);
    let json = scene.keytool(&["check", "--json"], "").expect(3).stdout();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let pi = |name: &str| report["pis"].as_array().unwrap().iter().find(|pi| pi["name"] == name).unwrap().clone();
    assert_eq!(report["schema"], 1);
    assert_eq!(
        (&pi("raspberry34")["host_key"], &pi("raspberry34")["login"]),
        (&false.into(), &serde_json::Value::Null)
    );
    assert_eq!((&pi("raspberry31")["reachable"], &pi("raspberry31")["login"]), (&true.into(), &true.into()));
    assert!(!json.contains("PRIVATE"), "{json}");
    fs::write(&known_hosts, pinned).unwrap();
    scene.keytool(&["check", "31", "34"], "").expect(0).says(&["works", "right"]);

    // An entry that somebody wrote by hand holds, and is not written again.
    let config = scene.home(".ssh/config");
    let by_hand = format!(
        "{}Host other\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile ~/.ssh/other\n  HostKeyAlias Other\n",
        fs::read_to_string(&config).unwrap(),
        scene.fleet.jump().port(),
        account::JUMP_USER
    );
    fs::write(&config, &by_hand).unwrap();
    scene
        .keytool(&["init", "--alias", "other", "--port", "22"], "")
        .expect(2)
        .says(&["entry of other in ~/.ssh/config:"]);
    let yaml = fs::read(scene.fleet.config_file()).unwrap();
    let listed = fingerprint(scene.fleet.jump());
    let other = ["init", "--alias", "other", "--password-stdin", "--fingerprint", &listed];
    scene.keytool(&other, JUMP_PASSWORD).expect(0).says(&["stays as it is"]);
    // Whatever the case of the name: ssh looks it up in lower case, and its hash has only one.
    scene.ssh(&["other", "true"]).expect(0);
    assert_eq!(fs::read_to_string(&config).unwrap(), by_hand);
    assert!(!fs::read_to_string(scene.home(".ssh/config.d/pipeline.conf")).unwrap().contains("other"));
    assert_eq!(authorized(scene.fleet.jump()).lines().count(), 2);
    fs::write(scene.fleet.config_file(), yaml).unwrap();

    // Without the jump host nothing can be reached.
    let impatient = scene.home("impatient.yaml");
    let config = fs::read_to_string(scene.fleet.config_file()).unwrap();
    fs::write(&impatient, config + "timeouts: { connect: 1s, idle: 5s }\n").unwrap();
    scene.fleet.jump().stop();
    let check = ["--config", impatient.to_str().unwrap(), "check", "31", "34"];
    let down = scene.keytool(&check, "").expect(4).says(&["awsbox"]);
    scene.golden("jump_host_down", &down);
    scene.fleet.jump().cont();
}
