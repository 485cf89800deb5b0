//! Why a login's `authorized_keys` could not be read or changed.

use pipeline_core::error::{Class, Classified};
use pipeline_core::ssh::SshError;

/// Why a login's `authorized_keys` could not be read or changed. It is as it was, unless the connection broke: then it
/// is as it was, or changed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizedKeysError {
    /// The command did not come to its end.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The shell answered something else; its words.
    #[error("the login's shell answers something else: {0}")]
    Noise(String),
    /// The account has no home directory.
    #[error("the login has no home directory")]
    Homeless,
    /// It can't be read; the machine's words.
    #[error("can't read ~/.ssh/authorized_keys: {0}")]
    Unreadable(String),
    /// It is something else than a file.
    #[error("~/.ssh/authorized_keys is not a file")]
    NotAFile,
    /// It is larger than any such file.
    #[error("~/.ssh/authorized_keys is larger than 1 MiB")]
    TooLarge,
    /// It belongs to another user.
    #[error("~/.ssh/authorized_keys belongs to another user than the login")]
    Foreign,
    /// It has more than one name.
    #[error("~/.ssh/authorized_keys has a second name, a hard link, which would not get the new content")]
    Linked,
    /// Somebody holds the lock.
    #[error("another keytool has been changing ~/.ssh/authorized_keys for 20 seconds")]
    Busy,
    /// It has other content each time.
    #[error("~/.ssh/authorized_keys changes all the time")]
    Restless,
    /// The disk is full; the machine's words.
    #[error("there is no space for ~/.ssh/authorized_keys: {0}")]
    NoSpace(String),
    /// It can't be written; the machine's words.
    #[error("can't write ~/.ssh/authorized_keys: {0}")]
    Unwritable(String),
}

impl AuthorizedKeysError {
    /// Of the step that a script names, and what the machine said.
    pub(super) fn of_step(step: &str, words: String) -> AuthorizedKeysError {
        match step {
            "home" => AuthorizedKeysError::Homeless,
            "kind" => AuthorizedKeysError::NotAFile,
            "large" => AuthorizedKeysError::TooLarge,
            "read" => AuthorizedKeysError::Unreadable(words),
            "owner" => AuthorizedKeysError::Foreign,
            "links" => AuthorizedKeysError::Linked,
            "busy" => AuthorizedKeysError::Busy,
            _ if words.contains("No space left") || words.contains("quota exceeded") => {
                AuthorizedKeysError::NoSpace(words)
            }
            _ if words.is_empty() => AuthorizedKeysError::Unwritable(format!("no {step}")),
            _ => AuthorizedKeysError::Unwritable(words),
        }
    }
}

impl Classified for AuthorizedKeysError {
    fn class(&self) -> Class {
        match self {
            AuthorizedKeysError::Ssh(error) => error.class(),
            AuthorizedKeysError::Busy | AuthorizedKeysError::Restless => Class::Transient,
            _ => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            AuthorizedKeysError::Ssh(error) => return error.hint(),
            AuthorizedKeysError::Noise(_) => {
                "the login must be allowed to run commands; a key that is bound to a command can't change its own line"
                    .into()
            }
            AuthorizedKeysError::Homeless => "give the login a home directory".into(),
            AuthorizedKeysError::NoSpace(_) => "free some space on the machine and run it again".into(),
            AuthorizedKeysError::Busy | AuthorizedKeysError::Restless => "run it again".into(),
            AuthorizedKeysError::Foreign => "whoever looks after that file has to add the key".into(),
            AuthorizedKeysError::Linked => {
                "see which of the two sshd reads (AuthorizedKeysFile), and make the other a symbolic link or a copy"
                    .into()
            }
            AuthorizedKeysError::NotAFile | AuthorizedKeysError::TooLarge => "look at it on the machine".into(),
            AuthorizedKeysError::Unreadable(_) | AuthorizedKeysError::Unwritable(_) => {
                "the login must be able to read and write its own ~/.ssh; nothing was changed".into()
            }
        })
    }
}
