//! `pipeline history runs`: a timer makes half a million runs a year, and most find nothing to do.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use pipeline_core::catalog::history::{Order, RunRow, RunSums};
use program::failure::Failure;
use program::words::{bytes, count, duration};

use super::{List, Rows, most, nothing, rows};
use crate::cli::RunsArgs;
use crate::cmd::selection;
use crate::ui::grid::Column;

const COLUMNS: [Column; 7] = [
    Column::right("run"),
    Column::left("began"),
    Column::right("took"),
    Column::right("devices"),
    Column::right("received"),
    Column::right("removed"),
    Column::left("besides"),
];

/// The runs of the time that is meant; with `hosts` those that received anything from these devices.
pub fn list(list: &List<'_>, hosts: &[String], args: &RunsArgs) -> Result<(), Failure> {
    let period = selection::period(args.since.as_deref(), args.until.as_deref())?;
    let devices = selection::devices(&list.history, hosts)?;
    let brought = match devices.is_empty() {
        true => None,
        false => Some(list.history.runs_of(&devices).map_err(|error| Failure::of(&error))?),
    };
    let is_meant = |run: &RunRow| brought.as_ref().is_none_or(|brought| brought.contains(&run.run));
    if let Some(out) = Rows::of(args.form) {
        return written(list, args, out, &period, &is_meant);
    }
    let most = most(args.last.last);
    let (mut lines, mut older) = (VecDeque::<Line>::new(), false);
    let listed = list.history.runs(&period, Order::NewestFirst, &mut |run| {
        if !is_meant(&run) {
            return ControlFlow::Continue(());
        }
        if !args.all && lines.front_mut().is_some_and(|line| line.takes(&run)) {
            return ControlFlow::Continue(());
        }
        if lines.len() == most {
            older = true;
            return ControlFlow::Break(());
        }
        lines.push_front(Line::of(run));
        ControlFlow::Continue(())
    });
    listed.map_err(|error| Failure::of(&error))?;
    let remark = match (lines.is_empty(), older) {
        (true, _) if brought.is_some() => Some(nothing("no run received anything from there", &period)),
        (true, _) => Some(nothing("there was no run", &period)),
        (false, true) => Some("older runs are not shown: ask for more with --last, or for a time with --since".into()),
        (false, false) => brought.map(|_| "the numbers are those of whole runs, with all their devices".into()),
    };
    let table: Vec<_> = lines.iter().map(|line| line.cells(list)).collect();
    list.table(&COLUMNS, &table, remark.as_deref());
    Ok(())
}

