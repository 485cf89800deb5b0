//! What is pinned, where, and for whom.

use std::fs;

use local_fleet::Fleet;

use crate::scene::{JUMP_PASSWORD, PI_PASSWORD, Scene, authorized, fingerprint};

#[test]
fn nowhere_to_pin_it_and_two_names_for_one_machine() {
    let scene = Scene::new(Fleet::builder().pis(2).ids(&[31, 34]));
    // A configuration that is there and says nothing gets what is known; what a run needs besides is told.
    fs::create_dir_all(scene.fleet.config_file().parent().unwrap()).unwrap();
    fs::write(scene.fleet.config_file(), "# mine\n").unwrap();
    let (args, listed) = (scene.init_args(), fingerprint(scene.fleet.jump()));
    let storage = args.iter().position(|arg| arg == "--storage").unwrap();
    let args: Vec<&str> = args.iter().take(storage).map(String::as_str).collect();
    let init = [&args[..], &["--fingerprint", &listed, "--password-stdin"]].concat();
    scene.keytool(&init, JUMP_PASSWORD).expect(0).says(&["there is more to write", "'storage' is missing"]);
    let yaml = fs::read_to_string(scene.fleet.config_file()).unwrap();
    assert!(yaml.starts_with("# mine\nsource: ") && yaml.contains("hosts: [\"raspberry[1-999]\"]\n"), "{yaml}");
    let (one, two) = (scene.fleet.pi(31), scene.fleet.pi(34));
    let config = scene.home(".ssh/config");
    let plain = fs::read_to_string(&config).unwrap();
    let pins = |name: &str| {
        let keygen = ["-F", name, "-f", scene.home(".ssh/known_hosts").to_str().unwrap()].map(str::to_owned);
        let output = std::process::Command::new("ssh-keygen").args(keygen).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("# Host ")).count()
    };

    // A machine whose host key can be pinned nowhere gets no password, and keeps no other.
    for (file, words) in [("/dev/null", "/dev/null is not a regular file"), ("none", "names no file")] {
        fs::write(&config, format!("{plain}Host raspberry?1\n  UserKnownHostsFile {file}\n")).unwrap();
        let said = scene.add_pi(&["31", "34"], PI_PASSWORD).expect(3).says(&[words]).text();
        assert!(said.contains("UserKnownHostsFile"), "{said}");
        assert!(authorized(one).is_empty() && !scene.home(".ssh/raspberry31").exists(), "{file}");
        assert_eq!((authorized(two).lines().count(), pins("raspberry34")), (1, 1), "{file}");
        scene.add_pi(&["31", "--dry-run"], "").expect(3).says(&[words]);
    }
    // A Pi is no jump host, whoever says that it is the right one.
    let (port, listed) = (two.port().to_string(), fingerprint(two));
    let as_jump = ["init", "--alias", "other", "--host", "127.0.0.1", "--port", &port, "--user", "pi"];
    let refused = scene.keytool(&[&as_jump[..], &["--fingerprint", &listed, "--password-stdin"]].concat(), PI_PASSWORD);
    refused.expect(3).says(&["which is the host key of 'raspberry34' too"]);
    assert!(!scene.home(".ssh/other").exists());
    let log = fs::read_to_string(one.log()).unwrap();
    assert!(!log.contains("Accepted") && !log.contains("Failed password"), "{log}");
    let before = fs::read_to_string(scene.home(".ssh/known_hosts")).unwrap();
    let entries = scene.home(".ssh/config.d/pipeline.conf");
    assert!(!fs::read_to_string(&entries).unwrap().contains("raspberry31"));

    // Two of us at once, who each have taken one machine for another Pi: both have judged it before either pins it.
    let copy =
        format!("Host raspberry36\n  HostName localhost\n  Port {}\n  User pi\n  ProxyJump awsbox\n", one.port());
    let key = "  HostKeyAlias raspberry36\n  IdentityFile ~/.ssh/raspberry36\n  IdentitiesOnly yes\n";
    fs::write(&config, format!("{plain}{copy}{key}")).unwrap();
    let mut both = ["31", "36"].map(|id| (id, scene.at_terminal(&["add-pi".to_owned(), id.to_owned()])));
    for (id, terminal) in &mut both {
        terminal.wait_for(&format!("Password of pi on raspberry{id}"));
        terminal.type_unseen(PI_PASSWORD);
        terminal.wait_for(&format!("Is this raspberry{id}?"));
    }
    both.iter_mut().for_each(|(_, terminal)| terminal.press(b'y'));
    let ended = both.map(|(_, terminal)| terminal.end());
    let codes: Vec<Option<i32>> = ended.iter().map(|(status, _)| status.code()).collect();
    assert!(codes == [Some(0), Some(3)] || codes == [Some(3), Some(0)], "{ended:?}");
    let refused = &ended[usize::from(codes[0] == Some(0))].1;
    assert!(refused.contains("which is the host key of 'raspberry3"), "{refused}");
    assert_eq!((pins("raspberry31") + pins("raspberry36"), authorized(one).lines().count()), (1, 1));
    let pinned = fs::read_to_string(scene.home(".ssh/known_hosts")).unwrap();
    assert_eq!(pinned.strip_prefix(&before).unwrap().lines().count(), 1, "{pinned}");
}
