//! The script that changes the file, killed at every step of it, for each command that uses it.
//!
//! A step is a call that changes something on disk. Everything dies before it, and at once, as where the machine is reset: the
//! shell has no chance to tidy up.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};

use jiff::civil::date;
use pipeline_core::ssh::SshError;
use pipeline_core::ssh::command::Output;
use pipeline_core::ssh::host_key::HostKey;

use super::tests::{FOREIGN, mode, names, ours, write};
use super::*;
use crate::grant;
use crate::shell::tests::Local;
use crate::tunnel::{Holder, Jump, Tunnel, admit, dismiss};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYd1r1NgIK6sUBKvnIGlo8y7eWRyOtw5dQuIj6LIZdR";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHZ1cE1nSUs2c1VCS3ZuSUdsbzh5N2VXUnlPdHc1ZFF1SWo2";

/// What changes files or their names, or brings them to the disk.
const CALLS: &str = "write,copy_file_range,splice,?rename,renameat,renameat2,?unlink,unlinkat,?chmod,fchmod,fchmodat,?fchmodat2,?mkdir,mkdirat,?link,\
                     linkat,ftruncate,fsync,fdatasync,sync,syncfs";

/// Runs in the place of each of the [`TOOLS`]. The calls are written down, or at one of them it is killed, and the shell with it.
const STAND_IN: &str = r#"#!/bin/sh
read n < "$TRIAL/$NAME"; n=$((n + 1)); echo $n > "$TRIAL/$NAME"
if [ -z "$AT" ]; then exec strace -qq -ttt -o "$TRIAL/calls.$NAME.$n" -e "trace=$CALLS" "$REAL" "$@"; fi
[ "$NAME.$n" = "$AT" ] || exec "$REAL" "$@"
strace -qq -o /dev/null -e signal=none -e "trace=$CALL" -e "inject=$CALL:signal=KILL:when=$COUNT" "$REAL" "$@"
code=$?; [ $code -ne 137 ] || kill -9 0
exit $code
"#;

/// Those that change something.
const TOOLS: [&str; 7] = ["cat", "chmod", "mkdir", "mv", "rm", "sync", "tail"];

/// One call: of which program, by name and how often it was started; its name, and how often it was made there.
type Step = (String, String, usize);

/// A shell that dies at one step of a script that gets something to write.
struct Dying {
    local: Local,
    trial: PathBuf,
    /// None: it lives, and its steps are written down.
    at: Option<Step>,
    died: Cell<bool>,
}

impl Dying {
    fn new(home: &Path, trial: &Path, at: Option<Step>) -> Dying {
        let (bin, (program, call, count)) = (trial.join("bin"), at.clone().unwrap_or_default());
        fs::create_dir_all(&bin).unwrap();
        for tool in TOOLS {
            let real = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(tool));
            let real = real.iter().find(|path| path.exists()).unwrap().display();
            let set = format!(
                "TRIAL='{}'\nCALLS={CALLS}\nAT={program}\nCALL={call}\nCOUNT={count}\nNAME={tool}\nREAL={real}\n",
                trial.display()
            );
            fs::write(bin.join(tool), STAND_IN.replacen('\n', &format!("\n{set}"), 1)).unwrap();
            fs::set_permissions(bin.join(tool), PermissionsExt::from_mode(0o755)).unwrap();
            fs::write(trial.join(tool), "0\n").unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let local = Local { shell: vec!["/bin/dash".into()], home: home.to_owned(), path };
        Dying { local, trial: trial.to_owned(), at, died: Cell::new(false) }
    }

    /// The steps that were written down, in their order.
    fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<(String, Step)> = Vec::new();
        for tool in TOOLS {
            for count in 1.. {
                let name = format!("{tool}.{count}");
                let file = self.trial.join(format!("calls.{name}"));
                let Ok(calls) = fs::read_to_string(&file) else { break };
                fs::remove_file(file).unwrap();
                let mut counts = BTreeMap::new();
                for line in calls.lines() {
                    let Some((time, call)) = line.split_once('(').and_then(|(head, _)| head.split_once(' ')) else {
                        continue;
                    };
                    let count = counts.entry(call).and_modify(|count| *count += 1).or_insert(1);
                    steps.push((time.to_owned(), (name.clone(), call.to_owned(), *count)));
                }
            }
        }
        steps.sort();
        steps.into_iter().map(|(_, step)| step).collect()
    }
}

impl Shell for Dying {
    fn run(&self, command: &str, stdin: &[u8]) -> Result<Output, SshError> {
        // What only looks is no step.
        if stdin.is_empty() || self.died.get() {
            return plain(&self.local.home).run(command, stdin);
        }
        let mut input = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut input, stdin).unwrap();
        std::io::Seek::rewind(&mut input).unwrap();
        let output = self.local.command(command).stdin(input).process_group(0).output().unwrap();
        self.died.set(output.status.signal() == Some(9));
        assert_eq!(self.died.get(), self.at.is_some(), "{:?}: {output:?}", self.at);
        Ok(Output { status: output.status.code(), stdout: output.stdout, stderr: output.stderr })
    }
}

