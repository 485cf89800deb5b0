//! What people and programs see. Three listeners of the one stream of events ([`terminal`], [`json`], [`log`]), the table at the
//! end, and errors.
//!
//! Guarantees: standard output carries what was asked for (table, plan, JSON), standard error everything else, so that
//! `pipeline … > file` is clean; nothing that a device says can do more to a terminal than be read.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use pipeline_core::event::{Observer, RunReport};
use pipeline_core::inspect::FleetReport;
use program::environment::Environment;
use program::failure::Failure;
use program::options::Global;
use program::run::Tell;
use program::streams::{Form, Mark, Streams, Verbosity};
use program::words::printable;

use inspect::{Format, Look};
use json::Json;
use lines::Lines;
use log::Log;
use terminal::Terminal;
use wording::explain::wrapped;

pub mod fallbacks;
pub mod faults;
pub mod grid;
pub mod inspect;
pub mod json;
pub mod lines;
pub mod log;
#[cfg(test)]
mod samples;
pub mod table;
pub mod terminal;
pub mod wording;

/// Longer lines of prose are hard to read.
const COMFORTABLE_WIDTH: usize = 100;

/// Where things are said, and how.
pub struct Ui {
    streams: Streams,
    draws: bool,
    /// Columns of a page that no terminal shows, where the environment says how many.
    columns: Option<usize>,
    terminal: OnceLock<Arc<Terminal>>,
}

impl Ui {
    /// On the two standard streams.
    pub fn new(global: &Global, environment: &Environment) -> Ui {
        let streams = global.streams(environment);
        let draws = streams.err.is_terminal && !environment.dumb() && !global.quiet;
        let columns = environment.text("COLUMNS").and_then(|columns| columns.parse().ok());
        Ui { streams, draws, columns, terminal: OnceLock::new() }
    }

    /// The listener for a run.
    pub fn listener(&self, json: bool, dry_run: bool) -> Arc<dyn Observer> {
        if json {
            Arc::new(Json::new(self.streams.out.output.clone()))
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
        } else if self.streams.verbosity == Verbosity::Verbose {
            self.log(false)
        } else {
            Arc::new(())
        }
    }

    fn terminal(&self) -> Arc<Terminal> {
        self.terminal.get_or_init(|| Arc::new(Terminal::new(self.streams.verbosity, self.streams.err.colors))).clone()
    }

    /// Whatever is written after the bars must not be drawn over.
    fn end_bars(&self) {
        if let Some(terminal) = self.terminal.get() {
            terminal.end();
        }
    }

    fn log(&self, dry_run: bool) -> Arc<dyn Observer> {
        let Streams { verbosity, out, err } = &self.streams;
        Arc::new(Log {
            lines: Lines::new(*verbosity, dry_run),
            form: if err.journal || err.is_terminal { err.form() } else { Form::Stamped },
            out: out.output.clone(),
            out_form: out.form(),
            err: err.output.clone(),
        })
    }

    /// The table at the end of a run, why devices failed, and what else is to be told of them. Not in the journal, where each device has had its line, and not
    /// with `-q`, where problems have.
    pub fn report(&self, report: &RunReport, remarks: &[String], dry_run: bool) {
        self.end_bars();
        let out = &self.streams.out;
        if self.streams.verbosity == Verbosity::Quiet || out.journal || report.devices.is_empty() {
            return;
        }
        let width = if out.is_terminal { console::Term::stdout().size().1.into() } else { table::WIDTH };
        out.output.line(&table::table(report, width, out.colors));
        table::reasons(report, out.colors).iter().for_each(|line| out.output.line(line));
        remarks.iter().for_each(|line| out.output.line(line));
        let hold = report.hold.iter().flat_map(|hold| wrapped(&printable(&wording::hold_line(hold)), width));
        hold.for_each(|line| out.output.line(&line));
        if dry_run {
            out.output.line("nothing was changed: this is what a run would do");
        }
    }

    /// A line of what was asked for, whatever else is to be said or not.
    pub fn result(&self, text: &str) {
        self.end_bars();
        self.streams.out.output.line(text);
    }

    /// Columns for a paragraph on standard output: those of the terminal, up to what is comfortable to read.
    pub fn width(&self) -> usize {
        let columns = self.streams.out.is_terminal.then(|| console::Term::stdout().size().1.into());
        columns.unwrap_or(table::WIDTH).min(COMFORTABLE_WIDTH)
    }

    /// What an inspection has found. With `-q`, and in the journal, what needs a person and nothing else.
    pub fn inspection(&self, report: &FleetReport, format: Format) {
        self.inspections(report, format, true);
    }

    fn inspections(&self, report: &FleetReport, format: Format, first: bool) {
        self.end_bars();
        let Streams { verbosity, out, .. } = &self.streams;
        let lines = match format {
            Format::Json => vec![inspect::json::line(report)],
            Format::Csv => {
                let heading = first.then(inspect::csv::heading);
                heading.into_iter().chain(inspect::csv::rows(report)).collect()
            }
            Format::Page if out.journal || *verbosity == Verbosity::Quiet => {
                let form = out.form();
                let problems = inspect::problems(report, out.colors).into_iter();
                problems.map(|(level, line)| form.line(level, &line, Timestamp::now())).collect()
            }
            Format::Page => inspect::page(report, self.look()),
        };
        lines.iter().for_each(|line| out.output.line(line));
    }

    /// The same again and again, and on a terminal each time in the same place. Tells whether somebody still reads.
    pub fn watched(&self, report: &FleetReport, format: Format, first: bool, every: Duration) -> bool {
        let out = &self.streams.out;
        if format == Format::Page && out.is_terminal && self.draws {
            self.end_bars();
            let (rows, columns) = console::Term::stdout().size();
            let lines = inspect::watched_page(report, self.look(), every);
            out.output.line(&inspect::frame(&lines, rows.into(), columns.into()));
        } else {
            self.inspections(report, format, first);
        }
        !out.output.is_gone()
    }

    fn look(&self) -> Look {
        let out = &self.streams.out;
        Look { width: self.table_width().unwrap_or(inspect::WIDTH), colors: out.colors, folds: out.is_terminal }
    }

    /// Columns that a table on standard output may have; none where nobody has said.
    pub fn table_width(&self) -> Option<usize> {
        if self.streams.out.is_terminal { Some(console::Term::stdout().size().1.into()) } else { self.columns }
    }

    /// Whether standard output has colours.
    pub fn colors(&self) -> bool {
        self.streams.out.colors
    }

    /// See [`Streams::say`].
    pub fn say(&self, text: &str) {
        self.end_bars();
        self.streams.say(text);
    }

    /// See [`Streams::mark`].
    pub fn mark(&self, mark: Mark, text: &str) {
        self.end_bars();
        self.streams.mark(mark, text);
    }

    /// See [`Streams::advise`].
    pub fn advise(&self, mark: Mark, hint: &str) {
        self.end_bars();
        self.streams.advise(mark, hint);
    }

    /// See [`Streams::warning`].
    pub fn warning(&self, failure: &Failure) {
        self.end_bars();
        self.streams.warning(failure);
    }
}

impl Tell for Ui {
    fn error(&self, failure: &Failure) {
        self.end_bars();
        self.streams.error(failure);
    }

    fn lost_output(&self) -> Option<io::Error> {
        self.streams.lost_output()
    }
}
