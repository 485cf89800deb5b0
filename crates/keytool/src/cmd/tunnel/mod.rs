//! `keytool tunnel`: everything for a Pi's reverse tunnel, printed or put where it belongs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use pipeline_core::cancel::Cancel;
use pipeline_core::ssh_config::Hop;
use program::exit::Exit;
use program::failure::Failure;

use super::init::fingerprint;
use super::person::EntranceArgs;
use super::{Context, failed, fleet, typed_ids};
use crate::authorized_keys::Key;
use crate::changes::Change;
use crate::known_hosts;
use crate::places::Places;
use crate::registry::{Pi, Registry};
use crate::rotation;
use crate::tunnel::{ACCOUNT, Jump, Tunnel};
use crate::visits::Visits;

mod install;
mod preview;
mod print;

/// Options of `keytool tunnel`.
#[derive(Debug, Args)]
pub struct TunnelArgs {
    /// Number of the Pi: 31
    #[arg(value_name = "ID")]
    pub id: String,
    /// Set the Pi up, over the network that it is on now
    #[arg(long, requires = "via")]
    pub install: bool,
    /// How to reach the Pi for that: a name, an address, or an alias of the OpenSSH config
    #[arg(long, value_name = "[USER@]HOST[:PORT]", requires = "install", value_parser = address)]
    pub via: Option<Hop>,
    /// Let the Pi's tunnel key in at the jump host
    #[arg(long)]
    pub install_jump: bool,
    /// Let no tunnel key of this Pi in at the jump host any more
    #[arg(long, conflicts_with_all = ["install", "install_jump"])]
    pub revoke_jump: bool,
    /// Take the place of another tunnel that the Pi has, and of another key that the jump host has for it
    #[arg(long)]
    pub replace: bool,
    /// Say what would be changed, here and there; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one of the texts alone
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["install", "install_jump", "revoke_jump", "dry_run"])]
    pub only: Option<Text>,
    /// Public half of the Pi's tunnel key, where the script was run by hand
    #[arg(long, value_name = "FILE.pub", conflicts_with = "install")]
    pub key: Option<PathBuf>,
    /// Account on the jump host that holds the tunnels [default: the one of its entry in the OpenSSH config]
    #[arg(long, value_name = "USER")]
    pub jump_user: Option<String>,
    /// The jump host as the Pi reaches it [default: as the OpenSSH config has it]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = address)]
    pub jump_address: Option<Hop>,
    /// Port of sshd on the Pi
    #[arg(long, value_name = "PORT", default_value_t = 22)]
    pub sshd_port: u16,
    /// Trust only the host key with this fingerprint, and ask nobody; may be given more than once
    #[arg(long, value_name = "SHA256:…", requires = "install", value_parser = fingerprint)]
    pub fingerprint: Vec<String>,
    /// How to get in.
    #[command(flatten)]
    pub entrance: EntranceArgs,
}

/// The texts of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Text {
    /// Script that sets the Pi up
    Pi,
    /// The Pi's systemd unit, which is in the script as well
    Unit,
    /// The jump host's line for the Pi's key
    Jump,
    /// The jump host's sshd_config
    Sshd,
}

fn address(text: &str) -> Result<Hop, String> {
    Hop::parse(text).ok_or_else(|| "it is of the form [USER@]HOST[:PORT]".into())
}

/// What every form of the command needs.
struct Job<'a> {
    context: &'a Context,
    args: &'a TunnelArgs,
    registry: Registry,
    pi: Pi,
    visits: Visits,
}

pub fn run(context: &Context, args: &TunnelArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let [id] = typed_ids(std::slice::from_ref(&args.id))?[..] else {
        return Err(Failure {
            exit: Exit::Usage,
            what: format!("'{}' is more than one Pi", args.id),
            hint: Some("a tunnel is set up for one Pi at a time".into()),
        });
    };
    let pi = registry.pi(id).map_err(failed)?;
    let visits = Visits::new(&context.setup, registry.ssh_config().clone(), &Cancel::default());
    let job = Job { context, args, registry, pi, visits };
    match (args.install || args.install_jump, args.revoke_jump) {
        (true, _) if args.dry_run => preview::run(&job, &job.tunnel()?),
        (true, _) => install::run(&job, &job.tunnel()?),
        (_, true) => install::revoke(&job),
        (false, false) => print::run(&job, &job.tunnel()?),
    }
}

