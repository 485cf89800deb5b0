//! What the engine may ask of a device, and nothing else.
//!
//! Requests are queued without waiting and answered in order, so that a long link stays full: small files cost no round
//! trip each. [`agent`] is the fast implementation, [`sftp`] the one for devices that can't run it. Both pass one conformance suite.

use std::time::{Duration, Instant};

use crate::entry::{Entry, OtherKind, Prefix, Vitals};
use crate::error::{Class, Classified};
use crate::event::Observer;
use crate::fleet::Device;
use crate::health::Texts;
use crate::path::RelPath;
use crate::receipt::Receipt;
use crate::wire::{FetchEnd, RemoveEnd, WireError};

pub use link::{Link, Options};

pub mod agent;
mod bounds;
#[cfg(all(test, feature = "agent", feature = "ssh"))]
mod conformance;
mod link;
pub mod sftp;

/// How long a visit may take, from the moment that the connection is there. A device that drips a byte within each idle time
/// would otherwise hold the run, and with it the lock, for ever. Twice what the engine asks contents for, so that what is under
/// way then may still end; a file that is larger than that goes on in the next run.
pub const LONGEST_VISIT: Duration = Duration::from_secs(30 * 60);

/// What a connection is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A visit: whatever it needs may be put on the device.
    Change,
    /// A look: nothing is put on the device, changed or removed there.
    Look,
}

/// Makes connections. One serves a whole run, and devices may share a jump connection through it.
pub trait Connect: Sync {
    /// Connects to a device and gets it ready to answer.
    ///
    /// The error's class tells apart: `Unreachable` (no tunnel, half-open tunnel, timed out), `HostKey`, `Config` (authentication
    /// refused, the agent can't start), `Transient` (the jump connection broke).
    fn connect(
        &self,
        device: &Device,
        observer: &dyn Observer,
        intent: Intent,
    ) -> Result<Box<dyn Remote>, ConnectError>;

    /// Whether a connection that `device` shared with others broke after `since`, so that a failed visit deserves a second try.
    fn shared_connection_broke(&self, device: &Device, since: Instant) -> bool;
}

/// Why a device could not be connected.
pub type ConnectError = Box<dyn Classified + Send + Sync>;

/// A connected device.
///
/// After an error of any method the connection is of no more use: drop it. Nothing is removed on the device by anything but
/// [`remove`](Remote::remove).
pub trait Remote {
    /// Clock and disk, as measured when the connection was made.
    fn vitals(&self) -> &Vitals;

    /// The device's clock minus ours, in nanoseconds, to about half a round trip; none where nobody can ask it.
    fn clock_offset_ns(&self) -> Option<i64>;

    /// The end of the visit: beyond it nothing more is heard from the device.
    fn until(&self) -> Instant;

    /// The version of the agent that answers, in its own words; none without one.
    fn agent(&self) -> Option<&str>;

    /// Why a removal is answered with [`Busy`](crate::wire::RemoveEnd::Busy), in words.
    fn busy(&self) -> &'static str {
        "open for writing: kept"
    }

    /// Lists everything below the source. `each` is called for every item; its error ends the scan.
    /// Call it while no other request is under way. May be repeated; the first list may be as old as the connection.
    fn scan(&mut self, each: &mut dyn FnMut(Scanned) -> Result<(), RemoteError>) -> Result<(), RemoteError>;

    /// Asks how the device is, in its kernel's words: all that an ordinary user may know. By SFTP alone nothing is known.
    /// Call it while no other request is under way. May be repeated.
    fn health(&mut self) -> Result<Texts, RemoteError>;

    /// Queues the reading of one file. Answered by [`Answer::Data`] and [`Answer::Fetched`]; never retried by itself.
    ///
    /// With `known`, the last of which is what the collector holds: where the file begins with exactly that, only what comes after it is
    /// sent (nothing, if there is no more), and the digest is of the whole; otherwise nothing is sent, and it ends with
    /// [`Differs`](FetchEnd::Differs). Shorter beginnings may come first, to find that out sooner.
    fn fetch(&mut self, id: u32, entry: &Entry, known: &[Prefix]) -> Result<(), RemoteError>;

    /// Queues the reading of one file as a delta against what this signature is of. Answered as a fetch is, the data being the
    /// delta; ends with [`Differs`](FetchEnd::Differs), and what was sent is worth nothing, where the whole file is cheaper.
    ///
    /// Only where [`can_delta`](Remote::can_delta). A signature is long: the caller keeps the bytes of all unanswered requests,
    /// signatures included, below [`MAX_UNANSWERED_BYTES`](crate::wire::MAX_UNANSWERED_BYTES), or asks while nothing else is
    /// unanswered.
    fn delta(&mut self, id: u32, entry: &Entry, signature: &[u8]) -> Result<(), RemoteError>;

    /// Whether this device can compute deltas.
    fn can_delta(&self) -> bool;

    /// The guarantees that this connection lacks, each in words for the report. None where an agent answers.
    fn caveats(&self) -> &[String];

    /// Queues removals. Each file is checked on the device immediately before (invariant I2) and answered by [`Answer::Removed`].
    /// The only way to remove a file: it takes the receipts by value.
    fn remove(&mut self, receipts: Vec<(u32, Receipt)>) -> Result<(), RemoteError>;

    /// Queues the removal of directories that are empty and were quiet for this long. Answered by [`Answer::Pruned`].
    fn prune(&mut self, dirs: Vec<RelPath>, quiet: Duration) -> Result<(), RemoteError>;

    /// Waits for the next answer. Call it only while an answer is due.
    fn answer(&mut self) -> Result<Answer<'_>, RemoteError>;
}

