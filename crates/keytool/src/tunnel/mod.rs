//! The texts of a Pi's reverse tunnel: the Pi's unit and the script that sets it up, the jump host's line for the Pi's key, and the
//! jump host's `sshd_config`.
//!
//! Guarantees: pure, no file and no connection is touched; a Pi's tunnel key can listen on the port of this one Pi and do nothing
//! else; the jump host is known to the Pi by pinned keys alone; whatever goes into a text was checked to be a plain word, so
//! that no name can add an option, a line or a command. The private half of a tunnel key is made on the Pi and appears in no text.
//!
//! Leaves to others: where the jump host's keys come from, and bringing the texts to where they belong.

use std::fmt::Display;

use pipeline_core::error::{Class, Classified};
use pipeline_core::ssh::host_key::HostKey;

use crate::authorized_keys::{Entry, Key};

mod dismissal;
mod install;
#[cfg(test)]
mod install_tests;
mod jump;
#[cfg(test)]
mod live;
mod report;
#[cfg(test)]
mod tests;
mod unit;

pub use dismissal::{Dismissal, Holder, dismiss, dismissed};
pub use install::{Admission, InstallError, admit, admitted, on_pi};
pub use jump::{authorization, authorization_form, belongs_to, sshd_snippet};
pub use report::{Report, Service};

/// The account on the Pi that holds the tunnel, and the name of its unit and directory.
pub const ACCOUNT: &str = "ssh-tunnel";

const SCRIPT: &str = include_str!("pi.sh");

/// The jump host as the Pi must reach and know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// What the Pi's known_hosts calls it.
    pub alias: String,
    /// Name or address, as seen from the Pi.
    pub hostname: String,
    /// Port of its sshd.
    pub port: u16,
    /// The account that holds the tunnels there.
    pub user: String,
    /// Its host keys.
    pub host_keys: Vec<HostKey>,
}

/// One Pi's tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    device: String,
    port: u16,
    sshd_port: u16,
    jump: Jump,
    /// `/etc` on the Pi; elsewhere in tests.
    etc: String,
}

/// A step of the script on the Pi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Account and key.
    Key,
    /// Everything else, which wants the key's line on the jump host.
    Unit,
}

/// Why there is no text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// It would not be one plain word in a shell, a unit, or a list of options.
    #[error("{what} '{}' can't be used: {problem}", value.escape_debug())]
    Word {
        /// What it is.
        what: &'static str,
        /// The word.
        value: String,
        /// Why not.
        problem: &'static str,
    },
    /// Without one the Pi would trust whatever answers.
    #[error("no host key of the jump host '{alias}' is known")]
    NoHostKey {
        /// Its alias.
        alias: String,
    },
}

impl Classified for TunnelError {
    fn class(&self) -> Class {
        match self {
            TunnelError::Word { .. } => Class::Config,
            TunnelError::NoHostKey { .. } => Class::HostKey,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            TunnelError::Word { .. } => None,
            TunnelError::NoHostKey { .. } => {
                Some("run 'keytool init', which asks for its fingerprint and pins it".into())
            }
        }
    }
}

impl Tunnel {
    /// The tunnel from `port` of the jump host to the sshd of `device`, which listens on `sshd_port` there.
    pub fn new(device: &str, port: u16, sshd_port: u16, jump: Jump) -> Result<Tunnel, TunnelError> {
        word("device", device, "._-")?;
        word("alias of the jump host", &jump.alias, "._-")?;
        word("address of the jump host", &jump.hostname, "._-:")?;
        word("account on the jump host", &jump.user, "._-@")?;
        if jump.host_keys.is_empty() {
            return Err(TunnelError::NoHostKey { alias: jump.alias });
        }
        Ok(Tunnel { device: device.to_owned(), port, sshd_port, jump, etc: "/etc".into() })
    }

    /// The account that holds it on the jump host.
    pub fn jump_user(&self) -> &str {
        &self.jump.user
    }

    /// The unit file, for `/etc/systemd/system/ssh-tunnel.service` on the Pi.
    pub fn unit(&self) -> String {
        unit::text(self)
    }

    /// The Pi's known_hosts for the tunnel: the jump host and nobody else.
    pub fn known_hosts(&self) -> String {
        self.jump.host_keys.iter().map(|key| format!("{} {}\n", self.jump.alias, key.openssh())).collect()
    }

    /// The line of the jump host that lets the Pi's key in; see [`authorization`].
    pub fn authorization(&self, key: Key) -> Result<Entry, TunnelError> {
        authorization(&self.device, self.port, key)
    }

    /// The script that sets the Pi up, run as root: all of it, or the step that is its first argument. With `replace` it may
    /// take the place of another device's tunnel and of a unit that somebody else wrote.
    pub fn script(&self, replace: bool) -> String {
        let values = [
            ("@ETC@", self.etc.clone()),
            ("@DEVICE@", self.device.clone()),
            ("@ACCOUNT@", ACCOUNT.into()),
            ("@REPLACE@", if replace { "yes" } else { "" }.into()),
            ("@SSH@", unit::command(self).join(" ")),
            ("@HOSTNAME@", self.jump.hostname.clone()),
            ("@KNOWN_HOSTS@", self.known_hosts()),
            ("@UNIT@", self.unit()),
        ];
        values.iter().fold(SCRIPT.to_owned(), |text, (name, value)| text.replace(name, value.trim_end()))
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Step::Key => "key",
            Step::Unit => "unit",
        })
    }
}

/// ASCII letters, digits and these, and no option by its first letter.
fn word(what: &'static str, value: &str, also: &str) -> Result<(), TunnelError> {
    let refuse = |problem| Err(TunnelError::Word { what, value: value.to_owned(), problem });
    if value.is_empty() {
        return refuse("it is empty");
    }
    if value.starts_with('-') {
        return refuse("it begins like an option");
    }
    if !value.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c)) {
        return refuse("it may hold letters, digits and few signs only");
    }
    Ok(())
}
