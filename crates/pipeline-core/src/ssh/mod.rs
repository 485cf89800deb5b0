//! Real connections: from the OpenSSH config's word for a device to an agent, or at least an SFTP server, that answers there.
//!
//! ```text
//! TCP → session ─ mux ─ lane → session ─ mux ─ lane → … → session ─ mux ─ command → agent
//!       jump host, shared      next hop, shared           device
//! ```
//!
//! | room | concern |
//! |---|---|
//! | [`connector`] | what a run connects its devices with |
//! | [`access`], [`command`] | machines that are still being set up, on a person's word; one command on a machine |
//! | `hop` | machines on the way; connected once, shared, reconnected once |
//! | [`session`] | TCP, handshake |
//! | [`host_key`] | is it the right machine |
//! | [`auth`], [`identity`] | are we let in, by key or password; the user's keys |
//! | [`mux`] | many channels over one session |
//! | [`deploy`] | puts the agent on a device and starts it |
//! | [`patience`] | bounds on waiting |
//!
//! Guarantees, at every hop: a strict host key, a bound on every wait, and an error that tells what it was. Knows no files but
//! keys, known_hosts and agents. Which machine has which address and key is `ssh_config`'s business.

pub mod access;
pub mod auth;
pub mod command;
pub mod connector;
pub mod deploy;
pub mod error;
mod hop;
pub mod host_key;
pub mod identity;
pub mod mux;
pub mod patience;
pub mod session;

// In place of libssh2's own: see its documentation.
use libssh2_cipher as _;

pub use access::{Access, Target, Trust};
pub use auth::Credentials;
pub use connector::{Connector, Options};
pub use error::SshError;
pub use hop::Connection;
pub use host_key::HostKey;
