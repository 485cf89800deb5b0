//! What the catalog knows of each device and of the storage, as far as it is worth a metric.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use crate::catalog::CatalogError;
use crate::catalog::history::{History, Source, Totals, is_past};
use crate::error::Class;
use crate::fleet::Device;
use crate::forecast::{Past, is_drained};

/// What the catalog knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub devices: HashMap<String, KnownDevice>,
    pub storage: Option<Room>,
}

/// Of one device.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownDevice {
    /// How its visits go, if any were made since they are written down.
    pub visits: Option<Visits>,
    pub succeeded_ns: Option<i64>,
    /// When it last brought something; of one that never did, when it was first tried.
    pub newest_ns: Option<i64>,
    pub clock_offset_ns: Option<i64>,
    pub card: Option<Room>,
    /// Files and bytes that wait to be received, by the latest reading.
    pub waiting: Option<(u64, u64)>,
    /// Files and bytes that were received and are still there, by the latest reading.
    pub kept: Option<(u64, u64)>,
    pub totals: Totals,
}

/// How visits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visits {
    /// What keeps them from getting their work done.
    pub trouble: Option<Class>,
}

/// Of a card or of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// None where that is not in sight.
    pub full_in: Option<Duration>,
}

impl Known {
    /// Reads all that is wanted. `fleet` tells which directory of a device counts; without it, the one that was visited last.
    pub(super) fn read(
        history: &History,
        fleet: Option<&[Device]>,
        held: bool,
        now_ns: i64,
    ) -> Result<Known, CatalogError> {
        let configured: HashMap<&str, &Device> =
            fleet.unwrap_or_default().iter().map(|device| (device.name.as_str(), device)).collect();
        let totals: HashMap<i64, Totals> =
            history.totals()?.into_iter().map(|totals| (totals.source, totals)).collect();
        let mut devices: HashMap<String, KnownDevice> = HashMap::new();
        for sources in history.sources().chunk_by(|a, b| a.device == b.device) {
            let device = configured.get(sources[0].device.as_str()).copied();
            if fleet.is_some() && device.is_none() {
                continue;
            }
            let name = sources[0].device.as_str().to_owned();
            let sources: Vec<Source> = sources.iter().map(|source| source.as_of(now_ns)).collect();
            devices.insert(name, of_device(history, &sources, device, &totals, held, now_ns)?);
        }
        let storage = Past::of_storage(history, now_ns)?;
        Ok(Known { devices, storage: room(&storage, now_ns, false) })
    }
}

/// Of a device with these directories, of which there is at least one.
fn of_device(
    history: &History,
    sources: &[Source],
    device: Option<&Device>,
    totals: &HashMap<i64, Totals>,
    held: bool,
    now_ns: i64,
) -> Result<KnownDevice, CatalogError> {
    let is_configured = |source: &Source| {
        device.is_some_and(|device| device.settings.source.as_os_str().as_bytes() == source.path)
            && source.visited_ns.is_some()
    };
    let mut known = KnownDevice::default();
    let mut first_try_ns: Option<i64> = None;
    for source in sources {
        known.newest_ns = known.newest_ns.max(source.newest_ns);
        let first = history.first_try_ns(source)?.filter(|ns| is_past(*ns, now_ns));
        first_try_ns = first_try_ns.into_iter().chain(first).min();
        if let Some(more) = totals.get(&source.id) {
            add(&mut known.totals, more);
        }
    }
    let Some(source) = sources.iter().max_by_key(|source| (is_configured(source), source.visited_ns)) else {
        return Ok(known);
    };
    if history.last_spell(source)?.is_some() {
        let trouble = history.trouble(source)?.map(|spell| spell.class.unwrap_or(Class::Internal));
        known.visits = Some(Visits { trouble });
    }
    let past = Past::of_card(history, source, now_ns)?;
    let drained = device.is_none_or(|device| is_drained(&device.settings.delete, held, !source.unreachable));
    known.newest_ns = known.newest_ns.or(past.received_ns(now_ns)).or(first_try_ns);
    known.succeeded_ns = source.succeeded_ns;
    known.clock_offset_ns = source.clock_offset_ns;
    known.card = room(&past, now_ns, drained);
    if let Some(latest) = past.latest() {
        known.waiting = latest.waiting_files.zip(latest.waiting_bytes);
        known.kept = latest.kept_files.zip(latest.kept_bytes);
    }
    Ok(known)
}

