//! `pipeline report`: the fleet and its past as one page.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pipeline_core::clock::now_ns;
use pipeline_core::error::describe;
use pipeline_core::period::Period;
use pipeline_core::report::report;
use program::exit::Exit;
use program::failure::Failure;
use program::words::printable;

use super::Context;
use crate::cli::ReportArgs;
use crate::page;

pub fn run(context: &Context, args: &ReportArgs) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    let fleet = context.fleet(&config, &context.ssh_config(&config)?)?;
    let zone = TimeZone::system();
    let period = Period::parse(args.since.as_deref(), None, Timestamp::now(), &zone)
        .map_err(|error| Failure { exit: Exit::Usage, ..Failure::of(&error) })?;
    let report = report(&config, &fleet, period.from_ns, now_ns()).map_err(|error| Failure::of(&error))?;
    let page = page::render(&report, &zone);
    if args.output == Path::new("-") {
        context.ui.result(&page);
        return Ok(Exit::Done);
    }
    replace(&args.output, page.as_bytes()).map_err(|error| Failure {
        exit: Exit::Unexpected,
        what: format!("can't write {}: {}", printable(&args.output.to_string_lossy()), describe(&error)),
        hint: Some("name another file with --output; its directory must exist".into()),
    })?;
    context.ui.say(&printable(&format!("wrote {}", args.output.display())));
    Ok(Exit::Done)
}

/// Puts the page in the place of an earlier one: who has that open, or serves it, never sees half a page.
fn replace(file: &Path, page: &[u8]) -> io::Result<()> {
    // Into a pipe or a terminal there is only one way.
    if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        return File::options().write(true).open(file)?.write_all(page);
    }
    let mut temporary = PathBuf::from(file).into_os_string();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let written = fs::write(&temporary, page).and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        // Nobody reads it, and why it is there has been told.
        fs::remove_file(&temporary).ok();
    }
    written
}
