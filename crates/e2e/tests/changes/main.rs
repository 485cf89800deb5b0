//! Files that change after they were received, and files that are in the storage before anybody has received them.
//!
//! On real SSH servers, by the built programs. What holds in every story: each row of the catalog is true, `sha256sum` accepts
//! each line of the manifests, and nothing that a device ever held complete and that left it is missing from the archive.

#![allow(clippy::unwrap_used)]

mod adoption;
mod databases;
mod edits;
mod logger;
mod places;
mod resume;

use e2e::Ended;

/// One of the counts of a run.
#[track_caller]
fn count(run: &Ended, name: &str) -> u64 {
    run.summary()[name].as_u64().unwrap_or_else(|| panic!("no {name}: {run}"))
}
