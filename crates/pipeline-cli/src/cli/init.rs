//! What can be typed after `pipeline init`.

use clap::Args;

/// Options of `pipeline init`.
#[derive(Debug, Args)]
pub struct InitArgs {}
