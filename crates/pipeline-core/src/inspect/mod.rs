//! The whole fleet at one look: what `du`, `df` and a dozen logins would tell, and what needs a person.
//!
//! Guarantees: nothing on a device is changed, and nothing is put there; one bad device delays no other; one report for each device,
//! in the order given, whatever happens; what a scan finds is judged by the very rules of a visit ([`crate::plan`]). Works beside a
//! run, whose lock it does not need. Writes nothing but its readings to the catalog, and those only if asked to.
//!
//! Leaves to others how a connection is made ([`Connect`]), how long that may take, and how all this is drawn.
//!
//! | room | concern |
//! |---|---|
//! | `look` | one device, now |
//! | `judge`, `storage` | what needs a person, and how urgently |
//! | `view` | what is said |

mod judge;
mod look;
mod remembered;
mod storage;
#[cfg(all(test, feature = "agent"))]
mod tests;
mod view;
mod words;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::catalog::history::{self, Source, Spell};
use crate::catalog::{Catalog, CatalogError};
use crate::check::at_once;
use crate::clock::now_ns;
use crate::config::{AgentMode, Config, DeviceSettings, Timeouts};
use crate::error::{Class, Classified, one_line};
use crate::event::Observer;
use crate::fleet::Device;
use crate::forecast::{Forecast, Past, is_drained};
use crate::hold::{self, Hold, Standing};
use crate::remote::Connect;

pub use crate::catalog::history::Reading;
pub use judge::{
    CARD_CRITICAL_PERCENT, CARD_WARNING_PERCENT, CLOCK_WARNING, FULL_SOON, FULL_VERY_SOON, HOT_MDEG,
    LOW_MEMORY_PERCENT, last_run,
};
pub use remembered::Remembered;
pub use view::{Concern, DeviceView, FleetReport, KeptUntil, Kind, Severity, State, StorageState, StorageView};

use judge::{Facts, Stays, concern};
use look::{Look, Looker};

/// A card is drained while visits get their work done: the last time is not longer ago than this.
const DRAINED: Duration = Duration::from_secs(86_400);

/// A reading that is so much older than the last visit does not tell how the device was then.
const OLD_NS: i64 = 2 * 3600 * 1_000_000_000;

/// The longest silence that a look bears, while a connection is made and after. A person sits and waits, and a visit has `timeouts`.
/// Of silence alone: a hundred thousand files over a thin link take as long as they take.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// How long a look waits where a visit waits so long.
pub fn patience(timeouts: Timeouts) -> Timeouts {
    Timeouts { connect: timeouts.connect.min(PATIENCE), idle: timeouts.idle.min(PATIENCE) }
}

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Devices at once.
    pub jobs: usize,
    /// Whether the readings are kept in the catalog.
    pub record: bool,
}

/// What keeps an inspection from beginning.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no catalog, or it can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Classified for InspectError {
    fn class(&self) -> Class {
        match self {
            InspectError::Catalog(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            InspectError::Catalog(error) => error.hint(),
        }
    }
}

