//! Many channels over one SSH session: [`Mux`].
//!
//! One thread drives one non-blocking libssh2 session and pumps any number of channels ("lanes") into socket pairs. Whoever
//! opens a lane gets the other end, an ordinary blocking [`UnixStream`]. The same code carries the whole fleet through the jump
//! host (`open_tcp`), every further hop, and the agent on a device (`exec`).
//!
//! Guarantees:
//! - full duplex: either end may write while the other does, and half-closing one direction leaves the other open;
//! - a lane that nobody reads costs its window in memory, and harms no other lane;
//! - trouble of one lane (refused, closed) stays with that lane; trouble of the session ends all lanes, and
//!   [`Mux::failure`] says when and why before any of them ends;
//! - a peer that has gone silent is noticed within [`Options::silence`]: libssh2 does not do that.
//!
//! Leaves to others: making and authenticating the session, and reconnecting.
//!
//! libssh2 allows all this only in a certain order of calls; `lane.rs` and `driver.rs` say which and why.

mod driver;
mod lane;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::patience::{Impatience, Patience};
use super::session::Transport;

/// Parameters of a [`Mux`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the thread.
    pub name: String,
    /// Bytes that a peer may send on one lane before we have taken them. At least [`MIN_WINDOW`].
    pub window: u32,
    /// The longest that the peer may say nothing, not even in answer to our asking.
    pub silence: Duration,
}

/// libssh2's own window, which is the best at short round trips: larger ones were measured to be slower there.
pub const MIN_WINDOW: u32 = 2 * 1024 * 1024;

/// An open that takes longer than this keeps others from beginning. A peer that connects to itself answers within a round
/// trip; one that connects to a machine which swallows packets does not answer for a minute or more.
const STUCK_AFTER: Duration = Duration::from_secs(3);

/// How much of what a command says on stderr is kept, from its end.
const MAX_ERROR_BYTES: usize = 2048;

/// The last that a command, or the shell that ran it, wrote to stderr, and how it ended.
pub type ErrorTail = Arc<Mutex<Vec<u8>>>;

/// A command that runs on the other side.
#[derive(Debug)]
pub struct ExecLane {
    /// Its stdin and stdout. The end of the stream comes after the command has ended and `errors` says how.
    pub stream: UnixStream,
    /// Its stderr, at most 2 KiB, and at the end "exit status N", "killed by signal N" or why the connection broke.
    pub errors: ErrorTail,
    /// How the command ended, once the stream has; nothing where the peer did not say.
    pub ending: Arc<OnceLock<Ending>>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this exit status.
    Status(i32),
    /// By a signal, of this name without `SIG`.
    Signal(String),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Status(status) => write!(f, "exit status {status}"),
            Ending::Signal(name) => write!(f, "killed by signal {name}"),
        }
    }
}

/// What ended a session and with it all its lanes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// The connection broke; how, in words.
    #[error("{0}")]
    Broken(String),
    /// Nothing came for this long although the peer was asked to answer.
    #[error("nothing was heard for {} s", .0.as_secs())]
    Silent(Duration),
}

/// When and why a session ended.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it was noticed.
    pub at: Instant,
    /// Why.
    pub error: MuxError,
}

