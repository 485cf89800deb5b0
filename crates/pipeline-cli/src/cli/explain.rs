//! What can be typed after `pipeline explain`.

use std::ffi::OsString;

use clap::Args;

/// Options of `pipeline explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A stored file, a file on a device, or a device by its name
    #[arg(value_name = "PATH|HOST")]
    pub subject: OsString,
    /// A file of that device: as it is called there, below its source directory, or where it is stored
    #[arg(value_name = "PATH")]
    pub path: Option<OsString>,
    /// Write what was found as one object of JSON
    #[arg(long)]
    pub json: bool,
}
