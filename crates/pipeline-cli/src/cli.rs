//! What can be typed: clap types only, no behaviour.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pipeline_core::config;
use pipeline_core::verify::{Sample, Share};
use program::environment::ColorWhen;

/// Empties a fleet of Raspberry Pis into research storage and never loses a file.
///
/// Exit status: 0 done, 1 unexpected, 2 usage, 3 some device or file failed, 4 no device reachable, 5 storage refused,
/// 6 safety stop, 7 another run holds the lock, 78 configuration, 130 or 143 stopped by a signal.
#[derive(Debug, Parser)]
#[command(name = "pipeline", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

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
    /// Say more: each file
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Say less: problems only
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mark the storage as the archive and find out what it can do
    Init(InitArgs),
    /// Look whether everything is ready for a run; changes nothing on either side
    Check(CheckArgs),
    /// Receive new files, verify them, and remove from the devices what is safely stored
    Sync(SyncArgs),
    /// Read the storage again and compare it with the catalog; changes and repairs nothing
    Verify(VerifyArgs),
    /// Put all removals on hold: files are still received, and nothing leaves any device
    Hold(HoldArgs),
    /// End the hold: the next run removes what is due
    Release(ReleaseArgs),
    /// Look after the catalog, which says what was received
    Catalog(CatalogArgs),
}

/// Options of `pipeline init`.
#[derive(Debug, Args)]
pub struct InitArgs {}

/// Options of `pipeline check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Devices to check: names or patterns as under `hosts` [default: all]
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
}

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

/// Options of `pipeline hold`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// When it ends by itself: '3d' or '12h' from now, '2026-11-25' (its end), '2026-11-25 18:00' (local time), or
    /// '2026-11-25T18:00:00Z' [default: when somebody ends it]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// Options of `pipeline release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {}

/// Commands of `pipeline catalog`.
#[derive(Debug, Args)]
pub struct CatalogArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: CatalogCommand,
}

/// What can be done with the catalog.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Make a catalog that was lost anew, from the storage and its manifests
    Rebuild(RebuildArgs),
}

/// Options of `pipeline catalog rebuild`.
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Write every event to standard output as a line of JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_types_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_go_before_and_after_the_command() {
        for line in ["pipeline -v --config x.yaml sync --jobs 3 pi1", "pipeline sync pi1 --jobs 3 --config x.yaml -v"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.verbose);
            assert_eq!(cli.global.config, Some("x.yaml".into()));
            let Command::Sync(sync) = cli.command else { panic!("{line}") };
            assert_eq!((sync.jobs, sync.hosts), (Some(3), vec!["pi1".to_owned()]));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "pipeline",
            "pipeline sync -q -v",
            "pipeline sync --jobs 0",
            "pipeline sink",
            "pipeline catalog",
            "pipeline verify --budget 2/30",
            "pipeline verify --budget 1/30 pi1",
            "pipeline verify --budget 1/30 --sample 5%",
            "pipeline verify --bandwidth 50",
            "pipeline init pi1",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
