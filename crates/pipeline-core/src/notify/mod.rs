//! A command of the user's is told how a run ended, so that a mail or a message can be sent.
//!
//! Guarantees that a trouble is told, and told once: it counts as told only when the command has ended well, and else the next
//! run tries again. A power cut in between makes it told twice, never not at all. The command can't hold up a run for longer
//! than its time-out, whatever it does, writes or starts. Leaves to others: that a failure to tell is no failure of the run; and
//! whatever was not a run: a slip on the command line, another run's lock, a stop by a signal.
//!
//! `docs/scripting.md` describes what the command reads.

mod hook;
mod memory;
#[cfg(test)]
mod tests;
mod troubles;

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Notify, NotifyWhen};
use crate::error::{Class, Classified};
use crate::event::{RunReport, SCHEMA, StopReason};

pub use hook::HookError;
use memory::Memory;
use troubles::{Told, Trouble, Verdict, judge};

/// What keeps the command from being told, or from being told only once.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The command failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// What was told can't be remembered.
    #[error("can't write {}, which remembers what notify was told", .file.display())]
    Memory {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Classified for NotifyError {
    fn class(&self) -> Class {
        match self {
            NotifyError::Hook(_) => Class::Config,
            NotifyError::Memory { source, .. } => Class::of_state_dir(source),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            NotifyError::Hook(_) => {
                "the run is not affected, and the next one tells it again; look at 'notify' in the \
                                     configuration, and run its command by hand"
                    .into()
            }
            NotifyError::Memory { .. } => "the run is not affected; the next one tells the same again".into(),
        })
    }
}

/// A run that has ended, or could not begin.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// How the program ends.
    pub exit_code: u8,
    /// When, by our clock.
    pub at: Timestamp,
    /// One line about it.
    pub summary: &'a str,
    /// What concerns the run as a whole: what kept it from beginning or stopped it, or that nobody was reached.
    pub stopped_by: Option<&'a StopReason>,
    /// Every device of the configuration; none where that is not known.
    pub fleet: Option<&'a [&'a str]>,
    /// What it did; none where it could not begin.
    pub report: Option<&'a RunReport>,
}

/// What the command reads, as one JSON object.
#[derive(Debug, Serialize)]
struct Notice<'a> {
    schema: u32,
    time: String,
    collector: String,
    exit_code: u8,
    summary: &'a str,
    new: Vec<Told<'a>>,
    lasting: Vec<Told<'a>>,
    over: Vec<Told<'a>>,
    run: Option<&'a RunReport>,
}

/// Tells the command of a run, if it wants to hear of it. Breaks off as soon as `stop` says so, which it is asked all the time; then
/// the next run tells it again.
pub fn notify(
    notify: &Notify,
    state_dir: &Path,
    ended: &Ended<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<(), NotifyError> {
    let before = Memory::read(state_dir);
    let Verdict { mut troubles, changed } = judge(&before.troubles, ended, notify.when);
    let wanted = match notify.when {
        NotifyWhen::Failure => ended.exit_code != 0,
        NotifyWhen::Change => changed,
        NotifyWhen::Always => true,
    };
    let told = if wanted { tell(notify, ended, &troubles, stop) } else { Ok(()) };
    if wanted && told.is_ok() {
        troubles.iter_mut().filter(|trouble| trouble.ripe).for_each(|trouble| trouble.told = true);
    }
    // Who hears of failures alone does not hear of their end.
    let heard = if wanted { told.is_ok() } else { notify.when == NotifyWhen::Failure };
    troubles.retain(|trouble| !(heard && trouble.over));
    let after = Memory::of(troubles);
    let remembered = if after == before { Ok(()) } else { after.write(state_dir) };
    told?;
    remembered
}

fn tell(notify: &Notify, ended: &Ended<'_>, troubles: &[Trouble], stop: &dyn Fn() -> bool) -> Result<(), NotifyError> {
    let those = |wanted: fn(&Trouble) -> bool| troubles.iter().filter(|t| wanted(t)).map(Told::of).collect();
    let notice = Notice {
        schema: SCHEMA,
        time: format!("{:.3}", ended.at),
        collector: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        exit_code: ended.exit_code,
        summary: ended.summary,
        new: those(|trouble| trouble.ripe && !trouble.told && !trouble.over),
        lasting: those(|trouble| trouble.told && !trouble.over),
        over: those(|trouble| trouble.over),
        run: ended.report,
    };
    let text = match serde_json::to_vec(&notice) {
        Ok(text) => text,
        // Derived types with string keys: serde_json has no reason to fail.
        Err(error) => unreachable!("a notice that is no JSON: {error}"),
    };
    Ok(hook::run(notify, &text, stop)?)
}
