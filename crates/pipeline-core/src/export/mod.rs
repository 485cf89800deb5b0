//! What was received, for others: manifests that `sha256sum` checks, bags, tables, and when each device was recording.
//!
//! Guarantees: storage and catalog are only read, and no run is kept out. A file or a bag is whole under its name or not there,
//! replaces nothing (a page: nothing but an earlier page), and is never in the storage. What is in a bag has the digests that the devices computed. Leaves to others:
//! which times people mean ([`crate::period`]), and where standard output goes.

mod about;
mod bag;
mod destination;
mod effort;
mod error;
mod list;
mod names;
mod page;

use crate::catalog::history::{Filter, History};
use crate::catalog::{Catalog, Contents};
use crate::clock::now_ns;
use crate::path::DeviceName;

pub use about::BagInfo;
pub use bag::{Bag, write_bag};
pub use destination::{Kept, NewFile};
pub use effort::{Effort, Known, efforts};
pub use error::ExportError;
pub use list::{Listed, write_manifest};
pub use page::write_page;

/// So many rows are in memory at a time.
const PAGE: usize = 1000;

/// What is wanted of the devices that brought anything, and their names. The globs of a filter are left to others.
fn contents(catalog: &Catalog, filter: &Filter) -> Result<(Vec<DeviceName>, Contents), ExportError> {
    let history = catalog.history()?;
    let sources = history.sources_of(&filter.devices);
    let ids: Vec<i64> = sources.iter().map(|source| source.id).collect();
    let mut devices: Vec<DeviceName> = sources.iter().map(|source| source.device.clone()).collect();
    devices.dedup();
    Ok((devices, catalog.contents(&ids, filter.period.bounds_ns())?))
}

/// When each device was recording, by device and time.
pub fn recording(history: &History, filter: &Filter) -> Result<Vec<(DeviceName, Effort)>, ExportError> {
    let mut devices: Vec<DeviceName> =
        history.sources_of(&filter.devices).into_iter().map(|source| source.device.clone()).collect();
    devices.dedup();
    let all = Filter { devices: filter.devices.clone(), ..Filter::default() };
    let spells = history.spells(&all)?;
    let now = now_ns();
    let mut recording = Vec::new();
    for device in devices {
        let mut known = Known::default();
        // A device whose directory was changed has one of them at a time.
        known.spells.extend(spells.iter().filter(|spell| spell.device == device).cloned());
        known.spells.sort_by_key(|spell| spell.began_ns);
        for source in history.sources().iter().filter(|source| source.device == device) {
            known.recorded.extend(history.recorded_days(source)?);
        }
        let efforts = efforts(&known, filter.period.from_ns, filter.period.until_ns, now);
        recording.extend(efforts.into_iter().map(|effort| (device.clone(), effort)));
    }
    Ok(recording)
}
