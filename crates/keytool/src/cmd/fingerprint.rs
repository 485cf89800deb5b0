//! `keytool fingerprint`: what to compare, in OpenSSH's form.

use clap::Args;
use program::exit::Exit;
use program::failure::Failure;

use super::{Context, failed, typed_ids};
use crate::key;
use crate::known_hosts::KnownHosts;

/// Options of `keytool fingerprint`.
#[derive(Debug, Args)]
pub struct FingerprintArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// Draw the pictures that `ssh-keygen -lv` draws
    #[arg(long)]
    pub randomart: bool,
}

pub fn run(context: &Context, args: &FingerprintArgs) -> Result<Exit, Failure> {
    let pis = context.registry()?.known(&typed_ids(&args.ids)?).map_err(failed)?;
    let known_hosts = KnownHosts::load(&context.places).map_err(failed)?;
    let say = |line: &str| context.ui.streams.say(line);
    let mut exit = Exit::Done;
    for pi in pis {
        match key::load(&pi.key) {
            Ok(Some(key)) => {
                say(&format!("{} key {} ({})", pi.name, key.fingerprint(), key.kind()));
                if args.randomart {
                    key::randomart(&key.public).lines().for_each(say);
                }
            }
            Ok(None) => say(&format!("{} key none: {} is not there", pi.name, context.places.show(&pi.key))),
            Err(error) => {
                context.ui.streams.warning(&failed(error));
                exit = exit.worse(Exit::Partial);
            }
        }
        let pinned = known_hosts.keys(pi.name.as_str());
        pinned.iter().for_each(|key| say(&format!("{} host {} ({})", pi.name, key.fingerprint(), key.algorithm())));
        if pinned.is_empty() {
            say(&format!("{} host none: no host key is pinned", pi.name));
        }
    }
    Ok(exit)
}