/// Looks at every device and at the storage, and judges what it found.
///
/// The observer hears `DeviceStarted`, what `connect` tells but for `FellBack`, which is in the report, `DeviceConnected` where it
/// worked, and `DeviceFinished`. A wish to stop leaves the rest as [`State::Stopped`].
pub fn inspect(
    config: &Config,
    devices: &[Device],
    connect: &dyn Connect,
    options: Options,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<FleetReport, InspectError> {
    let began = Instant::now();
    let catalog = Catalog::open(&config.state_dir)?;
    let storage = storage::ask(config, &catalog);
    let looker = Looker { catalog: &catalog, connect, observer, cancel };
    let looks = at_once(devices, options.jobs, |device| looker.look(device));
    // After the looks, and before their own readings: what a run did meanwhile is known.
    let history = catalog.history()?;
    let at_ns = now_ns();
    let pasts = devices.iter().map(|device| Known::of(&history, device, at_ns)).collect::<Result<Vec<_>, _>>()?;
    let storage_past = Past::of_storage(&history, at_ns)?;
    let last_run = history.last_run()?;
    drop(history);
    let standing = hold::read(&config.state_dir);
    let (storage, storage_reading) = storage::view(&storage, config, storage_past, at_ns);
    // That the storage can't be used is said of itself, and is how it is now.
    let said = storage.state != StorageState::Ready;
    let troubles = pasts.iter().map(|known| known.trouble.as_ref());
    let last_run = last_run.and_then(|run| judge::last_run(&run, troubles, at_ns)).filter(|_| !said);
    let mut concerns: Vec<Concern> = last_run.into_iter().chain(held(&standing)).collect();
    concerns.extend(hops(&looks, &pasts, at_ns));
    if options.record {
        let noted = devices.iter().zip(&looks).try_for_each(|(device, look)| {
            let Some(reading) = &look.reading else { return Ok(()) };
            catalog.note_reading(&device.name, device.settings.source.as_os_str().as_bytes(), reading)
        });
        let noted = noted.and_then(|()| storage_reading.iter().try_for_each(|reading| catalog.note_storage(reading)));
        // What was seen is told all the same.
        concerns.extend(noted.err().map(|error| not_kept(&error)));
    }
    let hold = match standing {
        Standing::Held(hold) => Some(hold),
        Standing::Free | Standing::Over(_) => None,
    };
    let beheld = Beheld { at_ns, hold: hold.as_ref(), agent: config.agent };
    let views = devices.iter().zip(looks).zip(pasts).map(|((device, look), known)| beheld.device(device, look, known));
    Ok(FleetReport {
        at_ns,
        devices: views.collect(),
        storage,
        hold,
        concerns,
        elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// The jump hosts that can't be used, each once.
fn hops(looks: &[Look], pasts: &[Known], at_ns: i64) -> Vec<Concern> {
    let mut hops: BTreeMap<&str, (&State, usize, Option<i64>)> = BTreeMap::new();
    for (look, known) in looks.iter().zip(pasts) {
        let Some(hop) = &look.hop else { continue };
        let (_, devices, answered_ns) = hops.entry(hop).or_insert((&look.state, 0, None));
        *devices += 1;
        *answered_ns = (*answered_ns).max(known.answered_ns());
    }
    let concern = |(hop, (state, devices, answered_ns))| judge::hop(hop, state, devices, answered_ns, at_ns);
    hops.into_iter().filter_map(concern).collect()
}

/// Why readings were not kept. Whoever may look at a fleet need not be he who may write to its catalog.
fn not_kept(error: &CatalogError) -> Concern {
    if error.is_read_only() {
        let text = "this look was not kept: the catalog can only be read from here".to_owned();
        return concern(
            Severity::Note,
            Kind::Catalog,
            text,
            Some("the user that runs `pipeline sync` may write to it"),
        );
    }
    Concern { severity: Severity::Warning, kind: Kind::Catalog, text: one_line(error), hint: error.hint() }
}

/// A hold is somebody's wish; one that nobody can read, or whose end may not be believed, is not.
fn held(standing: &Standing) -> Option<Concern> {
    let Standing::Held(hold) = standing else { return None };
    if let Some(remark) = &hold.remark {
        let hint = Some("`pipeline release` ends it, `pipeline hold` places a new one");
        return Some(concern(Severity::Warning, Kind::Hold, format!("removals are on hold: {remark}"), hint));
    }
    let part =
        |before: &str, part: &Option<String>| part.as_ref().map_or(String::new(), |part| format!("{before}{part}"));
    let text = format!(
        "removals are on hold{}{}{}{}",
        part(" since ", &hold.since),
        part(" by ", &hold.by),
        part(" until ", &hold.until),
        part(": ", &hold.reason)
    );
    Some(concern(Severity::Note, Kind::Hold, text, Some("`pipeline release` ends it")))
}

/// What the catalog knows of a device.
#[derive(Default)]
struct Known {
    source: Option<Source>,
    card: Past,
    /// When it was first tried.
    first_try_ns: Option<i64>,
    /// What keeps visits from getting their work done.
    trouble: Option<Spell>,
}

impl Known {
    fn of(history: &history::History, device: &Device, at_ns: i64) -> Result<Known, CatalogError> {
        let path = device.settings.source.as_os_str().as_bytes();
        let mut sources = history.sources().iter();
        let Some(source) = sources.find(|source| source.device == device.name && source.path == path) else {
            return Ok(Known::default());
        };
        let card = Past::of_card(history, source, at_ns)?;
        let first_try_ns = history.first_try_ns(source)?.filter(|ns| history::is_past(*ns, at_ns));
        let trouble = history.trouble(source)?;
        let source = source.as_of(at_ns);
        let newest_ns = source.newest_ns.or(card.received_ns(at_ns));
        Ok(Known { source: Some(Source { newest_ns, ..source }), card, first_try_ns, trouble })
    }

    /// How it was when it last answered. A visit writes less of it down than a look, but something each hour.
    fn reading(&self) -> Option<Reading> {
        let latest = self.card.latest();
        let visit = self.source.as_ref().and_then(|source| {
            let at_ns = source.visited_ns.filter(|_| source.total_bytes > 0)?;
            let (total_bytes, free_bytes) = (Some(source.total_bytes), Some(source.free_bytes));
            let clock_offset_ns = source.clock_offset_ns;
            Some(Reading { at_ns, total_bytes, free_bytes, clock_offset_ns, ..Reading::default() })
        });
        match (latest, visit) {
            (Some(latest), Some(visit)) if visit.at_ns.saturating_sub(latest.at_ns) > OLD_NS => Some(visit),
            (latest, visit) => latest.cloned().or(visit),
        }
    }

    fn answered_ns(&self) -> Option<i64> {
        let read_ns = self.card.latest().map(|reading| reading.at_ns);
        read_ns.max(self.source.as_ref().and_then(|source| source.visited_ns))
    }
}

/// What all devices are judged by.
struct Beheld<'a> {
    at_ns: i64,
    hold: Option<&'a Hold>,
    agent: AgentMode,
}

impl Beheld<'_> {
    fn device(&self, device: &Device, look: Look, mut known: Known) -> DeviceView {
        let settings = &device.settings;
        let succeeded_ns = known.source.as_ref().and_then(|source| source.succeeded_ns);
        let newest_data_ns = self.newest(&look, &known);
        let silent = self.silent(settings, newest_data_ns.or(known.first_try_ns));
        let answered_ns = look.reading.as_ref().map(|reading| reading.at_ns).or(known.answered_ns());
        let known_reading = known.reading();
        look.reading.iter().for_each(|reading| known.card.add(reading));
        let works = look.state == State::Ready && self.worked_lately(succeeded_ns);
        let drained = is_drained(&settings.delete, self.hold.is_some(), works);
        let Forecast { growth_bytes_per_day, recorded_bytes_per_day, full_in } =
            known.card.forecast(self.at_ns, drained);
        // That the configuration wants it so is no news.
        let without_agent = look.without_agent.as_ref().filter(|_| self.agent == AgentMode::Auto);
        let concerns = judge::concerns(&Facts {
            now_ns: self.at_ns,
            alert_after: settings.alert_after,
            state: &look.state,
            behind_a_hop: look.hop.is_some(),
            trouble: known.trouble.as_ref(),
            reading: look.reading.as_ref(),
            found: look.found.as_ref(),
            health: &look.health,
            full_in,
            silent,
            answered_ns,
            succeeded_ns,
            first_try_ns: known.first_try_ns,
            without_agent,
            stays: self.stays(settings),
        });
        DeviceView {
            device: device.name.clone(),
            kept: look.found.as_ref().and_then(|found| self.kept(settings, found.received_ns?)),
            reading: look.reading.or(known_reading),
            growth_bytes_per_day,
            recorded_bytes_per_day,
            full_in,
            newest_data_ns,
            silent,
            last_answer_ns: answered_ns,
            last_success_ns: succeeded_ns,
            without_agent: look.without_agent.map(|without| without.reason),
            concerns,
            elapsed_ms: look.elapsed_ms,
            state: look.state,
        }
    }

    fn stays(&self, settings: &DeviceSettings) -> Option<Stays> {
        let never = settings.delete.after.is_none() && settings.delete.high_water.is_none();
        match self.hold {
            Some(_) => Some(Stays::Hold),
            None => never.then_some(Stays::Never),
        }
    }

    fn worked_lately(&self, succeeded_ns: Option<i64>) -> bool {
        let since = succeeded_ns.map(|ns| i128::from(self.at_ns) - i128::from(ns));
        since.is_some_and(|since| since <= DRAINED.as_nanos().cast_signed())
    }

    /// The newest data that anybody knows of: what was received, and what waits. Nothing is newer than now, whatever a clock says.
    fn newest(&self, look: &Look, known: &Known) -> Option<i64> {
        let received = known.source.as_ref().and_then(|source| source.newest_ns);
        let waits = look.found.as_ref().and_then(|found| found.waiting_ns).map(|(_, newest)| newest);
        received.max(waits).map(|newest| newest.min(self.at_ns))
    }

    fn silent(&self, settings: &DeviceSettings, since_ns: Option<i64>) -> Option<Duration> {
        let silent = u64::try_from(self.at_ns.saturating_sub(since_ns?)).map(Duration::from_nanos).ok()?;
        settings.alert_after.filter(|&alert_after| silent > alert_after).map(|_| silent)
    }

    fn kept(&self, settings: &DeviceSettings, (first_ns, last_ns): (i64, i64)) -> Option<KeptUntil> {
        if self.hold.is_some() {
            return Some(KeptUntil::Hold);
        }
        let Some(after) = settings.delete.after else {
            let high_water = settings.delete.high_water.map(|percent| KeptUntil::HighWater { percent });
            return Some(high_water.unwrap_or(KeptUntil::Never));
        };
        let after_ns = i64::try_from(after.as_nanos()).unwrap_or(i64::MAX);
        let (first_ns, last_ns) = (first_ns.saturating_add(after_ns), last_ns.saturating_add(after_ns));
        Some(if last_ns <= self.at_ns { KeptUntil::NextSync } else { KeptUntil::Time { first_ns, last_ns } })
    }
}
