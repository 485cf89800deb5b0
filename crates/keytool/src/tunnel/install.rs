//! The texts to where they belong: the script to a Pi, the line to the jump host.
//!
//! Guarantees: nobody's tunnel is taken away unless that was asked for; a password goes to `sudo` alone, on its stdin, and only
//! where it will be read by it. After an error the Pi and the jump host are as they were or a step further, and the same call
//! goes on from there. Leaves to others: connections, and the order, which is key, line, unit.

use pipeline_core::error::{Class, Classified};
use pipeline_core::shell::in_sh;
use pipeline_core::ssh::SshError;
use program::words::printable;
use zeroize::Zeroizing;

use super::{Report, Step, Tunnel, TunnelError, belongs_to};
use crate::authorized_keys::{self, AuthorizedKeys, AuthorizedKeysError, Entry, Key};
use crate::shell::{Shell, ask, one_line};

/// How a login becomes root.
const ROOT: &str = r#"if [ "$(id -u)" = 0 ]; then w=root
elif ! command -v sudo >/dev/null; then w=none
elif sudo -n true 2>/dev/null; then w=free
else w=password
fi
echo "=keytool= $w""#;

/// Why something is not where it belongs.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The connection broke.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The jump host's `authorized_keys` could not be changed.
    #[error(transparent)]
    AuthorizedKeys(#[from] AuthorizedKeysError),
    /// There is no text.
    #[error(transparent)]
    Text(#[from] TunnelError),
    /// The login can't become root.
    #[error("the login is not root, and there is no sudo")]
    NoSudo,
    /// The login may become root, by a password that nobody has given.
    #[error("sudo wants a password")]
    SudoPassword,
    /// The Pi holds a tunnel of another device.
    #[error("it holds the tunnel of {0} already")]
    OtherDevice(String),
    /// The Pi has a unit of that name that somebody else has written.
    #[error("it has a unit ssh-tunnel.service that keytool did not write")]
    OtherUnit,
    /// The script failed; the Pi's words.
    #[error("the Pi could not be set up: {0}")]
    Failed(String),
    /// The jump host lets another key hold the device's tunnel.
    #[error("the jump host has another tunnel key for this Pi: {0}")]
    OtherKey(String),
    /// The jump host lets the key in by a line that says something else.
    #[error("the jump host lets this key in already, by another line")]
    OtherLine,
    /// The jump host lets the key in as what it is besides: a login, or the tunnel of another device.
    #[error("the jump host lets this key in already, as something else than this Pi's tunnel: {0}")]
    OtherUse(String),
}

impl Classified for InstallError {
    fn class(&self) -> Class {
        match self {
            InstallError::Ssh(error) => error.class(),
            InstallError::AuthorizedKeys(error) => error.class(),
            InstallError::Text(error) => error.class(),
            _ => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            InstallError::Ssh(error) => return error.hint(),
            InstallError::AuthorizedKeys(error) => return error.hint(),
            InstallError::Text(error) => return error.hint(),
            InstallError::NoSudo => "log in as root, or as a user that may use sudo".into(),
            InstallError::SudoPassword => "give the login's password by --password-stdin, or run it on a terminal".into(),
            InstallError::OtherDevice(_) => {
                "look whether it is the right Pi, or whether its card was copied from that one; --replace takes its place".into()
            }
            InstallError::OtherUnit => "--replace puts ours there, and keeps that one as ssh-tunnel.service.old".into(),
            InstallError::Failed(_) => {
                "without --install, keytool prints the script; run it there with 'sudo sh -x' to see more".into()
            }
            InstallError::OtherKey(_) => {
                "if its card was written anew, --replace takes the old key out; if not, a Pi in the field would lose its tunnel".into()
            }
            InstallError::OtherLine => "--replace puts ours in its place".into(),
            InstallError::OtherUse(_) => {
                "name the Pi's own tunnel key; if this is it, take that line out there first ('--revoke-jump' does it for a tunnel)".into()
            }
        })
    }
}

/// What became of a line on the jump host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is there now.
    Added,
    /// It was there.
    WasThere,
}

/// Runs a step of the script on a Pi, as root.
pub fn on_pi(
    shell: &dyn Shell,
    tunnel: &Tunnel,
    step: Step,
    replace: bool,
    password: Option<&Zeroizing<String>>,
) -> Result<Report, InstallError> {
    let mut input = Zeroizing::new(Vec::new());
    let become_root = match ask(shell, &[], ROOT, b"")?.word.as_str() {
        "root" => "",
        "free" => "sudo -n ",
        "none" => return Err(InstallError::NoSudo),
        "password" => {
            let password = password.ok_or(InstallError::SudoPassword)?;
            input.extend_from_slice(password.as_bytes());
            input.push(b'\n');
            // It will ask: it has just said so. Else the password would be the first line of the script.
            "sudo -k -S -p \"\" "
        }
        _ => return Err(AuthorizedKeysError::Noise(String::new()).into()),
    };
    input.extend_from_slice(tunnel.script(replace).as_bytes());
    let output = shell.run(&in_sh(&format!("exec {become_root}sh -s {step}")), &input)?;
    let report = Report::parse(&output.stdout);
    match &report.other {
        Some(other) if other == "unit" => return Err(InstallError::OtherUnit),
        Some(other) => return Err(InstallError::OtherDevice(other.clone())),
        None => {}
    }
    if !output.success() {
        return Err(InstallError::Failed(one_line(&String::from_utf8_lossy(&output.stderr))));
    }
    Ok(report)
}

/// Lets a Pi's tunnel key in at the jump host.
pub fn admit(shell: &dyn Shell, tunnel: &Tunnel, key: &Key, replace: bool) -> Result<Admission, InstallError> {
    // Whatever has come in between counts as it was when it was looked at.
    admitted(&authorized_keys::read(shell)?, tunnel, key, replace)?;
    let line = tunnel.authorization(key.clone())?;
    let changed = authorized_keys::edit(shell, |keys: &AuthorizedKeys| with_line(keys, tunnel, &line))?;
    Ok(if changed { Admission::Added } else { Admission::WasThere })
}

/// What it comes to with the keys that are let in there.
pub fn admitted(keys: &AuthorizedKeys, tunnel: &Tunnel, key: &Key, replace: bool) -> Result<Admission, InstallError> {
    let line = tunnel.authorization(key.clone())?;
    let is_old = |entry: &Entry| entry.key != *key && belongs_to(entry, &tunnel.device);
    if let Some(old) = keys.entries().into_iter().find(is_old).filter(|_| !replace) {
        return Err(InstallError::OtherKey(old.key.fingerprint()));
    }
    match keys.entry(key).filter(|entry| *entry != line) {
        // Not even with `replace`: bound to a tunnel, the collector's own key would be shut out of the whole fleet.
        Some(other) if !belongs_to(&other, &tunnel.device) => {
            return Err(InstallError::OtherUse(printable(&other.comment).into_owned()));
        }
        Some(_) if !replace => return Err(InstallError::OtherLine),
        _ => {}
    }
    Ok(if with_line(keys, tunnel, &line) == *keys { Admission::WasThere } else { Admission::Added })
}

fn with_line(keys: &AuthorizedKeys, tunnel: &Tunnel, line: &Entry) -> AuthorizedKeys {
    keys.without(|entry| entry.key != line.key && belongs_to(entry, &tunnel.device)).set(line)
}
