//! The little program that a device's shell runs for us, and its answers.
//!
//! It must work with any POSIX `sh` (dash, busybox) behind any login shell. So it is one line without single quotes, backslashes
//! outside `printf %b`, or `!`, and is handed over as `exec /bin/sh -c '…'`, which sh, csh and fish read alike. It answers on
//! stdout with [`MARK`] and words, whatever start-up files have printed before.
//!
//! One round trip where the agent is there: that is why the choice by architecture is made by the device. One more, and the bytes,
//! where it is missing: the same program takes it and starts it.

use std::fmt::Write as _;

use super::binaries::Binary;
use super::error::one_line;
use crate::shell::{assign, in_sh};

/// Comes before every answer.
pub(super) const MARK: &str = "=pipeline-agent=";

/// Where agents live below the login's home; `start.sh` has it too.
pub(super) const BELOW_HOME: &str = ".cache/pipeline";

const SCRIPT: &str = include_str!("start.sh");

/// What the device says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The agent itself speaks next.
    Start,
    /// There is none for this machine. What follows [`head`] is taken, compressed by gzip if it `unpacks`.
    Missing {
        /// What the machine calls itself.
        machine: String,
        /// Whether gzip is there.
        unpacks: bool,
    },
    /// The account has no home directory.
    Homeless,
    /// The agent could not be taken.
    Failed {
        /// At which step of `start.sh`.
        step: String,
        /// What the tool that failed said.
        words: String,
    },
}

impl Answer {
    /// Of the rest of the line after [`MARK`]; none where it is no answer of ours.
    pub(super) fn read(line: &str) -> Option<Answer> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, others) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(match word {
            "start" => Answer::Start,
            "missing" => Answer::Missing { machine: first.to_owned(), unpacks: others == "gzip" },
            "homeless" => Answer::Homeless,
            "failed" => Answer::Failed { step: first.to_owned(), words: one_line(others.as_bytes()) },
            _ => return None,
        })
    }
}

/// Starts the right one of `binaries` if it is there, and otherwise takes one, in the same breath.
pub(super) fn start(binaries: &[Binary], source: &[u8]) -> String {
    let mut cases = String::new();
    for binary in binaries {
        let machines = binary.arch.machines().join("|");
        let _infallible = write!(cases, "{machines}) n={};; ", binary.name);
    }
    let lines = SCRIPT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let script = lines.collect::<Vec<_>>().join(" ");
    in_sh(&format!("k={MARK}; {}; m=$(uname -m); n=; case $m in {cases}esac; {script}", assign("r", source)))
}

