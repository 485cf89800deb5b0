//! Why a machine was not taken in.

use std::path::PathBuf;

use pipeline_core::error::{Class, Classified, one_line};
use pipeline_core::remote::ConnectError;
use pipeline_core::ssh::SshError;

use super::trust::TrustError;
use crate::authorized_keys::AuthorizedKeysError;
use crate::bound_agent::BoundAgentError;
use crate::key::KeyError;

/// Why a machine was not taken in. Whatever was done before stays done; running it again does the rest.
#[derive(Debug, thiserror::Error)]
pub enum OnboardError {
    /// It was not reached, or did not let us in.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// It may be another machine.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Our key could not be put there.
    #[error("can't install the public key")]
    Install(#[from] AuthorizedKeysError),
    /// The agent of a key that is bound to it could not be put there.
    #[error(transparent)]
    BoundAgent(#[from] BoundAgentError),
    /// Nobody vouched for its host key yet.
    #[error("no host key of '{0}' is pinned")]
    NotPinned(String),
    /// The person said no.
    #[error("not confirmed")]
    Declined,
    /// Our key pair can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Our key pair is not there.
    #[error("the key {} is not there", .0.display())]
    NoKey(PathBuf),
    /// Our key was installed, and the machine does not let it in.
    #[error("the public key is installed, but is not let in")]
    NotLetIn(#[source] SshError),
    /// A key that nobody is there to unlock.
    #[error("the key {} has a passphrase: a new one in its place could not be tried", .0.display())]
    Encrypted(PathBuf),
    /// The same, of a login.
    #[error("the login was not tried: the key {} has a passphrase, and no ssh-agent holds it", .0.display())]
    Locked(PathBuf),
    /// A key that somebody chose for this machine.
    #[error("the key {} is one that an entry of your own names, and may serve elsewhere", key.display())]
    ChosenByHand {
        /// The private half.
        key: PathBuf,
        /// The one that keytool would make.
        own: PathBuf,
    },
    /// A key that serves elsewhere.
    #[error("'{with}' is reached with the key {} too", key.display())]
    Shared {
        /// The private half.
        key: PathBuf,
        /// Another alias.
        with: String,
    },
    /// A key that was to be shut out.
    #[error("{} is the key in use, and was not shut out", .0.display())]
    InUse(PathBuf),
    /// Another keytool is at it.
    #[error("another keytool is rotating or removing the key {}", .0.display())]
    Claimed(PathBuf),
    /// A key that was shut out, and is let in all the same.
    #[error("the old key {} is out of authorized_keys, but is still let in", .0.display())]
    StillLetIn(PathBuf),
    /// A key that was bound, and runs commands all the same.
    #[error("the key is bound to the agent in authorized_keys, but still runs commands")]
    Unbound,
    /// A path that no line of `authorized_keys` can hold.
    #[error("the source that the key is to be bound to has a line break in its name")]
    Source,
    /// What a key was to be bound to.
    #[error("there is no directory {} on it; the key was not bound", .0.display())]
    NoSource(PathBuf),
    /// It lets our key in, and a visit could not begin all the same.
    #[error("the login works, but a visit could not begin: {}", one_line(.0.as_ref()))]
    Visit(ConnectError),
    /// The same, of a line that was to go.
    #[error("the key is bound to the agent there and can't take its own line out of authorized_keys")]
    LineStays,
    /// It lets our key in, but only to the agent.
    #[error("the key is bound to the agent there and can't change authorized_keys")]
    Bound,
}

impl Classified for OnboardError {
    fn class(&self) -> Class {
        match self {
            OnboardError::Ssh(error) => error.class(),
            OnboardError::Trust(error) => error.class(),
            OnboardError::Install(error) => error.class(),
            OnboardError::BoundAgent(error) => error.class(),
            OnboardError::NotLetIn(error) => error.class(),
            OnboardError::Key(error) => error.class(),
            OnboardError::Visit(error) => error.class(),
            OnboardError::Declined | OnboardError::NotPinned(_) => Class::HostKey,
            OnboardError::Claimed(_) => Class::Locked,
            OnboardError::NoKey(_)
            | OnboardError::Encrypted(_)
            | OnboardError::Locked(_)
            | OnboardError::InUse(_)
            | OnboardError::ChosenByHand { .. }
            | OnboardError::Shared { .. }
            | OnboardError::StillLetIn(_)
            | OnboardError::Unbound
            | OnboardError::Source
            | OnboardError::NoSource(_)
            | OnboardError::LineStays
            | OnboardError::Bound => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            OnboardError::Ssh(error) => error.hint(),
            OnboardError::Trust(error) => error.hint(),
            OnboardError::Install(error) => error.hint(),
            OnboardError::BoundAgent(error) => error.hint(),
            OnboardError::Key(error) => error.hint(),
            OnboardError::Visit(error) => error.hint(),
            OnboardError::NoKey(_) => Some("run it again: the pair is made where it is missing".into()),
            OnboardError::Source => None,
            OnboardError::NoSource(_) => Some("give the directory that the camera writes to, or make it first".into()),
            OnboardError::StillLetIn(_) | OnboardError::Unbound => Some(
                "sshd there looks elsewhere too: see AuthorizedKeysFile (often with authorized_keys2) and AuthorizedKeysCommand in \
                 its sshd_config; then run this again"
                    .into(),
            ),
            OnboardError::NotLetIn(_) => Some(
                "sshd passes the file over where others may write to the login's home ('chmod go-w ~' there), or looks elsewhere: see \
                 AuthorizedKeysFile and PubkeyAuthentication in its sshd_config, and its log. As whom \
                 and with which key we log in says 'ssh -G' here"
                    .into(),
            ),
            OnboardError::Encrypted(_) => {
                Some("'keytool remove-pi' sets it aside, and 'keytool add-pi --passphrase' makes another".into())
            }
            OnboardError::Locked(path) => {
                Some(format!("'ssh-add {}', for whoever runs 'pipeline sync' too: without that, no run gets in", path.display()))
            }
            OnboardError::ChosenByHand { own, .. } => Some(format!(
                "write 'IdentityFile {}' into that entry: 'keytool add-pi' then makes a key of its own",
                own.display()
            )),
            OnboardError::Shared { key, .. } => {
                Some(format!("take {} out of one of the two entries: each needs a key of its own", key.display()))
            }
            OnboardError::InUse(path) => Some(format!(
                "it lies where an interrupted rotation leaves the old one: move {0} and {0}.pub away, and run it again",
                path.display()
            )),
            OnboardError::Claimed(_) => {
                Some("wait until it ends: this one has changed nothing. Then 'keytool check' says what there is".into())
            }
            OnboardError::NotPinned(_) => Some("'keytool add-pi' asks for it".into()),
            OnboardError::Declined => Some(
                "compare with what 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' says on the machine itself"
                    .into(),
            ),
            OnboardError::LineStays => Some(
                "--password-stdin or --identity gets in another way; --offline removes the Pi here alone, and its line there stays"
                    .into(),
            ),
            OnboardError::Bound => {
                Some("give --password-stdin or --identity with a key that may run commands there".into())
            }
        }
    }
}
