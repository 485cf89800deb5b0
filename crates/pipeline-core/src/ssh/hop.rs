//! Machines on the way: connections that devices share.
//!
//! A [`Hop`] is connected by the first device that needs it, while the others wait. Guarantees: one attempt in a run, however
//! many devices wait for it; once it is up and breaks, one more, after a pause; after that its error is everybody's. Several
//! hops nest, each over a lane of the one before.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use libssh2_sys as raw;
use ssh2::ErrorCode;

use super::auth::{self, AuthError, Credentials};
use super::error::{Address, SshError};
use super::host_key::{HostKey, HostKeyError, HostKeys};
use super::mux::{self, Mux, OpenError};
use super::patience::{LOOK, Patience};
use super::session::{HandshakeError, Stranger, TcpError, Transport, connect_tcp};
use crate::cancel::Cancel;
use crate::config::Timeouts;
use crate::error::one_line;
use crate::event::{Event, Observer};
use crate::ssh_config::HostParams;

/// Lets a jump host that was restarted come up again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(2);

/// A machine's session, and what keeps the way to it open.
pub struct Connection {
    /// The machine's alias.
    pub(super) host: String,
    /// The session.
    pub mux: Mux,
    /// Dropped after `mux`.
    _before: Option<Arc<Connection>>,
}

/// What holds for every connection of a run.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) timeouts: Timeouts,
    /// The most bytes that a peer may have under way on one lane.
    pub(super) max_window: u32,
    pub(super) cancel: Cancel,
}

impl Terms {
    /// For a hop: it is given up before what lies behind it, so that a silent hop is not taken for many silent devices.
    fn of_hop(&self) -> Terms {
        let idle = self.timeouts.idle * 3 / 4;
        Terms { timeouts: Timeouts { idle, ..self.timeouts }, ..self.clone() }
    }
}

/// A machine on the way.
pub(super) struct Hop {
    host: HostParams,
    before: Option<Arc<Hop>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    link: Link,
    /// Further connections, for while an open is stuck on the others.
    spares: Vec<Arc<Connection>>,
    /// When the connection was last found broken.
    broke: Option<Instant>,
    reconnected: bool,
}

enum Link {
    Idle,
    Connecting,
    Up(Arc<Connection>),
    Failed(Arc<SshError>),
}