/// What comes before an agent of which so many bytes are sent.
pub(super) fn head(binary: &Binary, sent: usize) -> String {
    let Binary { name, bytes, digest, .. } = binary;
    format!("{name} {bytes} {digest} {sent}\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::process::{Child, ChildStdout, Command, Stdio};

    use super::*;
    use crate::digest::Digest;
    use crate::ssh::deploy::binaries::Arch;

    /// Says which root it serves, and what it is told.
    const AGENT: &[u8] = b"#!/bin/sh\nprintf %s \"$3\"\ncat\n";

    /// A device's account, and an agent that is put there.
    struct Pi {
        dir: tempfile::TempDir,
        shell: Vec<PathBuf>,
        path: Option<PathBuf>,
    }

    /// A command as sshd runs it.
    struct Lane {
        child: Child,
        out: BufReader<ChildStdout>,
    }

    impl Pi {
        fn new(shell: &str) -> Pi {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("home")).unwrap();
            Pi { dir, shell: vec![shell.into()], path: None }
        }

        /// One where there are these programs of busybox and no others; none where there is no busybox here.
        fn with_busybox(applets: &[&str]) -> Option<Pi> {
            let busybox =
                ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())?;
            let pi = Pi::new("");
            let bin = pi.dir.path().join("bin");
            std::fs::create_dir(&bin).unwrap();
            applets.iter().for_each(|name| symlink(&busybox, bin.join(name)).unwrap());
            Some(Pi { shell: vec![busybox, "sh".into()], path: Some(bin), ..pi })
        }

        fn home(&self) -> PathBuf {
            self.dir.path().join("home")
        }

        fn installed(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.home().join(".cache/pipeline")).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }

        /// An agent for this machine.
        fn binary(&self, content: &[u8]) -> Binary {
            std::fs::create_dir_all(self.dir.path().join("agents")).unwrap();
            let path = self.dir.path().join("agents/pipeline-agent");
            std::fs::write(&path, content).unwrap();
            Binary::new(Arch::own().unwrap(), &path, Digest::of(content), content.len() as u64)
        }

        fn exec(&self, command: &str) -> Lane {
            // The program is for /bin/sh, whatever that is; here it is what the test says.
            let words: Vec<&str> = self.shell.iter().map(|word| word.to_str().unwrap()).collect();
            let command = command.replacen("/bin/sh", &words.join(" "), 1);
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &command]).env("HOME", self.home()).stdin(Stdio::piped()).stdout(Stdio::piped());
            shell.envs(self.path.iter().map(|path| ("PATH", path)));
            let mut child = shell.spawn().unwrap();
            Lane { out: BufReader::new(child.stdout.take().unwrap()), child }
        }
    }

    impl Lane {
        fn answer(&mut self) -> String {
            let mut line = String::new();
            self.out.read_line(&mut line).unwrap();
            line.strip_prefix(MARK).unwrap_or(&line).trim().to_owned()
        }

        /// Whoever takes no more has said why.
        fn give(&mut self, bytes: &[u8]) {
            self.child.stdin.as_mut().unwrap().write_all(bytes).ok();
        }

        /// What is said until the end, once it is told nothing more.
        fn rest(mut self) -> Vec<u8> {
            drop(self.child.stdin.take());
            let mut rest = Vec::new();
            self.out.read_to_end(&mut rest).unwrap();
            self.child.wait().unwrap();
            rest
        }
    }

    /// Everything after `missing`: what the device says of these bytes under that name.
    fn upload(lane: &mut Lane, binary: &Binary, sent: &[u8]) -> String {
        lane.give(head(binary, sent.len()).as_bytes());
        lane.give(sent);
        lane.answer()
    }

    fn machine() -> String {
        let machine = Command::new("uname").arg("-m").output().unwrap().stdout;
        String::from_utf8(machine).unwrap().trim().to_owned()
    }

    #[test]
    fn an_agent_is_taken_and_started_by_any_shell() {
        const BUSYBOX: [&str; 11] =
            ["cat", "chmod", "head", "mkdir", "mv", "rm", "sha256sum", "sync", "uname", "wc", "gzip"];
        let mut pis = vec![Pi::new("sh"), Pi::new("bash")];
        pis.extend(Pi::with_busybox(&BUSYBOX));
        pis.extend(Pi::with_busybox(&BUSYBOX[..10]));
        assert!(pis.len() > 2 || !Path::new("/bin/busybox").exists());
        // Of several reads, none of which ends where a pipe's page does.
        let agent = [AGENT, &[b'#'; 123_457]].concat();
        let any_bytes: Vec<u8> = (1..=255).chain(*b"\n\n").collect();
        for pi in pis {
            let binary = pi.binary(&agent);
            let unpacks = pi.path.as_ref().is_none_or(|bin| bin.join("gzip").exists());
            for (nth, root) in
                [&any_bytes[..], b"/home/pi/bee photos", b"/a/'\\''$(reboot)`\"!*"].into_iter().enumerate()
            {
                let mut lane = pi.exec(&start(std::slice::from_ref(&binary), root));
                if nth == 0 {
                    let line = lane.answer();
                    assert_eq!(Answer::read(&line), Some(Answer::Missing { machine: machine(), unpacks }), "{line}");
                    assert_eq!(upload(&mut lane, &binary, &binary.upload(unpacks).unwrap()), "start");
                } else {
                    assert_eq!(lane.answer(), "start");
                }
                lane.give(b"the first request");
                assert_eq!(lane.rest(), [root, b"the first request"].concat(), "{:?}", pi.shell);
            }
            assert_eq!(pi.installed(), [binary.name]);
        }
    }

    #[test]
    fn an_agent_that_does_not_arrive_whole_leaves_nothing() {
        let pi = Pi::new("sh");
        let binary = pi.binary(AGENT);
        let packed = binary.upload(true).unwrap();
        let other = pi.binary(&AGENT.to_ascii_uppercase()).upload(true).unwrap();
        let longer = pi.binary(&[AGENT, b"#"].concat()).upload(true).unwrap();
        for (sent, expected) in [
            (&other[..], "failed digest"),
            (&longer, "failed size"),
            (&packed[..packed.len() / 2], "failed write gzip: stdin: unexpected end of file"),
            (AGENT, "failed write gzip: stdin: not in gzip format"),
        ] {
            let mut lane = pi.exec(&start(&[], b"/"));
            lane.answer();
            let said = upload(&mut lane, &binary, sent);
            assert!(said.starts_with(expected), "{said}");
            assert!(pi.installed().is_empty());
            assert!(lane.rest().is_empty());
        }
        // What breaks off on the way is not waited for.
        let mut lane = pi.exec(&start(&[], b"/"));
        lane.give(head(&binary, packed.len()).as_bytes());
        lane.give(&packed[..packed.len() / 2]);
        let rest = String::from_utf8(lane.rest()).unwrap();
        assert!(rest.contains("failed write gzip: "), "{rest}");
        assert!(pi.installed().is_empty());
    }

    #[test]
    fn an_agent_that_was_taken_removes_others_and_one_that_was_not_removes_none() {
        let pi = Pi::new("sh");
        let dir = pi.home().join(".cache/pipeline");
        std::fs::create_dir_all(&dir).unwrap();
        // Of a process that is gone, and of one that lives.
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        let (abandoned, lives) = (format!(".upload.{}", gone.id()), format!(".upload.{}", std::process::id()));
        gone.wait().unwrap();
        for name in ["pipeline-agent-old", &abandoned, &lives, "not ours"] {
            std::fs::write(dir.join(name), b"old").unwrap();
        }
        let binary = pi.binary(AGENT);
        for (sent, left) in [(&b"damaged"[..], 4), (&binary.upload(true).unwrap(), 3)] {
            let mut lane = pi.exec(&start(&[], b"/"));
            lane.answer();
            upload(&mut lane, &binary, sent);
            assert_eq!(pi.installed().len(), left, "{:?}", pi.installed());
            lane.rest();
        }
        assert!(["not ours", &lives, &binary.name].iter().all(|name| dir.join(name).exists()));
    }

    #[test]
    fn what_a_tool_says_is_part_of_the_answer() {
        let pi = Pi::new("sh");
        let binary = pi.binary(AGENT);
        std::fs::write(pi.home().join(".cache"), b"").unwrap();
        let mut lane = pi.exec(&start(&[], b"/"));
        lane.answer();
        let said = upload(&mut lane, &binary, &binary.upload(true).unwrap());
        let Some(Answer::Failed { step, words }) = Answer::read(&said) else { panic!("{said}") };
        assert_eq!(step, "directory");
        assert!(words.starts_with("mkdir: "), "{words}");
    }

    #[test]
    fn where_there_is_nothing_to_give_the_device_ends() {
        let pi = Pi::new("sh");
        let mut lane = pi.exec(&start(&[], b"/"));
        assert_eq!(lane.answer(), format!("missing {} gzip", machine()));
        assert!(lane.rest().is_empty());
        assert!(!pi.home().join(".cache").exists());
        std::fs::remove_dir(pi.home()).unwrap();
        assert_eq!(pi.exec(&start(&[], b"/")).answer(), "homeless");
    }

    #[test]
    fn the_program_is_one_line_that_any_login_shell_reads() {
        let command = start(&[], b"/");
        let program = command.strip_prefix("exec /bin/sh -c '").unwrap().strip_suffix('\'').unwrap();
        assert!(!program.contains(['\'', '\\', '!', '\n']), "{program}");
        assert!(command.len() < 4096, "{}", command.len());
    }
}
