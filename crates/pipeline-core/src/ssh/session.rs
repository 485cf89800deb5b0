//! From an address to a session whose host key is the right one: TCP, handshake, host key.
//!
//! Guarantees a bound on every wait, and that an error tells what kind of silence or refusal met it. Sessions are non-blocking
//! from the start: libssh2's own time-out is one for each call, ours is one for the whole. Leaves to others: authentication
//! (`auth`), and what the session is used for (`mux`).

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, channel};

use libssh2_sys as raw;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use ssh2::{BlockDirections, ErrorCode, MethodType, Session};

use super::host_key::{HostKeyError, HostKeys};
use super::patience::{Impatience, Patience};

/// A session and another descriptor of its socket.
pub struct Transport {
    pub(super) session: Session,
    pub(super) socket: OwnedFd,
}

/// Why a call into libssh2 did not succeed.
#[derive(Debug)]
pub enum CallError {
    /// libssh2's own error.
    Ssh(ssh2::Error),
    /// It did not end in time.
    Impatient(Impatience),
}

/// Why no TCP connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// The name has no address.
    #[error("can't resolve '{name}'")]
    Resolve {
        /// The name.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// None of the addresses answers.
    #[error("can't connect to {address}")]
    Connect {
        /// The last that was tried.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Not within the time given.
    #[error("connecting to '{name}' timed out")]
    TimedOut {
        /// The name.
        name: String,
    },
    /// Somebody asked to stop.
    #[error("stopped")]
    Cancelled,
}

/// Why there is no session over a connection that was made.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other side closed the connection before it said anything.
    #[error("the connection is closed at once")]
    ClosedAtOnce,
    /// The other side said nothing at all.
    #[error("nothing is heard")]
    NoBanner,
    /// It stopped in the middle.
    #[error("the key exchange timed out")]
    TimedOut,
    /// Somebody asked to stop.
    #[error("stopped")]
    Cancelled,
    /// The exchange failed.
    #[error("the key exchange failed")]
    Failed(#[source] ssh2::Error),
    /// It is the wrong machine, or one that nobody has vouched for.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
}

impl Transport {
    /// Repeats a call into libssh2 until it is done.
    pub(super) fn drive<T>(
        &self,
        patience: &Patience,
        mut call: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<T, CallError> {
        loop {
            match call() {
                Ok(done) => return Ok(done),
                Err(error) if error_code(&error) == raw::LIBSSH2_ERROR_EAGAIN => {}
                Err(error) => return Err(CallError::Ssh(error)),
            }
            let wanted = match self.session.block_directions() {
                BlockDirections::Outbound => PollFlags::OUT,
                BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
                BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
            };
            patience.wait_for(&self.socket, wanted).map_err(CallError::Impatient)?;
        }
    }

    /// Shakes hands over a stream and accepts none but a key of `keys`.
    pub fn handshake<S: AsFd + AsRawFd + 'static>(
        stream: S,
        keys: &HostKeys,
        patience: &Patience,
    ) -> Result<Transport, HandshakeError> {
        let stranger = Stranger::meet(stream, &keys.algorithms(), patience)?;
        keys.verify(stranger.key())?;
        Ok(stranger.0)
    }
}

/// The other end of a session that nobody has vouched for yet. It can show its key, and nothing else can be done with it.
pub(super) struct Stranger(Transport);

impl Stranger {
    /// Shakes hands over a stream. `algorithms` are the host-key algorithms to offer, in libssh2's form.
    pub(super) fn meet<S: AsFd + AsRawFd + 'static>(
        stream: S,
        algorithms: &str,
        patience: &Patience,
    ) -> Result<Stranger, HandshakeError> {
        let socket = stream.as_fd().try_clone_to_owned().map_err(|_| HandshakeError::ClosedAtOnce)?;
        let mut session = Session::new().map_err(HandshakeError::Failed)?;
        session.set_blocking(false);
        session.method_pref(MethodType::HostKey, algorithms).map_err(HandshakeError::Failed)?;
        session.set_tcp_stream(stream);
        let transport = Transport { session: session.clone(), socket };
        let shaken = transport.drive(patience, || session.handshake());
        let greeted = session.banner_bytes().is_some();
        match shaken {
            Ok(()) => Ok(Stranger(transport)),
            Err(CallError::Impatient(Impatience::Cancelled)) => Err(HandshakeError::Cancelled),
            Err(CallError::Impatient(Impatience::TimedOut)) if greeted => Err(HandshakeError::TimedOut),
            Err(CallError::Impatient(Impatience::TimedOut)) => Err(HandshakeError::NoBanner),
            Err(CallError::Ssh(error)) => {
                let closed = matches!(
                    error_code(&error),
                    raw::LIBSSH2_ERROR_SOCKET_DISCONNECT
                        | raw::LIBSSH2_ERROR_SOCKET_RECV
                        | raw::LIBSSH2_ERROR_SOCKET_SEND
                        | raw::LIBSSH2_ERROR_BANNER_RECV
                );
                Err(if closed && !greeted { HandshakeError::ClosedAtOnce } else { HandshakeError::Failed(error) })
            }
        }
    }

    /// The key that it has proven to own, in the form of the protocol.
    pub(super) fn key(&self) -> &[u8] {
        self.0.session.host_key().map(|(key, _)| key).unwrap_or_default()
    }
}

