//! What can be typed after `pipeline export`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Commands of `pipeline export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What to make.
    #[command(subcommand)]
    pub command: ExportCommand,
}

/// What can be made.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// A manifest for `sha256sum --check`, run in the storage's directory
    Manifest(ListArgs),
    /// A BagIt 1.0 bag: copies, with digests and where each file is from
    Bag(BagArgs),
    /// The catalog as CSV: a line for each content that was received
    Csv(ListArgs),
    /// When each device was reachable and recording, as CSV: deviceID,start,end,reason
    Effort(ListArgs),
}

/// Which devices and which time.
#[derive(Debug, Args)]
pub struct Selected {
    /// Only what came from these devices: names or patterns as under `hosts` [default: all]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// From then on: '7d' ago, '2026-11-01', '2026-11-01 18:00' (local time), or '2026-11-01T18:00:00Z'
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Up to then, written likewise; a date ends with its day
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// Options of an export that is one file.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// What of.
    #[command(flatten)]
    pub selected: Selected,
    /// Write to this file, which must not be there yet [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `pipeline export bag`.
#[derive(Debug, Args)]
pub struct BagArgs {
    /// What of.
    #[command(flatten)]
    pub selected: Selected,
    /// Make this directory, which must not be there yet
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Add a line to bag-info.txt, such as 'Contact-Name: Ada Lovelace'
    #[arg(long, value_name = "LINE")]
    pub info: Vec<String>,
}
