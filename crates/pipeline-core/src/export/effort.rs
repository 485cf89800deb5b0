//! Recording effort: when a device was watched and producing, as ecologists count trap-days. Pure.
//!
//! Two things are known. Visits say when the device answered. The files that have arrived by now say on which days (UTC) it
//! recorded: each was last changed at some time by its device's clock, set right by the offset of that clock at the visit. A day with
//! such a file is a day of recording, also where the device was offline then and its files came later. So a period has an end where
//! either changes. What no visit can tell apart: a device without files because nothing happened, and one that did not look.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::history::{DAY_NS, End, Spell, State as Ended, stretches};

/// 2000-01-01: what is older is from a clock that nobody has set.
const FIRST_DAY: i64 = 10_957;

/// All that is known of one device.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// How its visits ended, in the order of time.
    pub spells: Vec<Spell>,
    /// Days since 1970 on which something was recorded that has arrived.
    pub recorded: BTreeSet<i64>,
}

/// A stretch of time in which nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Its beginning.
    pub start_ns: i64,
    /// Its end, which is not part of it.
    pub end_ns: i64,
    /// What was so: begins with `recording` where something was recorded.
    pub reason: String,
}

/// The stretches of a device within a period that ends with `now_ns` at the latest, in the order of time and without gaps.
pub fn efforts(known: &Known, from_ns: Option<i64>, until_ns: Option<i64>, now_ns: i64) -> Vec<Effort> {
    let today = now_ns.div_euclid(DAY_NS);
    let recorded: BTreeSet<i64> = known.recorded.range(FIRST_DAY..=today).copied().collect();
    let first_look = known.spells.first().map(|spell| spell.began_ns);
    let first_record = recorded.first().map(|day| day * DAY_NS);
    // On the day of the first visit there was nothing before it.
    let is_earlier = |record: &i64| first_look.is_none_or(|look| record.div_euclid(DAY_NS) < look.div_euclid(DAY_NS));
    let Some(begin) = first_record.filter(is_earlier).or(first_look) else { return Vec::new() };
    let begin = from_ns.map_or(begin, |from| from.max(begin));
    let end = until_ns.map_or(now_ns, |until| until.min(now_ns));
    let states = states(&known.spells, now_ns);
    let mut efforts: Vec<Effort> = Vec::new();
    let mut at = begin;
    while at < end {
        let day = at.div_euclid(DAY_NS);
        let change = states.range(at + 1..).next().map_or(i64::MAX, |(&from, _)| from);
        let next = change.min((day + 1).saturating_mul(DAY_NS)).min(end);
        let state = states.range(..=at).next_back().map_or(&State::Unwatched, |(_, state)| state);
        let records = recorded.contains(&day);
        // Today may still bring something.
        if records || day < today || !matches!(state, State::Reached) {
            push(&mut efforts, Effort { start_ns: at, end_ns: next, reason: state.reason(records) });
        }
        at = next;
    }
    efforts
}

fn push(efforts: &mut Vec<Effort>, effort: Effort) {
    match efforts.last_mut() {
        Some(last) if last.end_ns == effort.start_ns && last.reason == effort.reason => last.end_ns = effort.end_ns,
        _ => efforts.push(effort),
    }
}

/// How a device was, as far as visits know.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Unwatched,
    NotVisited,
    Reached,
    Offline(String),
    Failed(String),
}

impl State {
    fn of(spell: &Spell) -> State {
        let reason = || spell.reason.clone().unwrap_or_default();
        match spell.state {
            Ended::Reached => State::Reached,
            Ended::Offline => State::Offline(reason()),
            Ended::Failed => State::Failed(reason()),
        }
    }

    fn reason(&self, recorded: bool) -> String {
        let state = match self {
            State::Reached if recorded => return "recording".into(),
            State::Reached => return "no new data".into(),
            State::Unwatched => "no visit known".to_owned(),
            State::NotVisited => "not visited".to_owned(),
            State::Offline(reason) if reason.is_empty() => "offline".to_owned(),
            State::Offline(reason) => format!("offline: {reason}"),
            State::Failed(reason) if reason.is_empty() => "failed".to_owned(),
            State::Failed(reason) => format!("failed: {reason}"),
        };
        if recorded { format!("recording; {state}") } else { state }
    }
}

