//! `pipeline sync`: one run over the fleet.

use pipeline_core::cancel::Cancel;
use pipeline_core::run::{self, Setup};

use super::Context;
use crate::cli::SyncArgs;
use crate::exit::Exit;
use crate::failure::Failure;

pub fn run(context: &Context, args: &SyncArgs) -> Result<Exit, Failure> {
    let (_, mut config) = context.config()?;
    config.jobs = args.jobs.map_or(config.jobs, usize::from);
    let ssh_config = context.ssh_config(&config)?;
    let devices = context.devices(&config, &ssh_config, &args.hosts)?;
    let observer = context.ui.listener(args.json, args.dry_run);
    let cancel = Cancel::new();
    let signal = context.listen(&cancel, &observer)?;
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
        context.ui.report(&report, args.dry_run);
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
