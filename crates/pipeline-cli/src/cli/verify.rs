//! What can be typed after `pipeline verify`.

use clap::Args;
use pipeline_core::config;
use pipeline_core::verify::{Sample, Share};

/// Options of `pipeline verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only files that came from these devices: names or patterns as under `hosts` [default: all]
    #[arg(value_name = "HOST", conflicts_with = "budget")]
    pub hosts: Vec<String>,
    /// Read a share, such as 1/30, and go on from there the next time: so many runs read everything once
    #[arg(long, value_name = "1/N", conflicts_with = "sample")]
    pub budget: Option<Share>,
    /// Read files drawn at random: so many (500), or a part of all (5%)
    #[arg(long, value_name = "N|N%")]
    pub sample: Option<Sample>,
    /// Look for files that the catalog does not know, also where only a part is read
    #[arg(long, conflicts_with = "no_unknown")]
    pub unknown: bool,
    /// Do not look for files that the catalog does not know
    #[arg(long)]
    pub no_unknown: bool,
    /// Read no faster than this, such as 50MiB/s
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub bandwidth: Option<u64>,
    /// Write every event to standard output as a line of JSON
    #[arg(long)]
    pub json: bool,
}

fn rate(text: &str) -> Result<u64, &'static str> {
    config::rate(text).ok_or("bytes per second are like 500KiB/s or 50MiB/s")
}
