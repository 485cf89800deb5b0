//! What people and programs see. Three listeners of the one stream of events ([`terminal`], [`json`], [`log`]), the table at the
//! end, and errors.
//!
//! Guarantees: standard output carries what was asked for (table, plan, JSON), standard error everything else, so that
//! `pipeline … > file` is clean; nothing that a device says can do more to a terminal than be read.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock};

use console::{Style, StyledObject};
use jiff::Timestamp;
use pipeline_core::event::{Observer, RunReport};

use crate::cli::Global;
use crate::environment::Environment;
use crate::failure::Failure;
use json::Json;
use lines::{Level, Lines};
use log::{Form, Log};
use output::Output;
use terminal::Terminal;
use words::printable;

pub mod fallbacks;
pub mod json;
pub mod lines;
pub mod log;
pub mod output;
#[cfg(test)]
mod samples;
pub mod table;
pub mod terminal;
pub mod wording;
pub mod words;

/// How much to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Problems only.
    Quiet,
    /// The course of things.
    Normal,
    /// Each file.
    Verbose,
}

/// How a thing was found that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// As it must be.
    Good,
    /// Not there, which is no failure.
    Away,
    /// Not as it must be.
    Bad,
}

/// What is known of one of the two streams.
#[derive(Clone, Copy, Debug)]
struct Stream {
    colors: bool,
    journal: bool,
    is_terminal: bool,
}

/// Where things are said, and how.
pub struct Ui {
    verbosity: Verbosity,
    out: Arc<Output>,
    out_stream: Stream,
    err: Arc<Output>,
    err_stream: Stream,
    draws: bool,
    terminal: OnceLock<Arc<Terminal>>,
}

