//! `keytool add-pi`: takes new Pis in.

mod online;

use std::path::{Path, PathBuf};

use clap::Args;
use pipeline_core::config::Config;
use program::exit::Exit;
use program::failure::Failure;
use zeroize::Zeroizing;

use super::fleet::{self, Named};
use super::person::EntranceArgs;
use super::{Context, failed, typed_ids};
use crate::key::KeyType;
use crate::local;
use crate::registry::{Entry, Pi, Registry};

/// Options of `keytool add-pi`.
#[derive(Debug, Args)]
#[command(
    after_help = "For each Pi: makes a key pair, fetches the host key through the jump host, shows its fingerprint and what \
                        the Pi says of itself, asks whether it is the right one, and only then writes the entry, pins the host key \
                        and installs the public key. Without --fingerprints, the password goes to whatever holds the Pi's port \
                        on the jump host."
)]
pub struct AddPiArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// How to get in.
    #[command(flatten)]
    pub entrance: EntranceArgs,
    /// Trust only host keys of this file, with lines like 'raspberry31 SHA256:…'
    #[arg(long, value_name = "FILE")]
    pub fingerprints: Option<PathBuf>,
    /// Do not ask about machines whose fingerprint is in that file
    #[arg(long, requires = "fingerprints")]
    pub yes: bool,
    /// Bind the keys to the agent: they can do nothing but give access to this directory of the Pi
    #[arg(long, value_name = "SOURCE", value_parser = full_path)]
    pub restrict: Option<PathBuf>,
    /// Make keys and entries on this machine only; connect nowhere
    #[arg(long, conflicts_with_all = ["password_stdin", "identity", "fingerprints", "restrict"])]
    pub offline: bool,
    /// Say what would be changed, here and there; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Kind of new keys [default: `key_type` of the configuration, else ed25519]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<KeyType>,
    /// Encrypt new keys with a passphrase, which is asked for. Then only an ssh-agent can use them unattended
    #[arg(long)]
    pub passphrase: bool,
}

/// What new keys are to be like.
struct Making {
    kind: KeyType,
    passphrase: Option<Zeroizing<String>>,
}

pub fn run(context: &Context, args: &AddPiArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let mut named = Named::of(&registry, &typed_ids(&args.ids)?, Registry::pi)?;
    let kind = args.kind.unwrap_or_else(|| KeyType::of_config(&registry.onboarding().key_type));
    let passphrase = match args.passphrase && !args.dry_run {
        true => Some(context.ui.new_secret("Passphrase of the new keys", "no --passphrase")?),
        false => None,
    };
    let making = Making { kind, passphrase };
    let exit = match args.offline {
        true => offline(context, args, &registry, &named, &making)?,
        false => online::run(context, args, &registry, &mut named, &making)?,
    };
    remarks(context, args.restrict.as_deref(), &named.pis, &registry.entry(&registry.onboarding().jump));
    Ok(exit)
}

/// Keys and entries, and nothing that needs a connection.
fn offline(
    context: &Context,
    args: &AddPiArgs,
    registry: &Registry,
    named: &Named,
    making: &Making,
) -> Result<Exit, Failure> {
    let ui = context.ui;
    let mut exit = fleet::conclude(context, &named.strays, None);
    let passphrase = making.passphrase.as_ref();
    let decide = |pis: &[Pi]| local::pis(pis, registry.onboarding(), making.kind, passphrase, &context.places);
    let mut usable: Vec<Pi> = Vec::new();
    for pi in &named.pis {
        // One that can't be helped must not stop the others.
        match decide(std::slice::from_ref(pi)) {
            Ok(_) => usable.push(pi.clone()),
            Err(error) => {
                ui.streams.warning(&failed(error));
                exit = Exit::Partial;
            }
        }
    }
    let changes = match usable.is_empty() {
        true => Vec::new(),
        false => context.editor(args.dry_run).perform(|| decide(&usable)).map_err(failed)?,
    };
    changes.iter().for_each(|words| ui.streams.say(words));
    match (changes.is_empty(), args.dry_run) {
        (true, _) if exit == Exit::Done => ui.nothing_to_do(),
        (false, true) => ui.nothing_was_changed(),
        _ => {}
    }
    Ok(exit)
}

/// Of a directory on a Pi.
fn full_path(text: &str) -> Result<PathBuf, String> {
    let is_full = text.starts_with('/') && !text.contains(['\n', '\r', '\0']);
    is_full.then(|| PathBuf::from(text)).ok_or_else(|| "give the full path of a directory: /home/pi/beephotos".into())
}

/// What a person should know of, and keytool does not change.
fn remarks(context: &Context, bound_to: Option<&Path>, pis: &[Pi], jump: &Entry) {
    let warn = |what: String, hint: String| {
        context.ui.streams.warning(&Failure { exit: Exit::Done, what, hint: Some(hint) });
    };
    for pi in pis {
        let Entry::HandWritten { file, line, has_key } = &pi.entry else { continue };
        let place = format!("{}:{line}", context.places.show(file));
        context.ui.streams.say(&format!("{} has an entry of your own in {place}, which stays as it is", pi.name));
        if !has_key {
            let key = context.places.show(&pi.key);
            warn(
                format!("the entry of {} in {place} names no key", pi.name),
                format!("add 'IdentityFile {key}' to it"),
            );
        }
    }
    if *jump == Entry::None {
        let jump = &context.setup.onboarding.jump;
        warn(format!("the jump host '{jump}' has no entry in the OpenSSH config"), "'keytool init' writes one".into());
    }
    if let Some(config) = &context.setup.config {
        for pi in pis.iter().filter(|pi| !is_of_fleet(pi, config)) {
            warn(
                format!("'hosts' in the configuration does not take {}", pi.name),
                format!("add \"{}\" to it, or 'pipeline sync' passes it by", pi.name),
            );
        }
        let elsewhere = |pi: &&Pi| bound_to.is_some_and(|bound_to| config.device(&pi.name).source != bound_to);
        for pi in pis.iter().filter(elsewhere) {
            let source = config.device(&pi.name).source;
            warn(
                format!("the source of {} is {} in the configuration", pi.name, source.display()),
                "a key that is bound to another directory gives no access to it: one of the two must change".into(),
            );
        }
    }
}

/// Whether `pipeline` visits it.
pub(super) fn is_of_fleet(pi: &Pi, config: &Config) -> bool {
    let (without, with): (Vec<_>, Vec<_>) =
        config.hosts.iter().filter(|host| host.matches(pi.name.as_str())).partition(|host| host.is_negated());
    !with.is_empty() && without.is_empty()
}
