//! `pipeline manual`: pages and completions for whoever packages it, and for who installed it without a package.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use program::exit::Exit;
use program::failure::Failure;
use program::manual::{self, ManualArgs, configuration};

use crate::cli::Cli;

const EXAMPLE: &str = include_str!("../../../../examples/pipeline.yaml");

pub fn run(args: &ManualArgs) -> Result<Exit, Failure> {
    write(&args.dir).map_err(|error| {
        Failure::because(Exit::Unexpected, &format!("can't write the manual to {}", args.dir.display()), &error)
    })?;
    Ok(Exit::Done)
}

fn write(dir: &Path) -> io::Result<()> {
    manual::write(&Cli::command(), dir)?;
    let page = configuration::page(EXAMPLE, env!("CARGO_PKG_VERSION"));
    fs::write(manual::directory(dir, "man/man5")?.join("pipeline.yaml.5"), page)
}
