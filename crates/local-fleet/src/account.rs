//! Users with passwords and homes of their own, for some programs only.
//!
//! Such a program gets a room of its own: a private mount namespace in which `/etc/passwd`, `shadow`, `group`, `nsswitch.conf` and PAM's service file for
//! `sshd` are others: so an unprivileged `sshd` checks a password with the real PAM against an account that this computer does
//! not have, and its `~` is a directory of ours. Nothing outside the room changes, and the room goes with its last process.
//!
//! Inside, the user is an ordinary one (number 1000, without any privilege), whoever started it; so modes of files count there
//! even for tests that run as root. It needs user namespaces: `unshare` of util-linux 2.38, root or a system that allows them
//! to ordinary users. What it can't show: `sudo`, other users, an `sshd` that runs as root.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::programs::system;
use crate::{Error, Result};

/// Who logs in at the jump host.
pub const JUMP_USER: &str = "data-pipeline-svc";
/// Who logs in at a Pi.
pub const PI_USER: &str = "pi";

/// Mounts what is in the directory `$1` over the files of `/etc` that are there, and runs the rest as user 1000.
const ENTER: &str = "dir=$1; shift; \
    for file in passwd shadow group nsswitch.conf pam.d/sshd; do \
        if [ -e /etc/$file ]; then mount --bind \"$dir/$file\" /etc/$file || exit 1; fi; \
    done; \
    exec unshare --user --map-user=1000 --map-group=1000 -- \"$@\"";

/// Debian's, without what needs other parts of a real system, and without the pause after a wrong password.
const PAM: &str = "auth required pam_unix.so nodelay\naccount required pam_unix.so\nsession required pam_permit.so\n";

/// A user of a room.
pub(crate) struct Account<'a> {
    name: &'a str,
    /// As the shadow file has it.
    hash: String,
    home: &'a Path,
}

impl<'a> Account<'a> {
    pub fn with_password(name: &'a str, password: &str, home: &'a Path) -> Result<Account<'a>> {
        Ok(Account { name, hash: hash(password)?, home })
    }

    pub fn without_password(name: &'a str, home: &'a Path) -> Account<'a> {
        Account { name, hash: "*".into(), home }
    }
}

/// What the programs of one machine see in `/etc`.
pub(crate) struct Room {
    etc: PathBuf,
}

impl Room {
    /// Writes the files down in a directory.
    pub fn new(etc: &Path, account: &Account<'_>) -> Result<Room> {
        let Account { name, hash, home } = account;
        let home = home.display();
        fs::create_dir_all(etc.join("pam.d")).map_err(Error::file("create", etc))?;
        let passwd = format!("root:x:0:0:root:/root:/bin/sh\n{name}:x:1000:1000::{home}:/bin/sh\n");
        let files = [
            ("passwd", passwd.as_str()),
            // Changed long ago, never expires.
            ("shadow", &format!("root:*:19000::::::\n{name}:{hash}:19000:0:99999:7:::\n")),
            ("group", &format!("root:x:0:\n{name}:x:1000:\n")),
            ("nsswitch.conf", "passwd: files\nshadow: files\ngroup: files\nhosts: files dns\n"),
            ("pam.d/sshd", PAM),
        ];
        for (file, text) in files {
            let path = etc.join(file);
            fs::write(&path, text).map_err(Error::file("write", &path))?;
        }
        Ok(Room { etc: etc.into() })
    }

    /// The program and the arguments that run `program` inside; its own arguments follow.
    pub fn door(&self, program: &Path) -> Result<(PathBuf, Vec<OsString>)> {
        let unshare = ["--user", "--map-root-user", "--mount", "--", "sh", "-c", ENTER, "room"];
        let mut args: Vec<OsString> = unshare.map(Into::into).into();
        args.extend([self.etc.as_os_str().to_owned(), program.as_os_str().to_owned()]);
        Ok((system("unshare")?, args))
    }
}

/// Writes `authorized_keys` into a home, with the modes that `sshd` wants. What was there is lost.
pub fn authorize(home: &Path, lines: &str) -> Result<()> {
    let dir = home.join(".ssh");
    fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    let file = dir.join("authorized_keys");
    fs::write(&file, lines).map_err(Error::file("write", &file))?;
    for (path, mode) in [(home, 0o755), (&dir, 0o700), (&file, 0o600)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::file("change the mode of", path))?;
    }
    Ok(())
}

/// As `crypt(3)` has it: SHA-512 with few rounds, because each login of a test pays for them.
fn hash(password: &str) -> Result<String> {
    const SCRIPT: &str = "local $/; print crypt(<STDIN>, q($6$rounds=1000$localfleet$))";
    let failed = |cause| Error::Spawn { program: "perl".into(), cause };
    let mut perl = Command::new(system("perl")?)
        .args(["-e", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = perl.stdin.take() {
        stdin.write_all(password.as_bytes()).map_err(failed)?;
    }
    let said = String::from_utf8_lossy(&perl.wait_with_output().map_err(failed)?.stdout).into_owned();
    if said.starts_with("$6$") { Ok(said) } else { Err(Error::Helper { program: "perl".into(), said }) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_room_has_its_own_user_and_home() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        let room = Room::new(&dir.path().join("etc"), &Account::with_password("bee", "honey", &home).unwrap()).unwrap();
        let (unshare, args) = room.door(Path::new("/bin/sh")).unwrap();
        let output = Command::new(unshare).args(args).args(["-c", "id -un; id -u; echo ~bee"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, format!("bee\n1000\n{}\n", home.display()), "{}", String::from_utf8_lossy(&output.stderr));
        // Nobody else knows that user.
        assert!(!Command::new("id").arg("bee").stderr(Stdio::null()).status().unwrap().success());
    }
}
