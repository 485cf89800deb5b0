//! A command from its beginning to its exit code.
//!
//! Guarantees that whatever ends it is told once, in one form, and has its exit code: a failure, a panic in any thread, output
//! that could not be written.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bug;
use crate::exit::Exit;
use crate::failure::Failure;

/// Who tells people how it ends.
pub trait Tell {
    /// `error: what, where` and `hint: what to do`, on standard error.
    fn error(&self, failure: &Failure);

    /// Why standard output is not complete, if it is not.
    fn lost_output(&self) -> Option<io::Error>;
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// For the caller.
    pub exit: Exit,
    /// Why, where it was a failure.
    pub failure: Option<Failure>,
}

/// Runs the command of the program called `name`.
pub fn run(
    name: &'static str,
    tell: &'static (impl Tell + Sync),
    command: impl FnOnce() -> Result<Exit, Failure>,
) -> Ended {
    bug::watch(name, tell);
    let mut told = None;
    let mut exit = match catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            tell.error(&failure);
            told.insert(failure).exit
        }
        Err(_) => Exit::Unexpected,
    };
    if bug::happened() {
        exit = exit.worse(Exit::Unexpected);
    }
    if let Some(error) = tell.lost_output() {
        let lost = Failure::of_output(&error);
        tell.error(&lost);
        exit = exit.worse(lost.exit);
    }
    Ended { exit, failure: told }
}
