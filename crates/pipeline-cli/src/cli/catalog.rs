//! What can be typed after `pipeline catalog`.

use clap::{Args, Subcommand};

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