/// One item of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// A regular file.
    File(Entry),
    /// Something that is reported and not copied.
    Other(RelPath, OtherKind),
    /// A directory with nothing in it, and when it last changed, in nanoseconds.
    EmptyDir(RelPath, i64),
    /// What could not be looked at (none: the source itself), and why.
    Unreadable(Option<RelPath>, String),
}

/// The answer to the oldest unanswered request.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The next bytes of the file of the oldest unanswered fetch.
    Data(&'a [u8]),
    /// That fetch has ended.
    Fetched(u32, FetchEnd),
    /// A removal has ended.
    Removed(u32, RemoveEnd),
    /// A pruning has ended: the directory, and whether it is gone.
    Pruned(RelPath, bool),
}

/// What ends a connection to a device.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nothing came for as long as `timeouts.idle` allows.
    #[error("the device said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection broke.
    #[error("the connection to the device broke")]
    Broken(#[source] WireError),
    /// The agent ended before its time; its own last words, or how.
    #[error("the agent ended: {0}")]
    Ended(String),
    /// What served us without an agent ended before its time; its last words, or how.
    #[error("the connection to the device broke: {0}")]
    Lost(String),
    /// The device opens no channel for what is needed; its words.
    #[error("the device opens no channel for us: {0}")]
    NoChannel(String),
    /// No SFTP server answers; what did.
    #[error("no sftp server answers on the device: {0}")]
    NoSftp(String),
    /// The agent refused; its own words.
    #[error("the agent refused: {0}")]
    Refused(String),
    /// The agent did not start; what it, or the device's shell, said.
    #[error("the agent did not start: {0}")]
    NotStarted(String),
    /// An answer that fits no question.
    #[error("the device broke the protocol: {0}")]
    Protocol(&'static str),
    /// Bytes that are no answer.
    #[error("the device broke the protocol")]
    Garbled(#[source] WireError),
    /// The visit has taken all the time that it may; how much that is.
    #[error("the visit took longer than {} minutes", .0.as_secs().div_ceil(60))]
    Overdue(Duration),
    /// The caller's sink failed; its own error is elsewhere.
    #[error("stopped")]
    Stopped,
}

impl Classified for RemoteError {
    fn class(&self) -> Class {
        match self {
            RemoteError::Silent(_)
            | RemoteError::Broken(_)
            | RemoteError::Ended(_)
            | RemoteError::Lost(_)
            | RemoteError::Overdue(_) => Class::Transient,
            RemoteError::Protocol(_) | RemoteError::Garbled(_) => Class::Integrity,
            RemoteError::Refused(_)
            | RemoteError::NotStarted(_)
            | RemoteError::NoChannel(_)
            | RemoteError::NoSftp(_) => Class::Config,
            RemoteError::Stopped => Class::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RemoteError::NotStarted(_) => {
                Some("run the same command by hand: ssh HOST '~/.cache/pipeline/pipeline-agent-* serve --help'".into())
            }
            RemoteError::Garbled(WireError::NotAnAgent(_)) => Some(
                "something on the device prints when a shell starts (.bashrc?): it must be silent without a terminal"
                    .into(),
            ),
            RemoteError::NoSftp(_) => Some(
                "sshd on the device needs 'Subsystem sftp internal-sftp' in its sshd_config, and a shell that prints nothing when it \
                 starts: 'sftp HOST' must work"
                    .into(),
            ),
            RemoteError::Overdue(_) => Some("nothing is lost: the next run goes on where this one ended".into()),
            _ => None,
        }
    }
}
