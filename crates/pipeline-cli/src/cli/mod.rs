//! What can be typed: clap types only, no behaviour. One file for each command.

use clap::{Parser, Subcommand};
use program::manual::ManualArgs;
use program::options::Global;

mod catalog;
mod check;
mod explain;
mod export;
mod history;
mod hold;
mod init;
mod inspect;
mod report;
mod sync;
mod verify;

pub use catalog::{CatalogArgs, CatalogCommand, RebuildArgs};
pub use check::CheckArgs;
pub use explain::ExplainArgs;
pub use export::{BagArgs, ExportArgs, ExportCommand, ListArgs, Selected};
pub use history::{DevicesArgs, FilesArgs, Form, HistoryArgs, HistoryCommand, RunsArgs, VisitsArgs};
pub use hold::{HoldArgs, ReleaseArgs};
pub use init::InitArgs;
pub use inspect::{InspectArgs, SortKey};
pub use report::ReportArgs;
pub use sync::SyncArgs;
pub use verify::VerifyArgs;

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

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mark the storage as the archive and find out what it can do
    Init(InitArgs),
    /// Look whether everything is ready for a run; changes nothing on either side
    Check(CheckArgs),
    /// Receive new files, verify them, and remove from the devices what is safely stored
    Sync(SyncArgs),
    /// Show how every device is, at one look, and what needs a person; changes nothing on any device
    Inspect(InspectArgs),
    /// Read the storage again and compare it with the catalog; changes and repairs nothing
    Verify(VerifyArgs),
    /// List what was: runs, devices, stretches of visits, files
    History(HistoryArgs),
    /// Say why a file, or a device, is as it is: received or not, stored where, still on its device and why
    Explain(ExplainArgs),
    /// Hand on what was received: manifests, a BagIt bag, the catalog as CSV, recording effort; outside the storage
    Export(ExportArgs),
    /// Put all removals on hold: files are still received, and nothing leaves any device
    Hold(HoldArgs),
    /// End the hold: the next run removes what is due
    Release(ReleaseArgs),
    /// Write a page that shows the fleet and its past; from the catalog alone, no device is asked
    Report(ReportArgs),
    /// Look after the catalog, which says what was received
    Catalog(CatalogArgs),
    /// Write manual pages and completions below a directory, as they lie below /usr/share
    #[command(hide = true)]
    Manual(ManualArgs),
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
            "pipeline explain",
            "pipeline export",
            "pipeline export bag pi1",
            "pipeline inspect --json --csv",
            "pipeline inspect --watch 1",
            "pipeline inspect --sort size",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
