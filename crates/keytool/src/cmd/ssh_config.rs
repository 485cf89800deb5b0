//! `keytool ssh-config`: the entries as they stand, or would stand, in the file that keytool owns. Changes nothing.

use clap::Args;
use program::exit::Exit;
use program::failure::Failure;

use super::fleet::{self, Named};
use super::{Context, failed, typed_ids};
use crate::local::identity_file;
use crate::registry::{Entry as Known, Registry};
use crate::ssh_config::{Entry, Owned};

/// Options of `keytool ssh-config`.
#[derive(Debug, Args)]
pub struct SshConfigArgs {
    /// Numbers of Pis, with an entry or without: 31, 1-50 or 31,34 [default: the whole file]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
}

pub fn run(context: &Context, args: &SshConfigArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let mut owned = Owned::load(&context.places).map_err(failed)?;
    let say = |text: &str| context.ui.answer(text);
    if args.ids.is_empty() {
        say(&owned.text());
        return Ok(Exit::Done);
    }
    let Named { pis, strays } = Named::of(&registry, &typed_ids(&args.ids)?, Registry::pi)?;
    for pi in pis {
        if let Known::HandWritten { file, line, .. } = &pi.entry {
            say(&format!("# {} has its entry in {}:{line}", pi.name, context.places.show(file)));
            continue;
        }
        let entry = Entry::of_pi(&pi, registry.onboarding(), &identity_file(&pi.key, &context.places));
        owned.set(&entry.map_err(failed)?);
        owned.block(pi.name.as_str()).into_iter().for_each(|block| say(block.text()));
    }
    Ok(fleet::conclude(context, &strays, None))
}
