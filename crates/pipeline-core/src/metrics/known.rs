//! What the catalog knows of each device and of the storage, as far as it is worth a metric.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use crate::catalog::CatalogError;
use crate::catalog::history::{History, Source, Totals};
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
    pub succeeded_ns: Option<i64>,
    /// When it last brought something.
    pub newest_ns: Option<i64>,
    pub clock_offset_ns: Option<i64>,
    pub card: Option<Room>,
    /// Files and bytes that wait to be received, by the latest reading.
    pub waiting: Option<(u64, u64)>,
    /// Files and bytes that were received and are still there, by the latest reading.
    pub kept: Option<(u64, u64)>,
    pub totals: Totals,
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
            let known = of_device(history, sources, device, &totals, held, now_ns)?;
            devices.insert(sources[0].device.as_str().to_owned(), known);
        }
        let storage = Past::of_storage(history)?;
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
    for source in sources {
        known.newest_ns = known.newest_ns.max(source.newest_ns);
        if let Some(more) = totals.get(&source.id) {
            add(&mut known.totals, more);
        }
    }
    let Some(source) = sources.iter().max_by_key(|source| (is_configured(source), source.visited_ns)) else {
        return Ok(known);
    };
    let past = Past::of_card(history, source)?;
    let drained = device.is_none_or(|device| is_drained(&device.settings.delete, held, !source.unreachable));
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
    sum.received += more.received;
    sum.received_bytes += more.received_bytes;
    sum.removed += more.removed;
    sum.removed_bytes += more.removed_bytes;
    sum.versions += more.versions;
    sum.clashes += more.clashes;
}
