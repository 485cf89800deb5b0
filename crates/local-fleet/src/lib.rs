//! A fleet on loopback: a jump host, Raspberry Pis behind real reverse tunnels, and a collector's configuration.
//!
//! Everything is real but the distance: each machine is an OpenSSH `sshd` with its own host key, port and home, and each Pi
//! holds its tunnel with `ssh -R`. It all lives in one temporary directory, runs as whoever starts it, and ends with the
//! [`Fleet`], even when that process is killed. The demo and the end-to-end tests share it, so that what is shown is what
//! is tested.
//!
//! ```no_run
//! let fleet = local_fleet::Fleet::builder().pis(2).offline(1).start()?;
//! fleet.write(1, b"2026-11-21/bee.jpg", b"...", std::time::SystemTime::UNIX_EPOCH)?;
//! let status = fleet.command("pipeline")?.arg("check").status();
//! # Ok::<(), local_fleet::Error>(())
//! ```
//!
//! | room | concern |
//! |---|---|
//! | [`leash`] | a process that can't outlive its holder, nor can anything that it starts |
//! | `port`, `keys`, `settings` | reserved ports; ssh-keygen; the text of every configuration file |
//! | [`machine`] | one `sshd`: start, freeze, kill its sessions |
//! | [`fleet`] | the builder, and the whole |
//! | [`programs`] | where the programs under test are, and building them |
//! | [`field`] | what the Pis of the demo hold |
//! | [`files`] | writing and listing trees, awkward names and very deep paths included |
//!
//! All machines share this computer's users, clock and file systems: a Pi differs from the next by its port, host key, `$HOME`
//! and source directory. A remote command starts in the account's real home.

pub mod error;
pub mod field;
pub mod files;
pub mod fleet;
mod keys;
pub mod leash;
pub mod machine;
mod port;
mod process;
pub mod programs;
mod settings;

pub use error::Error;
pub use files::{FileFacts, snapshot};
pub use fleet::{Builder, Fleet};
pub use machine::Machine;

/// What the calls of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
