//! The OpenSSH config: the one file in it that keytool owns, and the line that includes it.
//!
//! Guarantees: of the user's own config nothing changes but one `Include` line at the very top; in the owned file only the blocks
//! that were asked for change, and in these only the keywords that keytool sets: what a person adds there stays. An alias that
//! the user's own files name is never given a second entry, and no value is written that would be read as another. Leaves to others: what an alias means ([`pipeline_core::ssh_config`]).

mod error;
mod include;
mod owned;

pub use error::EntryError;
pub use include::{include, included};
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
    pub fn of_pi(pi: &Pi, onboarding: &Onboarding, identity_file: &str) -> Result<Entry, EntryError> {
        Ok(Entry {
            alias: pi.name.clone(),
            settings: vec![
                ("HostName", "localhost".into()),
                ("Port", pi.port.to_string()),
                ("User", word("the login", &onboarding.user)?),
                ("IdentityFile", quoted(identity_file)?),
                ("IdentitiesOnly", "yes".into()),
                ("ProxyJump", onboarding.jump.clone()),
                // All Pis are a port of one localhost: without this, each key would be looked up as [localhost]:PORT.
                ("HostKeyAlias", pi.name.to_string()),
            ],
        })
    }

    /// Of the jump host.
    pub fn of_jump(
        alias: &DeviceName,
        hostname: &str,
        port: u16,
        user: &str,
        identity_file: &str,
    ) -> Result<Entry, EntryError> {
        Ok(Entry {
            alias: alias.clone(),
            settings: vec![
                ("HostName", word("the host", hostname)?),
                ("Port", port.to_string()),
                ("User", word("the login", user)?),
                ("IdentityFile", quoted(identity_file)?),
                ("IdentitiesOnly", "yes".into()),
            ],
        })
    }
}

/// A name or an address: what needs no quotes, is no option, and holds nothing that `ssh` replaces or refuses.
fn word(what: &'static str, value: &str) -> Result<String, EntryError> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || "\"'`\\#%$;&<>|(){}=,".contains(c);
    if value.is_empty() || value.starts_with('-') || value.contains(is_bad) {
        return Err(EntryError::Word { what, value: value.to_owned() });
    }
    Ok(value.to_owned())
}

/// A path as one word of an OpenSSH config, where `%` begins a token and `${` a variable.
fn quoted(path: &str) -> Result<String, EntryError> {
    // Which way a quote or a backslash is read depends on the version. `\u{fffd}` stands where a path is not UTF-8.
    let is_bad = |c: char| c.is_control() || matches!(c, '"' | '\\' | '\u{fffd}');
    if path.contains(is_bad) || path.contains("${") {
        return Err(EntryError::Path { path: path.to_owned() });
    }
    let path = path.replace('%', "%%");
    Ok(if path.contains([' ', '#', '\'']) { format!("\"{path}\"") } else { path })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What `ssh` makes of the entry of a jump host with this key.
    fn meant(entry: &Entry) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let lines: String = entry.settings.iter().map(|(keyword, value)| format!("{keyword} {value}\n")).collect();
        std::fs::write(&file, lines).unwrap();
        let output = Command::new("ssh").arg("-GF").arg(&file).arg("awsbox").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant_or_not_written() {
        let alias = DeviceName::new("awsbox").unwrap();
        let entry = |host: &str, user: &str, path: &str| Entry::of_jump(&alias, host, 22, user, path);
        for path in ["/x/my key", "/x/o'neil", "/x/#1", "/x/caf\u{e9}=,;", "/x/$1"] {
            let meant = meant(&entry("iot.example.org", "bee", path).unwrap());
            assert!(meant.lines().any(|line| line == format!("identityfile {path}")), "{path}: {meant}");
        }
        // It is printed before `%%` becomes `%`.
        assert!(meant(&entry("a", "b", "/x/50%").unwrap()).contains("identityfile /x/50%%\n"));
        for path in ["/x/\"", "/x\\", "/x\ny", "/x\ty", "/${HOME}", "/\u{fffd}"] {
            assert_eq!(entry("a", "b", path), Err(EntryError::Path { path: path.into() }), "{path:?}");
        }
        let good = meant(&entry("2001:db8::1", "bee@example.org", "/x").unwrap());
        assert!(good.contains("hostname 2001:db8::1\n") && good.contains("user bee@example.org\n"), "{good}");
        for bad in ["", "a b", "a\tb", "a\nUser root", "a\"b", "-oProxyCommand=x", "a%h", "=a", "a#b", "${HOME}", "a\\"]
        {
            assert!(matches!(entry(bad, "b", "/x"), Err(EntryError::Word { .. })), "{bad:?}");
            assert!(matches!(entry("a", bad, "/x"), Err(EntryError::Word { .. })), "{bad:?}");
        }
    }
}
