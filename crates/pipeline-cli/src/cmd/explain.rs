//! `pipeline explain`: why a file, or a device, is as it is.

use jiff::tz::TimeZone;
use pipeline_core::error::Class;
use pipeline_core::explain::{ExplainError, Explanation, Question, about};
use program::exit::Exit;
use program::failure::Failure;
use program::words::printable;

use super::Context;
use crate::cli::ExplainArgs;
use crate::ui::wording::explain::{Reader, wrapped};

/// Version of the JSON form. Grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

#[derive(serde::Serialize)]
struct Answer<'a> {
    schema: u32,
    explanations: &'a [Explanation],
}

pub fn run(context: &Context, args: &ExplainArgs) -> Result<Exit, Failure> {
    let (_, config) = context.config()?;
    let current_dir = std::env::current_dir().ok();
    let question = Question { subject: &args.subject, path: args.path.as_deref(), current_dir: current_dir.as_deref() };
    let explanations = about(&config, &question).map_err(|error| told(&error))?;
    if args.json {
        let answer = Answer { schema: SCHEMA, explanations: &explanations };
        let text = serde_json::to_string(&answer);
        let text =
            text.map_err(|error| Failure::because(Exit::Unexpected, "can't write the answer as JSON", &error))?;
        context.ui.result(&text);
        return Ok(Exit::Done);
    }
    let zone = TimeZone::system();
    let reader = Reader { zone: &zone, storage: &config.storage };
    for (nth, explanation) in explanations.iter().enumerate() {
        if nth > 0 {
            context.ui.result("");
        }
        let paragraph = reader.sentences(explanation).join(" ");
        wrapped(&printable(&paragraph), context.ui.width()).iter().for_each(|line| context.ui.result(line));
    }
    Ok(Exit::Done)
}

/// A name that leads nowhere was mistyped, not misconfigured.
fn told(error: &ExplainError) -> Failure {
    use pipeline_core::error::Classified as _;
    let failure = Failure::of(error);
    let typed = !matches!(error, ExplainError::Catalog(_) | ExplainError::Filter(_)) && error.class() == Class::Config;
    if typed { Failure { exit: Exit::Usage, ..failure } } else { failure }
}
