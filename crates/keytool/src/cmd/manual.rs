//! `keytool manual`: pages and completions for whoever packages it, and for who installed it without a package.

use clap::CommandFactory;
use program::exit::Exit;
use program::failure::Failure;
use program::manual::{self, ManualArgs};

use crate::cli::Cli;

pub fn run(args: &ManualArgs) -> Result<Exit, Failure> {
    manual::write(&Cli::command(), &args.dir).map_err(|error| {
        Failure::because(Exit::Unexpected, &format!("can't write the manual to {}", args.dir.display()), &error)
    })?;
    Ok(Exit::Done)
}
