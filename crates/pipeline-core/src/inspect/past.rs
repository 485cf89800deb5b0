//! What the catalog knows of the devices and the storage, as an inspection needs it.
//!
//! Guarantees one view of one moment, and memory that does not grow with how often somebody looked.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

use crate::catalog::history::{DAY_NS, Filter, Reading, Source, StorageReading};
use crate::catalog::{Catalog, CatalogError};
use crate::fleet::Device;
use crate::forecast::{RECORDED_DAYS, Received, Sample};
use crate::period::Period;

/// Of readings that lie closer together only one counts: `inspect --watch` makes one each minute.
const THIN_NS: i64 = 50 * 60 * 1_000_000_000;
/// A reading that is so much older than the last visit does not tell how the device was then.
const OLD_NS: i64 = 2 * 3600 * 1_000_000_000;
/// What was received so many days ago is read, so that a device that has been away for some time has its rate still.
const DAYS_BACK: i64 = 60;

/// What is known of the source of one device.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    pub(super) source: Option<Source>,
    /// The last reading that there is.
    pub(super) reading: Option<Reading>,
    pub(super) samples: Vec<Sample>,
    pub(super) received: Vec<Received>,
    /// The day of the first visit that found anything, days since 1970.
    pub(super) first_day: Option<i32>,
    /// When a visit first tried, whether it got an answer or not.
    pub(super) first_try_ns: Option<i64>,
}

/// The same of the storage.
#[derive(Clone, Debug, Default)]
pub(super) struct StoragePast {
    pub(super) samples: Vec<Sample>,
    pub(super) received: Vec<Received>,
    pub(super) first_day: Option<i32>,
}

/// Reads what is known of these devices, in their order, and of the storage.
pub(super) fn read(
    catalog: &Catalog,
    devices: &[Device],
    now_ns: i64,
) -> Result<(Vec<Past>, StoragePast), CatalogError> {
    let history = catalog.history()?;
    let since = |days: i64| Filter {
        period: Period { from_ns: Some(now_ns.saturating_sub(days * DAY_NS)), until_ns: None },
        ..Filter::default()
    };
    let mut by_source: HashMap<i64, Past> = HashMap::new();
    history.readings(&since(i64::from(RECORDED_DAYS) + 2), &mut |source, reading| {
        by_source.entry(source.id).or_default().add(reading);
    })?;
    let mut storage = StoragePast::default();
    for day in history.days(&since(DAYS_BACK))? {
        let bytes = day.received_bytes.saturating_add(day.adopted_bytes);
        let past = by_source.entry(day.source).or_default();
        past.received.push(Received { day: day.day, bytes });
        past.first_try_ns.get_or_insert(day.first_ns);
        if day.reached > 0 || day.received > 0 || day.adopted > 0 {
            past.first_day.get_or_insert(day.day);
            storage.first_day = Some(storage.first_day.map_or(day.day, |first| first.min(day.day)));
        }
        // What was found in the storage already did not fill it.
        storage.received.push(Received { day: day.day, bytes: day.received_bytes });
    }
    for reading in history.storage_readings(&since(i64::from(RECORDED_DAYS) + 2).period)? {
        thin_push(&mut storage.samples, of_storage(&reading));
    }
    let past = |device: &Device| {
        let path = device.settings.source.as_os_str().as_bytes();
        let source = history.sources().iter().find(|s| s.device == device.name && s.path == path)?;
        let mut past = by_source.remove(&source.id).unwrap_or_default();
        past.know(source);
        Some(past)
    };
    Ok((devices.iter().map(past).map(Option::unwrap_or_default).collect(), storage))
}

impl Past {
    fn add(&mut self, reading: Reading) {
        if let Some(sample) = sample(&reading) {
            thin_push(&mut self.samples, sample);
        }
        self.reading = Some(reading);
    }

    /// What its last visit knew besides, if it is newer.
    fn know(&mut self, source: &Source) {
        self.source = Some(source.clone());
        let read_ns = self.reading.as_ref().map(|reading| reading.at_ns);
        let Some(at_ns) = source.visited_ns.filter(|&at| source.total_bytes > 0 && read_ns < Some(at)) else { return };
        let (total_bytes, free_bytes) = (Some(source.total_bytes), Some(source.free_bytes));
        let clock_offset_ns = source.clock_offset_ns;
        let visited = Reading { at_ns, total_bytes, free_bytes, clock_offset_ns, ..Reading::default() };
        self.samples.extend(sample(&visited));
        // A visit writes less of a device down, but a reading each hour: an older one than that tells of another time.
        if read_ns.is_none_or(|read| at_ns.saturating_sub(read) > OLD_NS) {
            self.reading = Some(visited);
        }
    }

    /// When it last answered anybody.
    pub(super) fn answered_ns(&self) -> Option<i64> {
        self.reading.as_ref().map(|reading| reading.at_ns).max(self.source.as_ref().and_then(|s| s.visited_ns))
    }
}

/// What counts for a forecast.
pub(super) fn sample(reading: &Reading) -> Option<Sample> {
    Some(Sample {
        at_ns: reading.at_ns,
        total_bytes: reading.total_bytes?,
        free_bytes: reading.free_bytes?,
        waiting_bytes: reading.waiting_bytes,
    })
}

pub(super) fn of_storage(reading: &StorageReading) -> Sample {
    let StorageReading { at_ns, total_bytes, free_bytes, .. } = *reading;
    Sample { at_ns, total_bytes, free_bytes, waiting_bytes: None }
}

/// Adds one that is later. The one before it goes if it is too close to the one before that.
pub(super) fn thin_push(samples: &mut Vec<Sample>, next: Sample) {
    if let [.., before, last] = samples[..]
        && last.at_ns.saturating_sub(before.at_ns) < THIN_NS
    {
        samples.pop();
    }
    samples.push(next);
}
