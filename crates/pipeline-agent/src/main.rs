//! The small program that `pipeline` puts on a device. It serves the directories that it was started with over its standard
//! input and output, and ends with them.

use std::process::ExitCode;

mod args;
mod streams;

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Ok(args::Command::Serve(roots)) => streams::serve(&roots),
        Ok(args::Command::Version) => streams::say(&args::version()),
        Ok(args::Command::Help) => streams::say(args::HELP),
        Err(error) => streams::refuse(&error),
    }
}
