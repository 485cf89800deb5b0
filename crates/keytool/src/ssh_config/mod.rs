//! The OpenSSH config: the one file in it that keytool owns, and the line that includes it.
//!
//! Guarantees: of the user's own config nothing changes but one `Include` line at the very top; in the owned file only the blocks
//! that were asked for change, and in these only the keywords that keytool sets: what a person adds there stays. An alias that
//! the user's own files name is never given a second entry. Leaves to others: what an alias means ([`pipeline_core::ssh_config`]).

mod include;
mod owned;

pub use include::include;
pub use owned::Owned;

use pipeline_core::config::Onboarding;
use pipeline_core::path::DeviceName;

use crate::registry::Pi;

/// What the entry of one host says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its alias.
    pub alias: DeviceName,
    /// Keywords and values, in order.
    pub settings: Vec<(&'static str, String)>,
}

impl Entry {
    /// Of a Pi: its end of the tunnel on the jump host.
    pub fn of_pi(pi: &Pi, onboarding: &Onboarding, identity_file: &str) -> Entry {
        Entry {
            alias: pi.name.clone(),
            settings: vec![
                ("HostName", "localhost".into()),
                ("Port", pi.port.to_string()),
                ("User", onboarding.user.clone()),
                ("IdentityFile", quoted(identity_file)),
                ("IdentitiesOnly", "yes".into()),
                ("ProxyJump", onboarding.jump.clone()),
                // All Pis are a port of one localhost: without this, each key would be looked up as [localhost]:PORT.
                ("HostKeyAlias", pi.name.to_string()),
            ],
        }
    }

    /// Of the jump host.
    pub fn of_jump(alias: &DeviceName, hostname: &str, port: u16, user: &str, identity_file: &str) -> Entry {
        Entry {
            alias: alias.clone(),
            settings: vec![
                ("HostName", hostname.to_owned()),
                ("Port", port.to_string()),
                ("User", user.to_owned()),
                ("IdentityFile", quoted(identity_file)),
                ("IdentitiesOnly", "yes".into()),
            ],
        }
    }
}

/// A path as one word of an OpenSSH config, where `%` begins a token.
fn quoted(path: &str) -> String {
    let path = path.replace('%', "%%");
    if path.contains([' ', '\t', '#', '\'']) { format!("\"{path}\"") } else { path }
}
