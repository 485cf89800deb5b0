//! A device judged by what the catalog remembers of it, when nobody asks it: by the same rules as one that was looked at.

use std::time::Duration;

use super::judge::{self, Facts, Stays};
use super::view::{Concern, State};
use crate::catalog::history::{self, Reading, Spell};
use crate::config::DeviceSettings;
use crate::error::Class;
use crate::health::Health;

/// What the catalog remembers of a device.
#[derive(Clone, Copy, Debug)]
pub struct Remembered<'a> {
    /// Now, in nanoseconds since 1970.
    pub now_ns: i64,
    /// What holds for it.
    pub settings: &'a DeviceSettings,
    /// How its last visits ended; none where there were none.
    pub spell: Option<&'a Spell>,
    /// What keeps visits from getting their work done: [`trouble`](crate::catalog::history::History::trouble).
    pub trouble: Option<&'a Spell>,
    /// Its newest reading.
    pub reading: Option<&'a Reading>,
    /// Whether removals are on hold.
    pub held: bool,
    /// When its card is full if nothing changes.
    pub full_in: Option<Duration>,
    /// How long it has had nothing new, where that is longer than `alert_after`.
    pub silent: Option<Duration>,
    /// When it last answered.
    pub answered_ns: Option<i64>,
    /// When a visit last did all that was to be done.
    pub succeeded_ns: Option<i64>,
    /// When it was first tried.
    pub first_try_ns: Option<i64>,
}

impl Remembered<'_> {
    /// What a person may want to know of it, the worst first.
    pub fn concerns(&self) -> Vec<Concern> {
        // Nobody has tried: there is nothing to say.
        let Some(spell) = self.spell.filter(|_| self.first_try_ns.is_some()) else { return Vec::new() };
        let state = state(spell);
        // As of one that is looked at: what was read once says nothing of a device that does not answer now.
        let reading = self.reading.filter(|_| state == State::Ready);
        // Which of its file systems it is that can't be written, a reading does not say.
        let health = reading.map_or_else(Health::default, |reading| Health {
            root_read_only: reading.read_only,
            sd_errors: reading.sd_errors,
            ..Health::default()
        });
        let policy = &self.settings.delete;
        let never = policy.after.is_none() && policy.high_water.is_none();
        judge::concerns(&Facts {
            now_ns: self.now_ns,
            alert_after: self.settings.alert_after,
            state: &state,
            behind_a_hop: false,
            trouble: self.trouble,
            reading,
            found: None,
            health: &health,
            full_in: self.full_in,
            silent: self.silent,
            answered_ns: self.answered_ns,
            succeeded_ns: self.succeeded_ns,
            first_try_ns: self.first_try_ns,
            without_agent: None,
            stays: if self.held { Some(Stays::Hold) } else { never.then_some(Stays::Never) },
        })
    }
}

fn state(spell: &Spell) -> State {
    let reason = spell.reason.clone().unwrap_or_default();
    let hint = spell.hint.clone();
    match spell.state {
        history::State::Reached => State::Ready,
        history::State::Offline => State::Offline { reason, hint },
        history::State::Failed => State::Failed { class: spell.class.unwrap_or(Class::Internal), reason, hint },
    }
}
