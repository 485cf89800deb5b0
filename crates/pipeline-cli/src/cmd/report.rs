//! `pipeline report`: the fleet and its past as one page.

use std::path::Path;

use jiff::tz::TimeZone;
use pipeline_core::clock::now_ns;
use pipeline_core::export::write_page;
use pipeline_core::report::{ReportError, report};
use program::exit::Exit;
use program::failure::Failure;
use program::words::printable;

use super::Context;
use super::export::failed;
use super::selection::period;
use crate::cli::ReportArgs;
use crate::page;

pub fn run(context: &Context, args: &ReportArgs) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    let fleet = context.ssh_config(&config).and_then(|ssh_config| context.fleet(&config, &ssh_config));
    let fleet = fleet.map_err(|failure| {
        let hint = "the page has the devices that `hosts` names and the catalog knows, retired ones as well".to_owned();
        context.ui.warning(&Failure { hint: Some(hint), ..failure });
    });
    let zone = TimeZone::system();
    let period = period(args.since.as_deref(), None)?;
    let report = report(&config, fleet.ok().as_deref(), period.from_ns, now_ns()).map_err(|error| match error {
        // What was typed is wrong, not what is configured.
        ReportError::NotYet => Failure { exit: Exit::Usage, ..Failure::of(&error) },
        error => Failure::of(&error),
    })?;
    let page = page::render(&report, &zone);
    if args.output == Path::new("-") {
        context.ui.result(&page);
        return Ok(Exit::Done);
    }
    write_page(&args.output, page.as_bytes(), page::OPENING.as_bytes(), &config).map_err(|error| failed(&error))?;
    context.ui.say(&printable(&format!("wrote {}", args.output.display())));
    Ok(Exit::Done)
}
