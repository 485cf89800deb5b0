//! The two standard streams of a program, and everything that is said on them line by line.
//!
//! Guarantees: standard output carries what was asked for, standard error problems and diagnostics, so that `… > file` is clean;
//! under systemd each line has its priority; nothing that a device says can do more to a terminal than be read. Leaves bars and
//! events to the program.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use console::{Style, StyledObject};
use jiff::Timestamp;

use crate::environment::{ColorWhen, Environment};
use crate::failure::Failure;
use crate::output::Output;
use crate::run::Tell;
use crate::words::printable;

/// How much to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Problems only.
    Quiet,
    /// The course of things.
    Normal,
    /// Everything.
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

/// How much a line matters; the numbers are those of syslog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A device or the run failed.
    Error = 3,
    /// A file failed, or something went wrong and is being handled.
    Warning = 4,
    /// Worth knowing.
    Notice = 5,
    /// The course of things.
    Info = 6,
    /// Only with `-v`.
    Debug = 7,
}

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `<6>raspberry31: …`, as `sd-daemon(3)` wants it.
    Journal,
    /// `2026-11-21T10:00:00Z raspberry31: …`
    Stamped,
    /// `raspberry31: …`
    Plain,
}

impl Form {
    /// The line with its beginning.
    pub fn line(self, level: Level, text: &str, now: Timestamp) -> String {
        match self {
            Form::Journal => format!("<{}>{text}", level as u8),
            Form::Stamped => format!("{now:.0} {text}"),
            Form::Plain => text.to_owned(),
        }
    }
}

/// One of the two streams, and what is known of it.
#[derive(Clone)]
pub struct Stream {
    /// Where lines go.
    pub output: Arc<Output>,
    /// Whether to write colours.
    pub colors: bool,
    /// Whether it leads to the journal.
    pub journal: bool,
    /// Whether a person looks at it.
    pub is_terminal: bool,
}

impl Stream {
    /// How a line begins that is not stamped with a time.
    pub fn form(&self) -> Form {
        if self.journal { Form::Journal } else { Form::Plain }
    }

    fn line(&self, level: Level, text: &str) {
        self.output.line(&self.form().line(level, text, Timestamp::now()));
    }
}

/// Where things are said, and how.
pub struct Streams {
    /// How much.
    pub verbosity: Verbosity,
    /// Standard output.
    pub out: Stream,
    /// Standard error.
    pub err: Stream,
}

impl Streams {
    /// The process's own.
    pub fn new(verbosity: Verbosity, color: ColorWhen, environment: &Environment) -> Streams {
        let journal = environment.text("JOURNAL_STREAM");
        let stream = |output, fd: std::os::fd::BorrowedFd<'_>| {
            let is_terminal = fd.is_terminal();
            let colors = environment.colors(color, is_terminal);
            let journal = journal.is_some_and(|journal| is_journal(journal, fd));
            Stream { output: Arc::new(output), colors, journal, is_terminal }
        };
        Streams {
            verbosity,
            out: stream(Output::new(io::stdout()), io::stdout().as_fd()),
            err: stream(Output::new(io::stderr()), io::stderr().as_fd()),
        }
    }

    /// One line of a result; not with `-q`.
    pub fn say(&self, text: &str) {
        if self.verbosity != Verbosity::Quiet {
            self.out.line(Level::Info, text);
        }
    }

    /// One line of a check: the mark and the words. With `-q` only what is bad.
    pub fn mark(&self, mark: Mark, text: &str) {
        let style = Style::new().force_styling(self.out.colors);
        let (symbol, level) = match mark {
            Mark::Good => (style.green().apply_to("✓"), Level::Info),
            Mark::Away => (style.yellow().apply_to("-"), Level::Info),
            Mark::Bad => (style.red().apply_to("✗"), Level::Error),
        };
        if mark == Mark::Bad || self.verbosity != Verbosity::Quiet {
            self.out.line(level, &format!("{symbol} {}", printable(text)));
        }
    }

    /// What to do about the line before, which had this mark.
    pub fn advise(&self, mark: Mark, hint: &str) {
        if mark == Mark::Bad || self.verbosity != Verbosity::Quiet {
            let level = if mark == Mark::Bad { Level::Error } else { Level::Info };
            self.out.line(level, &format!("  hint: {}", printable(hint)));
        }
    }

    /// The same as an error for what does not keep the program from its work: `warning: what, where`.
    pub fn warning(&self, failure: &Failure) {
        self.problem(Level::Warning, Style::new().yellow().apply_to("warning:"), failure);
    }

    fn problem(&self, level: Level, word: StyledObject<&str>, failure: &Failure) {
        let say = |word: StyledObject<&str>, text: &str| {
            let word = word.bold().force_styling(self.err.colors);
            self.err.line(level, &format!("{word} {}", printable(text)));
        };
        say(word, &failure.what);
        if let Some(hint) = &failure.hint {
            say(Style::new().cyan().apply_to("hint:"), hint);
        }
    }
}

impl Tell for Streams {
    fn error(&self, failure: &Failure) {
        self.problem(Level::Error, Style::new().red().apply_to("error:"), failure);
    }

    fn lost_output(&self) -> Option<io::Error> {
        self.out.output.take_failure()
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
