//! The listener for everything that is not a terminal: one line for what happened, in plain words.
//!
//! In three forms: for the journal (a `<N>` priority before the line; the journal knows the time), for a file or pipe (the time
//! before the line, in UTC), and plain (for a terminal that can't draw, and for the plan of a dry run). A plan goes to standard
//! output, everything else to standard error.

use std::sync::Arc;

use jiff::Timestamp;
use pipeline_core::event::{Event, Observer};
use program::output::Output;
use program::streams::Form;

use super::lines::{Lines, Place};

/// Writes lines.
pub struct Log {
    /// What is said of each event.
    pub lines: Lines,
    /// How diagnostics begin.
    pub form: Form,
    /// For data.
    pub out: Arc<Output>,
    /// How data begins.
    pub out_form: Form,
    /// For diagnostics.
    pub err: Arc<Output>,
}

impl Observer for Log {
    fn event(&self, event: &Event) {
        let Some(line) = self.lines.of(event) else { return };
        let (output, form) = match line.place {
            Place::Data => (&self.out, self.out_form),
            Place::Diagnostic => (&self.err, self.form),
        };
        output.line(&form.line(line.level, &line.text, Timestamp::now()));
    }
}