/// Why a lane could not be opened. All but `Lost` concern this lane alone.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The other side tried to connect and was refused: nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The other side does not allow it.
    #[error("not allowed by the server")]
    Prohibited,
    /// The other side said no in other words.
    #[error("{0}")]
    Denied(String),
    /// No answer within the time given.
    #[error("timed out")]
    TimedOut,
    /// Somebody asked to stop.
    #[error("stopped")]
    Cancelled,
    /// Another open does not come to an end, and this one was not begun.
    #[error("another connection is still being made")]
    Busy,
    /// No socket pair could be made here.
    #[error("no socket pair could be made")]
    Local(#[source] std::io::Error),
    /// The session has ended.
    #[error("the connection broke")]
    Lost(#[source] MuxError),
}

impl From<Impatience> for OpenError {
    fn from(impatience: Impatience) -> OpenError {
        match impatience {
            Impatience::TimedOut => OpenError::TimedOut,
            Impatience::Cancelled => OpenError::Cancelled,
        }
    }
}

/// Where a lane leads.
enum Target {
    /// A TCP connection that the other side makes.
    Tcp(String, u16),
    /// A command that the other side runs.
    Exec(String),
    /// A program that the other side has a name for.
    Subsystem(String),
}

struct Request {
    target: Target,
    reply: SyncSender<Result<Opened, OpenError>>,
    claim: Claim,
}

/// Who a request belongs to: whoever takes it first, the driver to begin with it or its owner to withdraw it.
#[derive(Clone, Debug, Default)]
struct Claim(Arc<AtomicBool>);

impl Claim {
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

/// What the driver lets the others see.
#[derive(Debug, Default)]
struct Shared {
    failure: OnceLock<Failure>,
    /// When the open that is in flight was begun.
    opening_since: Mutex<Option<Instant>>,
}

impl Shared {
    fn opening(&self) -> MutexGuard<'_, Option<Instant>> {
        self.opening_since.lock().unwrap_or_else(|e| e.into_inner())
    }
}

struct Opened {
    stream: UnixStream,
    errors: ErrorTail,
    ending: Arc<OnceLock<Ending>>,
}

/// Where a lane tells of its command.
struct Report {
    errors: ErrorTail,
    ending: Arc<OnceLock<Ending>>,
}

impl From<Opened> for ExecLane {
    fn from(opened: Opened) -> ExecLane {
        ExecLane { stream: opened.stream, errors: opened.errors, ending: opened.ending }
    }
}

/// A session and the thread that drives it. Dropping it ends the session, and with it all lanes, without waiting for the peer.
pub struct Mux {
    requests: Option<Sender<Request>>,
    wake: UnixStream,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Mux {
    /// Takes an authenticated session over.
    pub fn start(transport: Transport, options: Options) -> std::io::Result<Mux> {
        let (requests, received) = channel();
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let shared = Arc::new(Shared::default());
        let name = options.name.clone();
        let driver = driver::Driver::new(transport, options, woken, received, shared.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || driver.run())?;
        Ok(Mux { requests: Some(requests), wake, shared, thread: Some(thread) })
    }

    /// Has the other side connect to a TCP port.
    ///
    /// Opens are answered one after the other: libssh2 has one in flight. `Busy` where the one before does not end.
    pub fn open_tcp(&self, host: &str, port: u16, patience: &Patience) -> Result<UnixStream, OpenError> {
        self.open(Target::Tcp(host.to_owned(), port), patience).map(|lane| lane.stream)
    }

    /// Has the other side run a command through the login shell.
    pub fn exec(&self, command: &str, patience: &Patience) -> Result<ExecLane, OpenError> {
        self.open(Target::Exec(command.to_owned()), patience).map(ExecLane::from)
    }

    /// Has the other side start the program that it has this name for, such as `sftp`.
    pub fn subsystem(&self, name: &str, patience: &Patience) -> Result<ExecLane, OpenError> {
        self.open(Target::Subsystem(name.to_owned()), patience).map(ExecLane::from)
    }

    /// When and why the session ended, once it has.
    pub fn failure(&self) -> Option<&Failure> {
        self.shared.failure.get()
    }

    fn open(&self, target: Target, patience: &Patience) -> Result<Opened, OpenError> {
        if self.is_stuck() {
            return Err(OpenError::Busy);
        }
        let (reply, answer) = sync_channel(1);
        let claim = Claim::default();
        let request = Request { target, reply, claim: claim.clone() };
        let sent = self.requests.as_ref().is_some_and(|requests| requests.send(request).is_ok());
        if !sent {
            return Err(self.lost());
        }
        self.wake();
        loop {
            match answer.recv_timeout(patience.slice()?) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) if self.is_stuck() && claim.take() => return Err(OpenError::Busy),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost()),
            }
        }
    }

    fn is_stuck(&self) -> bool {
        self.shared.opening().is_some_and(|since| since.elapsed() > STUCK_AFTER)
    }

    fn wake(&self) {
        // A full pipe wakes as well, and a broken one means that nobody is left to be woken.
        let _woken = (&self.wake).write(b"x");
    }

    fn lost(&self) -> OpenError {
        let stopped = || MuxError::Broken("the connection was given up".into());
        OpenError::Lost(self.failure().map_or_else(stopped, |failure| failure.error.clone()))
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        self.requests = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself and has ended all lanes.
            let _ended = thread.join();
        }
    }
}

/// Adds to what is kept of a command's words; forgets the oldest.
fn append(errors: &ErrorTail, words: &[u8]) {
    let mut tail = errors.lock().unwrap_or_else(|e| e.into_inner());
    tail.extend_from_slice(words);
    let excess = tail.len().saturating_sub(MAX_ERROR_BYTES);
    tail.drain(..excess);
}

/// Adds a line of our own.
fn append_line(errors: &ErrorTail, line: &str) {
    let at_start = errors.lock().unwrap_or_else(|e| e.into_inner()).last().is_none_or(|&byte| byte == b'\n');
    append(errors, if at_start { b"" } else { b"\n" });
    append(errors, line.as_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_words_is_kept() {
        let tail = ErrorTail::default();
        append(&tail, &[b'a'; MAX_ERROR_BYTES]);
        append(&tail, b"last words");
        append_line(&tail, "exit status 3");
        let tail = tail.lock().unwrap();
        assert_eq!(tail.len(), MAX_ERROR_BYTES);
        assert!(tail.ends_with(b"aaalast words\nexit status 3"));
    }

    #[test]
    fn a_line_of_our_own_starts_a_line() {
        let tail = ErrorTail::default();
        append_line(&tail, "exit status 0");
        assert_eq!(&*tail.lock().unwrap(), b"exit status 0");
    }
}
