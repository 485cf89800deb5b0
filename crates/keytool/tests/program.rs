//! The program as its callers see it: help, lists, errors, questions. Black box; the golden files are in `snapshots`.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use support::terminal::Terminal;
use support::{Home, good, ssh_keygen};

#[test]
fn help_of_every_command() {
    let home = Home::new();
    let top = home.ok(&["--help"]);
    insta::assert_snapshot!("help", top);
    // Every exit code that a page for scripts has for us.
    let page = include_str!("../../../docs/scripting.md").split_once("## `keytool`").unwrap().1;
    let codes =
        page.lines().filter(|line| line.starts_with("- **")).flat_map(|line| line.split("**").skip(1).step_by(2));
    let listed = top.split_once("Exit status:").unwrap().1.split_once("Usage:").unwrap().0;
    let words: Vec<&str> = listed.split_whitespace().collect();
    for code in codes {
        assert!(words.iter().any(|word| word.trim_end_matches(',') == code), "{code}: {listed}");
    }
    let commands = top.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"add-pi"), "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        insta::assert_snapshot!(format!("help_{name}"), home.ok(&[name, "--help"]));
    }
}

/// A home with two Pis, whose keys are from the future, so that they have no age.
fn two_pis() -> Home {
    let home = Home::new();
    home.ok(&["add-pi", "31,34", "--offline"]);
    for id in ["31", "34"] {
        let key = File::open(home.path(&format!(".ssh/raspberry{id}"))).unwrap();
        key.set_modified(SystemTime::now() + Duration::from_secs(86_400)).unwrap();
    }
    home
}

/// What a key is known by, made alike.
fn redacted(home: &Home, text: &str) -> String {
    let fingerprint = |name: &str| {
        let said = ssh_keygen(&["-lf"], &home.path(name));
        said.split(' ').nth(1).unwrap().to_owned()
    };
    text.replace(&fingerprint(".ssh/raspberry31.pub"), "SHA256:31")
        .replace(&fingerprint(".ssh/raspberry34.pub"), "SHA256:34")
}

#[test]
fn the_list_tells_what_is_missing() {
    let home = two_pis();
    insta::assert_snapshot!("list_empty", Home::new().ok(&["list"]));
    let pinned = format!("raspberry34 {}\n", home.read(".ssh/raspberry31.pub"));
    home.write(".ssh/known_hosts", pinned, 0o600);
    let config = home.read(".ssh/config");
    home.write(".ssh/config", config + "Host raspberry7\n  IdentityFile ~/.ssh/seven\n", 0o600);
    home.write(".ssh/raspberry31", home.read(".ssh/raspberry31"), 0o640);
    let future = SystemTime::now() + Duration::from_secs(86_400);
    File::open(home.path(".ssh/raspberry31")).unwrap().set_modified(future).unwrap();
    home.write(".ssh/raspberry9", "not a key", 0o600);
    insta::assert_snapshot!("list", home.ok(&["list"]));
    let json = home.ok(&["list", "34", "7", "--json", "-q"]);
    insta::assert_snapshot!("list_json", redacted(&home, &json));
    insta::assert_snapshot!("fingerprints", redacted(&home, &home.ok(&["fingerprint", "--offline", "31", "34"])));
}

