//! What can be typed after `pipeline report`.

use std::path::PathBuf;

use clap::Args;

/// Options of `pipeline report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The file to write; '-' for standard output
    #[arg(short, long, value_name = "FILE", default_value = "fleet-report.html")]
    pub output: PathBuf,
    /// What it covers: '30d' back from now, or since '2026-11-01' or '2026-11-01 18:00' (local time) [default: the last
    /// 365 days, or what there is of them]
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
}
