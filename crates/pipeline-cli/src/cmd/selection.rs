//! Which rows of the past are meant by what was typed.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pipeline_core::catalog::history::{Filter, History};
use pipeline_core::config::{Globs, HostPattern};
use pipeline_core::error::Classified;
use pipeline_core::period::Period;
use program::exit::Exit;
use program::failure::Failure;

use crate::cli::Selected;

/// Those of these devices, of this time, and of files with these paths; an empty list leaves nothing out.
pub fn filter(history: &History, selected: &Selected, paths: &[String]) -> Result<Filter, Failure> {
    let devices = devices(history, &selected.hosts)?;
    let paths = if paths.is_empty() { None } else { Some(Globs::new(paths).map_err(|error| typed(&error))?) };
    Ok(Filter { devices, period: period(selected.since.as_deref(), selected.until.as_deref())?, paths })
}

/// Patterns, each of which fits a device that the catalog knows.
pub fn devices(history: &History, hosts: &[String]) -> Result<Vec<HostPattern>, Failure> {
    let devices = hosts.iter().map(|text| HostPattern::parse(text)).collect::<Result<Vec<_>, _>>();
    let devices = devices.map_err(|error| Failure { exit: Exit::Usage, what: error.to_string(), hint: None })?;
    if let Some(stranger) = history.stranger(&devices) {
        let what = format!("'{stranger}' matches no device of the catalog");
        let hint = Some("a device is known from its first visit on, by the name that it had then".into());
        return Err(Failure { exit: Exit::Usage, what, hint });
    }
    Ok(devices)
}

/// What `--since` and `--until` mean here and now.
pub fn period(since: Option<&str>, until: Option<&str>) -> Result<Period, Failure> {
    Period::parse(since, until, Timestamp::now(), &TimeZone::system()).map_err(|error| typed(&error))
}

/// What was typed is wrong, not what is configured.
fn typed(error: &(dyn Classified + 'static)) -> Failure {
    Failure { exit: Exit::Usage, ..Failure::of(error) }
}
