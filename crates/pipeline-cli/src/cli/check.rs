//! What can be typed after `pipeline check`.

use clap::Args;

/// Options of `pipeline check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Devices to check: names or patterns as under `hosts` [default: all]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
}
