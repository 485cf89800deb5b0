//! What failed at devices that answered, and why: the same failure once, however many visits and devices it took. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Failure;
use crate::catalog::history::{Spell, State};
use crate::path::by_number;

/// The failures of many sources, those that last first, then the most recent. `lasting` says whether a spell is how its source is now.
pub fn failures<'a>(spells: impl Iterator<Item = (&'a Spell, bool)>) -> Vec<Failure> {
    let mut kinds: BTreeMap<(String, String), Failure> = BTreeMap::new();
    for (spell, lasting) in spells.filter(|(spell, _)| spell.state == State::Failed) {
        let class = spell.class.map_or("unknown", |class| class.word()).to_owned();
        let reason = spell.reason.clone().unwrap_or_else(|| "nobody wrote down why".to_owned());
        let failure = kinds.entry((class.clone(), kind_of(&reason))).or_insert_with(|| Failure {
            class,
            reason: String::new(),
            hint: None,
            devices: Vec::new(),
            visits: 0,
            first_ns: spell.began_ns,
            last_ns: i64::MIN,
            lasting: Vec::new(),
        });
        failure.visits = failure.visits.saturating_add(spell.visits.saturating_sub(spell.others));
        failure.first_ns = failure.first_ns.min(spell.began_ns);
        if spell.last_ns > failure.last_ns {
            (failure.last_ns, failure.reason, failure.hint) = (spell.last_ns, reason, spell.hint.clone());
        }
        for (list, belongs) in [(&mut failure.devices, true), (&mut failure.lasting, lasting)] {
            let device = spell.device.as_str();
            if belongs && !list.iter().any(|listed| listed == device) {
                list.push(device.to_owned());
            }
        }
    }
    let mut failures: Vec<Failure> = kinds.into_values().collect();
    for failure in &mut failures {
        failure.devices.sort_by_key(|name| by_number(name));
        failure.lasting.sort_by_key(|name| by_number(name));
    }
    failures.sort_by_key(|failure| (failure.lasting.is_empty(), Reverse(failure.last_ns)));
    failures
}

/// A reason without its numbers: `3 files failed` and `4 files failed` are the same.
fn kind_of(reason: &str) -> String {
    let mut kind = String::with_capacity(reason.len());
    for c in reason.chars() {
        match c {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            c => kind.push(c),
        }
    }
    kind
}
