//! `pipeline inspect`: the whole fleet at one look, once or again and again. Neither needs the lock: a run may be under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline_core::cancel::Cancel;
use pipeline_core::inspect::{FleetReport, Options, inspect, patience};
use program::exit::Exit;
use program::failure::Failure;

use super::Context;
use crate::cli::InspectArgs;
use crate::ui::inspect::{Format, sort};

/// So many devices at once, at least: a look carries little, and most of it is waiting.
const LOOKS: usize = 32;

/// Readings that are taken more often than this are not kept: the catalog grows by each.
const WORTH_KEEPING: Duration = Duration::from_secs(60);

/// How often a waiting watcher looks whether it should stop.
const POLL: Duration = Duration::from_millis(100);

pub fn run(context: &Context, args: &InspectArgs) -> Result<Exit, Failure> {
    let format = match (args.json, args.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        _ => Format::Page,
    };
    let (_, mut config) = context.config()?;
    config.jobs = config.jobs.max(LOOKS);
    config.timeouts = patience(config.timeouts);
    let ssh_config = context.ssh_config(&config)?;
    let devices = context.devices(&context.fleet(&config, &ssh_config)?, &args.hosts)?;
    let mut observer = context.ui.check_listener(devices.len());
    let cancel = Cancel::new();
    let signal = context.listen(&cancel, &observer)?;
    let (mut first, mut kept) = (true, None::<Instant>);
    loop {
        let began = Instant::now();
        let record = kept.is_none_or(|kept| began.duration_since(kept) >= WORTH_KEEPING);
        kept = if record { Some(began) } else { kept };
        // A new one each time: whoever watches for days outlives many a connection.
        let connector = context.connector(&config, ssh_config.clone(), &cancel);
        let options = Options { jobs: config.jobs, record };
        let mut report = inspect(&config, &devices, &connector, options, &*observer, &cancel)
            .map_err(|error| Failure::of(&error))?;
        sort(&mut report, args.sort);
        let exit = exit(&report, signal.exit());
        let Some(every) = args.watch.map(|seconds| Duration::from_secs(seconds.into())) else {
            context.ui.inspection(&report, format);
            return Ok(exit);
        };
        // What was cut short shows half a fleet.
        let seen = signal.exit().is_none() && context.ui.watched(&report, format, first, every);
        let shown = Instant::now();
        while seen && !cancel.is_set() && shown.elapsed() < every {
            std::thread::sleep(POLL);
        }
        if !seen || cancel.is_set() {
            return Ok(exit);
        }
        observer = Arc::new(());
        first = false;
    }
}

fn exit(report: &FleetReport, signal: Option<Exit>) -> Exit {
    let verdict = if report.needs_a_person() { Exit::Partial } else { Exit::Done };
    signal.unwrap_or(verdict)
}
