//! What a person may want to know of a device, and how urgently. Pure.
//!
//! A device that is offline at the moment, or broke off, is a note: links come and go, and who is called for each of them soon hears
//! nothing. It is a warning once that has lasted longer than `alert_after`; so is any other trouble that the next run may mend.
//! What only a person can mend is a warning at once.
//!
//! A look shows less than a visit does. What a visit has met, and none has come past since, counts although the device answers a look, or
//! is away by now.

use std::time::Duration;

use super::look::Found;
use super::view::{Concern, Kind, Severity, State};
use super::words::{percent_used, span};
use crate::catalog::history::{Reading, RunRow, Spell};
use crate::check::WithoutAgent;
use crate::error::Class;
use crate::health::Health;
use Severity::{Critical, Note, Warning};

/// Above it a card is nearly full: ext4 keeps 5 % for root, and a recorder that fills the rest stops without a word.
pub const CARD_WARNING_PERCENT: u64 = 90;
/// Above it the recorder stops within hours on any card.
pub const CARD_CRITICAL_PERCENT: u64 = 97;
/// A person reads it on a working day and acts on the next.
pub const FULL_SOON: Duration = Duration::from_secs(2 * 86_400);
/// Too soon for that.
pub const FULL_VERY_SOON: Duration = Duration::from_secs(6 * 3600);
/// A clock farther off than this is not kept by anything; what is recorded can't be put beside other records.
pub const CLOCK_WARNING: Duration = Duration::from_secs(5 * 60);
/// A Raspberry Pi slows down from here on.
pub const HOT_MDEG: i64 = 80_000;
/// With less memory left the kernel soon ends programs.
pub const LOW_MEMORY_PERCENT: u64 = 5;

/// The supply is too weak now.
const UNDER_VOLTAGE: u64 = 1;
/// The clock is capped, throttled, or near the limit of temperature, now.
const SLOWED: u64 = 0b1110;
/// The supply was too weak at some time since the start.
const UNDER_VOLTAGE_SINCE_START: u64 = 1 << 16;

/// What a judgement is made of.
pub(super) struct Facts<'a> {
    pub(super) now_ns: i64,
    pub(super) alert_after: Option<Duration>,
    pub(super) state: &'a State,
    /// Whether a jump host is what keeps it from being reached, which is said of that one.
    pub(super) behind_a_hop: bool,
    /// What keeps visits from getting their work done, as the last one that could tell has met it.
    pub(super) trouble: Option<&'a Spell>,
    /// How it is now; none where it did not answer.
    pub(super) reading: Option<&'a Reading>,
    pub(super) found: Option<&'a Found>,
    pub(super) health: &'a Health,
    pub(super) full_in: Option<Duration>,
    pub(super) silent: Option<Duration>,
    pub(super) answered_ns: Option<i64>,
    pub(super) succeeded_ns: Option<i64>,
    /// When it was first tried.
    pub(super) first_try_ns: Option<i64>,
    pub(super) without_agent: Option<&'a WithoutAgent>,
    /// Why received files do not leave it, if they do not.
    pub(super) stays: Option<Stays>,
}

/// Why received files do not leave a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stays {
    /// Removals are on hold.
    Hold,
    /// The configuration says so.
    Never,
}

/// All concerns, the worst first.
pub(super) fn concerns(facts: &Facts<'_>) -> Vec<Concern> {
    let all = [
        facts.state(),
        facts.trouble(),
        facts.unreadable(),
        facts.card(),
        facts.inodes(),
        facts.read_only(),
        facts.sd_errors(),
        facts.clock(),
        facts.not_synced(),
        facts.silent(),
        facts.supply(),
        facts.hot(),
        facts.slowed(),
        facts.memory(),
        facts.without_agent(),
    ];
    let mut concerns: Vec<Concern> = all.into_iter().flatten().collect();
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.severity));
    concerns
}

pub(super) fn concern(severity: Severity, kind: Kind, text: String, hint: Option<&str>) -> Concern {
    Concern { severity, kind, text, hint: hint.map(str::to_owned) }
}

/// How urgent it is that something is nearly full, if it is.
pub(super) fn fullness(percent: Option<u64>, full_in: Option<Duration>, limits: &Limits) -> Option<Severity> {
    let soon = |limit: Duration| full_in.is_some_and(|full_in| full_in < limit);
    let above = |limit: u64| percent.is_some_and(|percent| percent >= limit);
    if above(limits.critical_percent) || soon(limits.critical) {
        return Some(Critical);
    }
    (above(limits.warning_percent) || soon(limits.warning)).then_some(Warning)
}

