//! What can be wrong with an OpenSSH config.

use std::path::PathBuf;

use crate::error::{Class, Classified};

/// Why an OpenSSH config can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SshConfigError {
    /// The file, or one that it includes, can't be read.
    #[error("can't read the OpenSSH config {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that OpenSSH would refuse, or that can't be followed here.
    #[error("{}:{line}: {problem}", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody else could have written an included file.
    #[error("{} belongs to another user or can be written by everybody", path.display())]
    Permissions {
        /// Which file.
        path: PathBuf,
    },
    /// A `Match` whose outcome decides about this host and that can't be decided without running or asking something.
    #[error("{}:{line}: 'Match {criterion}' decides about host '{alias}' and is not supported", file.display())]
    Match {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The criterion, such as `exec`.
        criterion: String,
        /// The host that was looked up.
        alias: String,
    },
    /// A `%` token or `${NAME}` that has no value.
    #[error("host '{alias}': {keyword} '{value}': {problem}")]
    Token {
        /// The host that was looked up.
        alias: String,
        /// The keyword.
        keyword: &'static str,
        /// Its value as written.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The hops to a host lead in a circle or do not end.
    #[error("host '{alias}': the ProxyJump hops lead in a circle through '{hop}'")]
    JumpLoop {
        /// The host that was looked up.
        alias: String,
        /// Where the circle closes.
        hop: String,
    },
    /// A host is reached through a command.
    #[error("host '{alias}' is reached by ProxyCommand, which is not supported")]
    ProxyCommand {
        /// The host, which may be a hop.
        alias: String,
    },
}

impl Classified for SshConfigError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            SshConfigError::Read { path, .. } => {
                format!("'ssh_config' in the configuration names the file; check that {} can be read", path.display())
            }
            SshConfigError::Line { .. } => return None,
            SshConfigError::Permissions { path } => {
                format!("as for ssh itself: 'chmod go-w {}', and own it", path.display())
            }
            SshConfigError::Match { alias, .. } => {
                format!("write a plain 'Host {alias}' block, or leave '{alias}' out with '!originalhost {alias}'")
            }
            SshConfigError::Token { alias, .. } => {
                format!("'ssh -v {alias}' shows what OpenSSH makes of it; write the value out")
            }
            SshConfigError::JumpLoop { hop, .. } => format!("give 'Host {hop}' a line 'ProxyJump none'"),
            SshConfigError::ProxyCommand { .. } => "write 'ProxyJump HOST' instead of 'ProxyCommand ssh -W …'".into(),
        })
    }
}
