//! keytool killed, out of room, or beside another keytool: every file is as it was or as it was to be, and the same command run
//! again does the rest.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use support::{Home, KILLED, NO_ROOM, good, ssh_keygen, strace, was_killed};

const CONFIG: &str = "# mine\nHost awsbox\n  HostName iot.example.org\n";
const ARGS: [&str; 3] = ["add-pi", "31,34", "--offline"];

fn home() -> Home {
    let home = Home::new();
    home.write(".ssh/config", CONFIG, 0o600);
    home
}

/// Runs under strace, which kills it when it enters this call for the `count`th time. False where it never did.
fn killed(home: &Home, call: &str, count: u32) -> bool {
    was_killed(strace(&home.command(&ARGS), call, KILLED, count).output().unwrap().status)
}

/// Whatever was interrupted: nothing is half done.
fn nothing_is_half_done(home: &Home) {
    let config = home.read(".ssh/config");
    assert!(config == CONFIG || config == format!("Include config.d/pipeline.conf\n{CONFIG}"), "{config}");
    for id in ["31", "34"] {
        let private = home.path(&format!(".ssh/raspberry{id}"));
        let public = home.path(&format!(".ssh/raspberry{id}.pub"));
        if private.exists() {
            let line = ssh_keygen(&["-yf"], &private);
            if public.exists() {
                assert_eq!(fs::read_to_string(&public).unwrap(), line);
            }
        }
        assert!(private.exists() || !public.exists(), "the private half comes first");
    }
    let owned = home.path(".ssh/config.d/pipeline.conf");
    if owned.exists() {
        assert_eq!(fs::read_to_string(owned).unwrap().matches("HostKeyAlias raspberry3").count(), 2);
    }
    home.ssh_g("awsbox");
}

fn all_is_done(home: &Home) {
    for id in ["31", "34"] {
        assert!(home.ssh_g(&format!("raspberry{id}")).contains(&format!("port 50{id}\n")));
        let names = [".ssh/raspberry".to_owned() + id, format!(".ssh/raspberry{id}.pub")];
        assert_eq!(ssh_keygen(&["-yf"], &home.path(&names[0])), home.read(&names[1]));
    }
    assert_eq!(home.ok(&ARGS), "nothing to do: everything is there\n");
}

#[test]
fn killed_before_any_step_the_next_run_does_the_rest() {
    let mut kills: BTreeMap<&str, u32> = BTreeMap::new();
    for call in ["mkdir", "fchmod", "fsync", "renameat2", "rename", "flock"] {
        for count in 1.. {
            let home = home();
            if !killed(&home, call, count) {
                break;
            }
            nothing_is_half_done(&home);
            // A key that was there after the kill is the key for ever.
            let key = fs::read(home.path(".ssh/raspberry31")).ok();
            home.ok(&ARGS);
            all_is_done(&home);
            if let Some(key) = key {
                assert_eq!(fs::read(home.path(".ssh/raspberry31")).unwrap(), key, "{call} {count}");
            }
            *kills.entry(call).or_default() += 1;
        }
    }
    // One directory; two pairs, the entries, the line, and the directory that holds each.
    let expected = [("fchmod", 6), ("flock", 1), ("fsync", 13), ("mkdir", 1), ("rename", 2), ("renameat2", 4)];
    assert_eq!(kills, BTreeMap::from(expected), "the kills have hit what they were meant to");
}

/// In a namespace of its own: a small disk below `.ssh`, filled up, then given room again.
const FULL_DISK: &str = r#"
    mount -t tmpfs -o size=64k tmpfs .ssh && cp config .ssh/config && chmod 600 .ssh/config || exit 99
    head -c 1000000 /dev/zero > .ssh/filler 2>/dev/null
    "$1" add-pi 31,34 --offline; echo "exit $?"
    ls -A .ssh; cmp config .ssh/config && echo untouched
    rm .ssh/filler
    "$1" add-pi 31,34 --offline; echo "exit $?"
    ls -A .ssh .ssh/config.d; cat .ssh/config
