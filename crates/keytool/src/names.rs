//! What the jump host and its key may be called.
//!
//! Guarantees: a name that passes means to `ssh` what it means to us, leads to no file that `ssh`, `sshd` or keytool reads as something
//! else, and is no Pi's, now or later. Pure but for following symlinks. Leaves to others: whether the file system takes the name.

use std::path::{Path, PathBuf};

use pipeline_core::error::{Class, Classified};

use crate::key::public_path;
use crate::places::Places;

/// Files of `~/.ssh` that OpenSSH reads by their names.
const OF_OPENSSH: [&str; 8] = [
    "config",
    "authorized_keys",
    "authorized_keys2",
    "known_hosts",
    "known_hosts2",
    "known_hosts.old",
    "environment",
    "rc",
];

/// Why a name can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// `ProxyJump none` goes without a jump host.
    #[error("'{alias}' can't be the alias of the jump host: to ssh, 'ProxyJump {alias}' means that there is none")]
    Keyword {
        /// As it was given.
        alias: String,
    },
    /// A Pi is called so, or will be: one would take the other's entry.
    #[error("'{alias}' can't be the alias of the jump host: it is the name of a Pi")]
    Pi {
        /// As it was given.
        alias: String,
    },
    /// A key must not lie where something else is read.
    #[error("{} can't be the key of the jump host: it is the place of something else", path.display())]
    Taken {
        /// The private half.
        path: PathBuf,
    },
}

impl Classified for NameError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            NameError::Keyword { .. } => "choose another name with --alias".into(),
            NameError::Pi { .. } => {
                "choose another name with --alias; what Pis are called says --pi-name, or name in the configuration"
                    .into()
            }
            NameError::Taken { .. } => "choose another file with --key, or another name with --alias".into(),
        })
    }
}

/// Whether the jump host may be called so, where Pis are called `pi_name`.
pub fn alias(alias: &str, pi_name: &str) -> Result<(), NameError> {
    if alias.eq_ignore_ascii_case("none") {
        return Err(NameError::Keyword { alias: alias.to_owned() });
    }
    if is_a_pis(alias, pi_name) {
        return Err(NameError::Pi { alias: alias.to_owned() });
    }
    Ok(())
}

/// Whether the key of the jump host may lie there. `others`: more files that are read as something else.
pub fn key(path: &Path, pi_name: &str, others: &[PathBuf], places: &Places) -> Result<(), NameError> {
    let taken = || NameError::Taken { path: path.to_owned() };
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(taken)?;
    // The same directory may be written in several ways.
    let real = |path: &Path| match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) => dir.canonicalize().unwrap_or_else(|_| dir.to_owned()).join(name),
        _ => path.to_owned(),
    };
    let halves = [real(path), real(&public_path(path))];
    let named = OF_OPENSSH.iter().map(|name| places.ssh_dir.join(name));
    let read = named.chain([places.ssh_config.clone(), places.owned_dir.clone()]).chain(others.iter().cloned());
    let is_read = read.map(|file| real(&file)).any(|file| halves.contains(&file));
    // `Include config.d/*` reads whatever lies there.
    let is_included = halves[0].parent() == Some(real(&places.owned_dir).as_path());
    let in_ssh_dir = halves[0].parent() == real(&places.ssh_dir.join("x")).parent();
    if is_read || is_included || name.ends_with(".pub") || (in_ssh_dir && is_a_pis(name, pi_name)) {
        return Err(taken());
    }
    Ok(())
}

/// Whether a Pi is called so, or files of its keys begin so.
fn is_a_pis(name: &str, pi_name: &str) -> bool {
    let Some((before, after)) = pi_name.split_once("{id}") else { return name == pi_name };
    let Some(number) = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)) else { return false };
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::tests::places;

    #[test]
    fn a_jump_host_is_called_what_nothing_else_is() {
        for good in ["awsbox", "raspberry", "raspberry-31", "raspberry31x", "config", "nonesuch"] {
            assert_eq!(alias(good, "raspberry{id}"), Ok(()), "{good}");
        }
        for (bad, pi_name) in
            [("none", "pi{id}"), ("None", "pi{id}"), ("pi31", "pi{id}"), ("pi031", "pi{id}"), ("7", "{id}")]
        {
            assert!(alias(bad, pi_name).is_err(), "{bad}");
        }
    }

    #[test]
    fn its_key_lies_where_nothing_else_is_read() {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path());
        std::fs::create_dir_all(&places.owned_dir).unwrap();
        std::os::unix::fs::symlink(".ssh", home.path().join("link")).unwrap();
        let yaml = home.path().join("pipeline.yaml");
        let judged = |path: &str| key(&home.path().join(path), "raspberry{id}", std::slice::from_ref(&yaml), &places);
        for good in [".ssh/awsbox", ".ssh/id_ed25519", "keys/config", "keys/raspberry31", ".ssh/config.old"] {
            assert_eq!(judged(good), Ok(()), "{good}");
        }
        for bad in [
            ".ssh/config",
            ".ssh/../.ssh/config",
            "link/authorized_keys",
            ".ssh/known_hosts",
            ".ssh/config.d",
            ".ssh/config.d/pipeline.conf",
            ".ssh/config.d/awsbox",
            ".ssh/raspberry31",
            ".ssh/awsbox.pub",
            "pipeline.yaml",
            "/",
        ] {
            assert!(judged(bad).is_err(), "{bad}");
        }
    }
}
