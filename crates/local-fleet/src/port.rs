//! Ports on 127.0.0.1 that nobody else can be given while the fleet lives.
//!
//! A port is bound and not listened on. The kernel then gives it to no other program, refuses connections to it, and, since
//! both sides set `SO_REUSEADDR`, still lets the one server that knows the number bind and listen. So there is no moment in
//! which a free port that was found can be lost again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

use crate::{Error, Result};

/// A reserved port; free again when dropped.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    socket: OwnedFd,
}

impl Port {
    /// Reserves any free port.
    pub fn reserve() -> Result<Port> {
        Port::reserve_number(0)
    }

    /// Reserves a port for each id, all at the same distance from it: the base.
    pub fn reserve_above_base(ids: &[u16]) -> Result<(Vec<Port>, u16)> {
        let mut tries = 0..100;
        loop {
            let first = Port::reserve()?;
            let base = first.number().saturating_sub(ids.first().copied().unwrap_or(0));
            let others = ids.iter().skip(1).map(|id| Port::reserve_number(base.saturating_add(*id)));
            match others.collect::<Result<Vec<_>>>() {
                Ok(others) => return Ok((std::iter::once(first).chain(others).collect(), base)),
                // One of them is somebody else's: another base.
                Err(_) if tries.next().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// 0 is any.
    fn reserve_number(number: u16) -> Result<Port> {
        let reserve = || -> io::Result<Port> {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, number))?;
            let number = SocketAddr::try_from(getsockname(&socket)?)?.port();
            Ok(Port { number, socket })
        };
        reserve().map_err(Error::Port)
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// From now on the kernel accepts connections, and nobody ever says a word on them.
    pub fn accept_in_silence(&self) -> Result<()> {
        listen(&self.socket, 1024).map_err(|errno| Error::Port(errno.into()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_reserved_port_refuses_until_its_server_listens() {
        let port = Port::reserve().unwrap();
        let refused = TcpStream::connect(("127.0.0.1", port.number())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // Rust's listener sets SO_REUSEADDR, as sshd does.
        let _server = TcpListener::bind(("127.0.0.1", port.number())).unwrap();
        TcpStream::connect(("127.0.0.1", port.number())).unwrap();
    }

    #[test]
    fn a_reserved_port_is_given_to_nobody_else() {
        let port = Port::reserve().unwrap();
        let others: Vec<_> = (0..200).map(|_| Port::reserve().unwrap()).collect();
        assert!(others.iter().all(|other| other.number() != port.number()));
    }
}
