//! When devices did not answer: stretches, and the days of a calendar. Pure.
//!
//! Both tell of visits alone, so that they agree: where nobody looked there is neither an outage nor a day that is drawn.

use std::time::Duration;

use super::facts::Window;
use super::{DayState, Outage};
use crate::catalog::history::{Day, End, Spell, Stretch, stretches};

/// Shorter ones come with any radio link, and would hide the others.
const SHORTEST: Duration = Duration::from_secs(3600);

/// A day is not drawn as whole from this part of its visits on: an hour of a day of visits.
const COUNTS: f64 = 1.0 / 24.0;

/// From this part on it is most of the day.
const MOST: f64 = 0.5;

/// The stretches without an answer of one device, whose spells are in the order of time, that reach into the window.
///
/// From the first visit without an answer to the first one with any, or to the last one before a time in which nobody looked; to the moment of
/// the report where it lasts. A stretch with several reasons has the last.
pub fn outages(spells: &[Spell], window: &Window) -> Vec<Outage> {
    let stretches: Vec<Stretch<'_>> = stretches(spells, window.at_ns).collect();
    let goes_on = |a: &Stretch<'_>, b: &Stretch<'_>| a.is_offline() && b.is_offline() && a.end == End::Change;
    let mut outages: Vec<Outage> =
        stretches.chunk_by(goes_on).filter_map(|chunk| outage(chunk.first()?, chunk.last()?)).collect();
    outages.retain(|outage| outage.ended_ns >= window.begin_ns());
    outages
}

fn outage(first: &Stretch<'_>, last: &Stretch<'_>) -> Option<Outage> {
    let lasted_ns = last.ended_ns.saturating_sub(first.began_ns());
    let lasted = Duration::from_nanos(u64::try_from(lasted_ns).unwrap_or(0));
    (first.is_offline() && lasted >= SHORTEST).then(|| Outage {
        device: first.spell.device.as_str().to_owned(),
        began_ns: first.began_ns(),
        ended_ns: last.ended_ns,
        end: last.end,
        lasted,
        reason: last.spell.reason.clone(),
    })
}

/// How a day went, by its visits.
pub fn day_state(day: &Day) -> DayState {
    let visits = day.visits();
    if visits == 0 {
        // Days from before visits were counted are known by what they brought.
        return if [day.received, day.adopted, day.removed] != [0; 3] { DayState::Ready } else { DayState::Unknown };
    }
    #[allow(clippy::cast_precision_loss)] // a ratio
    let part = |number: u64| number as f64 / visits as f64;
    match (part(day.offline), part(day.failed)) {
        (offline, _) if offline >= MOST => DayState::Offline,
        (_, failed) if failed >= COUNTS => DayState::Failed,
        (offline, _) if offline >= COUNTS => DayState::Partly,
        _ => DayState::Ready,
    }
}
