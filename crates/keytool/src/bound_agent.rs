//! A key that may do nothing but be served by the agent, for one directory.
//!
//! Guarantees: the line that binds a key is written only after the agent that it names lies there whole; that agent has a place of
//! its own, outside of the cache that `pipeline` tidies up and that people empty. Where `pipeline` has a new version, a bound
//! key still starts the old agent, which says so; binding the key again puts the new one there.

use std::path::Path;

use pipeline_core::error::{Class, Classified};
use pipeline_core::path::DeviceName;
use pipeline_core::ssh::SshError;
use pipeline_core::ssh::deploy::{self, Agents};

use crate::authorized_keys::{Entry, Key, Options};
use crate::shell::{Remote, Shell, ask};

/// Where the agent of bound keys lies, below the login's home.
const PLACE: &str = ".local/lib/pipeline/pipeline-agent";

/// Why the agent of a bound key is not in its place.
#[derive(Debug, thiserror::Error)]
pub enum BoundAgentError {
    /// It could not be put on the machine, or a command did not come to its end.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// It could not be put in its place; the machine's words.
    #[error("can't put the agent at ~/{PLACE}: {0}")]
    Place(String),
}

impl Classified for BoundAgentError {
    fn class(&self) -> Class {
        match self {
            BoundAgentError::Ssh(error) => error.class(),
            BoundAgentError::Place(_) => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            BoundAgentError::Ssh(error) => error.hint(),
            BoundAgentError::Place(_) => {
                Some("the login must be able to write below its home directory; the key was not changed".into())
            }
        }
    }
}

/// The line for a key that may do nothing but be served by the agent for `source`; none for a path with a line break.
pub fn entry(key: Key, comment: &str, source: &Path) -> Option<Entry> {
    let source = source.to_str().filter(|source| !source.contains(['\n', '\r', '\0']))?;
    // The login's shell reads it: sh, csh and fish agree on `~` and on this way of quoting.
    let command = format!("exec ~/{PLACE} serve --root '{}'", source.replace('\'', "'\\''"));
    let options = Options::default().flag("restrict").value("command", &command);
    Some(Entry { options, ..Entry::plain(key, comment) })
}

/// Puts this version's agent in its place, through a login that may run commands. Whether it did not lie there already.
pub fn put(agents: &Agents, remote: &Remote, device: &DeviceName) -> Result<bool, BoundAgentError> {
    let Remote { connection, limit, cancel } = remote;
    let file = deploy::put(agents, connection, device, *limit, cancel, &())?;
    place(remote, &file)
}

/// Whether the machine has the directory that a key is to be bound to.
pub fn has_source(shell: &dyn Shell, source: &Path) -> Result<bool, SshError> {
    let look = r#"if [ -d "$s" ]; then w=there; else w=none; fi; echo "=keytool= $w""#;
    let source = std::os::unix::ffi::OsStrExt::as_bytes(source.as_os_str());
    Ok(ask(shell, &[("s", source)], look, b"")?.word == "there")
}

/// Copies a file of the login's home to the place, unless it lies there.
fn place(shell: &dyn Shell, file: &str) -> Result<bool, BoundAgentError> {
    let variables = [("f", file.as_bytes()), ("p", PLACE.as_bytes())];
    let answer = ask(shell, &variables, include_str!("bound_agent.sh"), b"")?;
    match answer.word.as_str() {
        "done" => Ok(true),
        "kept" => Ok(false),
        _ => Err(BoundAgentError::Place(answer.complaints)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::shell::tests::shells;

    #[test]
    fn the_agent_is_copied_once_and_replaced_by_another() {
        let (home, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for shell in shells(home.path(), tools.path()) {
            let place_of = home.path().join(PLACE);
            for content in ["one", "two"] {
                fs::write(home.path().join("agent 1"), content).unwrap();
                assert!(place(&shell, "agent 1").unwrap());
                assert_eq!(fs::read_to_string(&place_of).unwrap(), content);
                let first = fs::metadata(&place_of).unwrap();
                assert_eq!(first.permissions().mode() & 0o777, 0o700);
                assert!(!place(&shell, "agent 1").unwrap());
                let second = fs::metadata(&place_of).unwrap();
                assert_eq!(std::os::unix::fs::MetadataExt::ino(&first), std::os::unix::fs::MetadataExt::ino(&second));
            }
            assert_eq!(fs::read_dir(place_of.parent().unwrap()).unwrap().count(), 1);
            let error = place(&shell, "no agent").unwrap_err();
            assert!(matches!(&error, BoundAgentError::Place(words) if words.contains("no agent")), "{error}");
            assert_eq!(fs::read_to_string(&place_of).unwrap(), "two");
        }
    }

    #[test]
    fn any_source_reaches_the_agent() {
        let key =
            Key::parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS").unwrap().0;
        let home = tempfile::tempdir().unwrap();
        let place_of = home.path().join(PLACE);
        fs::create_dir_all(place_of.parent().unwrap()).unwrap();
        fs::write(&place_of, "#!/bin/sh\nprintf '%s,' \"$@\"").unwrap();
        fs::set_permissions(&place_of, PermissionsExt::from_mode(0o700)).unwrap();
        for source in ["/home/pi/beephotos", "/data/bee \"photos\", it's $HOME\\", "/data/\\\"; reboot"] {
            let entry = entry(key.clone(), "pipeline raspberry31", Path::new(source)).unwrap();
            assert_eq!(entry.options.all("restrict").first().map(String::as_str), Some(""));
            let command = entry.options.all("command").remove(0);
            for shell in ["dash", "bash"] {
                let run = std::process::Command::new(shell).args(["-c", &command]).env("HOME", home.path()).output();
                assert_eq!(String::from_utf8(run.unwrap().stdout).unwrap(), format!("serve,--root,{source},"));
            }
        }
        assert_eq!(entry(key, "", Path::new("/data\nrestrict")), None);
    }
}
