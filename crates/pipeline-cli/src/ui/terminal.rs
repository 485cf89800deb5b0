//! The listener for a terminal: a bar for each active device and one for the fleet.
//!
//! Guarantees: a redraw at most [`REDRAWS`] times a second, however many events come; a line never longer than the terminal is
//! wide, whatever a device or a file is called; never more bars than the terminal has lines for (devices without one count in the
//! fleet's, and move up when another ends). What is worth a line is printed above the bars. Draws on standard error.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline_core::event::{DeviceReport, Event, Observer, Outcome};
use pipeline_core::path::DeviceName;
use program::streams::{Level, Verbosity};
use program::words::{count, printable, shorten};

use super::lines::Lines;

/// Redraws a second.
const REDRAWS: u8 = 10;

/// Lines of the terminal that are left to what is not a device's bar: the fleet's, and what was typed before.
const LINES_KEPT: usize = 3;

/// Draws bars.
pub struct Terminal {
    lines: Lines,
    verbosity: Verbosity,
    multi: MultiProgress,
    layout: Layout,
    state: Mutex<State>,
}

/// How lines are drawn.
#[derive(Clone, Copy, Debug)]
struct Layout {
    columns: usize,
    most_bars: usize,
    colors: bool,
    /// One thread keeps rates and the time left moving while nothing arrives.
    tick: Option<Duration>,
}

struct State {
    fleet: ProgressBar,
    /// In the order in which they began; the first ones have their bars on the screen.
    active: Vec<Active>,
    devices: usize,
    /// A device that is visited twice in a run counts once, as it ended last.
    ended: BTreeMap<DeviceName, &'static str>,
    /// Where the storage is read again.
    reading: Option<Reading>,
}

/// How far reading the storage again has come.
struct Reading {
    files: u64,
    of: Option<u64>,
    faults: u64,
}

impl Reading {
    fn message(&self) -> String {
        let files = match self.of {
            Some(of) => format!("{}/{} files", self.files, of),
            None => count(self.files, "file"),
        };
        if self.faults == 0 { files } else { format!("{files}, {} not as they were", self.faults) }
    }
}

struct Active {
    device: DeviceName,
    bar: ProgressBar,
    on_screen: bool,
}

impl Terminal {
    /// On standard error, which must be a terminal.
    pub fn new(verbosity: Verbosity, colors: bool) -> Terminal {
        let (rows, columns) = console::Term::stderr().size();
        Terminal::on(
            ProgressDrawTarget::stderr_with_hz(REDRAWS),
            verbosity,
            Layout {
                columns: columns.into(),
                most_bars: usize::from(rows).saturating_sub(LINES_KEPT).max(1),
                colors,
                tick: Some(Duration::from_millis(250)),
            },
        )
    }

    /// Begins to draw, for this many devices. An event that says so does the same.
    pub fn begin(&self, devices: usize) {
        let mut state = self.state();
        state.devices = devices;
        if let Some(tick) = self.layout.tick {
            state.fleet.enable_steady_tick(tick);
        }
    }