impl Ui {
    /// On the two standard streams.
    pub fn new(global: &Global, environment: &Environment) -> Ui {
        let journal = environment.text("JOURNAL_STREAM");
        let stream = |fd: std::os::fd::BorrowedFd<'_>| {
            let is_terminal = fd.is_terminal();
            let colors = environment.colors(global.color, is_terminal);
            Stream { colors, journal: journal.is_some_and(|journal| is_journal(journal, fd)), is_terminal }
        };
        let (out_stream, err_stream) = (stream(io::stdout().as_fd()), stream(io::stderr().as_fd()));
        Ui {
            verbosity: match (global.quiet, global.verbose) {
                (true, _) => Verbosity::Quiet,
                (_, true) => Verbosity::Verbose,
                _ => Verbosity::Normal,
            },
            out: Arc::new(Output::new(io::stdout())),
            out_stream,
            err: Arc::new(Output::new(io::stderr())),
            err_stream,
            draws: err_stream.is_terminal && !environment.dumb() && !global.quiet,
            terminal: OnceLock::new(),
        }
    }

    /// The listener for a run.
    pub fn listener(&self, json: bool, dry_run: bool) -> Arc<dyn Observer> {
        if json {
            Arc::new(Json::new(self.out.clone()))
        } else if self.draws && !dry_run {
            self.terminal()
        } else {
            self.log(dry_run)
        }
    }

    /// The listener for a check, whose report is the result: bars while it lasts.
    pub fn check_listener(&self, devices: usize) -> Arc<dyn Observer> {
        if self.draws {
            let terminal = self.terminal();
            terminal.begin(devices);
            terminal
        } else if self.verbosity == Verbosity::Verbose {
            self.log(false)
        } else {
            Arc::new(())
        }
    }

    fn terminal(&self) -> Arc<Terminal> {
        self.terminal.get_or_init(|| Arc::new(Terminal::new(self.verbosity, self.err_stream.colors))).clone()
    }

    /// Whatever is written after the bars must not be drawn over.
    fn end_bars(&self) {
        if let Some(terminal) = self.terminal.get() {
            terminal.end();
        }
    }

    fn log(&self, dry_run: bool) -> Arc<dyn Observer> {
        Arc::new(Log {
            lines: Lines::new(self.verbosity, dry_run),
            form: self.err_form(),
            out: self.out.clone(),
            out_form: if self.out_stream.journal { Form::Journal } else { Form::Plain },
            err: self.err.clone(),
        })
    }

    fn err_form(&self) -> Form {
        match self.err_stream {
            Stream { journal: true, .. } => Form::Journal,
            Stream { is_terminal: true, .. } => Form::Plain,
            _ => Form::Stamped,
        }
    }

    /// The table at the end of a run, why devices failed, and what else is to be told of them. Not in the journal, where each device has had its line, and not
    /// with `-q`, where problems have.
    pub fn report(&self, report: &RunReport, remarks: &[String], dry_run: bool) {
        self.end_bars();
        if self.verbosity == Verbosity::Quiet || self.out_stream.journal || report.devices.is_empty() {
            return;
        }
        let width = if self.out_stream.is_terminal { console::Term::stdout().size().1.into() } else { table::WIDTH };
        self.out.line(&table::table(report, width, self.out_stream.colors));
        table::reasons(report, self.out_stream.colors).iter().for_each(|line| self.out.line(line));
        remarks.iter().for_each(|line| self.out.line(line));
        if dry_run {
            self.out.line("nothing was changed: this is what a run would do");
        }
    }

    /// One line of a result; not with `-q`.
    pub fn say(&self, text: &str) {
        if self.verbosity != Verbosity::Quiet {
            self.data(Level::Info, text);
        }
    }

    /// One line of a check: the mark and the words. With `-q` only what is bad.
    pub fn mark(&self, mark: Mark, text: &str) {
        let style = Style::new().force_styling(self.out_stream.colors);
        let (symbol, level) = match mark {
            Mark::Good => (style.green().apply_to("✓"), Level::Info),
            Mark::Away => (style.yellow().apply_to("-"), Level::Info),
            Mark::Bad => (style.red().apply_to("✗"), Level::Error),
        };
        if mark == Mark::Bad || self.verbosity != Verbosity::Quiet {
            self.data(level, &format!("{symbol} {}", printable(text)));
        }
    }

    /// What to do about the line before, which had this mark.
    pub fn advise(&self, mark: Mark, hint: &str) {
        if mark == Mark::Bad || self.verbosity != Verbosity::Quiet {
            self.data(
                if mark == Mark::Bad { Level::Error } else { Level::Info },
                &format!("  hint: {}", printable(hint)),
            );
        }
    }

    fn data(&self, level: Level, text: &str) {
        self.end_bars();
        let form = if self.out_stream.journal { Form::Journal } else { Form::Plain };
        self.out.line(&form.line(level, text, Timestamp::now()));
    }

    /// `error: what, where` and `hint: what to do`, on standard error.
    pub fn error(&self, failure: &Failure) {
        self.problem(Level::Error, Style::new().red().apply_to("error:"), failure);
    }

    /// The same for what does not keep the program from its work: `warning: what, where`.
    pub fn warning(&self, failure: &Failure) {
        self.problem(Level::Warning, Style::new().yellow().apply_to("warning:"), failure);
    }

    fn problem(&self, level: Level, word: StyledObject<&str>, failure: &Failure) {
        self.end_bars();
        let form = if self.err_stream.journal { Form::Journal } else { Form::Plain };
        let say = |word: StyledObject<&str>, text: &str| {
            let word = word.bold().force_styling(self.err_stream.colors);
            self.err.line(&form.line(level, &format!("{word} {}", printable(text)), Timestamp::now()));
        };
        say(word, &failure.what);
        if let Some(hint) = &failure.hint {
            say(Style::new().cyan().apply_to("hint:"), hint);
        }
    }

    /// Why standard output is not complete, if it is not.
    pub fn lost_output(&self) -> Option<io::Error> {
        self.out.take_failure()
    }
}

/// `JOURNAL_STREAM` holds device and inode of the stream that leads to the journal; children inherit the variable and may write
/// elsewhere (`systemd.exec(5)`).
fn is_journal(journal_stream: &str, fd: std::os::fd::BorrowedFd<'_>) -> bool {
    let metadata = fd.try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    metadata.is_ok_and(|metadata| journal_stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_told_by_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        assert!(is_journal(&format!("{}:{}", metadata.dev(), metadata.ino()), file.as_fd()));
        assert!(!is_journal(&format!("{}:{}", metadata.dev(), metadata.ino() + 1), file.as_fd()));
        assert!(!is_journal("", file.as_fd()));
    }
}
