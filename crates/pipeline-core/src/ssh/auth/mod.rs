//! Who are we? Public-key authentication with the user's files and ssh agent; a password where somebody gave one.
//!
//! Guarantees that keys are offered in the order that the OpenSSH config gives, each at most once, that nothing is asked of a
//! person, and that a refusal names what was offered and what could not be. Offers no more than it must: sshd counts every key
//! that does not fit (`MaxAuthTries`). A password is sent once, and stands in no error and no `Debug`.
//!
//! Leaves to others: the session, and the proof that the server is the right one. A [`Transport`] is that proof: there is none
//! before the host key was accepted.

mod password;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libssh2_sys as raw;
use ssh2::Agent;
use zeroize::Zeroizing;

use super::identity::{Identity, KeyProblem};
use super::patience::{Impatience, Patience};
use super::session::{CallError, Transport, error_code};
use crate::error::{Class, Classified};
use crate::ssh_config::HostParams;

/// How long an ssh agent may take to say which keys it holds.
const AGENT_WAIT: Duration = Duration::from_secs(3);
/// The longest answer of an ssh agent, as OpenSSH has it.
const MAX_AGENT_BYTES: u64 = 256 * 1024;

/// What to log in with.
#[derive(Clone, Default)]
pub enum Credentials {
    /// The keys that the OpenSSH config names, and its ssh agent.
    #[default]
    Config,
    /// A password, by the methods `password` and `keyboard-interactive`; no key is offered. Erased from memory when dropped;
    /// the short-lived copies that libssh2 makes are not.
    Password(Zeroizing<String>),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::Config => "Config",
            Credentials::Password(_) => "Password(…)",
        })
    }
}

/// Why a server did not let us in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It refused every key.
    #[error("user '{user}' is refused with {}{}", offered.join(", "), not_offered(problems))]
    Refused {
        /// The login.
        user: String,
        /// What was offered, in order.
        offered: Vec<String>,
        /// What could not be offered.
        problems: Vec<(PathBuf, KeyProblem)>,
    },
    /// It ended the connection in the middle.
    #[error("the server ended the connection after {} for user '{user}'", tried(offered))]
    Ended {
        /// The login.
        user: String,
        /// What was offered, in order.
        offered: Vec<String>,
    },
    /// There was nothing to offer.
    #[error("no key to offer for user '{user}'{}", not_offered(problems))]
    NoKey {
        /// The login.
        user: String,
        /// What could not be offered.
        problems: Vec<(PathBuf, KeyProblem)>,
    },
    /// The password is wrong, or the account may not log in.
    #[error("the password for user '{user}' is refused")]
    WrongPassword {
        /// The login.
        user: String,
    },
    /// The password is right and has expired: it must be changed first.
    #[error("the password for user '{user}' has expired")]
    PasswordExpired {
        /// The login.
        user: String,
    },
    /// It lets nobody in by password.
    #[error("the server takes no password, only {}", methods.join(", "))]
    NoPasswordMethod {
        /// What it takes instead.
        methods: Vec<String>,
    },
    /// It asks for more than a password, such as a one-time code.
    #[error("the server asks user '{user}' for more than a password: '{question}'")]
    OtherQuestion {
        /// The login.
        user: String,
        /// Its words, without control characters.
        question: String,
    },
    /// No end within the time given.
    #[error("timed out")]
    TimedOut,
    /// Somebody asked to stop.
    #[error("stopped")]
    Cancelled,
    /// The exchange itself failed.
    #[error("the exchange failed")]
    Failed(#[source] ssh2::Error),
}

fn tried(offered: &[String]) -> String {
    match offered {
        [one] if one == password::NAME => one.clone(),
        [_] => "1 key".into(),
        keys => format!("{} keys", keys.len()),
    }
}

fn not_offered(problems: &[(PathBuf, KeyProblem)]) -> String {
    let list: Vec<String> = problems.iter().map(|(path, why)| format!("{} ({why})", path.display())).collect();
    if list.is_empty() { String::new() } else { format!("; not offered: {}", list.join(", ")) }
}