/// From where on something is nearly full.
pub(super) struct Limits {
    pub(super) warning_percent: u64,
    pub(super) critical_percent: u64,
    pub(super) warning: Duration,
    pub(super) critical: Duration,
}

const CARD: Limits = Limits {
    warning_percent: CARD_WARNING_PERCENT,
    critical_percent: CARD_CRITICAL_PERCENT,
    warning: FULL_SOON,
    critical: FULL_VERY_SOON,
};

/// How urgent a failure is.
fn severity_of(class: Class) -> Severity {
    match class {
        // Whoever answers there is not who he should be, or does not say what he should.
        Class::HostKey | Class::Integrity => Critical,
        // May be gone by the next time; if not, no visit gets its work done.
        Class::Transient | Class::Unreachable | Class::Interrupted | Class::Locked => Note,
        Class::Config | Class::Storage | Class::Brake | Class::Internal => Warning,
    }
}

/// How long a jump host that can't be used is a note: a restart of it takes minutes.
const HOP_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A jump host that can't be used, as one of the devices behind it has met it; `answered_ns` is when any of them last answered.
pub(super) fn hop(hop: &str, state: &State, devices: usize, answered_ns: Option<i64>, now_ns: i64) -> Option<Concern> {
    let (State::Offline { reason, hint } | State::Failed { reason, hint, .. }) = state else { return None };
    let patience_ns = i64::try_from(HOP_PATIENCE.as_nanos()).unwrap_or(i64::MAX);
    let lasts = answered_ns.is_none_or(|ns| now_ns.saturating_sub(ns) >= patience_ns);
    let behind = if devices == 1 { "1 device is".to_owned() } else { format!("{devices} devices are") };
    let text = format!("{reason}; {behind} behind '{hop}'");
    let severity = if lasts { Warning } else { Note };
    Some(Concern { severity, kind: Kind::JumpHost, text, hint: hint.clone() })
}

/// What the last run was stopped by, or kept from beginning, where that does not pass by itself. Not what the brake did where the
/// devices that it keeps files on say so: `troubles` are all devices'.
pub fn last_run<'a>(
    run: &RunRow,
    mut troubles: impl Iterator<Item = Option<&'a Spell>>,
    now_ns: i64,
) -> Option<Concern> {
    let sums = run.sums.as_ref()?;
    let (class, reason) = (sums.class?, sums.stopped_by.as_ref()?);
    if class == Class::Brake && troubles.any(|trouble| trouble.is_some_and(|trouble| trouble.class == Some(class))) {
        return None;
    }
    let severity = if class == Class::Storage { Critical } else { severity_of(class) };
    let ago_ns = now_ns.saturating_sub(run.finished_ns.unwrap_or(run.started_ns));
    let ago = span(Duration::from_nanos(u64::try_from(ago_ns).unwrap_or(0)));
    let text = format!("the last run, {ago} ago: {reason}");
    (severity > Note).then(|| Concern { severity, kind: Kind::RunFailed, text, hint: sums.hint.clone() })
}

