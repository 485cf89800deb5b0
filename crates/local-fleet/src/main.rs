//! The local fleet as a program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use local_fleet::{Error, leash};

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
    /// Starts a fleet, fills it, says how to play with it, and keeps it up until Ctrl-C.
    Up {
        /// How many Pis that work; one more is offline, and one accepts and says nothing.
        #[arg(long, default_value_t = 4)]
        pis: usize,
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
        Command::Up { pis } => up::up(pis),
        Command::Leash { program, args } => leash::keep(&program, &args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// One line that says what and why, one that says what to do.
fn complain(error: &Error) {
    let mut line = format!("error: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        let plain = text.split(" (os error ").next().unwrap_or(&text);
        line = format!("{line}: {plain}");
        source = cause.source();
    }
    if let Some(hint) = error.hint() {
        line = format!("{line}\nhint: {hint}");
    }
    writeln!(io::stderr(), "{line}").ok();
}
