//! When devices did not answer: stretches, and the days of a calendar. Pure.

use std::time::Duration;

use super::facts::Window;
use super::{DayState, Outage};
use crate::catalog::history::{Day, Spell, State};

/// Shorter ones come with any radio link, and would hide the others.
const SHORTEST: Duration = Duration::from_secs(3600);

/// A day is not drawn as whole from this part of its visits on: an hour of a day of visits.
const COUNTS: f64 = 1.0 / 24.0;

/// From this part on it is most of the day.
const MOST: f64 = 0.5;

/// The stretches without an answer of one device, whose spells are in the order of time, that reach into the window.
///
/// From the first visit without an answer to the first one with any; to the moment of the report where there is none yet. A stretch with several
/// reasons has the last.
pub fn outages(spells: &[Spell], window: &Window) -> Vec<Outage> {
    let mut outages = Vec::new();
    let mut stretches = spells.chunk_by(|a, b| (a.state == State::Offline) == (b.state == State::Offline)).peekable();
    while let Some(stretch) = stretches.next() {
        let ended_ns = stretches.peek().map(|next| next[0].began_ns);
        outages.extend(stretch.last().and_then(|last| outage(&stretch[0], last, ended_ns, window.at_ns)));
    }
    outages.retain(|outage| outage.ended_ns.is_none_or(|ended| ended >= window.begin_ns()));
    outages
}

fn outage(first: &Spell, last: &Spell, ended_ns: Option<i64>, at_ns: i64) -> Option<Outage> {
    let lasted_ns = ended_ns.unwrap_or(at_ns).saturating_sub(first.began_ns);
    let lasted = Duration::from_nanos(u64::try_from(lasted_ns).unwrap_or(0));
    (first.state == State::Offline && lasted >= SHORTEST).then(|| Outage {
        device: first.device.as_str().to_owned(),
        began_ns: first.began_ns,
        ended_ns,
        lasted,
        reason: last.reason.clone(),
    })
}

/// How a day went, by its visits.
pub fn day_state(day: &Day) -> DayState {
    let visits = day.visits();
    if visits == 0 {
        // Days from before visits were counted are known by what they brought.
        return if day.received + day.adopted + day.removed > 0 { DayState::Ready } else { DayState::Unknown };
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