fn plain(home: &Path) -> Local {
    Local { shell: vec!["dash".into()], home: home.to_owned(), path: "/usr/bin:/bin".into() }
}

fn tunnel() -> Tunnel {
    let host_keys = vec![HostKey::parse(KEY).unwrap()];
    let (alias, user) = ("awsbox".into(), "tunnel".into());
    Tunnel::new("raspberry31", 5031, 22, Jump { alias, hostname: "127.0.0.1".into(), port: 1, user, host_keys })
        .unwrap()
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap().0
}

/// What a command does to the file; whether it came to its end is another question.
type Verb = (&'static str, fn(&dyn Shell));

const VERBS: [Verb; 6] = [
    ("add-pi", |shell| drop(edit(shell, |keys| keys.ensure(&ours())))),
    ("remove-pi", |shell| drop(edit(shell, |keys| keys.without(|entry| entry.key == ours().key)))),
    ("grant", |shell| {
        let end = grant::End::Local(date(2030, 1, 2).at(3, 4, 5, 0));
        drop(edit(shell, |keys| grant::give(keys, &key(KEY), "alice", &end).unwrap_or_else(|_| keys.clone())));
    }),
    ("revoke", |shell| drop(edit(shell, |keys| grant::take(keys, |grant| grant.key == key(KEY))))),
    ("tunnel --install-jump --replace", |shell| drop(admit(shell, &tunnel(), &key(OTHER), true))),
    ("tunnel --revoke-jump", |shell| {
        let holder = Holder { device: "raspberry31", port: 5031, key: Some(key(OTHER)), own: Vec::new() };
        drop(dismiss(shell, &holder));
    }),
];

#[test]
fn killed_before_any_step_the_file_is_whole_and_the_next_run_ends_the_work() {
    // In memory, where there is such a place: what is synced is not the point.
    let memory = Path::new("/dev/shm");
    let below = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let [dir, trial] = [(); 2].map(|()| tempfile::tempdir_in(&below).unwrap());
    let tunnels = format!("{FOREIGN}\nrestrict {KEY} tunnel of raspberry31\n");
    let table = [
        (VERBS[0], None, 0o600),
        (VERBS[0], Some(FOREIGN.to_owned()), 0o600),
        (VERBS[1], Some(format!("{}\n{FOREIGN}\n", ours())), 0o640),
        (VERBS[2], Some(FOREIGN.to_owned()), 0o400),
        (VERBS[3], Some(format!("expiry-time=\"20300102030405\" {KEY} keytool-grant alice\n{FOREIGN}\n")), 0o600),
        (VERBS[4], Some(tunnels.clone()), 0o644),
        (VERBS[5], Some(tunnels), 0o600),
    ];
    for ((name, verb), old, before_mode) in table {
        let begin = || {
            let home = tempfile::tempdir_in(dir.path()).unwrap();
            if let Some(old) = &old {
                let file = write(home.path(), old);
                fs::set_permissions(file, PermissionsExt::from_mode(before_mode)).unwrap();
            }
            (home.path().join(".ssh/authorized_keys"), home)
        };
        // As it goes when nothing happens.
        let (file, home) = begin();
        let whole = Dying::new(home.path(), trial.path(), None);
        verb(&whole);
        let (new, steps) = (fs::read(&file).unwrap(), whole.steps());
        assert!(Some(&new) != old.as_ref().map(|old| old.clone().into_bytes()).as_ref(), "{name}");
        let foreign = FOREIGN.lines().filter(|_| old.is_some());
        assert!(foreign.clone().all(|line| String::from_utf8_lossy(&new).lines().any(|new| new == line)), "{name}");
        // A power cut leaves the one or the other as well: first the content is on the disk, then it gets the name, then that is.
        let first = |call: &str| steps.iter().position(|(_, step, _)| step.contains(call)).unwrap();
        let last = |call: &str| steps.iter().rposition(|(_, step, _)| step.contains(call)).unwrap();
        let order = [last("write"), first("sync"), first("rename"), last("rename"), last("sync")];
        assert!(order.is_sorted() && steps.len() >= 9, "{order:?}: {steps:?}");

        for step in steps {
            let (file, home) = begin();
            let of = format!("{name}: {step:?}");
            let owner = fs::metadata(home.path()).unwrap().uid();
            verb(&Dying::new(home.path(), trial.path(), Some(step)));
            let found = fs::read(&file).ok();
            let is_whole = found == old.clone().map(String::into_bytes) || found.as_ref() == Some(&new);
            assert!(is_whole, "{of}: {found:?}");
            if found.is_some() {
                assert_eq!((mode(&file), fs::metadata(&file).unwrap().uid()), (before_mode, owner), "{of}");
            }

            verb(&plain(home.path()));
            assert_eq!(fs::read(&file).unwrap(), new, "{of}");
            assert_eq!(names(&home.path().join(".ssh")), ["authorized_keys".to_owned()].into(), "{of}");
            assert_eq!((mode(&file), fs::metadata(&file).unwrap().uid()), (before_mode, owner), "{of}");
            assert_eq!(mode(home.path().join(".ssh")) & 0o022, 0, "{of}");
        }
    }
}
