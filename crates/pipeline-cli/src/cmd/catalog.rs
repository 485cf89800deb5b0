//! `pipeline catalog rebuild`: a lost catalog, made anew from the storage.

use pipeline_core::cancel::Cancel;
use pipeline_core::rebuild::{RebuildError, rebuild as rebuild_catalog};
use program::exit::Exit;
use program::failure::Failure;

use super::Context;
use crate::cli::RebuildArgs;
use crate::ui::wording::rebuild_line;

pub fn rebuild(context: &Context, args: &RebuildArgs) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    let observer = context.ui.listener(args.json, false);
    let cancel = Cancel::new();
    let signal = context.listen(&cancel, &observer)?;
    let report = rebuild_catalog(&config, &*observer, &cancel).map_err(|error| match error {
        RebuildError::Stopped => {
            Failure { exit: signal.exit().unwrap_or(Exit::Interrupted), ..Failure::of(&RebuildError::Stopped) }
        }
        error => Failure::of(&error),
    })?;
    if !args.json {
        context.ui.say(&rebuild_line(&report));
    }
    Ok(if report.problems == 0 { Exit::Done } else { Exit::Partial })
}
