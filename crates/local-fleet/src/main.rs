//! The local fleet as a program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use local_fleet::leash;

mod demo;
mod narrator;
mod up;

/// A jump host and Raspberry Pis on loopback, with real sshds.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the main job on a fleet of its own and explains what happens.
    Demo,
    /// Starts a fleet, fills it, says how to play with it, and keeps it up until Ctrl-C.
    Up {
        /// How many Pis that work; one more is offline, and one accepts and says nothing.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
        pis: u16,
    },
    /// Runs a program that ends with its holder; for the fleet's own use.
    #[command(name = leash::SUBCOMMAND, hide = true)]
    Leash {
        program: OsString,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo => return demo::demo(),
        Command::Up { pis } => up::up(pis),
        Command::Leash { program, args } => leash::keep(&program, &args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, error.hint()),
    }
}

/// One line that says what and why, one that says what to do.
fn complain(error: &dyn std::error::Error, hint: Option<&str>) -> ExitCode {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        let plain = cause_text.split(" (os error ").next().unwrap_or(&cause_text);
        text = format!("{text}: {plain}");
        source = cause.source();
    }
    if let Some(hint) = hint {
        text = format!("{text}\nhint: {hint}");
    }
    writeln!(io::stderr(), "{text}").ok();
    ExitCode::FAILURE
}
