//! What can be typed after `pipeline inspect`.

use clap::{Args, ValueEnum};

/// So many seconds between two looks, where `--watch` names no other.
const WATCH_S: &str = "30";

/// Options of `pipeline inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Devices to look at: names or patterns as under `hosts` [default: all]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Order of the devices
    #[arg(long, value_name = "KEY", default_value = "urgency")]
    pub sort: SortKey,
    /// Look again and again, with so many seconds in between
    // Whoever looks more often than that is no help to a Pi.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = WATCH_S,
        value_parser = clap::value_parser!(u32).range(5..=86_400))]
    pub watch: Option<u32>,
    /// Write all that was found to standard output as one line of JSON
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Write a row for each device to standard output, for a spreadsheet
    #[arg(long)]
    pub csv: bool,
}

/// In which order devices are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    /// Those that need a person first, then the fullest soonest
    Urgency,
    /// As the configuration has them
    Config,
    /// By name, numbers as numbers
    Name,
    /// Fullest card first
    Used,
    /// The one whose card is full first
    Full,
    /// Most bytes that wait to be received first
    Waiting,
    /// Oldest waiting file first
    Oldest,
    /// Without new data for the longest time first
    Silent,
    /// Longest without a complete sync first
    Synced,
    /// Worst clock first
    Clock,
    /// Hottest first
    Temperature,
}
