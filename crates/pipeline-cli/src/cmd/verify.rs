//! `pipeline verify`: the storage, read again and compared with the catalog.

use std::sync::Arc;

use pipeline_core::cancel::Cancel;
use pipeline_core::config::HostPattern;
use pipeline_core::event::{Observer, VerifyReport};
use pipeline_core::verify::{Options, Scope, VerifyError, verify};
use program::exit::Exit;
use program::failure::Failure;
use program::run::Tell as _;
use program::words::count;

use super::Context;
use crate::cli::VerifyArgs;
use crate::manager;
use crate::ui::faults::Faults;
use crate::ui::wording::verify_lines;

pub fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    let hosts = args.hosts.iter().map(|text| HostPattern::parse(text)).collect::<Result<Vec<_>, _>>();
    let hosts = hosts.map_err(|error| Failure { exit: Exit::Usage, what: error.to_string(), hint: None })?;
    let faults = Arc::new(Faults::before(manager::beside(&context.environment, context.ui.listener(args.json, false))));
    let observer: Arc<dyn Observer> = faults.clone();
    let cancel = Cancel::new();
    let signal = context.listen(&cancel, &observer)?;
    let options = Options {
        scope: scope(args),
        hosts: &hosts,
        // A part is read to be done soon, and going through the whole storage takes its time.
        unknown: args.unknown || !args.no_unknown && hosts.is_empty() && scope(args) == Scope::All,
        bandwidth: args.bandwidth,
    };
    let report = verify(&config, &options, &*observer, &cancel).map_err(|error| {
        let exit = if matches!(error, VerifyError::NoDevice { .. }) { Exit::Usage } else { Failure::of(&error).exit };
        Failure { exit, ..Failure::of(&error) }
    })?;
    if !args.json {
        faults.lines().iter().chain(&verify_lines(&report)).for_each(|line| context.ui.say(line));
    }
    let stopped = if report.stopped { signal.exit().unwrap_or(Exit::Interrupted) } else { Exit::Done };
    if report.faults() == 0 {
        return Ok(stopped);
    }
    context.ui.error(&mismatch(&report));
    Ok(stopped.worse(Exit::Safety))
}

fn scope(args: &VerifyArgs) -> Scope {
    match (args.sample, args.budget) {
        (Some(sample), _) => Scope::Sample(sample),
        (None, Some(share)) => Scope::Share(share),
        (None, None) => Scope::All,
    }
}

fn mismatch(report: &VerifyReport) -> Failure {
    let lost = report.missing + report.changed + report.unreadable;
    let hint = match lost {
        0 => "nothing that was received is harmed; see the runbook for files that the catalog does not know",
        _ if report.on_device > 0 => {
            "nothing was repaired: what its device still has can be received again, the rest must come from a backup; \
             see the runbook"
        }
        _ => {
            "nothing was repaired: no device still has these files, so look for a backup of the storage; see the runbook"
        }
    };
    let what = format!("the storage differs from the catalog in {}", count(report.faults(), "place"));
    Failure { exit: Exit::Safety, what, hint: Some(hint.into()) }
}
