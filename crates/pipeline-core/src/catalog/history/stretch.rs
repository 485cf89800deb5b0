//! Spells as stretches of time: how long what a visit found is taken to have lasted. Pure.
//!
//! Guarantees that time in which nobody looked belongs to no stretch, whoever asks: a list of outages and a count of recording days
//! can't disagree about it. What a pause shorter than [`LONGEST_PAUSE_NS`] hides, nobody can tell.

use super::{Spell, State};

/// Visits that are further apart do not belong together: nobody looked in between. Longer than the pause of any timer that is called
/// one, and than a device has to wait while a backlog of others is received; short enough that a collector that was down for an evening
/// shows.
pub const LONGEST_PAUSE_NS: i64 = 3 * 3_600 * 1_000_000_000;

/// A stretch of time in which a device was as visits found it.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    /// What they found. It may go on after its last visit, and before the next one.
    pub spell: &'a Spell,
    /// When it ended.
    pub ended_ns: i64,
    /// With what.
    pub end: End,
}

/// What a stretch ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The next visit, which found something else.
    Change,
    /// The last visit: nobody looked for long after it.
    Pause,
    /// Now: it lasts.
    Now,
}

impl Stretch<'_> {
    /// When it began: with a visit.
    pub fn began_ns(&self) -> i64 {
        self.spell.began_ns
    }

    /// Whether the device did not answer.
    pub fn is_offline(&self) -> bool {
        self.spell.state == State::Offline
    }
}

/// The stretches up to `now_ns` of one device, whose spells are in the order of their beginnings.
pub fn stretches(spells: &[Spell], now_ns: i64) -> impl Iterator<Item = Stretch<'_>> {
    // A clock that was ahead wrote down what has yet to come.
    let past = spells.partition_point(|spell| spell.began_ns <= now_ns);
    let spells = &spells[..past];
    spells.iter().enumerate().map(move |(at, spell)| {
        let (next_ns, end) = spells.get(at + 1).map_or((now_ns, End::Now), |next| (next.began_ns, End::Change));
        if next_ns.saturating_sub(spell.last_ns) > LONGEST_PAUSE_NS {
            Stretch { spell, ended_ns: spell.last_ns, end: End::Pause }
        } else {
            Stretch { spell, ended_ns: next_ns, end }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::path::DeviceName;

    #[test]
    fn a_stretch_ends_with_a_change_or_a_pause_or_now() {
        use State::{Offline, Reached};
        let spell = |(state, began_ns, last_ns)| Spell {
            source: 1,
            device: DeviceName::new("pi1").unwrap(),
            state,
            class: None,
            reason: None,
            hint: None,
            began_ns,
            last_ns,
            visits: 1,
            others: 0,
            whole: false,
        };
        let pause = LONGEST_PAUSE_NS;
        let spells = [
            (Reached, 0, 10),
            (Offline, 10 + pause, 20 + pause),
            (Offline, 21 + 2 * pause, 22 + 2 * pause),
            // The clock was set back meanwhile.
            (Reached, 21 + 2 * pause, 90 * pause),
            (Offline, 30 + 2 * pause, 31 + 2 * pause),
            // It was ahead once.
            (Reached, 100 * pause, 100 * pause),
        ]
        .map(spell);
        let told = |now_ns| {
            let stretches = stretches(&spells, now_ns);
            stretches.map(|stretch| (stretch.began_ns(), stretch.ended_ns, stretch.end)).collect::<Vec<_>>()
        };
        let mut expected = vec![
            (0, 10 + pause, End::Change),
            (10 + pause, 20 + pause, End::Pause),
            (21 + 2 * pause, 21 + 2 * pause, End::Change),
            (21 + 2 * pause, 30 + 2 * pause, End::Change),
            (30 + 2 * pause, 31 + 3 * pause, End::Now),
        ];
        assert_eq!(told(31 + 3 * pause), expected);
        expected[4] = (30 + 2 * pause, 31 + 2 * pause, End::Pause);
        assert_eq!(told(32 + 3 * pause), expected);
    }
}