#[test]
fn a_line_fits_a_screen_and_what_was_asked_for_is_said_with_q() {
    let home = two_pis();
    // Some age that would need two units.
    let past = SystemTime::now() - Duration::from_secs(12 * 86_400 + 23 * 3600 + 5);
    File::open(home.path(".ssh/raspberry31")).unwrap().set_modified(past).unwrap();
    home.write(".ssh/known_hosts", format!("raspberry34 {}\n", home.read(".ssh/raspberry31.pub")), 0o600);
    // An entry of one's own has a place with a name as long as one likes.
    let (config, place) = (home.read(".ssh/config"), "lab-behind-the-orchard.conf");
    home.write(".ssh/config", format!("Include {place}\n{config}"), 0o600);
    home.write(&format!(".ssh/{place}"), "Host raspberry7\n  HostName 127.0.0.1\n  Port 1\n", 0o600);
    for args in [&["list"][..], &["check"]] {
        let said = String::from_utf8(home.run(args).stdout).unwrap();
        assert!(said.contains(&format!("\n   entry: ~/.ssh/{place}:1\n")), "{said}");
        let widest = said.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(said.contains(" 12 d ") && widest <= 78, "{widest}: {said}");
    }
    for args in [&["ssh-config"][..], &["ssh-config", "31"], &["fingerprint", "31", "--offline", "--randomart"]] {
        let said = home.ok(args);
        assert!(said.lines().count() > 1, "{said}");
        assert_eq!(home.ok(&[args, &["-q"]].concat()), said);
    }
    // Nobody asks for a Pi that has no entry, by whatever a name server says.
    std::fs::remove_file(home.path(".ssh/config.d/pipeline.conf")).unwrap();
    let output = home.run(&["grants"]);
    let seen = home.seen(&output);
    assert!(output.status.code() == Some(3) && seen.contains("'keytool add-pi' adds raspberry31"), "{seen}");
    assert!(!seen.contains("resolve") && !seen.contains("nobody"), "{seen}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let home = two_pis();
    home.write("p.yaml", "onboarding: { base_port: 6000 }\n", 0o600);
    home.write(".ssh/raspberry31", home.read(".ssh/raspberry31"), 0o644);
    let two_lines = home.read(".ssh/raspberry31.pub") + &home.read(".ssh/raspberry34.pub");
    home.write("two.pub", two_lines, 0o644);
    home.write("bound.pub", format!("restrict {}", home.read(".ssh/raspberry31.pub")), 0o644);
    let grant = |key: &'static str| ["grant", "34", "--expires", "1d", "--key", key];
    for (args, code, words) in [
        (&["list", "1-99999"][..], 2, "'1-99999' goes beyond 65535, the last port that there is"),
        (&grant("none.pub"), 78, "hint: see whether none.pub is the right path"),
        (&grant("two.pub"), 78, "hint: a public key is one line"),
        (&grant("bound.pub"), 78, "hint: a public key is one line"),
        (&["add-pi", "31", "--offline"], 3, "hint: 'chmod 600 $HOME/.ssh/raspberry31'"),
        // An entry of ours holds until it is written anew.
        (&["list", "34", "--config", "p.yaml"], 0, "  5034  "),
        (
            &["list", "34", "--config", "p.yaml"],
            0,
            "its entry says port 5034, and should 6034: 'keytool add-pi 34' writes it",
        ),
        (&["inventory", "--host", "raspberry34", "--config", "p.yaml"], 0, "\"pipeline_port\": 5034"),
    ] {
        let output = home.run(args);
        let seen = home.seen(&output);
        assert!(output.status.code() == Some(code) && seen.contains(words), "{args:?}: {words}: {seen}");
    }
    home.ok(&["add-pi", "34", "--offline", "--config", "p.yaml"]);
    assert!(home.ok(&["inventory", "--host", "raspberry34", "--config", "p.yaml"]).contains("6034"));
}

#[test]
fn pins_are_looked_up_where_the_ssh_config_says() {
    let home = two_pis();
    let key = home.read(".ssh/raspberry34.pub");
    home.write(".ssh/fleet_hosts", format!("raspberry31 {key}[10.0.0.7]:2222 {key}"), 0o600);
    assert!(home.ok(&["list", "31"]).contains(" not pinned"), "that file plays no part yet");
    let config = home.read(".ssh/config");
    let own = "Host raspberry7\n  HostName 10.0.0.7\n  Port 2222\nHost *\n  UserKnownHostsFile ~/.ssh/fleet_hosts\n";
    home.write(".ssh/config", config + own, 0o600);
    for id in ["31", "7"] {
        assert!(!home.ok(&["list", id]).contains(" not pinned"), "{id}");
        assert!(home.ok(&["fingerprint", "--offline", id]).contains(" (ED25519 256, pinned)\n"), "{id}");
    }
    assert!(home.ok(&["list", "34"]).contains(" not pinned"));
    // Where that can't be read, the others have their rows nevertheless.
    let config = home.read(".ssh/config");
    home.write(".ssh/config", format!("Host raspberry?4\n  UserKnownHostsFile ~/.ssh\n{config}"), 0o600);
    for (command, exit) in [("list", 0), ("check", 3)] {
        let output = home.run(&[command, "31", "34", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let keys = |at: usize| json["pis"][at]["host_keys"].as_array().unwrap().len();
        assert_eq!((keys(0), keys(1), output.status.code()), (1, 0, Some(exit)), "{json}");
        let problem = json["pis"][1]["problem"].as_str().unwrap();
        assert!(problem.contains("~/.ssh"), "{problem}");
    }
}

/// Runs, compares, and looks at what must hold for every error.
#[track_caller]
fn golden(name: &str, home: &Home, args: &[&str], exit: i32) {
    let output = home.run(args);
    let seen = home.seen(&output);
    insta::assert_snapshot!(name, seen);
    assert_eq!(output.status.code(), Some(exit), "{seen}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{seen}");
    for never in ["os error", "Os {", "RUST_BACKTRACE", "panicked"] {
        assert!(!seen.contains(never), "{never}: {seen}");
    }
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    let home = Home::new();
    golden("error_not_an_id", &home, &["add-pi", "raspberry31", "--offline"], 2);
    golden("error_empty_range", &home, &["list", "9-1"], 2);
    let output = home.run(&["add-pi", "31", "--yes"]);
    let seen = home.seen(&output);
    assert!(output.status.code() == Some(2) && seen.contains("--fingerprints <FILE>"), "{seen}");
    golden("error_no_entry", &home, &["fingerprint", "--offline", "31"], 78);
    golden("error_no_config", &home, &["list", "--config", "missing.yaml"], 78);
    golden("error_nobody_to_ask", &home, &["add-pi", "31", "--offline", "--passphrase"], 2);
    home.write("p.yaml", "onboarding: { base_port: 65530 }\n", 0o600);
    golden("error_no_port", &home, &["add-pi", "31", "--offline", "--config", "p.yaml"], 78);
    home.write("q.yaml", "onbording: { base_port: 65530 }\n", 0o600);
    golden("error_unknown_key", &home, &["list", "--config", "q.yaml"], 78);
    home.write(".ssh/config", "Host x\n  Port nonsense\n", 0o600);
    golden("error_bad_ssh_config", &home, &["list"], 78);
    // Nobody listens at port 1. What every later ssh would fail at is refused before anybody is asked, or anything is written.
    home.write(".ssh/config", "", 0o600);
    let init = |option: &'static str, value: &'static str| {
        let given = ["--host", "127.0.0.1", "--port", "1", "--user", "bee", "--password-stdin"];
        [&["init"][..], &given, &[option, value]].concat()
    };
    golden("error_key_with_a_quote", &home, &init("--key", "my \"key"), 78);
    let init = ["init", "--host", "127.0.0.1", "--port", "1", "--user", "a b", "--password-stdin"];
    golden("error_login_of_two_words", &home, &init, 78);
    assert!(!home.path(".ssh/config.d").exists() && !home.path(".ssh/raspberry31").exists());
    // What can't be is told by the option that gave it: there is no file yet.
    for (option, value, words) in [
        ("--pi-name", "x", "an alias with {id} in it"),
        ("--pi-name", "a\"{id}", "an alias with {id} in it"),
        ("--pi-user", "a b", "a login on the devices"),
        ("--base-port", "7", "--base-port: "),
        ("--source", "photos", "the full path of a directory on the device"),
        ("--storage", "", "the full path of a directory on this machine"),
    ] {
        let output = home.run(&["init", "--host", "127.0.0.1", "--port", "1", "--user", "bee", option, value]);
        let seen = home.seen(&output);
        assert!(output.status.code() == Some(2) && seen.contains(&format!("error: {option}: ")), "{seen}");
        assert!(seen.contains(words) && !seen.contains(".yaml"), "{seen}");
    }
    home.write("none.yaml", "onboarding: { jump: None }\n", 0o600);
    let output = home.run(&["list", "--config", "none.yaml"]);
    assert!(home.seen(&output).contains("none.yaml:1:21: onboarding.jump: "), "{}", home.seen(&output));
}

#[test]
fn the_jump_host_is_called_what_nothing_else_is() {
    let home = Home::new();
    // Nobody listens at port 1.
    let init = |more: &[&'static str]| {
        let given = ["init", "--host", "127.0.0.1", "--port", "1", "--user", "bee", "--password-stdin"];
        let output = home.run(&[&given[..], more].concat());
        (output.status.code(), home.seen(&output))
    };
    for (more, words) in [
        (&["--alias", "none"][..], "'ProxyJump none' means that there is none"),
        (&["--alias", "raspberry31"], "it is the name of a Pi"),
        (&["--alias", "bee7", "--pi-name", "bee{id}"], "it is the name of a Pi"),
        (&["--alias", "config"], "$HOME/.ssh/config can't be the key of the jump host"),
        (&["--alias", "authorized_keys"], "authorized_keys can't be the key of the jump host"),
        (&["--key", ".ssh/config"], "$HOME/.ssh/config can't be the key of the jump host"),
    ] {
        let (code, seen) = init(more);
        assert!(code == Some(78) && seen.contains(words) && seen.contains("hint: choose another"), "{more:?}: {seen}");
    }
    assert!(!home.path(".ssh").exists());
    assert_eq!(init(&["--alias", "config", "--key", ".ssh/jump"]).0, Some(4));
    // Nor does a Pi take its entry, or is it removed as one.
    home.write("p.yaml", "onboarding: { jump: raspberry31 }\n", 0o600);
    home.write(".ssh/config.d/pipeline.conf", "Host raspberry31\n    HostName iot.example.org\n", 0o600);
    let files = home.files();
    for command in [&["add-pi", "31", "--offline"][..], &["remove-pi", "31", "--offline"]] {
        let output = home.run(&[command, &["--config", "p.yaml"]].concat());
        let seen = home.seen(&output);
        assert!(output.status.code() == Some(78) && seen.contains("'raspberry31' is the jump host"), "{seen}");
    }
    assert_eq!(home.files(), files);
    home.ok(&["list", "--config", "p.yaml"]);
}

#[test]
fn one_bad_key_does_not_stop_the_others() {
    let home = Home::new();
    home.write(".ssh/raspberry31", "not a key", 0o600);
    home.ok(&["add-pi", "35", "--offline"]);
    home.write(".ssh/raspberry32.pub", home.read(".ssh/raspberry35.pub"), 0o644);
    home.ok(&["add-pi", "33", "--offline"]);
    home.write(".ssh/raspberry33.pub", home.read(".ssh/raspberry35.pub"), 0o644);
    let output = home.run(&["add-pi", "31-34,60536", "--offline"]);
    insta::assert_snapshot!("bad_keys", home.seen(&output));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(home.read(".ssh/raspberry31"), "not a key");
    // Nor does a number that leads to no Pi; the JSON of those that there are is whole.
    for args in [&["list", "34", "99"][..], &["fingerprint", "--offline", "34", "99"], &["ssh-config", "34", "60536"]] {
        let output = home.run(args);
        let seen = home.seen(&output);
        assert!(output.status.code() == Some(3) && seen.matches("error: ").count() == 1, "{seen}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("raspberry34"), "{seen}");
    }
    // One that has no entry has its row there.
    let output = home.run(&["list", "34", "99", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["pis"][1]["id"], output.status.code()), (&"99".into(), Some(3)), "{json}");
    assert!(json["pis"][1]["problem"].as_str().unwrap().contains("'keytool add-pi 99'"), "{json}");
    for command in ["list", "check"] {
        let output = home.run(&[command, "34", "60536", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((json["pis"].as_array().unwrap().len(), output.status.code()), (1, Some(3)), "{command}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("60536 would need port 65536"), "{command}");
    }
    assert!(home.ssh_g("raspberry34").contains("port 5034\n"));
    // A file with two keys is no public half.
    let one = home.read(".ssh/raspberry35.pub");
    home.write(".ssh/raspberry35.pub", one.clone() + &home.read(".ssh/raspberry34.pub"), 0o644);
    let output = home.run(&["add-pi", "35", "--offline"]);
    let seen = home.seen(&output);
    assert!(seen.contains("raspberry35.pub is not an OpenSSH key: it has more than one line"), "{seen}");
    assert_eq!(output.status.code(), Some(3), "{seen}");
    home.write(".ssh/raspberry35.pub", format!("{one}\n\n"), 0o644);
    // Nor is a private one, by mistake: what helps is the name of the other.
    let key = ["35", "--key", ".ssh/raspberry35"];
    for args in [[&["revoke"], &key[..]].concat(), [&["grant"], &key[..], &["--expires", "7d"]].concat()] {
        let output = home.run(&args);
        let seen = home.seen(&output);
        assert!(seen.contains(".ssh/raspberry35 looks like a private key"), "{seen}");
        assert!(
            seen.contains("give its public half, .ssh/raspberry35.pub") && !seen.contains("ssh-keygen -p"),
            "{seen}"
        );
        assert_eq!(output.status.code(), Some(78), "{seen}");
    }
    home.ok(&["add-pi", "35", "--offline"]);
    // A public half that got lost comes back; the key stays.
    let (private, public) = (home.read(".ssh/raspberry34"), home.read(".ssh/raspberry34.pub"));
    std::fs::remove_file(home.path(".ssh/raspberry34.pub")).unwrap();
    assert_eq!(home.ok(&["add-pi", "34", "--offline"]), "make public key ~/.ssh/raspberry34.pub\n");
    assert_eq!((home.read(".ssh/raspberry34"), home.read(".ssh/raspberry34.pub")), (private, public));
}

#[test]
fn an_entry_that_leads_nowhere_stops_no_other() {
    let home = Home::new();
    // Nobody listens at port 1.
    let jump =
        "Include config.d/pipeline.conf\nHost awsbox\n  HostName 127.0.0.1\n  Port 1\n  IdentityFile ~/.ssh/awsbox\n";
    home.write(".ssh/config", jump, 0o600);
    home.ok(&["add-pi", "31,34", "--offline"]);
    home.write(".ssh/config", format!("{jump}Host raspberry?4\n  UserKnownHostsFile ~/%q\n"), 0o600);
    let both = ["31", "34"];
    for (command, more, exit, of_31) in [
        ("add-pi", &["--password-stdin"][..], 3, "jump host 'awsbox' can't be used"),
        ("add-pi", &["--dry-run"], 3, "jump host 'awsbox' can't be used"),
        ("rotate", &["--dry-run"], 3, "make key ~/.ssh/raspberry31.keytool-new\n"),
        ("rotate", &[], 3, "jump host 'awsbox' can't be used"),
        ("fingerprint", &["--offline"], 3, "raspberry31 host none"),
        ("remove-pi", &["--offline", "--dry-run"], 3, "raspberry31: remove entry raspberry31"),
        ("grant", &["--expires", "1h", "--key", ".ssh/raspberry31.pub"], 3, "jump host 'awsbox' can't be used"),
        ("check", &[], 3, "jump host 'awsbox' can't be used"),
    ] {
        let output = home.run(&[&[command], &both[..], more].concat());
        let seen = home.seen(&output);
        assert!(seen.contains(of_31) && seen.contains("the token %q has no value here"), "{command}: {seen}");
        assert_eq!(output.status.code(), Some(exit), "{command}: {seen}");
        // Alone, it is the whole command that can't be done.
        if command != "check" && command != "grant" {
            assert_eq!(home.run(&[&[command, "34"], more].concat()).status.code(), Some(78), "{command}");
        }
    }
    let output = home.run(&["inventory", "--list"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["pis"]["hosts"], output.status.code()), (&serde_json::json!(["raspberry31"]), Some(0)), "{json}");
    assert!(home.seen(&output).contains("warning: host 'raspberry34'"), "{json}");
}

#[test]
fn who_finds_another_keytool_at_a_key_says_so_and_changes_nothing() {
    let home = Home::new();
    // Nobody listens at port 1.
    home.write(".ssh/config", "Host awsbox\n  HostName 127.0.0.1\n  Port 1\n", 0o600);
    home.ok(&["add-pi", "31,34", "--offline"]);
    let files = home.files();
    let key = File::open(home.path(".ssh/raspberry31")).unwrap();
    key.lock().unwrap();
    for args in [&["rotate", "31,34"][..], &["remove-pi", "31", "--offline"], &["remove-pi", "31"]] {
        let output = home.run(args);
        let seen = home.seen(&output);
        let words = "another keytool is rotating or removing the key $HOME/.ssh/raspberry31";
        assert!(output.status.code() == Some(3) && seen.contains(words), "{seen}");
        // Whoever is at one is at no other.
        assert_eq!(seen.contains("raspberry34: "), args[0] == "rotate", "{seen}");
    }
    assert_eq!(home.files(), files);
    drop(key);
    home.ok(&["remove-pi", "31", "--offline"]);
    // Nor does it find itself there.
    let shared = "Host raspberry8 raspberry9\n  HostName 127.0.0.1\n  Port 1\n  IdentityFile ~/.ssh/raspberry34\n";
    home.write(".ssh/config", shared, 0o600);
    home.ok(&["remove-pi", "8,9"]);
}

#[test]
fn a_key_that_may_serve_elsewhere_is_neither_replaced_nor_shut_out() {
    let home = Home::new();
    let by_hand = "Host raspberry31 github\n  HostName 127.0.0.1\n  Port 1\n  IdentityFile ~/.ssh/shared\n\
                   Host other\n  HostName 127.0.0.2\n  Port 1\n  IdentityFile ~/.ssh/raspberry34\n";
    home.write(".ssh/config", by_hand, 0o600);
    home.ok(&["add-pi", "31,34", "--offline"]);
    let files = home.files();
    for dry_run in [&["--dry-run"][..], &[]] {
        let output = home.run(&[&["rotate", "31,34"], dry_run].concat());
        let seen = home.seen(&output);
        assert_eq!(output.status.code(), Some(3), "{seen}");
        for words in [
            "shared is one that an entry of your own names",
            "write 'IdentityFile $HOME/.ssh/raspberry31'",
            "'other' is reached with the key $HOME/.ssh/raspberry34 too",
        ] {
            assert!(seen.contains(words), "{words}: {seen}");
        }
        assert!(!seen.contains("authorized_keys on"), "{seen}");
    }
    // Nobody is even tried to be reached: what can't be reached is said so.
    let said = home.ok(&["remove-pi", "31"]);
    assert!(said.contains("stays as it is, and so do the key ~/.ssh/shared and its line there\n"), "{said}");
    assert!(!said.contains("authorized_keys"), "{said}");
    assert_eq!(home.files(), files);
    let said = home.ok(&["remove-pi", "34", "--offline"]);
    assert!(said.contains("'other' is reached with the key ~/.ssh/raspberry34 too: it stays where it is\n"), "{said}");
    assert!(
        home.path(".ssh/raspberry34").exists()
            && !home.read(".ssh/config.d/pipeline.conf").contains("Host raspberry34")
    );
}

#[test]
fn a_person_who_presses_ctrl_c_gets_the_terminal_back() {
    let home = Home::new();
    let mut terminal = Terminal::start(home.command(&["add-pi", "31", "--offline", "--passphrase"]));
    terminal.wait_for("Passphrase of the new keys: ");
    terminal.type_unseen("one");
    terminal.wait_for("Once more: ");
    terminal.type_unseen("another");
    terminal.wait_for("They differ; try again.");
    terminal.wait_for("Passphrase of the new keys: ");
    terminal.press_ctrl_c();
    let (status, shown) = terminal.end();
    assert_eq!(status.code(), Some(130), "{shown}");
    assert!(shown.contains("stopped by the person who was asked"), "{shown}");
    assert!(!home.path(".ssh").exists());
}

#[test]
fn a_signal_ends_it_and_leaves_the_terminal_as_it_was() {
    let home = Home::new();
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        let mut terminal = Terminal::start(home.command(&["add-pi", "31", "--offline", "--passphrase"]));
        terminal.wait_for("Passphrase of the new keys: ");
        terminal.type_unseen("one");
        terminal.wait_for("Once more: ");
        terminal.signal_unseen(signal);
        let (status, shown) = terminal.end();
        // As if nobody had listened.
        assert_eq!(status.signal(), Some(signal.as_raw()), "{shown}");
    }
    // Nor does it pass over one that comes between the questions and the work: here, while a jump host says nothing.
    let jump = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = jump.local_addr().unwrap().port();
    home.write(".ssh/config", format!("Host awsbox\n  HostName 127.0.0.1\n  Port {port}\n"), 0o600);
    let mut terminal = Terminal::start(home.command(&["add-pi", "31", "--passphrase"]));
    for question in ["Passphrase of the new keys: ", "Once more: "] {
        terminal.wait_for(question);
        terminal.type_unseen("one");
    }
    let _connection = jump.accept().unwrap();
    terminal.signal(Signal::TERM);
    let (status, shown) = terminal.end();
    assert_eq!(status.signal(), Some(15), "{shown}");
    assert!(!home.path(".ssh/raspberry31").exists());
}

#[test]
fn what_is_typed_unseen_is_shown_nowhere() {
    let home = two_pis();
    // Whoever ends it as a debugger would finds no core file, wherever the system puts those.
    let program = home.command(&["add-pi", "35", "--offline", "--passphrase"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args());
    shell.env_clear().env("HOME", home.root()).current_dir(home.root());
    let mut terminal = Terminal::start(shell);
    terminal.wait_for("Passphrase of the new keys: ");
    terminal.type_unseen("one");
    terminal.wait_for("Once more: ");
    terminal.signal(Signal::QUIT);
    let (status, shown) = terminal.end();
    assert!(status.signal() == Some(3) && !status.core_dumped(), "{status}: {shown}");
    // A terminal shows what is typed for --password-stdin.
    let (status, shown) = Terminal::start(home.command(&["grants", "31", "--password-stdin"])).end();
    assert!(status.code() == Some(2) && shown.contains("would show the password"), "{shown}");
    assert!(shown.contains("leave --password-stdin out"), "{shown}");
}

#[test]
fn what_is_not_known_is_asked_for() {
    let home = Home::new();
    // Nobody listens there.
    let mut terminal = Terminal::start(home.command(&["init"]));
    terminal.wait_for("What the OpenSSH config is to call the jump host [awsbox]: ");
    terminal.type_seen("raspberry31");
    terminal.wait_for("it is the name of a Pi");
    terminal.wait_for("[awsbox]: ");
    terminal.type_seen("");
    terminal.wait_for("Name or address of the jump host: ");
    terminal.type_seen("");
    terminal.wait_for("Name or address of the jump host: ");
    terminal.type_seen(" 127.0.0.1 ");
    terminal.wait_for("Its port [22]: ");
    terminal.type_seen("70000");
    terminal.wait_for("'70000' is not a port");
    terminal.wait_for("Its port [22]: ");
    terminal.type_seen("1");
    terminal.wait_for("The login there [");
    terminal.type_seen("");
    let (status, shown) = terminal.end();
    assert!(status.code() == Some(4) && shown.contains("127.0.0.1:1"), "{shown}");
    // Ctrl-D is no answer.
    let mut terminal = Terminal::start(home.command(&["init", "--alias", "awsbox"]));
    terminal.wait_for("Name or address of the jump host: ");
    terminal.type_end();
    let (status, shown) = terminal.end();
    assert!(status.code() == Some(2) && shown.contains("no answer came: Name or address"), "{shown}");
    assert!(shown.contains("give --host"), "{shown}");
    assert!(!home.path(".ssh").exists());
}

#[test]
fn a_passphrase_is_asked_for_twice_and_never_shown() {
    const PASSPHRASE: &str = "drei Bienen";
    let home = Home::new();
    let mut terminal = Terminal::start(home.command(&["add-pi", "31", "--offline", "--passphrase"]));
    terminal.wait_for("Passphrase of the new keys");
    terminal.type_unseen(PASSPHRASE);
    terminal.wait_for("Once more");
    terminal.type_unseen(PASSPHRASE);
    let (status, shown) = terminal.end();
    assert!(status.success(), "{shown}");
    assert!(!shown.contains(PASSPHRASE), "{shown}");

    let private = home.path(".ssh/raspberry31");
    assert!(!home.read(".ssh/raspberry31").contains(PASSPHRASE));
    let mut keygen = std::process::Command::new("ssh-keygen");
    keygen.args(["-y", "-P", PASSPHRASE, "-f"]).arg(&private);
    assert_eq!(good(keygen), home.read(".ssh/raspberry31.pub"));
    let without = std::process::Command::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(&private).output().unwrap();
    assert!(!without.status.success());
    assert!(home.ok(&["list", "--json"]).contains("\"encrypted\": true"));
    // Its public half is in the clear, even in the private file.
    std::fs::remove_file(home.path(".ssh/raspberry31.pub")).unwrap();
    home.ok(&["add-pi", "31", "--offline"]);
    assert!(home.read(".ssh/raspberry31.pub").ends_with(" pipeline raspberry31\n"));
}
