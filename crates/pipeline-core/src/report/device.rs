//! One device: how it is, what it did, how its card fills. Pure.

use std::cmp::Reverse;
use std::time::Duration;

use super::facts::{Facts, Window};
use super::outages::day_state;
use super::{Amount, DayState, Device, Space, State, Sums};
use crate::catalog::history::{self, Day};
use crate::config::DeviceSettings;
use crate::forecast::is_drained;
use crate::inspect::Remembered;
use crate::path::by_number;

/// What there is to say of one device. One without settings is not in the configuration any more.
pub fn device(name: &str, settings: Option<&DeviceSettings>, facts: &Facts, window: &Window, held: bool) -> Device {
    let newest_spell = facts.spells.last();
    let state = match (settings, newest_spell.map(|spell| spell.state)) {
        (None, _) => State::Retired,
        (Some(_), Some(history::State::Reached)) => State::Ready,
        (Some(_), Some(history::State::Offline)) => State::Offline,
        (Some(_), Some(history::State::Failed)) => State::Failed,
        (Some(_), None) => without_spell(facts),
    };
    let newest_ns = facts.sources.iter().filter_map(|source| source.newest_ns).max();
    let quiet_since =
        newest_ns.or(facts.past.received_ns(window.at_ns)).or_else(|| facts.days.first().map(|day| day.first_ns));
    let limit = settings.and_then(|settings| settings.alert_after);
    let silent =
        quiet_since.map(|ns| since(ns, window.at_ns)).filter(|silent| limit.is_some_and(|limit| *silent > limit));
    let in_window = || facts.days.iter().filter(|day| window.holds(day.day));
    let mut total = Sums::default();
    in_window().for_each(|day| total += sums(day));
    let mut calendar = vec![DayState::Unknown; window.len()];
    for day in in_window() {
        if let Some(state) = usize::try_from(day.day - window.first_day).ok().and_then(|at| calendar.get_mut(at)) {
            *state = day_state(day).max(*state);
        }
    }
    let latest = facts.past.latest();
    let amount = |files: Option<u64>, bytes: Option<u64>| Some(Amount { files: files?, bytes: bytes? });
    let drained = settings.is_some_and(|settings| is_drained(&settings.delete, held, state == State::Ready));
    let card = card(facts, window, drained);
    let concerns = settings.map(|settings| remembered(settings, facts, window, held, silent, &card).concerns());
    Device {
        name: name.to_owned(),
        state,
        since_ns: newest_spell.map(|spell| spell.began_ns),
        reason: newest_spell.and_then(|spell| spell.reason.clone()),
        hint: newest_spell.and_then(|spell| spell.hint.clone()),
        succeeded_ns: facts.sources.iter().filter_map(|source| source.succeeded_ns).max(),
        newest_ns,
        silent,
        concerns: concerns.unwrap_or_default(),
        waiting: latest.and_then(|latest| amount(latest.waiting_files, latest.waiting_bytes)),
        kept: latest.and_then(|latest| amount(latest.kept_files, latest.kept_bytes)),
        card,
        sums: total,
        calendar,
        #[allow(clippy::cast_precision_loss)] // a ratio
        answered: (total.visits > 0).then(|| total.reached as f64 / total.visits as f64),
    }
}

/// What there is to judge a device by, when nobody asks it.
fn remembered<'a>(
    settings: &'a DeviceSettings,
    facts: &'a Facts,
    window: &Window,
    held: bool,
    silent: Option<Duration>,
    card: &Space,
) -> Remembered<'a> {
    Remembered {
        now_ns: window.at_ns,
        settings,
        spell: facts.spells.last(),
        trouble: facts.trouble.as_ref(),
        reading: facts.past.latest(),
        held,
        full_in: card.full_in,
        silent,
        answered_ns: facts.visited_ns(),
        succeeded_ns: facts.sources.iter().filter_map(|source| source.succeeded_ns).max(),
        first_try_ns: facts.days.first().map(|day| day.first_ns),
    }
}

/// Of a device that nobody has visited since visits are written down.
fn without_spell(facts: &Facts) -> State {
    match facts.sources.iter().max_by_key(|source| source.visited_ns) {
        Some(source) if source.unreachable => State::Offline,
        Some(source) if source.visited_ns.is_some() => State::Ready,
        _ => State::Unknown,
    }
}

fn card(facts: &Facts, window: &Window, drained: bool) -> Space {
    let room = facts.past.room();
    let forecast = facts.past.forecast(window.at_ns, drained);
    Space {
        at_ns: room.map(|room| room.at_ns),
        total_bytes: room.map(|room| room.total_bytes),
        free_bytes: room.map(|room| room.free_bytes),
        days: facts.uses.clone(),
        growth_bytes_per_day: forecast.growth_bytes_per_day,
        full_in: forecast.full_in,
    }
}

/// How long ago.
pub fn since(ns: i64, at_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(at_ns.saturating_sub(ns)).unwrap_or(0))
}

/// A day's row as sums.
pub fn sums(day: &Day) -> Sums {
    Sums {
        visits: day.visits(),
        reached: day.reached.saturating_add(day.failed),
        received: Amount { files: day.received, bytes: day.received_bytes },
        adopted: Amount { files: day.adopted, bytes: day.adopted_bytes },
        removed: Amount { files: day.removed, bytes: day.removed_bytes },
        versions: day.versions,
        clashes: day.clashes,
        failed: day.failures,
    }
}

/// What sorts devices, the most urgent first: how bad, then how full, how soon, then by name.
pub fn urgency(device: &Device) -> impl Ord + use<> {
    let worst = device.concerns.iter().map(|concern| concern.severity).max();
    let state = match device.state {
        State::Failed => 0,
        State::Offline => 1,
        State::Ready => 2,
        State::Unknown => 3,
        State::Retired => 4,
    };
    let full_in = device.card.full_in.unwrap_or(Duration::MAX);
    (device.state == State::Retired, Reverse(worst), state, full_in, by_number(&device.name))
}
