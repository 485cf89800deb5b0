//! The storage's line: is it there, is it the right one, how long does it last.
//!
//! Guarantees that a server that hangs keeps nobody waiting for long: it is asked from a thread of its own, which is left behind then.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::judge::{Limits, concern, fullness};
use super::view::{Concern, Kind, Severity, StorageState, StorageView};
use super::words::{percent_used, span};
use crate::archive::{Archive, ArchiveError, Room};
use crate::catalog::Catalog;
use crate::catalog::history::StorageReading;
use crate::config::Config;
use crate::error::{Classified, one_line};
use crate::forecast::{Forecast, Past, Sample};

/// How long it may take to answer, once the devices have.
const PATIENCE: Duration = Duration::from_secs(20);

/// To buy, or be given, more storage takes weeks.
const STORAGE: Limits = Limits {
    warning_percent: 95,
    critical_percent: 99,
    warning: Duration::from_secs(14 * 86_400),
    critical: Duration::from_secs(2 * 86_400),
};

/// The storage, being looked at.
pub(super) struct Asked(Receiver<Result<Room, ArchiveError>>);

/// Begins to look.
pub(super) fn ask(config: &Config, catalog: &Catalog) -> Asked {
    let (tell, told) = sync_channel(1);
    let (storage, read_back) = (config.storage.clone(), config.read_back);
    let (collector, id) = (catalog.collector().to_owned(), catalog.storage().to_owned());
    std::thread::spawn(move || {
        let look = || {
            let archive = Archive::open(&storage, &collector, read_back)?;
            archive.expect(&id)?;
            archive.room()
        };
        // Nobody listens any more to one that took too long.
        tell.send(look()).ok();
    });
    Asked(told)
}

/// Waits for the answer; and what there is to note of it.
pub(super) fn view(
    asked: &Asked,
    config: &Config,
    mut past: Past,
    now_ns: i64,
) -> (StorageView, Option<StorageReading>) {
    let mut view = StorageView {
        path: config.storage.display().to_string(),
        state: StorageState::Ready,
        total_bytes: None,
        free_bytes: None,
        total_files: None,
        free_files: None,
        growth_bytes_per_day: None,
        full_in: None,
        concerns: Vec::new(),
    };
    let room = match asked.0.recv_timeout(PATIENCE) {
        Ok(Ok(room)) => room,
        Ok(Err(error)) => {
            let (reason, hint) = (one_line(&error), error.hint());
            let text = reason.clone();
            view.concerns.push(Concern {
                severity: Severity::Critical,
                kind: Kind::StorageUnusable,
                text,
                hint: hint.clone(),
            });
            view.state = StorageState::Unusable { reason, hint };
            return (view, None);
        }
        Err(_) => {
            let text = format!("the storage has not answered for {}", span(PATIENCE));
            let hint = Some("is its server there? `ls` on it hangs as well");
            view.concerns.push(concern(Severity::Critical, Kind::StorageUnusable, text, hint));
            view.state = StorageState::Hung;
            return (view, None);
        }
    };
    let Room { total_bytes, free_bytes, total_files, free_files } = room;
    let reading = StorageReading { at_ns: now_ns, total_bytes, free_bytes, total_files, free_files };
    past.add_room(Sample { at_ns: now_ns, total_bytes, free_bytes, waiting_bytes: None });
    let Forecast { growth_bytes_per_day, full_in, .. } = past.forecast(now_ns, false);
    (view.growth_bytes_per_day, view.full_in) = (growth_bytes_per_day, full_in);
    let known = |number: u64, of: u64| (of > 0).then_some(number);
    (view.total_bytes, view.free_bytes) = (known(total_bytes, total_bytes), known(free_bytes, total_bytes));
    (view.total_files, view.free_files) = (known(total_files, total_files), known(free_files, total_files));
    view.concerns = concerns(&view);
    (view, Some(reading))
}

fn concerns(view: &StorageView) -> Vec<Concern> {
    let hint = Some("what lies there is yours to move away; what moves is `missing` to `pipeline verify` from then on");
    let bytes = percent_used(view.total_bytes, view.free_bytes);
    let room = fullness(bytes, view.full_in, &STORAGE).map(|severity| {
        let soon = view.full_in.filter(|full_in| *full_in < STORAGE.warning);
        let soon = soon.map_or(String::new(), |soon| format!(", full in {}", span(soon)));
        let text = format!("the storage is {} % full{soon}", bytes.unwrap_or(100));
        concern(severity, Kind::StorageFull, text, hint)
    });
    let files = percent_used(view.total_files, view.free_files);
    let inodes = fullness(files, None, &STORAGE).map(|severity| {
        let text = format!("{} % of the storage's inodes are in use", files.unwrap_or(100));
        concern(severity, Kind::StorageFull, text, hint)
    });
    let mut concerns: Vec<Concern> = room.into_iter().chain(inodes).collect();
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.severity));
    concerns
}
