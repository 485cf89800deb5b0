//! What can be typed after `pipeline sync`.

use clap::Args;

/// Options of `pipeline sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Devices to visit: names or patterns as under `hosts` [default: all]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Say what would be done, removals included; change nothing on either side
    #[arg(long)]
    pub dry_run: bool,
    /// Receive, but remove nothing from any device
    #[arg(long)]
    pub no_delete: bool,
    /// How many devices at once [default: `jobs` of the configuration]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub jobs: Option<u16>,
    /// Write every event to standard output as a line of JSON
    #[arg(long)]
    pub json: bool,
}
