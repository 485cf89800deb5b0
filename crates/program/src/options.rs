//! What can be typed with every command of every program: clap types, and how much is said on which stream by them.

use std::path::PathBuf;

use clap::Args;

use crate::environment::{ColorWhen, Environment};
use crate::streams::{Streams, Verbosity};

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Configuration file [default: $PIPELINE_CONFIG, else ~/.config/pipeline/pipeline.yaml, else
    /// /etc/pipeline/pipeline.yaml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// When to use colours
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto")]
    pub color: ColorWhen,
    /// Say more: each step, each file
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Say less: problems only
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Global {
    /// The standard streams, as these options have them.
    pub fn streams(&self, environment: &Environment) -> Streams {
        let verbosity = match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        };
        Streams::new(verbosity, self.color, environment)
    }
}