impl Classified for AuthError {
    fn class(&self) -> Class {
        match self {
            AuthError::Refused { .. }
            | AuthError::NoKey { .. }
            | AuthError::WrongPassword { .. }
            | AuthError::PasswordExpired { .. }
            | AuthError::NoPasswordMethod { .. }
            | AuthError::OtherQuestion { .. } => Class::Config,
            AuthError::Ended { offered, .. } if offered.len() > 1 => Class::Config,
            AuthError::TimedOut => Class::Unreachable,
            AuthError::Ended { .. } | AuthError::Failed(_) => Class::Transient,
            AuthError::Cancelled => Class::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            AuthError::NoKey { problems, .. } => problems.first().map(|(path, why)| remedy(path, why)),
            AuthError::Refused { user, problems, .. } => Some(match problems.first() {
                Some((path, why)) => remedy(path, why),
                None => format!("the public key must stand in ~{user}/.ssh/authorized_keys there"),
            }),
            AuthError::WrongPassword { user } => {
                Some(format!("check user name and password: 'ssh {user}@…' by hand must accept them"))
            }
            AuthError::PasswordExpired { .. } => {
                Some("log in once by hand: the machine then asks for a new password".into())
            }
            AuthError::NoPasswordMethod { .. } => Some(
                "use a key that it knows already, or 'PasswordAuthentication yes' in sshd_config there until ours is installed"
                    .into(),
            ),
            AuthError::OtherQuestion { .. } => {
                Some("use a key that it knows already: such a question can't be answered here".into())
            }
            AuthError::Ended { offered, .. } if tried(offered) == password::NAME => None,
            AuthError::Ended { .. } => Some(
                "'IdentitiesOnly yes' and one IdentityFile in the OpenSSH config keep the number of keys small".into(),
            ),
            AuthError::TimedOut | AuthError::Cancelled | AuthError::Failed(_) => None,
        }
    }
}

fn remedy(path: &Path, why: &KeyProblem) -> String {
    let path = path.display();
    match why {
        KeyProblem::Missing => format!("'IdentityFile {path}' in the OpenSSH config must name a private key"),
        KeyProblem::Unreadable(_) => format!("make {path} readable for the user that runs this, and for nobody else"),
        KeyProblem::TooOpen(_) => format!("chmod 600 {path}"),
        KeyProblem::Encrypted => {
            format!("'ssh-add {path}' where an ssh agent runs; unattended, use a key without passphrase")
        }
        KeyProblem::NoAgent(_) => format!("'SSH_AUTH_SOCK={path} ssh-add -l' must list the keys"),
        KeyProblem::NotAKey | KeyProblem::Unusable(_) => format!("'ssh-keygen -yf {path}' must accept the key"),
    }
}

/// Authenticates, and returns about the time of a round trip.
pub fn authenticate(
    transport: &Transport,
    host: &HostParams,
    credentials: &Credentials,
    patience: &Patience,
) -> Result<Duration, AuthError> {
    let mut attempt = Attempt { transport, user: &host.user, patience, offered: Vec::new() };
    match credentials {
        Credentials::Config => with_keys(&mut attempt, host),
        Credentials::Password(secret) => attempt.with_password(secret),
    }
}

fn with_keys(attempt: &mut Attempt<'_>, host: &HostParams) -> Result<Duration, AuthError> {
    let transport = attempt.transport;
    let mut problems = Vec::new();
    let mut agent = AgentKeys::default();
    // The agent is asked when it is first needed.
    let mut socket = host.identity_agent.as_deref();
    let mut ask = |agent: &mut AgentKeys, problems: &mut Vec<(PathBuf, KeyProblem)>| {
        let Some(socket) = socket.take() else { return };
        match AgentKeys::connect(transport, socket) {
            Ok(keys) => *agent = keys,
            Err(why) => problems.push((socket.to_owned(), KeyProblem::NoAgent(why))),
        }
    };
    let mut refused = Vec::new();
    for path in &host.identity_files {
        let identity = Identity::load(path);
        let why = match &identity.private {
            Ok(private) => match attempt.file(path, private)? {
                Offer::Accepted(took) => return Ok(took),
                Offer::Refused => {
                    refused.extend(identity.public);
                    continue;
                }
                Offer::Unusable(words) => KeyProblem::Unusable(words),
            },
            Err(_) => KeyProblem::NotAKey,
        };
        let why = identity.private.err().unwrap_or(why);
        if identity.public.is_some() {
            ask(&mut agent, &mut problems);
        }
        match agent.take(identity.public.as_deref()) {
            Some(key) => {
                if let Offer::Accepted(took) = attempt.agent(&agent, &key)? {
                    return Ok(took);
                }
            }
            None if host.default_identities && matches!(why, KeyProblem::Missing) => {}
            None => problems.push((path.clone(), why)),
        }
    }
    if !host.identities_only {
        ask(&mut agent, &mut problems);
        agent.keys.retain(|key| !refused.iter().any(|public| public == key.blob()));
        while let Some(key) = agent.keys.pop_front() {
            if let Offer::Accepted(took) = attempt.agent(&agent, &key)? {
                return Ok(took);
            }
        }
    }
    let user = host.user.clone();
    Err(match std::mem::take(&mut attempt.offered) {
        offered if offered.is_empty() => AuthError::NoKey { user, problems },
        offered => AuthError::Refused { user, offered, problems },
    })
}

/// How a server took a key.
enum Offer {
    /// We are in; how long a round trip took.
    Accepted(Duration),
    Refused,
    /// The key could not even be offered; libssh2's words.
    Unusable(String),
}

struct Attempt<'a> {
    transport: &'a Transport,
    user: &'a str,
    patience: &'a Patience,
    offered: Vec<String>,
}