    /// Takes all bars away. May be repeated; afterwards nothing is drawn.
    pub fn end(&self) {
        let mut state = self.state();
        state.active.drain(..).for_each(|active| active.bar.finish_and_clear());
        state.fleet.disable_steady_tick();
        state.fleet.finish_and_clear();
        self.multi.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn on(target: ProgressDrawTarget, verbosity: Verbosity, layout: Layout) -> Terminal {
        let multi = MultiProgress::with_draw_target(target);
        let fleet = multi.add(ProgressBar::no_length());
        fleet.set_style(layout.waiting());
        fleet.set_prefix("fleet");
        let state = State { fleet, active: Vec::new(), devices: 0, ended: BTreeMap::new(), reading: None };
        Terminal { lines: Lines::new(verbosity, false), verbosity, multi, layout, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a device ended is in the table, and the course of things is in the bars.
    fn worth_a_line(&self, event: &Event, level: Level) -> bool {
        match (self.verbosity, event) {
            (Verbosity::Verbose, _) => true,
            (Verbosity::Normal, Event::DeviceFinished(_)) => false,
            (Verbosity::Normal | Verbosity::Quiet, _) => level <= Level::Notice,
        }
    }

    fn draw(&self, event: &Event) {
        match event {
            Event::RunStarted { devices, .. } => self.begin(*devices),
            Event::RunFinished(_) | Event::ArchiveVerified(_) => return self.end(),
            _ => {}
        }
        let mut state = self.state();
        match event {
            Event::RunStarted { .. } => {}
            Event::VerifyStarted { files, bytes } => return self.begin_reading(&mut state, *files, *bytes),
            Event::ExportStarted { files, bytes } => {
                return self.begin_reading(&mut state, Some(*files), Some(*bytes));
            }
            Event::ArchiveRead { files, bytes } => {
                if let Some(reading) = &mut state.reading {
                    reading.files += files;
                    let message = reading.message();
                    state.fleet.set_message(message);
                }
                return state.fleet.inc(*bytes);
            }
            Event::ArchiveFault(_) => {
                if let Some(reading) = &mut state.reading {
                    reading.faults += 1;
                }
                return;
            }
            Event::DeviceStarted { device } => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
                bar.set_style(self.layout.waiting());
                bar.set_prefix(shorten(device.as_str(), self.layout.name_columns()).into_owned());
                bar.set_message("connecting");
                state.active.push(Active { device: device.clone(), bar, on_screen: false });
                self.show(&mut state);
            }
            Event::DeviceConnected { device, .. } => state.message(device, "listing files"),
            Event::DevicePlanned { device, plan } => {
                if let Some(active) = state.of(device) {
                    active.bar.set_length(plan.receive_bytes);
                    if plan.receive > 0 {
                        active.bar.set_style(self.layout.receiving());
                        active.bar.reset_eta();
                    }
                    active.bar.set_message(match (plan.receive, plan.release) {
                        (0, 0) => "nothing to receive".to_owned(),
                        (0, files) => format!("removing {}", count(files, "file")),
                        (files, _) => count(files, "file"),
                    });
                }
                let planned_bytes = state.fleet.length().unwrap_or(0) + plan.receive_bytes;
                if planned_bytes > 0 {
                    if state.fleet.length().is_none() {
                        state.fleet.set_style(self.layout.receiving());
                        state.fleet.reset_eta();
                    }
                    state.fleet.set_length(planned_bytes);
                }
            }
            Event::FileStarted { device, path, .. } => {
                // Without its directory: what counts is that it moves.
                let path = path.to_string();
                let name = path.rsplit('/').next().unwrap_or(&path);
                state.message(device, &printable(name));
            }
            Event::BytesReceived { device, bytes } => {
                if let Some(active) = state.of(device) {
                    active.bar.inc(*bytes);
                }
                state.fleet.inc(*bytes);
            }
            Event::DeviceFinished(report) => self.end_device(&mut state, report),
            _ => return,
        }
        if !matches!(event, Event::BytesReceived { .. } | Event::FileStarted { .. }) {
            let message = state.fleet_message();
            state.fleet.set_message(message);
        }
    }

    /// The fleet's bar becomes that of the archive.
    fn begin_reading(&self, state: &mut State, files: Option<u64>, bytes: Option<u64>) {
        state.reading = Some(Reading { files: 0, of: files, faults: 0 });
        state.fleet.set_prefix("archive");
        if let Some(bytes) = bytes {
            state.fleet.set_style(self.layout.receiving());
            state.fleet.set_length(bytes);
            state.fleet.reset_eta();
        }
        if let Some(tick) = self.layout.tick {
            state.fleet.enable_steady_tick(tick);
        }
    }

    fn end_device(&self, state: &mut State, report: &DeviceReport) {
        let word = match report.outcome {
            Outcome::Done => "done",
            Outcome::Offline { .. } => "offline",
            Outcome::Failed { .. } => "failed",
            Outcome::Stopped => "stopped",
        };
        state.ended.insert(report.device.clone(), word);
        if let Some(index) = state.active.iter().position(|active| active.device == report.device) {
            let active = state.active.remove(index);
            // What was planned and did not come is not awaited any more.
            let missing_bytes = active.bar.length().unwrap_or(0).saturating_sub(active.bar.position());
            if let Some(planned_bytes) = state.fleet.length() {
                state.fleet.set_length(planned_bytes.saturating_sub(missing_bytes));
            }
            active.bar.finish_and_clear();
            self.multi.remove(&active.bar);
            self.show(state);
        }
    }

    /// Puts as many devices on the screen as there are lines for.
    fn show(&self, state: &mut State) {
        let mut free = self.layout.most_bars.saturating_sub(state.active.iter().filter(|a| a.on_screen).count());
        for active in state.active.iter_mut().filter(|active| !active.on_screen) {
            if free == 0 {
                return;
            }
            active.bar = self.multi.insert_before(&state.fleet, active.bar.clone());
            active.bar.tick();
            active.on_screen = true;
            free -= 1;
        }
    }
}

impl State {
    fn of(&mut self, device: &DeviceName) -> Option<&mut Active> {
        self.active.iter_mut().find(|active| active.device == *device)
    }

    fn message(&mut self, device: &DeviceName, message: &str) {
        if let Some(active) = self.of(device) {
            active.bar.set_message(message.to_owned());
        }
    }

    fn fleet_message(&self) -> String {
        let mut parts = vec![format!("{}/{} devices", self.ended.len(), self.devices)];
        for word in ["offline", "failed", "stopped"] {
            let number = self.ended.values().filter(|ended| **ended == word).count();
            if number > 0 {
                parts.push(format!("{number} {word}"));
            }
        }
        parts.join(", ")
    }
}

impl Layout {
    fn name_columns(self) -> usize {
        match self.columns {
            100.. => 18,
            60..100 => 13,
            _ => 8,
        }
    }

    /// While it is not known how much will come.
    fn waiting(self) -> ProgressStyle {
        style(&format!("{{prefix:<{}}} {{wide_msg}}", self.name_columns()))
    }

    fn receiving(self) -> ProgressStyle {
        let name = self.name_columns();
        let bar =
            |columns| if self.colors { format!("{{bar:{columns}.cyan/dim}}") } else { format!("{{bar:{columns}}}") };
        style(&match self.columns {
            100.. => format!(
                "{{prefix:<{name}}} {} {{bytes:>10}} of {{total_bytes:<10}} {{bytes_per_sec:>12}} {{eta:>4}}  {{wide_msg}}",
                bar(20)
            ),
            60..100 => {
                format!("{{prefix:<{name}}} {} {{percent:>3}}% {{bytes_per_sec:>12}} {{eta:>4}}  {{wide_msg}}", bar(8))
            }
            _ => format!("{{prefix:<{name}}} {{percent:>3}}% {{wide_msg}}"),
        })
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are the only ones, and a test draws with each.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}

impl Observer for Terminal {
    fn event(&self, event: &Event) {
        if let Some(line) = self.lines.of(event).filter(|line| self.worth_a_line(event, line.level)) {
            // A terminal that is gone: there is nobody left to tell.
            self.multi.println(line.text).ok();
        }
        self.draw(event);
    }
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;
    use indicatif::InMemoryTerm;
    use pipeline_core::error::Class;
    use pipeline_core::event::{Counts, PlanCounts, RunReport};
    use pipeline_core::path::RelPath;

    use super::*;

    const LONG: &str = "a-very-long-name-of-a-device-in-the-far-corner-of-the-orchard-31";

    fn name(name: &str) -> DeviceName {
        DeviceName::new(name).unwrap()
    }

    fn screen(columns: u16, most_bars: usize) -> (InMemoryTerm, Terminal) {
        let term = InMemoryTerm::new(24, columns);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let layout = Layout { columns: columns.into(), most_bars, colors: false, tick: None };
        (term, Terminal::on(target, Verbosity::Normal, layout))
    }

    fn report(device: &str, outcome: Outcome) -> DeviceReport {
        DeviceReport { device: name(device), outcome, counts: Counts::default(), elapsed_ms: 0 }
    }

    /// A device that is in the middle of its first file.
    fn begin(terminal: &Terminal, device: &str, path: &str) {
        let device = name(device);
        let plan = PlanCounts { files: 3, receive: 2, receive_bytes: 4096, ..PlanCounts::default() };
        terminal.event(&Event::DeviceStarted { device: device.clone() });
        terminal.event(&Event::DevicePlanned { device: device.clone(), plan });
        let path = RelPath::new(path).unwrap();
        terminal.event(&Event::FileStarted { device: device.clone(), path, bytes: 2048 });
        terminal.event(&Event::BytesReceived { device, bytes: 2048 });
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        let path =
            "2026-11-21/\u{1f41d}\u{1f41d} a photo\n\u{1b}[2J whose name goes on and on and on, and on, and on.jpg";
        for columns in [30, 59, 60, 80, 99, 100, 160] {
            let (term, terminal) = screen(columns, 10);
            terminal.event(&Event::RunStarted { run: 1, devices: 2, dry_run: false });
            begin(&terminal, LONG, path);
            begin(&terminal, "b", path);
            let contents = term.contents();
            let lines: Vec<&str> = contents.lines().collect();
            assert_eq!(lines.len(), 3, "one line for each device and the fleet at {columns}:\n{contents}");
            assert!(lines.iter().all(|line| measure_text_width(line) <= columns.into()), "{columns}:\n{contents}");
            assert!(lines[0].starts_with("a-v") && lines[0].contains("…"), "{contents}");
            assert!(lines[1].starts_with("b ") && lines[1].contains("50%") == (columns < 100), "{contents}");
            assert!(lines[2].starts_with("fleet "), "{contents}");
        }
    }

    #[test]
    fn reading_the_storage_again_has_one_bar() {
        let (term, terminal) = screen(120, 5);
        terminal.event(&Event::VerifyStarted { files: Some(3), bytes: Some(4096) });
        terminal.event(&Event::ArchiveRead { files: 1, bytes: 2048 });
        let contents = term.contents();
        let parts = ["archive ", "2.00 KiB of 4.00 KiB", "1/3 files"];
        assert!(contents.lines().count() == 1 && parts.iter().all(|part| contents.contains(part)), "{contents}");
        terminal.event(&Event::ArchiveVerified(pipeline_core::event::VerifyReport::default()));
        assert_eq!(term.contents(), "");
        // Of a sample nobody knows the bytes.
        let (term, terminal) = screen(80, 5);
        terminal.event(&Event::VerifyStarted { files: Some(3), bytes: None });
        terminal.event(&Event::ArchiveRead { files: 2, bytes: 1 });
        assert!(term.contents().contains("archive") && term.contents().contains("2/3 files"), "{}", term.contents());
    }

    #[test]
    fn devices_beyond_the_last_line_move_up() {
        let (term, terminal) = screen(120, 2);
        terminal.event(&Event::RunStarted { run: 1, devices: 4, dry_run: false });
        for device in ["a", "b", "c", "d"] {
            begin(&terminal, device, "x.jpg");
        }
        let shown = || term.contents().lines().map(|line| line[..1].to_owned()).collect::<Vec<_>>();
        assert_eq!(shown(), ["a", "b", "f"]);
        terminal.event(&Event::DeviceFinished(report("a", Outcome::Done)));
        assert_eq!(shown(), ["b", "c", "f"]);
        terminal.event(&Event::DeviceFinished(report("d", Outcome::Done)));
        assert_eq!(shown(), ["b", "c", "f"]);
        let contents = term.contents();
        let second = contents.lines().nth(1).unwrap();
        assert!(second.contains("2.00 KiB of 4.00 KiB"), "the bar that moved up kept its numbers:\n{contents}");
    }

    #[test]
    fn the_fleet_line_counts() {
        let (term, terminal) = screen(120, 5);
        let counts = || term.contents().lines().last().unwrap().trim_start_matches("fleet").trim().to_owned();
        terminal.event(&Event::RunStarted { run: 1, devices: 4, dry_run: false });
        let offline = Outcome::Offline { reason: String::new(), hint: None };
        let failed = Outcome::Failed { class: Class::HostKey, reason: String::new(), hint: None };
        for outcome in [offline.clone(), failed, offline] {
            terminal.event(&Event::DeviceStarted { device: name("a") });
            terminal.event(&Event::DeviceFinished(report("a", outcome)));
        }
        assert_eq!(counts(), "1/4 devices, 1 offline");
        terminal.event(&Event::DeviceFinished(report("b", Outcome::Done)));
        assert_eq!(counts(), "2/4 devices, 1 offline");
    }

    #[test]
    fn what_a_device_failed_to_send_is_not_awaited() {
        let (term, terminal) = screen(120, 5);
        terminal.event(&Event::RunStarted { run: 1, devices: 2, dry_run: false });
        begin(&terminal, "a", "x.jpg");
        begin(&terminal, "b", "x.jpg");
        terminal.event(&Event::DeviceFinished(report("a", Outcome::Stopped)));
        let contents = term.contents();
        assert!(contents.lines().last().unwrap().contains("4.00 KiB of 6.00 KiB"), "{contents}");
    }

    #[test]
    fn problems_stand_above_the_bars_and_stay() {
        let (term, terminal) = screen(120, 5);
        terminal.event(&Event::RunStarted { run: 1, devices: 1, dry_run: false });
        begin(&terminal, "a", "x.jpg");
        let path = Some(RelPath::new("x.jpg").unwrap());
        terminal.event(&Event::FileFailed { device: name("a"), path, reason: "permission denied".into() });
        let contents = term.contents();
        assert_eq!(contents.lines().next(), Some("a: failed x.jpg: permission denied"), "{contents}");
        assert_eq!(contents.lines().count(), 3, "{contents}");
        terminal.event(&Event::DeviceFinished(report("a", Outcome::Done)));
        let report = RunReport {
            run: 1,
            devices: vec![],
            counts: Counts::default(),
            hold: None,
            stopped_by: None,
            elapsed_ms: 0,
        };
        terminal.event(&Event::RunFinished(report));
        assert_eq!(term.contents(), "a: failed x.jpg: permission denied");
    }
}
