//! The two little programs that a device's shell runs for us: start the agent, and take a new one.
//!
//! They must work with any POSIX `sh` (dash, busybox) behind any login shell. So each is one line without single quotes,
//! backslashes outside `printf %b`, or `!`, and is handed over as `exec /bin/sh -c '…'`, which sh, csh and fish read alike.
//! They answer on stdout with [`MARK`] and a word, whatever start-up files have printed before.

use std::fmt::Write as _;

use super::binaries::Binary;
use crate::remote::sftp::shell::{assign, in_sh};

/// Comes before every answer.
pub(super) const MARK: &str = "=pipeline-agent=";

/// Where agents live on a device, for `sh`.
const DIRECTORY: &str = "${HOME:-}/.cache/pipeline";

/// Starts the right one of `binaries` if it is there. Answers `start`, after which the agent itself speaks, `missing MACHINE`, or
/// `homeless`.
///
/// One round trip where the agent is there: that is why the choice by architecture is made by the device. A file with the right
/// name has the right content, because it got its name after its digest was checked.
pub(super) fn start(binaries: &[Binary], source: &[u8]) -> String {
    let mut cases = String::new();
    for binary in binaries {
        let machines = binary.arch.machines().join("|");
        let _infallible = write!(cases, "{machines}) f=$d/{};; ", binary.name);
    }
    in_sh(&format!(
        "d={DIRECTORY}; m=$(uname -m); f=; case $m in {cases}esac; {}; \
         if [ -n \"$f\" ] && [ -s \"$f\" ]; then echo {MARK} start; exec \"$f\" serve --root \"$r\"; fi; \
         if [ -d \"${{HOME:-}}\" ]; then echo {MARK} missing $m; else echo {MARK} homeless; fi",
        assign("r", source)
    ))
}

/// Takes a new agent on stdin, and removes others once it is in place. Answers `ready`, or `failed STEP WORDS`.
///
/// The words of a tool that failed are part of the answer: what a command says on stderr travels apart from what it says on
/// stdout, and may come later.
pub(super) fn install(binary: &Binary) -> String {
    let Binary { name, bytes, digest, .. } = binary;
    // RACE: another collector that uploads at the same moment may lose its temporary file, and says so; its next run succeeds.
    in_sh(&format!(
        "LC_ALL=C; export LC_ALL; umask 077; d={DIRECTORY}; f=$d/{name}; t=$d/.upload.$$; w=; \
         fail() {{ rm -f \"$t\"; set -f; echo {MARK} failed $1 $w; exit 1; }}; \
         w=$({{ mkdir -p \"$d\" && chmod 700 \"$d\"; }} 2>&1) || fail directory; \
         w=$({{ cat > \"$t\"; }} 2>&1) || fail write; \
         [ $(wc -c < \"$t\") -eq {bytes} ] || fail size; \
         if command -v sha256sum > /dev/null; then s=$(sha256sum < \"$t\"); [ \"${{s%% *}}\" = {digest} ] || fail digest; fi; \
         w=$(chmod 700 \"$t\" 2>&1) || fail chmod; [ -x \"$t\" ] || fail noexec; \
         sync \"$t\" 2> /dev/null || sync; w=$(mv -f \"$t\" \"$f\" 2>&1) || fail rename; sync \"$d\" 2> /dev/null || sync; \
         for o in \"$d\"/pipeline-agent-* \"$d\"/.upload.*; do [ \"$o\" = \"$f\" ] || rm -f \"$o\"; done; \
         echo {MARK} ready"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use super::*;
    use crate::digest::Digest;
    use crate::ssh::deploy::binaries::Arch;

    fn any_bytes() -> Vec<u8> {
        (1..=255).chain(*b"\n\n").collect()
    }

    fn binary(arch: Arch, content: &[u8]) -> Binary {
        Binary {
            arch,
            path: "unused".into(),
            bytes: content.len() as u64,
            digest: Digest::of(content),
            name: format!("pipeline-agent-test-{arch}"),
        }
    }

    /// Runs a command as sshd would, in a home of its own; what it wrote.
    fn run(shell: &str, command: &str, home: &std::path::Path, input: &[u8]) -> String {
        let stdin = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&stdin, input, 0).unwrap();
        let output = Command::new(shell).args(["-c", command]).env("HOME", home).stdin(stdin).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn any_bytes_reach_the_agent_through_any_shell() {
        let home = tempfile::tempdir().unwrap();
        let agent = b"#!/bin/sh\nprintf %s \"$3\" > \"$HOME/root\"\n";
        let binary = binary(Arch::own().unwrap(), agent);
        for shell in ["sh", "bash"] {
            assert_eq!(run(shell, &install(&binary), home.path(), agent), "=pipeline-agent= ready\n");
            for root in [any_bytes(), b"/home/pi/bee photos".to_vec(), b"/a/'\\''$(reboot)`\"!*".to_vec()] {
                let started = run(shell, &start(std::slice::from_ref(&binary), &root), home.path(), b"");
                assert_eq!(started, "=pipeline-agent= start\n");
                assert_eq!(std::fs::read(home.path().join("root")).unwrap(), root, "{shell}");
            }
        }
    }

    #[test]
    fn an_install_that_does_not_match_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let binary = binary(Arch::own().unwrap(), b"whole");
        assert_eq!(run("sh", &install(&binary), home.path(), b"who"), "=pipeline-agent= failed size\n");
        assert_eq!(run("sh", &install(&binary), home.path(), b"other"), "=pipeline-agent= failed digest\n");
        assert_eq!(std::fs::read_dir(home.path().join(".cache/pipeline")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_tool_says_is_part_of_the_answer() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".cache"), b"").unwrap();
        let answer = run("sh", &install(&binary(Arch::own().unwrap(), b"whole")), home.path(), b"whole");
        assert!(answer.starts_with("=pipeline-agent= failed directory mkdir: "), "{answer}");
    }

    #[test]
    fn an_install_removes_older_agents() {
        let home = tempfile::tempdir().unwrap();
        let old = binary(Arch::X86_64, b"old");
        let new = binary(Arch::Aarch64, b"new");
        for (binary, content) in [(&old, b"old"), (&new, b"new")] {
            assert_eq!(run("sh", &install(binary), home.path(), content), "=pipeline-agent= ready\n");
        }
        let left: Vec<_> = std::fs::read_dir(home.path().join(".cache/pipeline")).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].as_ref().unwrap().file_name().as_bytes(), new.name.as_bytes());
    }

    #[test]
    fn what_is_missing_is_said() {
        let home = tempfile::tempdir().unwrap();
        let machine = String::from_utf8(Command::new("uname").arg("-m").output().unwrap().stdout).unwrap();
        assert_eq!(run("sh", &start(&[], b"/"), home.path(), b""), format!("=pipeline-agent= missing {machine}"));
        assert_eq!(run("sh", &start(&[], b"/"), &home.path().join("gone"), b""), "=pipeline-agent= homeless\n");
    }
}
