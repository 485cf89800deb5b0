//! What every connection to a device has in common: its streams, bounded waiting, and what a broken stream means.
//!
//! Guarantees that no read waits beyond the silence or the visit that is allowed, that a wish to stop is seen within [`POLL`], and
//! that no more comes than the bandwidth allows. Knows nothing of what is said over it.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::RemoteError;
use super::bounds::words;
use crate::cancel::Cancel;
use crate::wire::WireError;

/// How often a waiting reader looks whether it should stop.
const POLL: Duration = Duration::from_millis(250);

/// The standard streams of what runs on a device, over whatever carries them.
pub struct Link {
    /// Its stdin and stdout. Blocking; ends when that or the connection does.
    pub stream: UnixStream,
    /// The last that it, or the device's shell, wrote to stderr, at most 2 KiB, and "exit status N" once it has ended.
    pub errors: Arc<Mutex<Vec<u8>>>,
    /// Keeps the connection up; dropped last.
    pub guard: Box<dyn Send>,
}

/// How to talk to a device.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest silence while an answer is due.
    pub idle: Duration,
    /// Bytes per second off the link; none: as fast as it goes.
    pub bandwidth: Option<u64>,
    /// The end of the visit: nothing is read beyond it, however lively the device is.
    pub until: Instant,
    /// The wish to stop.
    pub cancel: Cancel,
}

/// What tells why a stream broke.
pub(super) struct Broken {
    idle: Duration,
    /// How long the visit may take.
    visit: Duration,
    /// What the device said on stderr.
    said: Arc<Mutex<Vec<u8>>>,
    agent: bool,
}

impl Broken {
    /// For a stream that is about to be read with these options, and what is said beside it.
    pub(super) fn new(options: &Options, said: Arc<Mutex<Vec<u8>>>) -> Broken {
        let visit = options.until.saturating_duration_since(Instant::now());
        Broken { idle: options.idle, visit, said, agent: true }
    }

    /// The same for what is no agent.
    pub(super) fn without_agent(self) -> Broken {
        Broken { agent: false, ..self }
    }

    /// What was said on stderr so far, on one line.
    pub(super) fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        words(&String::from_utf8_lossy(&said).trim().replace('\n', "; "))
    }

    /// What it means that the stream failed so.
    pub(super) fn by(&self, error: WireError) -> RemoteError {
        if let WireError::Io(e) = &error {
            match e.get_ref().and_then(|inner| inner.downcast_ref::<Ended>()) {
                Some(Ended::Stopped) => return RemoteError::Stopped,
                Some(Ended::Overdue) => return RemoteError::Overdue(self.visit),
                None if e.kind() == io::ErrorKind::TimedOut || e.kind() == io::ErrorKind::WouldBlock => {
                    return RemoteError::Silent(self.idle);
                }
                None => {}
            }
        }
        if !matches!(error, WireError::Ended | WireError::Io(_)) {
            return RemoteError::Garbled(error);
        }
        match self.said() {
            said if said.is_empty() => RemoteError::Broken(error),
            said if self.agent => RemoteError::Ended(said),
            said => RemoteError::Lost(said),
        }
    }
}

/// Why reading ended on our own side.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("stopped")]
    Stopped,
    #[error("overdue")]
    Overdue,
}

/// What a device sends: bounded waiting, the wish to stop, and the limit on bandwidth.
pub(super) struct Input {
    stream: UnixStream,
    options: Options,
    /// When the bytes read so far may have arrived, under the limit.
    paid_until: Instant,
}

impl Input {
    pub(super) fn new(stream: UnixStream, options: Options) -> io::Result<Input> {
        stream.set_read_timeout(Some(POLL))?;
        Ok(Input { stream, options, paid_until: Instant::now() })
    }

    /// Lets the device be silent for longer than the options say.
    pub(super) fn wait_longer(&mut self, more: Duration) {
        self.options.idle += more;
    }

    fn stop_if_due(&self) -> io::Result<()> {
        if self.options.cancel.is_set() {
            return Err(io::Error::other(Ended::Stopped));
        }
        if Instant::now() >= self.options.until { Err(io::Error::other(Ended::Overdue)) } else { Ok(()) }
    }

    /// Waits until the link may carry more.
    fn throttle(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(rate) = self.options.bandwidth.filter(|&rate| rate > 0) else { return Ok(buffer.len()) };
        loop {
            let wait = self.paid_until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            self.stop_if_due()?;
            std::thread::sleep(wait.min(POLL));
        }
        // A tenth of a second at a time keeps the rate smooth.
        Ok(buffer.len().min(usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1024)))
    }

    fn pay(&mut self, bytes: usize) {
        if let Some(rate) = self.options.bandwidth.filter(|&rate| rate > 0) {
            #[allow(clippy::cast_precision_loss)] // a rate limit
            let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
            self.paid_until = self.paid_until.max(Instant::now()) + cost;
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.throttle(buffer)?;
        let silent_since = Instant::now();
        loop {
            self.stop_if_due()?;
            match self.stream.read(&mut buffer[..most]) {
                Ok(n) => {
                    self.pay(n);
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if silent_since.elapsed() >= self.options.idle {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}