/// The number of an error of libssh2; 0 where it is not its own.
pub(super) fn error_code(error: &ssh2::Error) -> i32 {
    match error.code() {
        ErrorCode::Session(code) => code,
        ErrorCode::SFTP(_) => 0,
    }
}

/// Connects to the first address of `name` that answers.
pub fn connect_tcp(name: &str, port: u16, patience: &Patience) -> Result<TcpStream, TcpError> {
    let addresses = resolve(name, port, patience)?;
    let mut failure = None;
    for (index, &address) in addresses.iter().enumerate() {
        // An address that swallows packets leaves time for the others.
        let share = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match connect_to(address, &patience.at_most(patience.left() / share)) {
            Ok(stream) => return Ok(stream),
            Err(Interruption::Impatient(Impatience::Cancelled)) => return Err(TcpError::Cancelled),
            Err(Interruption::Impatient(Impatience::TimedOut)) => {}
            Err(Interruption::Failed(source)) => failure = Some(TcpError::Connect { address, source }),
        }
    }
    Err(failure.unwrap_or_else(|| TcpError::TimedOut { name: name.to_owned() }))
}

/// The system's resolver knows no time-out: it gets a thread of its own, which is left behind if it takes too long.
fn resolve(name: &str, port: u16, patience: &Patience) -> Result<Vec<SocketAddr>, TcpError> {
    let (sender, answer) = channel();
    let asked = name.to_owned();
    let failed = |source| TcpError::Resolve { name: name.to_owned(), source };
    let ask = move || {
        let addresses = (asked.as_str(), port).to_socket_addrs().map(Vec::from_iter);
        // Nobody waits for it any more.
        let _late = sender.send(addresses);
    };
    std::thread::Builder::new().name("resolver".into()).spawn(ask).map_err(failed)?;
    loop {
        let slice = match patience.slice() {
            Ok(slice) => slice,
            Err(Impatience::TimedOut) => return Err(TcpError::TimedOut { name: name.to_owned() }),
            Err(Impatience::Cancelled) => return Err(TcpError::Cancelled),
        };
        match answer.recv_timeout(slice) {
            Ok(addresses) => return addresses.map_err(failed),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(failed(std::io::ErrorKind::Other.into())),
        }
    }
}

enum Interruption {
    Failed(std::io::Error),
    Impatient(Impatience),
}

impl From<Errno> for Interruption {
    fn from(errno: Errno) -> Interruption {
        Interruption::Failed(errno.into())
    }
}

fn connect_to(address: SocketAddr, patience: &Patience) -> Result<TcpStream, Interruption> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    patience.wait_for(&socket, PollFlags::OUT).map_err(Interruption::Impatient)?;
    sockopt::socket_error(&socket)??;
    // Requests are small and somebody waits for their answer.
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(TcpStream::from(socket))
}
