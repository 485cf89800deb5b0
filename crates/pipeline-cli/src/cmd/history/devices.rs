//! `pipeline history devices`: what came from each device, and how often it was there.

use std::collections::BTreeMap;

use pipeline_core::catalog::history::{Day, Spell, State};
use pipeline_core::path::by_number;
use program::failure::Failure;
use program::words::bytes;

use super::rows::{Device, SCHEMA, utc};
use super::{List, Rows, nothing};
use crate::cli::DevicesArgs;
use crate::cmd::selection;
use crate::ui::grid::Column;

const COLUMNS: [Column; 8] = [
    Column::left("device"),
    Column::right("visits"),
    Column::right("answered"),
    Column::right("received"),
    Column::right("removed"),
    Column::left("newest"),
    Column::left("success"),
    Column::left("state"),
];

/// A device, with times as numbers.
struct Told {
    row: Device,
    newest_ns: Option<i64>,
    success_ns: Option<i64>,
    since_ns: Option<i64>,
    last_ns: i64,
}

pub fn list(list: &List<'_>, args: &DevicesArgs) -> Result<(), Failure> {
    let filter = selection::filter(&list.history, &args.selected, &[])?;
    let failed = |error| Failure::of(&error);
    let days = list.history.days(&filter).map_err(failed)?;
    let spells = list.history.spells(&filter).map_err(failed)?;
    let mut devices = BTreeMap::<String, Told>::new();
    for day in &days {
        add(devices.entry(day.device.to_string()).or_insert_with(|| none(day.device.as_str())), day);
    }
    for spell in &spells {
        end(devices.entry(spell.device.to_string()).or_insert_with(|| none(spell.device.as_str())), spell);
    }
    for source in list.history.sources() {
        if let Some(told) = devices.get_mut(source.device.as_str()) {
            told.newest_ns = told.newest_ns.max(source.newest_ns);
            told.success_ns = told.success_ns.max(source.succeeded_ns);
            told.row.newest = told.newest_ns.map(utc);
            told.row.last_success = told.success_ns.map(utc);
        }
    }
    let mut devices: Vec<Told> = devices.into_values().collect();
    devices.sort_by_cached_key(|told| by_number(&told.row.device));
    if let Some(mut out) = Rows::of(args.form) {
        let written = devices.iter().try_for_each(|told| out.write(&told.row));
        return out.end(written);
    }
    let table: Vec<_> = devices.iter().map(|told| cells(list, told)).collect();
    list.table(&COLUMNS, &table, devices.is_empty().then(|| nothing("there was no visit", &filter.period)).as_deref());
    Ok(())
}

fn none(device: &str) -> Told {
    let row = Device {
        schema: SCHEMA,
        device: device.to_owned(),
        visits: 0,
        reached: 0,
        offline: 0,
        failed: 0,
        received: 0,
        received_bytes: 0,
        adopted: 0,
        adopted_bytes: 0,
        removed: 0,
        removed_bytes: 0,
        versions: 0,
        clashes: 0,
        state: None,
        since: None,
        reason: None,
        last_success: None,
        newest: None,
    };
    Told { row, newest_ns: None, success_ns: None, since_ns: None, last_ns: i64::MIN }
}

fn add(told: &mut Told, day: &Day) {
    let row = &mut told.row;
    let numbers = [
        (&mut row.visits, day.visits()),
        (&mut row.reached, day.reached),
        (&mut row.offline, day.offline),
        (&mut row.failed, day.failed),
        (&mut row.received, day.received),
        (&mut row.received_bytes, day.received_bytes),
        (&mut row.adopted, day.adopted),
        (&mut row.adopted_bytes, day.adopted_bytes),
        (&mut row.removed, day.removed),
        (&mut row.removed_bytes, day.removed_bytes),
        (&mut row.versions, day.versions),
        (&mut row.clashes, day.clashes),
    ];
    // Of what a device said: one that says too much costs nobody the table.
    numbers.into_iter().for_each(|(sum, number)| *sum = sum.saturating_add(number));
}

/// The last spell in the time that is meant says how the device was at its end.
fn end(told: &mut Told, spell: &Spell) {
    if spell.last_ns < told.last_ns {
        return;
    }
    told.last_ns = spell.last_ns;
    told.since_ns = Some(spell.began_ns);
    told.row.state = Some(spell.state);
    told.row.since = Some(utc(spell.began_ns));
    told.row.reason.clone_from(&spell.reason);
}

fn cells(list: &List<'_>, told: &Told) -> Vec<String> {
    let row = &told.row;
    let or_none = |known: bool, text: String| if known { text } else { "-".to_owned() };
    // As the report counts: one where something failed has answered.
    let share = row.reached.saturating_add(row.failed).saturating_mul(100).checked_div(row.visits);
    let state = match (row.state, &row.reason) {
        (None, _) => "-".to_owned(),
        (Some(State::Reached), _) => State::Reached.word().to_owned(),
        (Some(state), reason) => {
            let since = list.local_or_none(told.since_ns);
            format!("{} since {since}: {}", state.word(), reason.as_deref().unwrap_or("no reason"))
        }
    };
    vec![
        row.device.clone(),
        or_none(row.visits > 0, row.visits.to_string()),
        share.map_or_else(|| "-".to_owned(), |share| format!("{share} %")),
        or_none(row.received > 0, format!("{} ({})", row.received, bytes(row.received_bytes))),
        or_none(row.removed > 0, row.removed.to_string()),
        list.local_or_none(told.newest_ns),
        list.local_or_none(told.success_ns),
        state,
    ]
}