fn room(past: &Past, now_ns: i64, drained: bool) -> Option<Room> {
    let sample = past.room()?;
    let full_in = past.forecast(now_ns, drained).full_in;
    Some(Room { total_bytes: sample.total_bytes, free_bytes: sample.free_bytes, full_in })
}

fn add(sum: &mut Totals, more: &Totals) {
    let numbers = [
        (&mut sum.received, more.received),
        (&mut sum.received_bytes, more.received_bytes),
        (&mut sum.removed, more.removed),
        (&mut sum.removed_bytes, more.removed_bytes),
        (&mut sum.versions, more.versions),
        (&mut sum.clashes, more.clashes),
    ];
    // Of what a device said: one that says too much costs nobody the metrics.
    numbers.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::tests::fleet;
    use super::*;
    use crate::catalog::Catalog;

    const DAY_NS: i64 = 86_400_000_000_000;

    #[test]
    fn what_a_device_had_elsewhere_counts_and_the_directory_of_today_tells_how_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path(), "storage").unwrap();
        let conn = rusqlite::Connection::open(dir.path().join("catalog.db")).unwrap();
        // pi1 was moved to /data; of pi2 we know only what a clock wrote that was two days ahead; pi9 has left the fleet.
        let sql = "INSERT INTO source (device, path, visited_ns, succeeded_ns, newest_ns, total_bytes, free_bytes, unreachable)
                   VALUES ('pi1', CAST('/data' AS BLOB), 100, 90, NULL, 1000, 400, 0),
                          ('pi1', CAST('/old' AS BLOB), 200, 80, 70, 1000, 1, 0),
                          ('pi2', CAST('/data' AS BLOB), 200000000000000, 200000000000000, 200000000000000, 0, 0, 1),
                          ('pi9', CAST('/data' AS BLOB), 1, 1, 1, 1, 1, 0);
                   INSERT INTO day (source, day, received, received_bytes, removed, removed_bytes, versions, clashes, first_ns, last_ns)
                   VALUES (1, 0, 1, 2, 3, 4, 5, 6, 60, 0), (2, 0, 10, 20, 30, 40, 50, 60, 50, 0), (2, 1, 100, 200, 300, 400, 500, 600, 0, 0),
                          (3, 0, 0, 0, 0, 0, 0, 0, 55, 0);
                   INSERT INTO storage_reading VALUES (7, 5000, 300, 0, 0);
                   INSERT INTO reading (source, at_ns, total_bytes, free_bytes, waiting_files, waiting_bytes, kept_files)
                   VALUES (1, 90, 1000, 500, 8, 9, 10)";
        conn.execute_batch(sql).unwrap();
        let history = catalog.history().unwrap();
        let fleet = fleet(&["pi1", "pi2", "pi3"]);
        let known = Known::read(&history, Some(&fleet), false, DAY_NS).unwrap();
        let storage = Room { total_bytes: 5000, free_bytes: 300, full_in: None };
        assert_eq!((known.devices.len(), known.storage), (2, Some(storage)));
        let pi1 = &known.devices["pi1"];
        assert_eq!((pi1.succeeded_ns, pi1.newest_ns), (Some(90), Some(70)));
        assert_eq!(pi1.card.map(|card| card.free_bytes), Some(400), "the visit is newer than the reading");
        assert_eq!((pi1.waiting, pi1.kept), (Some((8, 9)), None), "half of a number is none");
        let sums = Totals {
            source: 0,
            received: 111,
            received_bytes: 222,
            removed: 333,
            removed_bytes: 444,
            versions: 555,
            clashes: 666,
        };
        assert_eq!(pi1.totals, sums);
        let pi2 = &known.devices["pi2"];
        assert_eq!((pi2.newest_ns, pi2.succeeded_ns, pi2.card), (Some(55), None, None));
        // Without a configuration it is the directory that was visited last.
        let all = Known::read(&history, None, false, DAY_NS).unwrap();
        assert_eq!((all.devices.len(), all.devices["pi1"].succeeded_ns), (3, Some(80)));
    }
}
