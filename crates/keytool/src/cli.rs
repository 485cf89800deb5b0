//! What can be typed: clap types only, no behaviour. The arguments of a command stand in the file of that command.

use clap::{Parser, Subcommand};
use program::options::Global;

use crate::cmd::add_pi::AddPiArgs;
use crate::cmd::check::CheckArgs;
use crate::cmd::fingerprint::FingerprintArgs;
use crate::cmd::grant::{GrantArgs, GrantsArgs};
use crate::cmd::init::InitArgs;
use crate::cmd::inventory::InventoryArgs;
use crate::cmd::list::ListArgs;
use crate::cmd::remove_pi::RemovePiArgs;
use crate::cmd::revoke::RevokeArgs;
use crate::cmd::rotate::RotateArgs;
use crate::cmd::ssh_config::SshConfigArgs;
use crate::cmd::tunnel::TunnelArgs;
use program::manual::ManualArgs;

/// From a fresh card to a Pi in the fleet: keys, host keys and OpenSSH entries, on this machine and on the others.
///
/// Every command can be run again and does only what is missing. Exit status: 0 done, 1 unexpected, 2 usage, 3 some Pi
/// failed, 4 nothing could be reached, 5 a disk here is full or read-only, 7 another keytool is changing the same files, 78 configuration, 129, 130 or
/// 143 stopped by a signal.
#[derive(Debug, Parser)]
#[command(name = "keytool", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order of a Pi's life.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set up the jump host, and write the configuration file
    Init(InitArgs),
    /// Take Pis in: key, host key, entry in the OpenSSH config, public key, login
    AddPi(AddPiArgs),
    /// List the Pis, their keys and their entries
    List(ListArgs),
    /// Show the fingerprints of a Pi's key and of its pinned host keys
    Fingerprint(FingerprintArgs),
    /// Look whether keys, entries, host keys and logins are as they must be
    Check(CheckArgs),
    /// Give Pis new keys; the new one works before the old one is removed
    Rotate(RotateArgs),
    /// Remove Pis: their entry, host key and key here, the public key there
    RemovePi(RemovePiArgs),
    /// Print the entries of the OpenSSH config
    SshConfig(SshConfigArgs),
    /// Set up a Pi's reverse tunnel, or print what somebody has to put where
    Tunnel(TunnelArgs),
    /// Let somebody else in for a time
    Grant(GrantArgs),
    /// List who is let in for a time
    Grants(GrantsArgs),
    /// Take back what was granted
    Revoke(RevokeArgs),
    /// Print the Pis as an Ansible inventory
    Inventory(InventoryArgs),
    /// Write manual pages and completions below a directory, as they lie below /usr/share
    #[command(hide = true)]
    Manual(ManualArgs),
}

impl Command {
    /// Whether it writes the configuration file, which then need not be there.
    pub fn writes_config(&self) -> bool {
        matches!(self, Command::Init(_))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_types_fit_together() {
        Cli::command().debug_assert();
    }
}
