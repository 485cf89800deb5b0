//! `pipeline sync`: one run over the fleet.

use std::sync::Arc;

use pipeline_core::cancel::Cancel;
use pipeline_core::error::Class;
use pipeline_core::event::{Observer, StopReason};
use pipeline_core::run::{self, Setup};
use program::exit::Exit;
use program::failure::Failure;
use program::run::Tell as _;

use super::Context;
use crate::cli::SyncArgs;
use crate::manager;
use crate::monitors::Monitors;
use crate::ui::fallbacks::Fallbacks;

pub fn run(context: &Context, args: &SyncArgs) -> Result<Exit, Failure> {
    let (_, mut config) = context.config()?;
    config.jobs = args.jobs.map_or(config.jobs, usize::from);
    // From here on they hear how it ends, but for a dry run, which is nobody's business.
    let monitors = (!args.dry_run).then(|| context.monitors.get_or_init(|| Arc::new(Monitors::new(&config))));
    let fleet = context.ssh_config(&config).and_then(|ssh_config| {
        let fleet = context.fleet(&config, &ssh_config)?;
        Ok((ssh_config, fleet))
    });
    if let Err(Failure { exit: Exit::Config, what, hint }) = &fleet
        && !args.dry_run
    {
        let stop = StopReason { class: Class::Config, reason: what.clone(), hint: hint.clone() };
        run::not_begun(&config, &stop);
    }
    let (ssh_config, fleet) = fleet?;
    let devices = context.devices(&fleet, &args.hosts)?;
    let mut observer = manager::beside(&context.environment, context.ui.listener(args.json, args.dry_run));
    if let Some(monitors) = monitors {
        monitors.know_fleet(fleet);
        observer = Monitors::beside(monitors, observer);
    }
    let fallbacks = Arc::new(Fallbacks::before(observer));
    let observer: Arc<dyn Observer> = fallbacks.clone();
    let cancel = Cancel::new();
    let signal = context.listen(&cancel, &observer)?;
    if let Some(monitors) = monitors {
        monitors.know_signal(signal.clone());
    }
    let connector = context.connector(&config, ssh_config, &cancel);
    let setup = Setup {
        config: &config,
        devices: &devices,
        connect: &connector,
        dry_run: args.dry_run,
        delete: !args.no_delete,
    };
    let report = run::sync(&setup, &*observer, &cancel).map_err(|error| Failure::of(&error))?;
    if !args.json {
        context.ui.report(&report, &fallbacks.lines(), args.dry_run);
    }
    let exit = Exit::of_run(&report, signal.exit());
    if let Some(stop) = &report.stopped_by {
        context.ui.error(&stop.into());
    } else if exit == Exit::Unreachable {
        context.ui.error(&nobody());
    }
    Ok(exit)
}

fn nobody() -> Failure {
    Failure {
        exit: Exit::Unreachable,
        what: "no device could be reached".into(),
        hint: Some(
            "if it lasts, look at the jump host and the network: `pipeline check` asks each device again".into(),
        ),
    }
}
