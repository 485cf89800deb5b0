//! What became of one machine, as the table shows it.

use std::fmt;

use pipeline_core::error::{Class, Classified, one_line};
use pipeline_core::event::Outcome;
use serde::Serialize;

/// What became of one part of the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// It was not its turn.
    #[default]
    Skipped,
    /// Done just now.
    Done,
    /// There was nothing to do.
    Kept,
    /// A dry run would do it.
    Planned,
    /// It failed.
    Failed,
}

impl Step {
    /// Of something that is made where it is not there.
    pub fn made(was_there: bool) -> Step {
        if was_there { Step::Kept } else { Step::Done }
    }
}

/// As in the table.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Step::Skipped => "-",
            Step::Done => "done",
            Step::Kept => "was there",
            Step::Planned => "would be",
            Step::Failed => "failed",
        })
    }
}

/// What keeps a machine out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind it is.
    pub class: Class,
    /// What and where, one line.
    pub what: String,
    /// What to do, one sentence.
    pub hint: Option<String>,
}

impl Problem {
    /// Of an error.
    pub fn of(error: &(dyn Classified + 'static)) -> Problem {
        Problem { class: error.class(), what: one_line(error), hint: error.hint() }
    }

    /// Whether the machine is merely away.
    pub fn is_away(&self) -> bool {
        matches!(self.class, Class::Unreachable | Class::Transient)
    }
}

/// What became of one machine.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its number; none for the jump host.
    pub id: Option<String>,
    /// Its alias.
    pub host: String,
    /// Our key pair.
    pub key: Step,
    /// Its entry in the OpenSSH config.
    pub config: Step,
    /// Its line in known_hosts.
    pub host_key: Step,
    /// The line in its `authorized_keys`.
    pub installed: Step,
    /// A login with the written config alone, and what answered.
    pub login: Step,
    /// What else there is to say, one line each.
    pub notes: Vec<String>,
    /// What kept it out.
    pub problem: Option<Problem>,
}

impl Row {
    /// What stands above the [`Row::steps`].
    pub const STEPS: [&str; 5] = ["key", "config", "host key", "installed", "login"];

    /// How far each step is, as in the table.
    pub fn steps(&self) -> [String; 5] {
        [self.key, self.config, self.host_key, self.installed, self.login].map(|step| step.to_string())
    }

    /// What was only looked at has not been done, and is not going to be.
    pub fn unplan(&mut self) {
        let steps = [&mut self.key, &mut self.config, &mut self.host_key, &mut self.installed, &mut self.login];
        steps.into_iter().filter(|step| **step == Step::Planned).for_each(|step| *step = Step::Skipped);
    }

    /// Of a machine that nothing has become of yet.
    pub fn new(id: Option<String>, host: &str) -> Row {
        Row { id, host: host.to_owned(), ..Row::default() }
    }
}

/// What the machines of a batch come to, for the exit code of the command.
pub fn outcomes(rows: &[Row]) -> Vec<Outcome> {
    let outcome = |row: &Row| match row.problem.clone() {
        None => Outcome::Done,
        Some(Problem { class: Class::Interrupted, .. }) => Outcome::Stopped,
        Some(problem) if problem.is_away() => Outcome::Offline { reason: problem.what, hint: problem.hint },
        Some(Problem { class, what, hint }) => Outcome::Failed { class, reason: what, hint },
    };
    rows.iter().map(outcome).collect()
}
