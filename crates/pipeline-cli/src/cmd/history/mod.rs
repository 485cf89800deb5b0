//! `pipeline history`: what was, from the catalog alone. Needs no lock, no storage and no device.

mod devices;
mod files;
mod rows;
mod runs;
mod visits;

pub use rows::utc;

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pipeline_core::catalog::history::History;
use pipeline_core::period::Period;
use program::exit::Exit;
use program::failure::Failure;
use program::words::printable;
use serde::Serialize;

use super::{Context, write_error};
use crate::cli::{Form, HistoryArgs, HistoryCommand};
use crate::ui::grid::{Column, grid};

/// Rows of a table where nobody says how many.
const ROWS: usize = 40;

pub fn run(context: &Context, args: &HistoryArgs) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    let history = History::open(&config.state_dir).map_err(|error| Failure::of(&error))?;
    let list = List { context, history, zone: TimeZone::system() };
    match &args.command {
        None => runs::list(&list, &[], &args.runs)?,
        Some(HistoryCommand::Runs(args)) => runs::list(&list, &args.hosts, &args.runs)?,
        Some(HistoryCommand::Devices(args)) => devices::list(&list, args)?,
        Some(HistoryCommand::Visits(args)) => visits::list(&list, args)?,
        Some(HistoryCommand::Files(args)) => files::list(&list, args)?,
    }
    Ok(Exit::Done)
}

/// What every list needs.
struct List<'a> {
    context: &'a Context,
    history: History,
    zone: TimeZone,
}

impl List<'_> {
    /// A moment as a person reads it: local time.
    fn local(&self, ns: i64) -> String {
        let time = Timestamp::from_nanosecond(ns.into()).unwrap_or_default();
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
    }

    fn local_or_none(&self, ns: Option<i64>) -> String {
        ns.map_or_else(|| "-".to_owned(), |ns| self.local(ns))
    }

    /// A table on standard output, and a remark below it. Where nothing is in it, only the remark.
    fn table(&self, columns: &[Column], rows: &[Vec<String>], remark: Option<&str>) {
        let ui = self.context.ui;
        if !rows.is_empty() {
            ui.result(&grid(columns, rows, ui.table_width(), ui.colors()));
        }
        if let Some(remark) = remark {
            ui.say(&printable(remark));
        }
    }
}

/// What is said where there is nothing to list.
fn nothing(was: &str, period: &Period) -> String {
    if period.is_unbounded() { was.to_owned() } else { format!("{was} in that time") }
}

/// How many rows a table has.
fn most(last: Option<u32>) -> usize {
    last.map_or(ROWS, |last| usize::try_from(last).unwrap_or(usize::MAX))
}

/// Rows for programs: JSON lines, or CSV with a line of heads. Both have the same fields.
enum Rows {
    Json(io::BufWriter<io::Stdout>),
    Csv(Box<csv::Writer<io::Stdout>>),
}

impl Rows {
    /// None where a person reads.
    fn of(form: Form) -> Option<Rows> {
        match (form.json, form.csv) {
            (true, _) => Some(Rows::Json(io::BufWriter::new(io::stdout()))),
            (_, true) => Some(Rows::Csv(Box::new(csv::Writer::from_writer(io::stdout())))),
            _ => None,
        }
    }

    fn write(&mut self, row: &impl Serialize) -> io::Result<()> {
        match self {
            Rows::Json(out) => {
                serde_json::to_writer(&mut *out, row)?;
                out.write_all(b"\n")
            }
            Rows::Csv(out) => out.serialize(row).map_err(write_error),
        }
    }

    /// Ends the list. A reader that has seen enough is no failure.
    fn end(mut self, written: io::Result<()>) -> Result<(), Failure> {
        let flushed = written.and_then(|()| match &mut self {
            Rows::Json(out) => out.flush(),
            Rows::Csv(out) => out.flush(),
        });
        match flushed {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::of_output(&error)),
            _ => Ok(()),
        }
    }
}
