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
//! | [`account`] | users with passwords and homes, for some programs only |
//! | [`builder`], [`fleet`] | what fleet to start; the whole |
//! | [`programs`] | where the programs under test are, and building them |
//! | [`field`] | what the Pis of the demo hold |
//! | [`files`] | writing and listing trees, awkward names and very deep paths included |
//!
//! All machines share this computer's users, clock and file systems: a Pi differs from the next by its port, host key, `$HOME`
//! and source directory. A remote command starts in the account's real home.
//!
//! # From nothing
//!
//! [`Builder::passwords`] is for what happens before there are keys. Each machine then has an account of its own (`pi`; on the
//! jump host `data-pipeline-svc`), with a password, a real `~` and its own `~/.ssh/authorized_keys`, which `sshd` reads with
//! `StrictModes yes`. The collector has an empty home and nothing else.
//!
//! ```no_run
//! use local_fleet::{Fleet, account};
//! let fleet = Fleet::builder()
//!     .pis(3).ids(&[31, 34, 35]) // at base_port + 31, …
//!     .cloned(35, 31)            // the same host key
//!     .passwords("opensesame", "raspberry")
//!     .tunnels(false)            // starts faster; with tunnels, the jump host's authorized_keys holds their keys already
//!     .start()?;
//! account::authorize(&fleet.pi(31).home(), "ssh-ed25519 AAAA… somebody else's\n")?;
//! let keytool = fleet.command("keytool")?.arg("list").status(); // $HOME is fleet.home()
//! let login = fleet.at_home("ssh")?.args(["raspberry31", "true"]).status(); // ~ is fleet.home() too
//! # Ok::<(), local_fleet::Error>(())
//! ```
//!
//! What stands in for what: the password check is the real PAM with `pam_unix.so`; the user database, the shadow file and PAM's
//! service file are the machine's own, seen by its `sshd` alone. [`account`] has the limits. To have a machine ask by
//! `keyboard-interactive` only, give it `PasswordAuthentication no` and `KbdInteractiveAuthentication yes`.

pub mod account;
pub mod builder;
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

pub use builder::Builder;
pub use error::Error;
pub use files::{FileFacts, snapshot};
pub use fleet::Fleet;
pub use machine::Machine;

/// What the calls of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