impl Attempt<'_> {
    fn file(&mut self, path: &Path, private: &str) -> Result<Offer, AuthError> {
        let session = &self.transport.session;
        self.offer(path.display().to_string(), || session.userauth_pubkey_memory(self.user, None, private, None))
    }

    fn agent(&mut self, agent: &AgentKeys, key: &ssh2::PublicKey) -> Result<Offer, AuthError> {
        let Some(agent) = &agent.agent else { return Ok(Offer::Refused) };
        self.offer(format!("{} of the ssh agent", key.comment()), || agent.userauth(self.user, key))
    }

    fn offer(&mut self, what: String, call: impl FnMut() -> Result<(), ssh2::Error>) -> Result<Offer, AuthError> {
        let began = Instant::now();
        match self.call(&what, call)? {
            // One round trip to ask whether the key would do, one to prove that we have it.
            Ok(()) => Ok(Offer::Accepted(began.elapsed() / 2)),
            Err(error) => match error_code(&error) {
                raw::LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED if error.message().starts_with("Callback") => {
                    Ok(Offer::Unusable(error.message().to_lowercase()))
                }
                raw::LIBSSH2_ERROR_AUTHENTICATION_FAILED | raw::LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED => {
                    self.offered.push(what);
                    Ok(Offer::Refused)
                }
                raw::LIBSSH2_ERROR_FILE
                | raw::LIBSSH2_ERROR_METHOD_NOT_SUPPORTED
                | raw::LIBSSH2_ERROR_ALGO_UNSUPPORTED
                | raw::LIBSSH2_ERROR_AGENT_PROTOCOL => Ok(Offer::Unusable(error.message().to_lowercase())),
                _ => Err(AuthError::Failed(error)),
            },
        }
    }

    /// Drives a call that offers `what`. The inner error is libssh2's own, of a connection that still stands.
    fn call<T>(
        &mut self,
        what: &str,
        call: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<Result<T, ssh2::Error>, AuthError> {
        let error = match self.transport.drive(self.patience, call) {
            Ok(done) => return Ok(Ok(done)),
            Err(CallError::Impatient(Impatience::TimedOut)) => return Err(AuthError::TimedOut),
            Err(CallError::Impatient(Impatience::Cancelled)) => return Err(AuthError::Cancelled),
            Err(CallError::Ssh(error)) => error,
        };
        let ended = matches!(
            error_code(&error),
            raw::LIBSSH2_ERROR_SOCKET_DISCONNECT | raw::LIBSSH2_ERROR_SOCKET_RECV | raw::LIBSSH2_ERROR_SOCKET_SEND
        );
        // libssh2 gives one number to "no", to "the agent does not sign" and to "the server has gone": the words differ.
        if ended || error.message().starts_with("Waiting for") {
            self.offered.push(what.to_owned());
            return Err(AuthError::Ended { user: self.user.to_owned(), offered: std::mem::take(&mut self.offered) });
        }
        Ok(Err(error))
    }
}

/// What the ssh agent holds and has not been offered yet.
#[derive(Default)]
struct AgentKeys {
    agent: Option<Agent>,
    keys: VecDeque<ssh2::PublicKey>,
}

impl AgentKeys {
    /// Asks the agent at `socket` for its keys. The error is for people.
    fn connect(transport: &Transport, socket: &Path) -> Result<AgentKeys, String> {
        // libssh2 would wait for it for ever.
        let answers = answers(socket).map_err(|error| format!("no ssh agent answers: {}", error.kind()));
        answers.and_then(|()| AgentKeys::ask(transport, socket).map_err(|error| error.message().to_lowercase()))
    }

    fn ask(transport: &Transport, socket: &Path) -> Result<AgentKeys, ssh2::Error> {
        let mut agent = transport.session.agent()?;
        agent.set_identity_path(socket)?;
        agent.connect()?;
        agent.list_identities()?;
        let keys = agent.identities()?.into();
        Ok(AgentKeys { agent: Some(agent), keys })
    }

    /// The agent's key with this public half; it is not offered again.
    fn take(&mut self, public: Option<&[u8]>) -> Option<ssh2::PublicKey> {
        let index = self.keys.iter().position(|key| Some(key.blob()) == public)?;
        self.keys.remove(index)
    }
}

/// Whether something that speaks like an ssh agent listens at `socket`.
fn answers(socket: &Path) -> std::io::Result<()> {
    // draft-miller-ssh-agent, 3.5: SSH_AGENTC_REQUEST_IDENTITIES, answered by any packet.
    const REQUEST: [u8; 5] = [0, 0, 0, 1, 11];
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(AGENT_WAIT))?;
    stream.set_read_timeout(Some(AGENT_WAIT))?;
    stream.write_all(&REQUEST)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    // To the end: an agent complains of who goes before it has said all.
    let length = u64::from(u32::from_be_bytes(length)).min(MAX_AGENT_BYTES);
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).map(drop)
}
