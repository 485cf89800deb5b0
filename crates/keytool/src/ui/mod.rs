//! What people see, and what they are asked.
//!
//! Guarantees: nobody is asked where there is no terminal, and the error then names the option that answers; what is typed as a
//! password is not shown, and is zeroised.

mod typed;

use std::io::{self, IsTerminal};

use program::environment::Environment;
use program::exit::Exit;
use program::failure::Failure;
use program::options::Global;
use program::run::Tell;
use program::streams::{Streams, Verbosity};
use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::Style;
use zeroize::Zeroizing;

/// Where things are said and asked.
pub struct Ui {
    /// For everything that is only said.
    pub streams: Streams,
    asks: bool,
}

impl Ui {
    /// On the standard streams.
    pub fn new(global: &Global, environment: &Environment) -> Ui {
        let streams = global.streams(environment);
        let asks = io::stdin().is_terminal() && streams.err.is_terminal;
        Ui { streams, asks }
    }

    /// Whether there is somebody to ask.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Yes or no. `instead` is the option that answers where nobody can be asked.
    pub fn confirm(&self, question: &str, instead: &str) -> Result<bool, Failure> {
        self.somebody(question, instead)?;
        typed::confirm(question).map_err(|error| broken(&error, question, instead))
    }

    /// A line of text.
    pub fn ask(&self, question: &str, default: Option<&str>, instead: &str) -> Result<String, Failure> {
        self.somebody(question, instead)?;
        let question = default.map_or_else(|| question.to_owned(), |default| format!("{question} [{default}]"));
        loop {
            let line = typed::line(&question).and_then(|line| line.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
            match (line.map_err(|error| broken(&error, &question, instead))?, default) {
                (line, Some(default)) if line.is_empty() => return Ok(default.to_owned()),
                (line, None) if line.is_empty() => {}
                (line, _) => return Ok(line),
            }
        }
    }

    /// A line of text that means something: whoever types one that does not is told why, and asked again.
    pub fn ask_for<T>(
        &self,
        question: &str,
        default: &str,
        instead: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        loop {
            match read(&self.ask(question, Some(default), instead)?) {
                Ok(value) => return Ok(value),
                Err(problem) => self.streams.err.output.line(&program::words::printable(&problem)),
            }
        }
    }

    /// A password.
    pub fn secret(&self, question: &str, instead: &str) -> Result<Zeroizing<String>, Failure> {
        self.somebody(question, instead)?;
        typed::unseen(question).map_err(|error| broken(&error, question, instead))
    }

    /// A password that is to be set, twice, and not empty.
    pub fn new_secret(&self, question: &str, instead: &str) -> Result<Zeroizing<String>, Failure> {
        loop {
            let secret = self.secret(question, instead)?;
            if secret.is_empty() {
                self.streams.err.output.line("It must not be empty; try again.");
            } else if *self.secret("Once more", instead)? == *secret {
                return Ok(secret);
            } else {
                self.streams.err.output.line("They differ; try again.");
            }
        }
    }

    /// The first line of standard input, for `--password-stdin`.
    pub fn secret_from_stdin(&self) -> Result<Zeroizing<String>, Failure> {
        if io::stdin().is_terminal() {
            return Err(Failure {
                exit: Exit::Usage,
                what: "standard input is a terminal, which would show the password as it is typed".into(),
                hint: Some(
                    "leave --password-stdin out to be asked for it, or pipe it in: keytool … --password-stdin < FILE"
                        .into(),
                ),
            });
        }
        let line = typed::first_line()
            .map_err(|error| Failure::because(Exit::Config, "can't read the password from standard input", &error))?;
        line.filter(|line| !line.is_empty()).ok_or_else(|| Failure {
            exit: Exit::Usage,
            what: "no password came on standard input".into(),
            hint: Some("pipe it in: keytool … --password-stdin < FILE".into()),
        })
    }

    /// A table with a line of headings; not with `-q`.
    pub fn table(&self, headings: &[&str], rows: &[Vec<String>]) {
        self.table_with_notes(headings, rows, &[]);
    }

    /// The same with lines below each row that are no columns.
    pub fn table_with_notes(&self, headings: &[&str], rows: &[Vec<String>], notes: &[Vec<String>]) {
        let mut table = Builder::default();
        table.push_record(headings.iter().map(|&heading| heading.to_owned()));
        for row in rows {
            table.push_record(row.iter().map(|cell| program::words::printable(cell).into_owned()));
        }
        let table = table.build().with(Style::empty()).to_string();
        // What is below the headings is nobody's.
        let notes = [Vec::new()].into_iter().chain(notes.iter().cloned()).chain(std::iter::repeat(Vec::new()));
        for (line, notes) in table.lines().zip(notes) {
            self.streams.say(line.trim_end());
            notes.iter().for_each(|note| self.streams.say(&format!("   {}", program::words::printable(note))));
        }
    }

    /// A step that was done, with `-v`: most commands end with a table or a line that says what they came to.
    pub fn step(&self, words: &str) {
        if self.streams.verbosity == Verbosity::Verbose {
            self.streams.say(words);
        }
    }

    /// What a dry run has found: the words of each change. `is_whole`: nothing kept it from looking at all there is.
    pub fn preview(&self, changes: &[String], is_whole: bool) {
        changes.iter().for_each(|words| self.streams.say(words));
        match changes {
            [] if is_whole => self.nothing_to_do(),
            [] => self.streams.say("nothing was changed, and nothing else is known that would be"),
            _ => self.nothing_was_changed(),
        }
    }

    /// The end of a dry run.
    pub fn nothing_was_changed(&self) {
        self.streams.say("nothing was changed: this is what would be");
    }

    /// Of a command that is run again.
    pub fn nothing_to_do(&self) {
        self.streams.say("nothing to do: everything is there");
    }

    /// What was asked for, line by line, even with `-q`.
    pub fn answer(&self, text: &str) {
        text.lines().for_each(|line| self.streams.out.output.line(line));
    }

    /// A result for programs, even with `-q`.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::because(Exit::Unexpected, "can't write JSON", &error))?;
        self.streams.out.output.line(&text);
        Ok(())
    }

    /// Fails where nobody can be asked. `instead` is the option that answers.
    pub fn somebody(&self, question: &str, instead: &str) -> Result<(), Failure> {
        if self.asks {
            return Ok(());
        }
        Err(Failure {
            exit: Exit::Usage,
            what: format!("nobody can be asked, because this is not a terminal: {question}"),
            hint: Some(format!("give {instead}, or run it on a terminal")),
        })
    }
}

impl Tell for Ui {
    fn error(&self, failure: &Failure) {
        self.streams.error(failure);
    }

    fn lost_output(&self) -> Option<io::Error> {
        self.streams.lost_output()
    }
}

/// The terminal went away, or somebody pressed Ctrl-C or Ctrl-D.
fn broken(error: &io::Error, question: &str, instead: &str) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure {
            exit: Exit::Usage,
            what: format!("no answer came: {question}"),
            hint: Some(format!("give {instead}, or answer when it is asked")),
        },
        io::ErrorKind::Interrupted => {
            Failure { exit: Exit::Interrupted, what: "stopped by the person who was asked".into(), hint: None }
        }
        _ => Failure::because(Exit::Unexpected, "can't ask", error),
    }
}
