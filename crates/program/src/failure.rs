//! Why the program ends without having done its work: what, where, what to do next, and the exit code.

use std::error::Error;
use std::io;

use pipeline_core::error::{Class, Classified, describe, one_line};
use pipeline_core::event::StopReason;

use crate::exit::Exit;

/// One problem, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends because of it.
    pub exit: Exit,
    /// What and where, one line.
    pub what: String,
    /// What to do, one sentence.
    pub hint: Option<String>,
}

impl Failure {
    /// Of an error of the core, whose class decides the exit code.
    pub fn of(error: &(dyn Classified + 'static)) -> Failure {
        Failure { exit: Exit::of_class(error.class()), what: one_line(error), hint: error.hint() }
    }

    /// Of standard output that can't be written: a disk that is full or read-only is as bad behind it as anywhere.
    pub fn of_output(error: &io::Error) -> Failure {
        let full = Class::of_state_dir(error) == Class::Storage;
        let exit = if full { Exit::Storage } else { Exit::Unexpected };
        let hint = full.then(|| "make room on the disk that it leads to, or see why it is read-only".into());
        Failure { hint, ..Failure::because(exit, "can't write to standard output", error) }
    }

    /// Of an error that has no class, after the words that say what was being done.
    pub fn because(exit: Exit, doing: &str, cause: &(dyn Error + 'static)) -> Failure {
        Failure { exit, what: format!("{doing}: {}", describe(cause)), hint: None }
    }
}

/// Of what stopped a run. The exit code is that of the whole run and is decided elsewhere.
impl From<&StopReason> for Failure {
    fn from(stop: &StopReason) -> Failure {
        Failure { exit: Exit::of_class(stop.class), what: stop.reason.clone(), hint: stop.hint.clone() }
    }
}