impl Hop {
    pub(super) fn new(host: HostParams, before: Option<Arc<Hop>>) -> Hop {
        let state = State { link: Link::Idle, spares: Vec::new(), broke: None, reconnected: false };
        Hop { host, before, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Whether this is the machine that `host` describes, reached over `before`.
    pub(super) fn is(&self, host: &HostParams, before: Option<&Arc<Hop>>) -> bool {
        self.host == *host
            && match (&self.before, before) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (None, None) => true,
                _ => false,
            }
    }

    /// Whether this connection, or one that it runs over, broke after `since`.
    pub(super) fn broke_after(&self, since: Instant) -> bool {
        let state = self.lock();
        let just_now = match &state.link {
            Link::Up(connection) => connection.mux.failure().map(|failure| failure.at),
            _ => None,
        };
        let spares = state.spares.iter().filter_map(|spare| spare.mux.failure()).map(|failure| failure.at).max();
        let broke = just_now.max(state.broke).max(spares).is_some_and(|at| at >= since);
        drop(state);
        broke || self.before.as_ref().is_some_and(|before| before.broke_after(since))
    }

    /// The connection; makes it where there is none, or waits for whoever is making it.
    pub(super) fn connection(&self, terms: &Terms, observer: &dyn Observer) -> Result<Arc<Connection>, SshError> {
        let mut state = self.lock();
        let reason = loop {
            match &state.link {
                Link::Up(connection) => match connection.mux.failure() {
                    None => return Ok(connection.clone()),
                    Some(failure) => {
                        let failure = failure.clone();
                        state.broke = Some(failure.at);
                        if !std::mem::replace(&mut state.reconnected, true) {
                            break Some(failure.error.to_string());
                        }
                        let lost = SshError::HopLost { hop: self.host.alias.clone(), source: failure.error };
                        state.link = Link::Failed(self.announce(lost, observer));
                    }
                },
                Link::Failed(error) => return Err(self.shared(error)),
                Link::Idle => break None,
                Link::Connecting if terms.cancel.is_set() => return Err(SshError::Stopped),
                Link::Connecting => {
                    state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(|e| e.into_inner()).0;
                }
            }
        };
        state.link = Link::Connecting;
        drop(state);
        let made = self.connect(reason, terms, observer);
        let mut state = self.lock();
        let result = match made {
            Ok(connection) => {
                let connection = Arc::new(connection);
                state.link = Link::Up(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                let error = self.announce(error, observer);
                state.link = Link::Failed(error.clone());
                Err(self.shared(&error))
            }
        };
        drop(state);
        self.changed.notify_all();
        result
    }

    /// A lane to a machine behind this one, and the connection that carries it.
    ///
    /// One connection serves all. Only while an open is stuck on it, because the machine in question swallows packets, do
    /// others go over a spare one: such a machine must not delay them.
    fn lane(&self, approach: &Approach<'_>) -> Result<(Arc<Connection>, Result<UnixStream, OpenError>), SshError> {
        let Approach { host, terms, observer, patience, .. } = approach;
        let mut connection = self.connection(terms, *observer)?;
        let mut spares = self.lock().spares.clone().into_iter();
        loop {
            match connection.mux.open_tcp(&host.hostname, host.port, patience) {
                Err(OpenError::Busy) => {}
                opened => return Ok((connection, opened)),
            }
            connection = match spares.find(|spare| spare.mux.failure().is_none()) {
                Some(spare) => spare,
                None => self.spare(terms, *observer)?,
            };
        }
    }

    fn spare(&self, terms: &Terms, observer: &dyn Observer) -> Result<Arc<Connection>, SshError> {
        let made = connect(&self.host, self.before.as_deref(), &terms.of_hop(), observer);
        let spare = Arc::new(made.map_err(|error| self.shared(&Arc::new(error)))?);
        let mut state = self.lock();
        state.spares.retain(|spare| spare.mux.failure().is_none());
        state.spares.push(spare.clone());
        Ok(spare)
    }

    /// `reason` says what broke where this is the second attempt.
    fn connect(&self, reason: Option<String>, terms: &Terms, observer: &dyn Observer) -> Result<Connection, SshError> {
        if let Some(reason) = reason {
            observer.event(&Event::JumpReconnecting { host: self.host.alias.clone(), reason });
            Patience::new(RECONNECT_PAUSE, &terms.cancel).pause().map_err(|_| SshError::Stopped)?;
        }
        connect(&self.host, self.before.as_deref(), &terms.of_hop(), observer)
    }

    /// One line for what concerns every device behind this hop, beside the word about each of them.
    fn announce(&self, error: SshError, observer: &dyn Observer) -> Arc<SshError> {
        let is_own = !matches!(error, SshError::Hop { .. } | SshError::Stopped);
        let error = Arc::new(error);
        if is_own {
            let message = one_line(&SshError::Hop { hop: self.host.alias.clone(), source: error.clone() });
            observer.event(&Event::Noted { device: None, message });
        }
        error
    }

    /// The error as a device behind this hop meets it.
    fn shared(&self, error: &Arc<SshError>) -> SshError {
        match &**error {
            SshError::Stopped => SshError::Stopped,
            // It names the hop before this one already.
            SshError::Hop { hop, source } => SshError::Hop { hop: hop.clone(), source: source.clone() },
            _ => SshError::Hop { hop: self.host.alias.clone(), source: error.clone() },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The machines on the way that a run has met.
#[derive(Default)]
pub(super) struct Hops(Mutex<Vec<Arc<Hop>>>);

impl Hops {
    /// The last of the machines to pass through, each the one that was met before where it is the same. None where there are none.
    pub(super) fn last_of(&self, via: &[HostParams]) -> Option<Arc<Hop>> {
        let mut hops = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let mut before: Option<Arc<Hop>> = None;
        for host in via {
            let known = hops.iter().find(|hop| hop.is(host, before.as_ref())).cloned();
            let hop = known.unwrap_or_else(|| {
                let hop = Arc::new(Hop::new(host.clone(), before.take()));
                hops.push(hop.clone());
                hop
            });
            before = Some(hop);
        }
        before
    }
}

/// Connects to a machine, directly or over `before`, makes sure that known_hosts vouches for it, and logs in with its own keys.
pub(super) fn connect(
    host: &HostParams,
    before: Option<&Hop>,
    terms: &Terms,
    observer: &dyn Observer,
) -> Result<Connection, SshError> {
    let keys = HostKeys::load(host).map_err(|source| untrusted(host, source))?;
    log_in(host, &keys, &Credentials::Config, before, terms, observer)
}

/// The same with the host keys that count, and what to log in with.
pub(super) fn log_in(
    host: &HostParams,
    keys: &HostKeys,
    credentials: &Credentials,
    before: Option<&Hop>,
    terms: &Terms,
    observer: &dyn Observer,
) -> Result<Connection, SshError> {
    let act = |approach: &Approach<'_>, stream| approach.log_in(stream, keys, credentials);
    let (mux, _before) = approach(host, before, terms, observer, act)?;
    Ok(Connection { host: host.alias.clone(), mux, _before })
}

/// The key that a machine shows when it is asked for one of `algorithms`. It is not trusted, and nobody logs in.
pub(super) fn host_key(
    host: &HostParams,
    algorithms: &str,
    before: Option<&Hop>,
    terms: &Terms,
    observer: &dyn Observer,
) -> Result<HostKey, SshError> {
    let act = |approach: &Approach<'_>, stream| approach.look(stream, algorithms);
    approach(host, before, terms, observer, act).map(|(key, _)| key)
}

pub(super) fn untrusted(host: &HostParams, source: HostKeyError) -> SshError {
    SshError::HostKey { host: host.alias.clone(), source: Box::new(source) }
}

/// Gets a stream to a machine, directly or over `before`, and does something with it; gives back what carries the stream.
fn approach<T>(
    host: &HostParams,
    before: Option<&Hop>,
    terms: &Terms,
    observer: &dyn Observer,
    act: impl FnOnce(&Approach<'_>, Stream) -> Result<T, SshError>,
) -> Result<(T, Option<Arc<Connection>>), SshError> {
    // Waiting for the hop is not counted: it has its own limit.
    before.map(|hop| hop.connection(terms, observer)).transpose()?;
    let limit = terms.timeouts.connect;
    let approach = Approach { host, before, terms, observer, limit, patience: Patience::new(limit, &terms.cancel) };
    let (over, stream) = match before {
        Some(hop) => {
            let (over, lane) = hop.lane(&approach)?;
            (Some(over), lane.map(Stream::Lane).map_err(|error| approach.no_lane(error)))
        }
        None => (None, approach.tcp().map(Stream::Tcp)),
    };
    let done = stream.and_then(|stream| act(&approach, stream));
    // Whatever was met on the way: if the hop has gone, that is the reason.
    let lost = over.as_ref().and_then(|over| over.mux.failure());
    match (done, lost, before) {
        (Err(error), Some(failure), Some(before)) if !matches!(error, SshError::Stopped) => {
            Err(SshError::HopLost { hop: before.host.alias.clone(), source: failure.error.clone() })
        }
        (done, _, _) => Ok((done?, over)),
    }
}

/// What a session runs over.
enum Stream {
    Tcp(TcpStream),
    Lane(UnixStream),
}

/// One attempt to get to one machine.
struct Approach<'a> {
    host: &'a HostParams,
    before: Option<&'a Hop>,
    terms: &'a Terms,
    observer: &'a dyn Observer,
    limit: Duration,
    patience: Patience,
}

impl Approach<'_> {
    fn tcp(&self) -> Result<TcpStream, SshError> {
        connect_tcp(&self.host.hostname, self.host.port, &self.patience).map_err(|source| match source {
            TcpError::Cancelled => SshError::Stopped,
            source => SshError::Tcp { host: self.host.alias.clone(), source },
        })
    }

    fn look(&self, stream: Stream, algorithms: &str) -> Result<HostKey, SshError> {
        let stranger = match stream {
            Stream::Tcp(stream) => Stranger::meet(stream, algorithms, &self.patience),
            Stream::Lane(stream) => Stranger::meet(stream, algorithms, &self.patience),
        };
        let key =
            stranger.map(|stranger| HostKey::from_blob(stranger.key())).map_err(|error| self.no_session(error))?;
        let no_key = || ssh2::Error::from_errno(ErrorCode::Session(raw::LIBSSH2_ERROR_HOSTKEY_INIT));
        key.ok_or_else(|| SshError::Handshake { host: self.host.alias.clone(), source: no_key() })
    }

    fn log_in(&self, stream: Stream, keys: &HostKeys, credentials: &Credentials) -> Result<Mux, SshError> {
        let transport = match stream {
            Stream::Tcp(stream) => Transport::handshake(stream, keys, &self.patience),
            Stream::Lane(stream) => Transport::handshake(stream, keys, &self.patience),
        };
        let transport = transport.map_err(|error| self.no_session(error))?;
        let host = self.host.alias.clone();
        let let_in = auth::authenticate(&transport, self.host, credentials, &self.patience);
        let round_trip = let_in.map_err(|source| match source {
            AuthError::TimedOut => self.timed_out("the authentication"),
            AuthError::Cancelled => SshError::Stopped,
            source => SshError::Auth { host: host.clone(), source },
        })?;
        let options = mux::Options {
            name: format!("ssh {host}"),
            window: window(round_trip, self.terms.max_window),
            silence: self.terms.timeouts.idle,
        };
        Mux::start(transport, options).map_err(|source| SshError::Local { doing: "start a thread", source })
    }

    fn no_lane(&self, error: OpenError) -> SshError {
        let Address { name: address, via } = self.address();
        let via = via.unwrap_or_default();
        match error {
            OpenError::Cancelled => SshError::Stopped,
            OpenError::Refused => SshError::NoTunnel { via, address },
            source => SshError::NoLane { via, address, source },
        }
    }

    fn no_session(&self, error: HandshakeError) -> SshError {
        let host = self.host.alias.clone();
        match error {
            HandshakeError::ClosedAtOnce => SshError::ClosedAtOnce { address: self.address() },
            HandshakeError::NoBanner => SshError::NoBanner { address: self.address(), waited: self.limit },
            HandshakeError::TimedOut => self.timed_out("the key exchange"),
            HandshakeError::Cancelled => SshError::Stopped,
            HandshakeError::Failed(source) => SshError::Handshake { host, source },
            HandshakeError::HostKey(source) => SshError::HostKey { host, source: Box::new(source) },
        }
    }

    fn timed_out(&self, doing: &'static str) -> SshError {
        SshError::TimedOut { host: self.host.alias.clone(), doing, waited: self.limit }
    }

    fn address(&self) -> Address {
        let HostParams { hostname, port, .. } = self.host;
        // An IPv6 address has colons of its own.
        let name = if hostname.contains(':') { format!("[{hostname}]:{port}") } else { format!("{hostname}:{port}") };
        Address { name, via: self.before.map(|hop| hop.host.alias.clone()) }
    }
}

/// The window for a link: enough for 200 Mbit/s at its round-trip time, and never less than what is best on a short one.
fn window(round_trip: Duration, max_window: u32) -> u32 {
    const BYTES_PER_MILLISECOND: u128 = 25_000;
    let bytes = round_trip.as_millis().saturating_mul(BYTES_PER_MILLISECOND);
    u32::try_from(bytes).unwrap_or(u32::MAX).min(max_window).max(mux::MIN_WINDOW)
}
