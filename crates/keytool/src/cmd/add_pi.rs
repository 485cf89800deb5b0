//! `keytool add-pi`: keys and entries of new Pis.

use clap::Args;
use pipeline_core::config::Config;
use program::exit::Exit;
use program::failure::Failure;

use super::{Context, failed, typed_ids};
use crate::key::{self, KeyType};
use crate::local;
use crate::registry::{Entry, Pi};

/// Options of `keytool add-pi`.
#[derive(Debug, Args)]
pub struct AddPiArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// Make keys and entries on this machine only; connect nowhere
    #[arg(long, required = true)]
    pub offline: bool,
    /// Say what would be changed; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Kind of new keys [default: `key_type` of the configuration, else ed25519]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<KeyType>,
    /// Encrypt new keys with a passphrase, which is asked for. Then only an ssh-agent can use them unattended
    #[arg(long)]
    pub passphrase: bool,
}

pub fn run(context: &Context, args: &AddPiArgs) -> Result<Exit, Failure> {
    let (ui, registry) = (context.ui, context.registry()?);
    let mut exit = Exit::Done;
    let mut pis: Vec<Pi> = Vec::new();
    for id in typed_ids(&args.ids)? {
        // One that can't be helped must not stop the others.
        match registry.pi(id).map_err(failed).and_then(|pi| key::load(&pi.key).map(|_| pi).map_err(failed)) {
            Ok(pi) => pis.push(pi),
            Err(failure) => {
                ui.streams.warning(&failure);
                exit = Exit::Partial;
            }
        }
    }
    let kind = args.kind.unwrap_or_else(|| KeyType::of_config(&registry.onboarding().key_type));
    let passphrase = match args.passphrase && !args.dry_run {
        true => Some(ui.new_secret("Passphrase of the new keys", "no --passphrase")?),
        false => None,
    };
    let decide = || local::pis(&pis, registry.onboarding(), kind, passphrase.as_ref(), &context.places);
    let changes = context.editor(args.dry_run).perform(decide).map_err(failed)?;
    changes.iter().for_each(|words| ui.streams.say(words));
    match (changes.is_empty(), args.dry_run) {
        (true, _) if exit == Exit::Done => ui.streams.say("nothing to do: everything is there"),
        (false, true) => ui.streams.say("nothing was changed: this is what would be"),
        _ => {}
    }
    remarks(context, &pis, &registry.entry(&registry.onboarding().jump));
    Ok(exit)
}

/// What a person should know of, and keytool does not change.
fn remarks(context: &Context, pis: &[Pi], jump: &Entry) {
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
        warn(
            format!("the jump host '{jump}' has no entry in the OpenSSH config"),
            format!("write one for 'Host {jump}', with HostName, User and IdentityFile"),
        );
    }
    if let Some(config) = &context.setup.config {
        for pi in pis.iter().filter(|pi| !is_of_fleet(pi, config)) {
            warn(
                format!("'hosts' in the configuration does not take {}", pi.name),
                format!("add \"{}\" to it, or 'pipeline sync' passes it by", pi.name),
            );
        }
    }
}

fn is_of_fleet(pi: &Pi, config: &Config) -> bool {
    let (without, with): (Vec<_>, Vec<_>) =
        config.hosts.iter().filter(|host| host.matches(pi.name.as_str())).partition(|host| host.is_negated());
    !with.is_empty() && without.is_empty()
}