impl Job<'_> {
    /// The alias of the jump host, which must have an entry.
    fn jump_alias(&self) -> Result<&str, Failure> {
        fleet::require_jump(&self.registry)?;
        Ok(&self.registry.onboarding().jump)
    }

    /// The account on the jump host that holds the tunnels.
    fn jump_user(&self, default: &str) -> String {
        self.args.jump_user.clone().unwrap_or_else(|| default.to_owned())
    }

    fn tunnel(&self) -> Result<Tunnel, Failure> {
        let alias = self.jump_alias()?;
        let host = self.registry.ssh_config().resolve(alias).map_err(failed)?;
        let host_keys = known_hosts::pinned(&host).map_err(failed)?;
        let given = self.args.jump_address.as_ref();
        let jump = Jump {
            alias: alias.to_owned(),
            hostname: given.map_or(&host.hostname, |given| &given.host).clone(),
            // 22 where an address was given without one: the port of the collector's way may be another.
            port: given.map_or(host.port, |given| given.port.unwrap_or(22)),
            user: self.jump_user(&host.user),
            host_keys,
        };
        Tunnel::new(self.pi.name.as_str(), self.pi.port, self.args.sshd_port, jump).map_err(failed)
    }

    /// Where the public half of the Pi's tunnel key is kept on this machine.
    fn key_file(&self) -> PathBuf {
        kept_key(&self.context.places, self.pi.name.as_str())
    }

    /// The Pi's tunnel key, as far as it is known here.
    fn known_key(&self) -> Result<Option<Key>, Failure> {
        let kept = self.key_file();
        match &self.args.key {
            Some(file) => public_key(file).map(Some),
            None if kept.exists() => public_key(&kept).map(Some),
            None => Ok(None),
        }
    }

    /// That the Pi's key has not been set aside as revoked: whoever has it, after a theft, would be let in again.
    fn not_revoked(&self, key: &Key) -> Result<(), Failure> {
        let (name, id, places) = (&self.pi.name, self.pi.id, &self.context.places);
        for file in aside(places, name.as_str(), REVOKED)? {
            if public_key(&file)? != *key {
                continue;
            }
            let shown = places.show(&file);
            return Err(Failure {
                exit: Exit::Config,
                what: format!("this tunnel key of {name} was revoked: {shown} has it"),
                hint: Some(format!(
                    "have a new one made: remove /etc/{ACCOUNT}/{name} on the Pi, then 'keytool tunnel {id} --install --via pi@…'; \
                     or, if this key is to be trusted again, delete {shown}"
                )),
            });
        }
        Ok(())
    }
}

/// What the name of a key says that was taken out at the jump host.
const REVOKED: &str = "revoked";

/// Where the public half of a Pi's tunnel key is kept on this machine.
pub(super) fn kept_key(places: &Places, name: &str) -> PathBuf {
    places.key(&format!("{name}-tunnel.pub"))
}

/// The kept key of a Pi that is let in no longer gets a name that nobody looks for: `word` and a time. Else the next one to be let
/// in would be it again.
pub(super) fn set_aside(places: &Places, name: &str, word: &str, stamp: &str) -> Option<Change> {
    let file = kept_key(places, name);
    let to = rotation::with(&file, &format!(".{word}-{stamp}"));
    file.symlink_metadata().is_ok().then(|| Change::move_aside(&file, &to, places))
}

/// Where keys of a Pi lie that were set aside with that word.
fn aside(places: &Places, name: &str, word: &str) -> Result<Vec<PathBuf>, Failure> {
    let unread =
        |error| Failure::because(Exit::Config, &format!("can't look into {}", places.show(&places.ssh_dir)), &error);
    let start = rotation::with(&kept_key(places, name), &format!(".{word}-"));
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(&places.ssh_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(unread(error)),
    };
    for entry in entries {
        let path = entry.map_err(unread)?.path();
        if path.as_os_str().as_encoded_bytes().starts_with(start.as_os_str().as_encoded_bytes()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn public_key(file: &Path) -> Result<Key, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::because(Exit::Config, &format!("can't read {}", file.display()), &error))?;
    // The script prints `key …`.
    let line = text.trim().strip_prefix("key ").unwrap_or(text.trim());
    Key::parse(line).map(|(key, _)| key).ok_or_else(|| Failure {
        exit: Exit::Config,
        what: format!("{} holds no public key", file.display()),
        hint: Some("it is one line, 'ssh-ed25519 AAAA…', as the script on the Pi prints it".into()),
    })
}
