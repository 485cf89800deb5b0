//! The rows as programs get them, JSON or CSV. Plain values only; times are RFC 3339 in UTC; `docs/scripting.md` lists them.

use jiff::Timestamp;
use pipeline_core::catalog::history::{FileRow, Kept, RunRow, RunSums, Spell, State};
use pipeline_core::error::Class;
use serde::Serialize;

/// Version of these forms. Grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// In UTC, to the millisecond.
pub fn utc(ns: i64) -> String {
    format!("{:.3}", Timestamp::from_nanosecond(ns.into()).unwrap_or_default())
}

/// A run.
#[derive(Serialize)]
pub struct Run {
    schema: u32,
    run: i64,
    began: String,
    ended: Option<String>,
    /// `ended`, `killed`, or `open`: under way, or killed just now.
    state: &'static str,
    program: String,
    devices: Option<u64>,
    done: Option<u64>,
    offline: Option<u64>,
    failed: Option<u64>,
    received: Option<u64>,
    received_bytes: Option<u64>,
    adopted: Option<u64>,
    adopted_bytes: Option<u64>,
    removed: Option<u64>,
    removed_bytes: Option<u64>,
    deferred: Option<u64>,
    versions: Option<u64>,
    clashes: Option<u64>,
    failures: Option<u64>,
    held: Option<u64>,
    on_hold: Option<bool>,
    stopped_by: Option<String>,
    class: Option<Class>,
}

impl From<&RunRow> for Run {
    fn from(row: &RunRow) -> Run {
        let sums = row.sums.as_ref();
        let of = |number: fn(&RunSums) -> u64| sums.map(number);
        Run {
            schema: SCHEMA,
            run: row.run,
            began: utc(row.started_ns),
            ended: row.finished_ns.map(utc),
            state: match (row.finished_ns, row.killed) {
                (Some(_), _) => "ended",
                (None, true) => "killed",
                (None, false) => "open",
            },
            program: row.program.clone(),
            devices: of(|sums| sums.devices),
            done: of(|sums| sums.done),
            offline: of(|sums| sums.offline),
            failed: of(|sums| sums.failed),
            received: of(|sums| sums.received),
            received_bytes: of(|sums| sums.received_bytes),
            adopted: of(|sums| sums.adopted),
            adopted_bytes: of(|sums| sums.adopted_bytes),
            removed: of(|sums| sums.removed),
            removed_bytes: of(|sums| sums.removed_bytes),
            deferred: of(|sums| sums.deferred),
            versions: of(|sums| sums.versions),
            clashes: of(|sums| sums.clashes),
            failures: of(|sums| sums.failures),
            held: of(|sums| sums.held),
            on_hold: sums.map(|sums| sums.on_hold),
            stopped_by: sums.and_then(|sums| sums.stopped_by.clone()),
            class: sums.and_then(|sums| sums.class),
        }
    }
}

/// A stretch of visits.
#[derive(Serialize)]
pub struct Visits {
    schema: u32,
    device: String,
    state: State,
    began: String,
    last: String,
    visits: u64,
    others: u64,
    class: Option<Class>,
    reason: Option<String>,
    hint: Option<String>,
}

impl From<&Spell> for Visits {
    fn from(spell: &Spell) -> Visits {
        Visits {
            schema: SCHEMA,
            device: spell.device.to_string(),
            state: spell.state,
            began: utc(spell.began_ns),
            last: utc(spell.last_ns),
            visits: spell.visits,
            others: spell.others,
            class: spell.class,
            reason: spell.reason.clone(),
            hint: spell.hint.clone(),
        }
    }
}

/// A device, and the sums of the days that are meant.
#[derive(Serialize)]
pub struct Device {
    pub schema: u32,
    pub device: String,
    pub visits: u64,
    pub reached: u64,
    pub offline: u64,
    pub failed: u64,
    pub received: u64,
    pub received_bytes: u64,
    pub adopted: u64,
    pub adopted_bytes: u64,
    pub removed: u64,
    pub removed_bytes: u64,
    pub versions: u64,
    pub clashes: u64,
    /// Of the last visit in that time, and why.
    pub state: Option<State>,
    pub since: Option<String>,
    pub reason: Option<String>,
    /// As it is now, whatever time is meant.
    pub last_success: Option<String>,
    pub newest: Option<String>,
}

/// A file that was received.
#[derive(Serialize)]
pub struct File {
    schema: u32,
    receipt: i64,
    device: String,
    path: String,
    bytes: u64,
    sha256: String,
    archive_path: String,
    kept: Kept,
    modified: String,
    received: String,
    removed: Option<String>,
    run: i64,
}

impl From<&FileRow> for File {
    fn from(file: &FileRow) -> File {
        File {
            schema: SCHEMA,
            receipt: file.row,
            device: file.device.to_string(),
            path: file.path.to_string(),
            bytes: file.identity.size,
            sha256: file.digest.to_string(),
            archive_path: file.archive_path.to_string(),
            kept: file.kept,
            modified: utc(file.modified_ns()),
            received: utc(file.received_ns),
            removed: file.removed_ns.map(utc),
            run: file.run,
        }
    }
}