fn written(
    list: &List<'_>,
    args: &RunsArgs,
    mut out: Rows,
    period: &pipeline_core::period::Period,
    is_meant: &dyn Fn(&RunRow) -> bool,
) -> Result<(), Failure> {
    let mut written: io::Result<()> = Ok(());
    let failed = |error| Failure::of(&error);
    match args.last.last {
        None => {
            let each = &mut |run: RunRow| {
                if !is_meant(&run) {
                    return ControlFlow::Continue(());
                }
                written = out.write(&rows::Run::from(&run));
                if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            list.history.runs(period, Order::OldestFirst, each).map_err(failed)?;
        }
        Some(last) => {
            let mut newest = VecDeque::new();
            let each = &mut |run: RunRow| {
                if !is_meant(&run) {
                    return ControlFlow::Continue(());
                }
                newest.push_front(rows::Run::from(&run));
                if newest.len() < most(Some(last)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            list.history.runs(period, Order::NewestFirst, each).map_err(failed)?;
            written = newest.iter().try_for_each(|run| out.write(run));
        }
    }
    out.end(written)
}

/// One run, or several in a row that had nothing to do.
struct Line {
    /// The oldest of them.
    first: RunRow,
    last: RunRow,
    runs: u64,
    most_offline: u64,
}

impl Line {
    fn of(run: RunRow) -> Line {
        let most_offline = run.sums.as_ref().map_or(0, |sums| sums.offline);
        Line { first: run.clone(), last: run, runs: 1, most_offline }
    }

    /// Takes in the run before, where both had nothing to do.
    fn takes(&mut self, earlier: &RunRow) -> bool {
        if !is_quiet(&self.first) || !is_quiet(earlier) {
            return false;
        }
        self.most_offline = self.most_offline.max(earlier.sums.as_ref().map_or(0, |sums| sums.offline));
        self.first = earlier.clone();
        self.runs += 1;
        true
    }

    fn cells(&self, list: &List<'_>) -> Vec<String> {
        let began = list.local(self.first.started_ns);
        if self.runs > 1 {
            let until = list.local(self.last.started_ns);
            let offline = match self.most_offline {
                0 => String::new(),
                most => format!(", up to {most} offline"),
            };
            let words = format!("{} until {until}: nothing to do{offline}", count(self.runs, "run"));
            let none = || "-".to_owned();
            let numbers = format!("{}-{}", self.first.run, self.last.run);
            return vec![numbers, began, none(), none(), none(), none(), words];
        }
        let run = &self.first;
        let took = run.finished_ns.map(|end| {
            let took = u64::try_from(end.saturating_sub(run.started_ns)).unwrap_or_default();
            duration(Duration::from_nanos(took))
        });
        let sums = run.sums.clone().unwrap_or_default();
        let or_none = |known: bool, text: String| if known { text } else { "-".to_owned() };
        let received = format!("{} ({})", sums.received, bytes(sums.received_bytes));
        let devices = format!("{}/{}", sums.done, sums.devices);
        vec![
            run.run.to_string(),
            began,
            took.unwrap_or_else(|| "-".to_owned()),
            or_none(run.sums.is_some(), devices),
            or_none(sums.received > 0, received),
            or_none(sums.removed > 0, sums.removed.to_string()),
            besides(run, &sums),
        ]
    }
}

/// Whether it ended as a run that finds nothing new: nothing moved, nothing failed. Who is offline may change.
fn is_quiet(run: &RunRow) -> bool {
    let quiet = |sums: &RunSums| {
        let moved = sums.received + sums.adopted + sums.removed + sums.versions + sums.clashes;
        moved + sums.failed + sums.failures == 0
            && sums.stopped_by.is_none()
            && sums.done + sums.offline == sums.devices
    };
    run.finished_ns.is_some() && run.sums.as_ref().is_some_and(quiet)
}

/// What the columns do not say.
fn besides(run: &RunRow, sums: &RunSums) -> String {
    let part = |number: u64, words: &str| (number > 0).then(|| format!("{number} {words}"));
    let stopped = sums.devices.saturating_sub(sums.done + sums.offline + sums.failed);
    let state = match (run.finished_ns, run.killed, run.sums.is_some()) {
        (None, true, _) => Some("killed before its end".to_owned()),
        (None, false, _) => Some("under way, or killed just now".to_owned()),
        (Some(_), _, false) => Some("what it did was not written down".to_owned()),
        (Some(_), _, true) => None,
    };
    let program = run.program.split_once(' ').map(|(_, what)| what.to_owned());
    let parts = [
        program,
        state,
        sums.stopped_by.as_ref().map(|reason| format!("stopped: {reason}")),
        (sums.failed > 0).then(|| format!("{} failed", count(sums.failed, "device"))),
        part(sums.offline, "offline"),
        part(stopped, "not visited"),
        (sums.adopted > 0)
            .then(|| format!("took over {} ({})", count(sums.adopted, "file"), bytes(sums.adopted_bytes))),
        part(sums.versions, "versions"),
        part(sums.clashes, "clashes"),
        part(sums.deferred, "deferred"),
        (sums.failures > 0).then(|| format!("{} failed", count(sums.failures, "file"))),
        part(sums.held, "on hold"),
        (sums.on_hold && sums.held == 0).then(|| "removals on hold".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}
