//! `pipeline init`: marks the storage, says what it can do, and makes the state directory ready. Harmless when repeated.

use pipeline_core::run;
use program::exit::Exit;
use program::failure::Failure;
use program::words::columns;

use super::Context;

pub fn run(context: &Context) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    let made = run::init(&config).map_err(|error| Failure::of(&error))?;
    let (storage, marker) = (config.storage.display(), &made.marker);
    context.ui.say(&match made.created {
        true => format!("{storage} is an archive now"),
        false => format!("{storage} has been an archive since {}", marker.created()),
    });
    let mut lines = vec![("id", marker.id().to_owned()), ("state directory", config.state_dir.display().to_string())];
    lines.extend(marker.capabilities().describe());
    columns(&lines).iter().for_each(|line| context.ui.say(line));
    Ok(Exit::Done)
}
