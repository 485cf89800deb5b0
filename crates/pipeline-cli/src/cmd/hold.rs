//! `pipeline hold` and `pipeline release`: the brake on all removals. Neither needs the lock: a run may be under way.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pipeline_core::error::Classified;
use pipeline_core::hold::{self, HoldError, Standing, parse_until};
use program::exit::Exit;
use program::failure::Failure;
use program::words::printable;

use super::Context;
use crate::cli::HoldArgs;
use crate::ui::wording::explain::wrapped;
use crate::ui::wording::{held_words, hold_line};

pub fn hold(context: &Context, args: &HoldArgs) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    let until = args.until.as_deref().map(|text| parse_until(text, Timestamp::now(), &TimeZone::system()));
    let until = until.transpose().map_err(|error| typed(&error))?;
    let by = context.environment.person();
    let before = hold::place(&config.state_dir, &by, args.reason.as_deref(), until).map_err(|error| match error {
        HoldError::LongReason => typed(&error),
        error => Failure::of(&error),
    })?;
    if let Standing::Held(before) = before {
        say(context, &format!("replaced the hold {}", held_words(&before)));
    }
    // What stands now is what the next run will read.
    if let Standing::Held(hold) = hold::read(&config.state_dir) {
        say(context, &hold_line(&hold));
    }
    Ok(Exit::Done)
}

pub fn release(context: &Context) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    let line = match hold::release(&config.state_dir).map_err(|error| Failure::of(&error))? {
        Standing::Free => "there is no hold: removals go on as ever".to_owned(),
        Standing::Over(hold) => format!("forgotten: the hold {}, whose time was over", held_words(&hold)),
        Standing::Held(hold) => {
            format!("removals go on with the next run: ended the hold {}", held_words(&hold))
        }
    };
    say(context, &line);
    Ok(Exit::Done)
}

/// Where a terminal is narrower than the line, it breaks between words.
fn say(context: &Context, line: &str) {
    let line = printable(line);
    match context.ui.table_width() {
        Some(width) => context.ui.say(&wrapped(&line, width).join("\n")),
        None => context.ui.say(&line),
    }
}

/// What was typed is wrong, not what is configured.
fn typed(error: &(dyn Classified + 'static)) -> Failure {
    Failure { exit: Exit::Usage, ..Failure::of(error) }
}
