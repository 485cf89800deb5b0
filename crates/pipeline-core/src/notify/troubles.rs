//! What is wrong now, what of it was told, and what is over. Pure: no clock, no files.
//!
//! A device has at most one trouble, and so has the run as a whole. What may go away by itself (a broken connection, an
//! outage) is worth a word only once it has lasted: a fleet in the field has some of that every hour, and a mail for
//! each would teach people not to read them.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Ended;
use crate::config::NotifyWhen;
use crate::error::Class;
use crate::event::{DeviceReport, Outcome};

/// So long a trouble that may go away by itself is not told. A restart of a Pi, of the jump host or of a router takes minutes.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_mins(15);

/// Something that keeps a device, or a run as a whole, from being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trouble {
    /// None: of the run as a whole.
    pub device: Option<String>,
    pub class: Class,
    pub reason: String,
    pub hint: Option<String>,
    /// When it was met first, in milliseconds since 1970.
    pub since_ms: i64,
    /// Whether the command has heard of it.
    pub told: bool,
    /// Whether it is worth telling; always, where it was told.
    pub ripe: bool,
    /// It is gone, and the command, which has heard of it, has not heard of that.
    pub over: bool,
}

/// A trouble as the command reads it.
#[derive(Debug, Serialize)]
pub(super) struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    class: Class,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    since: String,
}

impl Told<'_> {
    pub(super) fn of(trouble: &Trouble) -> Told<'_> {
        // Milliseconds that came from a `Timestamp`; a file that was tampered with must not end the program.
        let since = Timestamp::from_millisecond(trouble.since_ms).unwrap_or_default();
        Told {
            device: trouble.device.as_deref(),
            class: trouble.class,
            reason: &trouble.reason,
            hint: trouble.hint.as_deref(),
            since: format!("{since:.3}"),
        }
    }
}

/// What is to be remembered, and whether there is news.
#[derive(Debug)]
pub(super) struct Verdict {
    pub troubles: Vec<Trouble>,
    /// Something is worth telling, or something that was told is over.
    pub changed: bool,
}

/// What a run says of one device, or of itself.
enum Finding<'a> {
    /// It is well.
    Well,
    /// It is well, as far as can be told while removals are on hold.
    OnHold,
    /// This is wrong.
    Wrong {
        class: Class,
        reason: &'a str,
        hint: Option<&'a str>,
        /// Whatever was wrong before, it has come past that.
        whole: bool,
    },
    /// Nothing: it was not visited, or not reached.
    Unknown,
}

/// Judges a run by what it found and by what was known before.
pub(super) fn judge(before: &[Trouble], ended: &Ended<'_>, when: NotifyWhen) -> Verdict {
    let now_ms = ended.at.as_millisecond();
    let mut known: HashMap<Option<&str>, &Trouble> =
        before.iter().map(|trouble| (trouble.device.as_deref(), trouble)).collect();
    let mut troubles = Vec::new();
    for (device, finding) in findings(ended) {
        troubles.extend(next(known.remove(&device), device, &finding, now_ms));
    }
    // Who was not visited is as he was. Who has left the fleet is nobody's trouble.
    let in_fleet = |device: &str| ended.fleet.is_none_or(|fleet| fleet.contains(&device));
    let mut others: Vec<&Trouble> =
        known.into_values().filter(|trouble| trouble.device.as_deref().is_none_or(in_fleet)).collect();
    others.sort_by_key(|trouble| &trouble.device);
    troubles.extend(others.into_iter().cloned());
    for trouble in &mut troubles {
        let lasting =
            now_ms.saturating_sub(trouble.since_ms) >= i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX);
        trouble.ripe = trouble.told || when != NotifyWhen::Change || lasting || !may_pass(trouble.class);
    }
    let changed = troubles.iter().any(|trouble| trouble.over || (trouble.ripe && !trouble.told));
    Verdict { troubles, changed }
}

/// The run itself first, then its devices in their order.
fn findings<'a>(ended: &'a Ended<'a>) -> Vec<(Option<&'a str>, Finding<'a>)> {
    let whole = match ended.stopped_by {
        Some(stop) => {
            Finding::Wrong { class: stop.class, reason: &stop.reason, hint: stop.hint.as_deref(), whole: false }
        }
        None if ended.report.is_some_and(|report| report.hold.is_some()) => Finding::OnHold,
        None => Finding::Well,
    };
    let reports = ended.report.map(|report| report.devices.as_slice()).unwrap_or_default();
    let devices = reports.iter().map(|report| (Some(report.device.as_str()), of_device(report)));
    std::iter::once((None, whole)).chain(devices).collect()
}

fn of_device(report: &DeviceReport) -> Finding<'_> {
    match &report.outcome {
        Outcome::Done if report.counts.held > 0 => Finding::OnHold,
        // All else went well at a device whose files the brake keeps, and the brake is the run's trouble.
        Outcome::Done | Outcome::Failed { class: Class::Brake, .. } => Finding::Well,
        // Not there, or not its turn; or the storage failed while it was, which is the run's trouble and not its own.
        Outcome::Offline { .. } | Outcome::Stopped | Outcome::Failed { class: Class::Storage, .. } => Finding::Unknown,
        Outcome::Failed { class, reason, hint } => {
            Finding::Wrong { class: *class, reason, hint: hint.as_deref(), whole: report.is_whole() }
        }
    }
}

/// Whether it may go away by itself.
fn may_pass(class: Class) -> bool {
    matches!(class, Class::Transient | Class::Unreachable)
}

/// What becomes of a trouble, or comes into being, by a finding.
fn next(known: Option<&Trouble>, device: Option<&str>, finding: &Finding<'_>, now_ms: i64) -> Option<Trouble> {
    match (known, finding) {
        (None, Finding::Well | Finding::OnHold | Finding::Unknown) => None,
        (Some(known), Finding::Unknown) => Some(known.clone()),
        // These are met where something is to be removed.
        (Some(known), Finding::OnHold) if matches!(known.class, Class::Integrity | Class::Brake) => Some(known.clone()),
        // Nobody was told of it.
        (Some(known), Finding::Well | Finding::OnHold) if !known.told => None,
        (Some(known), Finding::Well | Finding::OnHold) => Some(Trouble { over: true, ..known.clone() }),
        // A connection that broke says nothing of what was wrong before.
        (Some(known), Finding::Wrong { class, whole: false, .. })
            if !may_pass(known.class) && may_pass(*class) && !known.over =>
        {
            Some(known.clone())
        }
        // It goes on, or is back before its end was told.
        (Some(known), Finding::Wrong { class, reason, hint, .. }) if known.class == *class => {
            let (reason, hint) = ((*reason).to_owned(), hint.map(str::to_owned));
            Some(Trouble { reason, hint, over: false, ..known.clone() })
        }
        (_, Finding::Wrong { class, reason, hint, .. }) => Some(Trouble {
            device: device.map(str::to_owned),
            class: *class,
            reason: (*reason).to_owned(),
            hint: hint.map(str::to_owned),
            since_ms: now_ms,
            told: false,
            ripe: false,
            over: false,
        }),
    }
}