/// From when on the device was in which state.
fn states(spells: &[Spell], now_ns: i64) -> BTreeMap<i64, State> {
    let mut states = BTreeMap::new();
    for stretch in stretches(spells, now_ns) {
        states.insert(stretch.began_ns(), State::of(stretch.spell));
        if stretch.end == End::Pause {
            // A single visit between two pauses takes no time.
            states.insert(stretch.ended_ns, State::NotVisited);
        }
    }
    states
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::catalog::history::LONGEST_PAUSE_NS;
    use crate::path::DeviceName;

    const HOUR: i64 = 3600 * 1_000_000_000;
    /// 2026-11-01.
    const FIRST: i64 = 20_758;

    fn at(day: i64, hour: i64) -> i64 {
        (FIRST + day) * DAY_NS + hour * HOUR
    }

    fn spell(state: Ended, reason: &str, began_ns: i64, last_ns: i64) -> Spell {
        Spell {
            source: 1,
            device: DeviceName::new("pi1").unwrap(),
            state,
            class: None,
            reason: Some(reason).filter(|reason| !reason.is_empty()).map(str::to_owned),
            hint: None,
            began_ns,
            last_ns,
            visits: 1,
            others: 0,
            whole: false,
        }
    }

    fn days(days: &[i64]) -> BTreeSet<i64> {
        days.iter().map(|day| FIRST + day).collect()
    }

    fn told(efforts: &[Effort]) -> Vec<(i64, i64, &str)> {
        let hours = |ns: i64| (ns - FIRST * DAY_NS + HOUR / 2).div_euclid(HOUR);
        efforts.iter().map(|e| (hours(e.start_ns), hours(e.end_ns), e.reason.as_str())).collect()
    }

    #[test]
    fn a_week_of_a_device() {
        use Ended::{Failed, Offline, Reached};
        let known = Known {
            spells: vec![
                spell(Reached, "", at(0, 6), at(2, 9)),
                spell(Offline, "no tunnel", at(2, 10), at(4, 3)),
                spell(Reached, "", at(4, 4), at(5, 0)),
                spell(Failed, "the card is read-only", at(5, 1), at(5, 6)),
            ],
            // Of day 3 the files came later; of day 1 nothing came.
            recorded: days(&[0, 2, 3, 4]),
        };
        let expected = [
            (6, 24, "recording"),
            (24, 48, "no new data"),
            (48, 58, "recording"),
            (58, 96, "recording; offline: no tunnel"),
            (96, 100, "recording; offline: no tunnel"),
            (100, 120, "recording"),
            (120, 121, "no new data"),
            (121, 126, "failed: the card is read-only"),
            (126, 150, "not visited"),
        ];
        // Two of them are one: nothing changed at that midnight.
        let merged: Vec<_> = [&expected[..3], &[(58, 100, expected[3].2)], &expected[5..]].concat();
        assert_eq!(told(&efforts(&known, None, None, at(6, 6))), merged);
        let part = efforts(&known, Some(at(1, 12)), Some(at(2, 12)), at(6, 6));
        assert_eq!(
            told(&part),
            [(36, 48, "no new data"), (48, 58, "recording"), (58, 60, "recording; offline: no tunnel")]
        );
    }

    #[test]
    fn what_nobody_watched_is_not_said_to_be_quiet() {
        let reached = |from, to| spell(Ended::Reached, "", from, to);
        // Recorded before the first visit; and from a clock that nobody had set.
        let spells = vec![reached(at(3, 0), at(5, 0)), reached(at(6, 0), at(8, 0))];
        let mut known = Known { spells, recorded: days(&[1, 4]) };
        known.recorded.insert(0);
        let expected = [
            (24, 48, "recording; no visit known"),
            (48, 72, "no visit known"),
            (72, 96, "no new data"),
            (96, 120, "recording"),
            (120, 144, "not visited"),
            (144, 192, "no new data"),
        ];
        // Today is not over.
        assert_eq!(told(&efforts(&known, None, None, at(8, 1))), expected);
        assert_eq!(efforts(&Known::default(), None, None, at(8, 1)), []);
    }

    #[test]
    fn a_pause_of_some_hours_is_the_same_whatever_was_found_before_and_after_it() {
        use Ended::{Offline, Reached};
        let after_pause = |minutes: i64, before: Ended, after: Ended| {
            let resumed = at(2, 0) + minutes * 60_000_000_000;
            // What is found again goes on as it was, as long as the catalog takes two visits for one stretch.
            let spells = if before == after && resumed - at(2, 0) <= LONGEST_PAUSE_NS {
                vec![spell(before, "gone", at(1, 0), at(2, 12))]
            } else {
                vec![spell(before, "gone", at(1, 0), at(2, 0)), spell(after, "gone", resumed, at(2, 12))]
            };
            let efforts = efforts(&Known { spells, recorded: days(&[1, 2]) }, None, None, at(2, 13));
            efforts.iter().any(|effort| effort.reason.ends_with("not visited"))
        };
        for (before, after) in [(Reached, Reached), (Offline, Offline), (Reached, Offline), (Offline, Reached)] {
            let told = [61, 119, 180, 181, 600].map(|minutes| after_pause(minutes, before, after));
            assert_eq!(told, [false, false, false, true, true], "{before:?}, then {after:?}");
        }
        // Visits too rare to say anything of the time between them.
        let rare: Vec<Spell> = (0..4).map(|n| spell(Reached, "", at(1, 6 * n), at(1, 6 * n))).collect();
        let efforts = efforts(&Known { spells: rare, recorded: days(&[1]) }, None, None, at(2, 0));
        assert_eq!(told(&efforts), [(24, 48, "recording; not visited")]);
    }

    #[test]
    fn visits_that_have_yet_to_come_are_no_end_of_those_before() {
        use Ended::{Offline, Reached};
        // A clock that was ahead wrote the second.
        let spells = vec![spell(Reached, "", at(0, 0), at(2, 0)), spell(Offline, "no network", at(9, 0), at(9, 1))];
        let known = Known { spells, recorded: days(&[0, 1, 2]) };
        // The last visit was seconds ago.
        assert_eq!(told(&efforts(&known, None, None, at(2, 0) + 30_000_000_000)), [(0, 48, "recording")]);
        assert_eq!(
            told(&efforts(&known, None, None, at(2, 4))),
            [(0, 48, "recording"), (48, 52, "recording; not visited")]
        );
    }
}
