//! What can be typed after `pipeline history`.

use clap::{Args, Subcommand};

use super::Selected;

/// Options of `pipeline history`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HistoryArgs {
    /// What to list [default: runs]
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
    /// Options of runs.
    #[command(flatten)]
    pub runs: RunsArgs,
}

/// What can be listed.
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Runs, the newest last; those with nothing to do together
    Runs(OfDevices),
    /// Devices: how often each was reached, what came from it and when last
    Devices(DevicesArgs),
    /// Stretches of visits that ended in the same way: since when a device is offline, what it failed of before
    Visits(VisitsArgs),
    /// Files that were received, the newest last
    Files(FilesArgs),
}

/// How a list looks.
#[derive(Clone, Copy, Debug, Args)]
pub struct Form {
    /// Write a line of JSON for each, the oldest first
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Write CSV, the oldest first
    #[arg(long)]
    pub csv: bool,
}

/// How much of a list is shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct Last {
    /// The newest so many [default: 40; with --json or --csv all]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub last: Option<u32>,
}

/// Options of `pipeline history runs`.
#[derive(Debug, Args)]
pub struct OfDevices {
    /// Only runs that received files from these devices; the numbers stay those of the whole run [default: all runs]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Which, and how.
    #[command(flatten)]
    pub runs: RunsArgs,
}

/// Options of a list of runs.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Began from then on: '7d' ago, '2026-11-01', '2026-11-01 18:00' (local time), or '2026-11-01T18:00:00Z'
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Up to then, written likewise; a date ends with its day
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Give each run a line of its own, also where there was nothing to do
    #[arg(long)]
    pub all: bool,
    /// How much.
    #[command(flatten)]
    pub last: Last,
    /// How.
    #[command(flatten)]
    pub form: Form,
}

/// Options of `pipeline history devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Which, and when; days count as wholes, in UTC.
    #[command(flatten)]
    pub selected: Selected,
    /// How.
    #[command(flatten)]
    pub form: Form,
}

/// Options of `pipeline history visits`.
#[derive(Debug, Args)]
pub struct VisitsArgs {
    /// Which, and when.
    #[command(flatten)]
    pub selected: Selected,
    /// How much.
    #[command(flatten)]
    pub last: Last,
    /// How.
    #[command(flatten)]
    pub form: Form,
}

/// Options of `pipeline history files`.
#[derive(Debug, Args)]
pub struct FilesArgs {
    /// Which, and when they were received.
    #[command(flatten)]
    pub selected: Selected,
    /// Only files whose path on the device matches: globs as under `include`, such as '*.jpg' or 'raw/**'
    #[arg(long, value_name = "GLOB")]
    pub path: Vec<String>,
    /// How much.
    #[command(flatten)]
    pub last: Last,
    /// How.
    #[command(flatten)]
    pub form: Form,
}
