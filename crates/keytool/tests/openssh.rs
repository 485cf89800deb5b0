//! What keytool writes, as OpenSSH's own programs judge it.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use support::{Home, good, ssh_keygen};

#[test]
fn keys_of_every_kind_are_openssh_s() {
    let home = Home::new();
    for (id, kind, name) in [("31", "ed25519", "ED25519"), ("32", "ecdsa", "ECDSA"), ("33", "rsa", "RSA")] {
        home.ok(&["add-pi", id, "--offline", "--type", kind]);
        let private = home.path(&format!(".ssh/raspberry{id}"));
        let public = home.path(&format!(".ssh/raspberry{id}.pub"));
        assert_eq!(fs::metadata(&private).unwrap().mode() & 0o7777, 0o600);

        let line = fs::read_to_string(&public).unwrap();
        assert!(line.ends_with(&format!(" pipeline raspberry{id}\n")), "{line}");
        assert_eq!(ssh_keygen(&["-yf"], &private), line, "the private half is a key, and these are its two halves");
        let seen = ssh_keygen(&["-lf"], &public);
        let (bits, fingerprint) =
            seen.split_once(' ').map(|(bits, rest)| (bits, rest.split(' ').next().unwrap())).unwrap();
        assert_eq!(ssh_keygen(&["-lf"], &private), seen);
        let said = home.ok(&["fingerprint", id, "--offline", "--randomart"]);
        assert!(said.starts_with(&format!("raspberry{id} key {fingerprint} ({name} {bits})\n")), "{said}");
        // The picture, but for its frame, where ssh-keygen is free to write the title as it likes.
        let picture =
            |text: &str| text.lines().filter(|line| line.starts_with('|')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(picture(&said), picture(&ssh_keygen(&["-lvf"], &public)));
    }
}

#[test]
fn an_entry_means_what_it_should() {
    let home = Home::new();
    home.write(".ssh/config", "Host awsbox\n  HostName iot.example.org\n", 0o600);
    home.write("p.yaml", "onboarding: { user: bee, base_port: 7000, name: 'pi-{id}' }\n", 0o600);
    home.ok(&["add-pi", "31,34", "--offline", "--config", "p.yaml"]);
    for (alias, port) in [("pi-31", "7031"), ("pi-34", "7034")] {
        let said = home.ssh_g(alias);
        for line in [
            "hostname localhost".to_owned(),
            format!("port {port}"),
            "user bee".into(),
            format!("identityfile ~/.ssh/{alias}"),
            "identitiesonly yes".into(),
            "proxyjump awsbox".into(),
            format!("hostkeyalias {alias}"),
        ] {
            assert!(said.lines().any(|said| said == line), "{line}: {said}");
        }
    }
    // What was there holds as before.
    assert!(home.ssh_g("awsbox").contains("hostname iot.example.org\n"));
    // The setting changes: so does the entry, and what a person added to it stays.
    let added = home
        .read(".ssh/config.d/pipeline.conf")
        .replace("    User bee\n", "    User bee\n    # slow\n    Compression yes\n");
    home.write(".ssh/config.d/pipeline.conf", added, 0o600);
    home.write("p.yaml", "onboarding: { user: pi, base_port: 7000, name: 'pi-{id}' }\n", 0o600);
    let told = home.ok(&["add-pi", "31", "--offline", "--config", "p.yaml"]);
    assert_eq!(told, "update entry pi-31 in ~/.ssh/config.d/pipeline.conf\n");
    assert!(home.ssh_g("pi-31").contains("user pi\n") && home.ssh_g("pi-31").contains("compression yes\n"));
    assert!(home.ssh_g("pi-34").contains("user bee\n"));
    assert!(home.read(".ssh/config.d/pipeline.conf").contains("    # slow\n"));
}

#[test]
fn of_the_users_config_only_the_first_line_is_new() {
    const LINE: &str = "Include config.d/pipeline.conf";
    let table: [(&[u8], u32, &str); 6] = [
        (b"# mine\nHost *\n  ServerAliveInterval 5\n\n", 0o600, "\n"),
        (b"Host a\r\n  Port 7\r\n", 0o640, "\r\n"),
        (b"Host a\n  Port 7", 0o400, "\n"),
        (b"", 0o644, "\n"),
        (b"# caf\xe9\nHost b\n", 0o600, "\n"),
        (b"Match all\n Port 8\n", 0o600, "\n"),
    ];
    for linked in [false, true] {
        for (before, mode, end) in table {
            let home = Home::new();
            let file = if linked { "dotfiles/ssh" } else { ".ssh/config" };
            home.write(file, before, mode);
            if linked {
                fs::create_dir(home.path(".ssh")).unwrap();
                symlink("../dotfiles/ssh", home.path(".ssh/config")).unwrap();
            }
            home.ok(&["add-pi", "31", "--offline"]);
            let after = fs::read(home.path(file)).unwrap();
            assert_eq!(after, [LINE.as_bytes(), end.as_bytes(), before].concat(), "{}", before.escape_ascii());
            let metadata = fs::metadata(home.path(file)).unwrap();
            assert_eq!(metadata.mode() & 0o7777, mode);
            assert_eq!(fs::symlink_metadata(home.path(".ssh/config")).unwrap().is_symlink(), linked);
            assert!(home.ssh_g("raspberry31").contains("port 5031\n"), "{}", before.escape_ascii());

            let files = home.files();
            assert_eq!(home.ok(&["add-pi", "31", "--offline"]), "nothing to do: everything is there\n");
            assert_eq!(home.files(), files);
            assert_eq!(fs::metadata(home.path(file)).unwrap().ino(), metadata.ino());
        }
    }
}

#[test]
fn an_entry_that_was_written_by_hand_is_respected() {
    let home = Home::new();
    let config = "Host raspberry31\n  HostName 10.0.0.31\n  User bee\n  IdentityFile ~/.ssh/mine\n\
                  Host raspberry32 raspberry33\n  HostName 10.0.0.32\n\
                  Match originalhost raspberry36\n  HostName 10.0.0.36\n  IdentityFile ~/.ssh/mine\n\
                  Host raspberry*\n  ForwardAgent yes\n";
    home.write(".ssh/config", config, 0o600);
    let before = ["raspberry31", "raspberry33"].map(|alias| home.ssh_g(alias));
    let output = home.run(&["add-pi", "31-34", "--offline"]);
    insta::assert_snapshot!("entries_by_hand", home.seen(&output));
    assert_eq!(["raspberry31", "raspberry33"].map(|alias| home.ssh_g(alias)), before);
    let said = home.ok(&["add-pi", "36", "--offline"]);
    assert!(said.contains("raspberry36 has an entry of your own in ~/.ssh/config:8"), "{said}");
    assert!(home.ssh_g("raspberry36").contains("hostname 10.0.0.36\n"));
    assert!(home.path(".ssh/mine").exists() && !home.path(".ssh/raspberry31").exists());
    assert!(home.ssh_g("raspberry34").contains("hostname localhost\n"));
    insta::assert_snapshot!("entries_by_hand_printed", home.ok(&["ssh-config", "31-35"]));
    assert!(!home.path(".ssh/raspberry35").exists());
}

#[test]
fn another_config_than_the_usual_one_gets_the_line() {
    let home = Home::new();
    home.write("fleet/ssh", "Host awsbox\n  HostName x\n", 0o600);
    home.write("p.yaml", "ssh_config: ~/fleet/ssh\n", 0o600);
    home.ok(&["add-pi", "31", "--offline", "--config", "p.yaml"]);
    assert!(!home.path(".ssh/config").exists());
    assert!(home.read("fleet/ssh").starts_with("Include config.d/pipeline.conf\n"));
    let mut ssh = home.at_home("ssh", &["-G", "-F"]);
    ssh.arg(home.path("fleet/ssh")).arg("raspberry31");
    assert!(good(ssh).contains("port 5031\n"));
    let inventory = home.ok(&["inventory", "--host", "raspberry31", "--config", "p.yaml"]);
    assert!(inventory.contains(&format!("-F {}", home.path("fleet/ssh").display())), "{inventory}");
}

#[test]
fn the_line_is_there_where_ssh_reads_our_entries_and_nowhere_else() {
    for (line, does) in [
        ("Include config.d/*.conf", true),
        ("Include */pipeline.conf", true),
        ("Include ~/.ssh/config.d/p*", true),
        ("Include *.conf", false),
        ("Include known*", false),
        ("Include */*/pipeline.conf", false),
    ] {
        let home = Home::new();
        let config = format!("{line}\nHost other\n  Port 7\n");
        home.write(".ssh/config", &config, 0o600);
        home.ok(&["add-pi", "31", "--offline"]);
        assert!(home.ssh_g("raspberry31").contains("port 5031\n"), "{line}");
        assert_eq!(home.read(".ssh/config") == config, does, "{line}");
    }
    // A relative path in the machine's own file means /etc/ssh.
    let (home, elsewhere) = (Home::new(), tempfile::tempdir().unwrap());
    let config = elsewhere.path().join("ssh_config");
    home.write("p.yaml", format!("ssh_config: {}\n", config.display()), 0o600);
    for _ in 0..2 {
        home.ok(&["add-pi", "31", "--offline", "--config", "p.yaml"]);
        let line = format!("Include {}\n", home.path(".ssh/config.d/pipeline.conf").display());
        assert_eq!(fs::read_to_string(&config).unwrap(), line);
    }
    let mut ssh = Command::new("ssh");
    ssh.arg("-GF").arg(&config).arg("raspberry31");
    assert!(good(ssh).contains("port 5031\n"));
}

#[test]
fn entries_whose_line_got_lost_are_ours_still() {
    let home = Home::new();
    home.ok(&["add-pi", "31", "--offline"]);
    home.write(".ssh/config", "Host other\n  Port 7\n", 0o600);
    let said = home.ok(&["list", "31"]);
    let problem = "~/.ssh/config does not include its entry: 'keytool add-pi 31' adds the line";
    assert!(said.contains(" 5031 ") && said.contains(problem), "{said}");
    let said = home.ok(&["add-pi", "31", "--offline"]);
    assert_eq!(said, "put 'Include config.d/pipeline.conf' at the top of ~/.ssh/config\n");
    assert!(!home.ok(&["list", "31"]).contains("does not include"));
    // A set-up that was killed before that line was written: nothing is asked again, and what the entry says stays, even where the
    // alias is a name of its own. Nobody listens at port 1.
    for alias in ["nosuchname", "localhost"] {
        let home = Home::new();
        let entry = format!(
            "Host {alias}\n    HostName 127.0.0.1\n    Port 1\n    User bee\n    IdentityFile ~/.ssh/{alias}\n    IdentitiesOnly yes\n"
        );
        home.write(".ssh/config.d/pipeline.conf", entry, 0o600);
        let output = home.run(&["init", "--alias", alias, "--dry-run"]);
        let seen = home.seen(&output);
        assert_eq!(output.status.code(), Some(4), "{seen}");
        assert!(seen.contains("127.0.0.1:1") && seen.contains("put 'Include config.d/pipeline.conf'"), "{seen}");
        assert!(!seen.contains("update entry"), "{seen}");
    }
}

#[test]
fn ansible_reads_the_inventory() {
    let home = Home::new();
    home.write(".ssh/config", "Host awsbox\n  HostName x\nHost raspberry7\n  HostName y\n", 0o600);
    home.ok(&["add-pi", "31,34", "--offline"]);
    let keytool = home.command(&[]).get_program().to_str().unwrap().to_owned();
    let script = format!("#!/bin/sh\nHOME='{}' exec '{keytool}' inventory \"$@\"\n", home.root().display());
    home.write("inventory", script, 0o755);
    let ansible = |args: &[&str]| {
        let mut command = Command::new("ansible-inventory");
        command.arg("-i").arg(home.path("inventory")).args(args).env("ANSIBLE_LOCAL_TEMP", home.path("tmp"));
        good(command)
    };
    let list: serde_json::Value = serde_json::from_str(&ansible(&["--list"])).unwrap();
    assert_eq!(list["pis"]["hosts"], serde_json::json!(["raspberry7", "raspberry31", "raspberry34"]));
    assert_eq!(list["jump"]["hosts"], serde_json::json!(["awsbox"]));
    let host: serde_json::Value = serde_json::from_str(&ansible(&["--host", "raspberry31"])).unwrap();
    assert_eq!(host, serde_json::json!({ "pipeline_id": "31", "pipeline_port": 5031 }));
    assert_eq!(ansible(&["--graph", "pis"]), "@pis:\n  |--raspberry7\n  |--raspberry31\n  |--raspberry34\n");
}