"#;

#[test]
fn on_a_full_disk_nothing_is_torn_and_with_room_all_is_done() {
    let home = Home::new();
    home.write("config", CONFIG, 0o600);
    fs::create_dir(home.path(".ssh")).unwrap();
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", FULL_DISK, "sh"]);
    shell.arg(home.command(&[]).get_program()).current_dir(home.root()).env("HOME", home.root());
    let output = shell.output().unwrap();
    insta::assert_snapshot!("full_disk", home.seen(&output));
}

/// In a namespace of its own: each file that is to be changed can't be, by another reason.
const OBSTACLES: &str = r#"
    keytool=$1
    try() {
        echo "--- $1"; shift
        "$keytool" "$@" 2>&1; echo "exit $?"
        ls -A .ssh .ssh/config.d 2>/dev/null | grep -v '^\.pipeline.lock$'
    }
    bind() { mount --bind "$1" "$1"; }
    bind .ssh/config; try "a mount point" add-pi 31,34 --offline
    try "nobody is asked" init --alias jump --host 127.0.0.1 --port 1 --user bee
    try "nor does a dry run pass it by" add-pi 31 --offline --dry-run
    mount -o remount,ro,bind .ssh/config; try "and read-only" add-pi 31,34 --offline; umount .ssh/config
    ln .ssh/config second; try "a second name" add-pi 31,34 --offline
    rm .ssh/config; ln -s ../second .ssh/config; try "a link to a file of its own" add-pi 31 --offline
    bind .ssh; mount -o remount,ro,bind .ssh; try "read-only" add-pi 34 --offline; umount .ssh
    bind second; try "nothing is to be changed in it" add-pi 35 --offline; umount second
"#;

#[test]
fn what_can_not_be_changed_is_found_out_before_anything_is_made() {
    let home = home();
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", OBSTACLES, "sh"]);
    shell.arg(home.command(&[]).get_program()).current_dir(home.root()).env("HOME", home.root());
    let output = shell.output().unwrap();
    insta::assert_snapshot!("obstacles", home.seen(&output));
}

#[test]
fn whatever_the_disk_has_no_room_for_stays_as_it_was() {
    for count in 1.. {
        let home = home();
        let output = strace(&home.command(&ARGS), "fsync", NO_ROOM, count).output().unwrap();
        let seen = home.seen(&output);
        if output.status.success() {
            assert_eq!(count, 14, "{seen}");
            break;
        }
        assert!(output.status.code() == Some(5) && seen.contains("no space left on device"), "{seen}");
        nothing_is_half_done(&home);
        let left = home.files().into_iter().find(|(name, _)| name.ends_with(".keytool"));
        assert_eq!(left, None, "{count}: nothing lies about");
        home.ok(&ARGS);
        all_is_done(&home);
    }
}

#[test]
fn many_keytools_at_once_do_not_undo_each_other() {
    let home = home();
    let ids: Vec<String> = (40..52).map(|id| id.to_string()).collect();
    let running = ids.iter().map(|id| {
        let mut command = home.command(&["add-pi", id, "--offline"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for child in running.collect::<Vec<_>>() {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", home.seen(&output));
    }
    let config = home.read(".ssh/config.d/pipeline.conf");
    for id in &ids {
        assert_eq!(config.matches(&format!("Host raspberry{id}\n")).count(), 1, "{config}");
        assert_eq!(
            ssh_keygen(&["-yf"], &home.path(&format!(".ssh/raspberry{id}"))),
            home.read(&format!(".ssh/raspberry{id}.pub"))
        );
    }
    assert_eq!(home.read(".ssh/config"), format!("Include config.d/pipeline.conf\n{CONFIG}"));
    assert!(good(home.at_home("ssh", &["-G", "raspberry51"])).contains("port 5051\n"));
}