impl Facts<'_> {
    fn since(&self, ns: i64) -> Duration {
        Duration::from_nanos(u64::try_from(self.now_ns.saturating_sub(ns)).unwrap_or(0))
    }

    /// How long ago that was, if it is longer ago than a device may be away.
    fn too_long_since(&self, ns: Option<i64>) -> Option<Duration> {
        let since = self.since(ns?);
        self.alert_after.filter(|&alert_after| since > alert_after).map(|_| since)
    }

    fn state(&self) -> Option<Concern> {
        // One that has never answered is as long away as anybody has tried.
        let seen_ns = self.answered_ns.or(self.first_try_ns);
        let (kind, severity, text, hint) = match self.state {
            State::Ready | State::Stopped => return None,
            State::Offline { reason, hint } => {
                let away = seen_ns.map(|ns| self.since(ns));
                let severity = if self.too_long_since(seen_ns).is_some() { Warning } else { Note };
                let text = match (away, self.answered_ns) {
                    // The same of all that are behind it, so that it stands there once.
                    _ if self.behind_a_hop => format!("offline: {reason}"),
                    (Some(away), Some(_)) => format!("offline for {}: {reason}", span(away)),
                    (Some(away), None) => format!("has not answered once in {}: {reason}", span(away)),
                    (None, _) => format!("has never answered: {reason}"),
                };
                (Kind::Offline, severity, text, hint)
            }
            State::Failed { class, reason, hint } => (Kind::Failed, severity_of(*class), reason.clone(), hint),
        };
        Some(Concern { severity, kind, text, hint: hint.clone() })
    }

    fn trouble(&self) -> Option<Concern> {
        let trouble = self.trouble?;
        let class = trouble.class.unwrap_or(Class::Internal);
        let is_news = match self.state {
            State::Failed { class: now, .. } => *now != class && class.stands(),
            // A connection that broke once, and a key that is right by now, are over.
            State::Ready => class != Class::HostKey && (class.stands() || class == Class::Storage || trouble.whole),
            State::Offline { .. } | State::Stopped => class.stands(),
        };
        let reason = trouble.reason.as_deref().unwrap_or("it failed");
        let text = format!("its visit {} ago failed: {reason}", span(self.since(trouble.last_ns)));
        is_news.then(|| Concern {
            severity: severity_of(class),
            kind: Kind::VisitFailed,
            text,
            hint: trouble.hint.clone(),
        })
    }

    fn unreadable(&self) -> Option<Concern> {
        let found = self.found?;
        let (text, hint) = match found.first_unreadable.as_ref()? {
            (None, reason) => (
                format!("the source can't be read: {reason}"),
                "is the card or the drive mounted, and does `source` in the configuration say where its data is?",
            ),
            (Some(path), reason) => {
                let others = match found.unreadable {
                    0 | 1 => String::new(),
                    number => format!(", and {} more", number - 1),
                };
                (format!("{path} can't be read: {reason}{others}"), "give it to the login that pipeline uses there")
            }
        };
        Some(concern(Warning, Kind::Unreadable, text, Some(hint)))
    }

    fn card(&self) -> Option<Concern> {
        let percent = self.reading.and_then(|r| percent_used(r.total_bytes, r.free_bytes));
        let mut severity = fullness(percent, self.full_in, &CARD)?;
        if self.reading.is_none() {
            // Nobody knows whether it records at all while it is away; where it may rest, most likely it does not.
            severity = severity.min(if self.alert_after.is_some() { Warning } else { Note });
        }
        let soon = self.full_in.filter(|full_in| *full_in < FULL_SOON);
        let kind = if percent.is_some_and(|p| p >= CARD_WARNING_PERCENT) { Kind::CardFull } else { Kind::FullSoon };
        let text = match (percent, soon) {
            (Some(percent), None) => format!("card {percent} % full"),
            (Some(100), Some(_)) => "card full".into(),
            (Some(percent), Some(soon)) => format!("card {percent} % full, full in {}", span(soon)),
            (None, Some(Duration::ZERO)) => "by what it records, the card is full by now".into(),
            (None, soon) => format!("by what it records, the card is full in {}", span(soon.unwrap_or_default())),
        };
        let hint = match (self.stays, self.reading) {
            (_, None) => "what it records is lost once the card is full: bring it back, or change the card",
            (Some(Stays::Hold), _) => "received files stay because of the hold: `pipeline release` ends it",
            (Some(Stays::Never), _) => {
                "received files stay because `delete.after` is never: give it a time, or high_water and low_water"
            }
            (None, _) => {
                "`pipeline sync` makes room of what it has received; what else fills it: du -xh --max-depth 2 /"
            }
        };
        Some(concern(severity, kind, text, Some(hint)))
    }

    fn inodes(&self) -> Option<Concern> {
        let percent = self.reading.and_then(|r| percent_used(r.total_files, r.free_files));
        let severity = fullness(percent, None, &CARD)?;
        let text = format!("{} % of the card's inodes are in use", percent.unwrap_or(100));
        Some(concern(severity, Kind::InodesFull, text, Some("many small files fill a card that has bytes left")))
    }

    fn read_only(&self) -> Option<Concern> {
        let failing = self.health.sd_errors.unwrap_or(0) > 0;
        let (severity, text) = match (self.health.root_read_only, self.health.source_read_only) {
            (_, Some(true)) => (Critical, "what holds the source is mounted read-only: nothing can be recorded"),
            // Some are meant to be so, and record elsewhere.
            (Some(true), _) => (if failing { Critical } else { Warning }, "its root file system is mounted read-only"),
            _ => return None,
        };
        let hint =
            "the kernel does that when the card fails: `dmesg` says why; receive what is there, and change the card";
        Some(concern(severity, Kind::ReadOnly, text.into(), Some(hint)))
    }

    fn sd_errors(&self) -> Option<Concern> {
        let errors = self.health.sd_errors.filter(|&errors| errors > 0)?;
        let number = if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
        let last = self.health.sd_last.as_ref().map_or(String::new(), |last| format!(", the last: {last}"));
        let text = format!("its kernel tells of {number} of the card{last}");
        Some(concern(Warning, Kind::SdErrors, text, Some("cards fail slowly and then at once: change it soon")))
    }

    fn clock(&self) -> Option<Concern> {
        let offset_ns = self.reading?.clock_offset_ns?;
        // To the second: three days and a millisecond less are three days.
        let off = Duration::from_secs(offset_ns.unsigned_abs().saturating_add(500_000_000) / 1_000_000_000);
        let text = format!("its clock is {} {}", span(off), if offset_ns < 0 { "behind" } else { "ahead" });
        let hint = "`timedatectl` there says whether the network sets it; without a network it needs a clock module";
        (off > CLOCK_WARNING).then(|| concern(Warning, Kind::Clock, text, Some(hint)))
    }

    /// That a device is away for too long says all that there is to say.
    fn not_synced(&self) -> Option<Concern> {
        if matches!(self.state, State::Offline { .. } | State::Stopped) {
            return None;
        }
        let hint = Some("`pipeline sync` says what keeps it; does its timer run?");
        let (severity, text) = match (self.succeeded_ns, self.too_long_since(self.succeeded_ns.or(self.first_try_ns))) {
            (Some(_), Some(since)) => (Warning, format!("no visit has done all its work for {}", span(since))),
            (None, Some(since)) => (Warning, format!("no visit has done all its work yet, in {}", span(since))),
            (None, None) => (Note, "no visit has done all its work yet".into()),
            (Some(_), None) => return None,
        };
        Some(concern(severity, Kind::NotSynced, text, hint))
    }

    fn silent(&self) -> Option<Concern> {
        if matches!(self.state, State::Offline { .. } | State::Stopped) {
            return None;
        }
        let text = format!("no new data for {}", span(self.silent?));
        Some(concern(Warning, Kind::Silent, text, Some("does its recorder run, and write to the source?")))
    }

    fn supply(&self) -> Option<Concern> {
        let bits = self.reading?.throttled?;
        let hint = Some("a weak supply or cable damages cards; use the one that belongs to it");
        if bits & UNDER_VOLTAGE != 0 {
            return Some(concern(Warning, Kind::UnderVoltage, "its supply is too weak".into(), hint));
        }
        let text = "its supply was too weak at some time since it started".to_owned();
        (bits & UNDER_VOLTAGE_SINCE_START != 0).then(|| concern(Note, Kind::UnderVoltage, text, hint))
    }

    fn hot(&self) -> Option<Concern> {
        let mdeg = self.reading?.temperature_mdeg.filter(|&mdeg| mdeg >= HOT_MDEG)?;
        let text = format!("it is {} °C hot", mdeg / 1000);
        Some(concern(Warning, Kind::Hot, text, Some("give it shade or air: it slows down, and ages")))
    }

    fn slowed(&self) -> Option<Concern> {
        let slowed = self.reading?.throttled? & SLOWED != 0;
        slowed.then(|| concern(Note, Kind::Throttled, "its processor is slowed down".into(), None))
    }

    fn memory(&self) -> Option<Concern> {
        let reading = self.reading?;
        let used = percent_used(reading.memory_total_bytes, reading.memory_available_bytes)?;
        let text = format!("{} % of its memory is left", 100 - used);
        (used > 100 - LOW_MEMORY_PERCENT).then(|| concern(Note, Kind::Memory, text, None))
    }

    fn without_agent(&self) -> Option<Concern> {
        let WithoutAgent { reason, hint } = self.without_agent?;
        let text = format!("asked without the agent: {reason}");
        Some(Concern { severity: Note, kind: Kind::WithoutAgent, text, hint: hint.clone() })
    }
}
