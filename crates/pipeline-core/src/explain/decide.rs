//! What the facts about a file mean. Pure: no I/O, no clock and no words.
//!
//! The facts are of different ages. A row of the catalog is true now. Everything else about a device is from its last visit, so an
//! answer about what is still there always comes with when that was.

use std::time::Duration;

use serde::Serialize;

use super::{
    Content, DeviceExplanation, FileExplanation, Kept, LeftFiles, Lies, Outcome, Presence, Rival, SourceExplanation,
    Staying, When,
};
use crate::archive::ArchivePath;
use crate::catalog::history::{LeftKind, State};
use crate::digest::Digest;
use crate::error::Class;
use crate::hold::{Hold, Standing};
use crate::path::RelPath;

/// What is known of one file of one device.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// The device.
    pub device: String,
    /// The source directory there, readable.
    pub source: String,
    /// The path below it.
    pub path: RelPath,
    /// What was received from this path, newest first.
    pub rows: Vec<Row>,
    /// What the last visit says of it, where it left it.
    pub left: Option<Left>,
    /// What is known of the device.
    pub visits: Visits,
    /// What the configuration says; none where it names the device or the directory no longer.
    pub policy: Option<Policy>,
}

/// A row of the catalog, with what was looked up for it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub id: i64,
    /// The run that wrote it.
    pub run: i64,
    /// The size of the file.
    pub bytes: u64,
    /// Of its content.
    pub digest: Digest,
    /// Where it is.
    pub archive_path: ArchivePath,
    /// Whether it is the beginning of what lies there.
    pub beginning: bool,
    /// Whether it is kept no longer.
    pub dropped: bool,
    /// When the row was written.
    pub received: When,
    /// When the file left the device, or license ended.
    pub removed: Option<When>,
    /// By a clock that is right.
    pub modified: When,
    /// No identity is known: the row is from the storage.
    pub from_storage: bool,
    /// Who has the plain name.
    pub rival: Option<Rival>,
    /// What lies there.
    pub lies: Lies,
}

/// What the last visit left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// As what.
    pub kind: LeftKind,
    /// Why, in words.
    pub reason: String,
    /// What it says that of: the file, a directory above it, or, where this is none, the whole source directory.
    pub of: Option<RelPath>,
    /// Each visit has found it so since then.
    pub since: When,
}

/// What is known of a device and how it was visited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Visits {
    /// When it last answered.
    pub last: Option<When>,
    /// When a visit last did all that was to be done.
    pub succeeded: Option<When>,
    /// How it went since.
    pub now: Option<Spell>,
    /// What keeps visits from getting their work done, which may be older than [`now`](Self::now): that the device is away says nothing
    /// of it.
    pub trouble: Option<Spell>,
}

/// Visits in a row that ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spell {
    /// How.
    pub state: State,
    /// What kind of failure.
    pub class: Option<Class>,
    /// Why, in words.
    pub reason: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The first of them.
    pub since: When,
    /// The last.
    pub last: When,
}

/// What the configuration wants for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a received file stays; none: for ever.
    pub delete_after: Option<Duration>,
    /// Above so many percent it goes early.
    pub high_water: Option<u8>,
    /// What the filters say.
    pub filter: Verdict,
}

/// What `include` and `exclude` say of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is wanted.
    Wanted,
    /// This glob of `exclude` leaves it out.
    Excluded(String),
    /// No glob of `include` takes it.
    NotIncluded,
}

/// What is known of a device as a whole.
#[derive(Clone, Debug)]
pub struct DeviceFacts {
    /// Which.
    pub device: String,
    /// Whether the configuration names it.
    pub configured: bool,
    /// Its directories.
    pub sources: Vec<SourceFacts>,
}

/// What is known of one directory of a device.
#[derive(Clone, Debug)]
pub struct SourceFacts {
    /// Where, readable.
    pub source: String,
    /// How it was visited.
    pub visits: Visits,
    /// When something new was last received.
    pub newest: Option<When>,
    /// Received files that are still there.
    pub kept_files: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// When the one that was received first was.
    pub oldest_received: Option<When>,
    /// What the last visit left, by kind.
    pub left: Vec<LeftFiles>,
    /// And how many more.
    pub unlisted: u64,
    /// None where the configuration names it no longer.
    pub policy: Option<Policy>,
}

/// Judges one file.
pub fn decide(facts: &FileFacts, hold: &Standing, now: When) -> FileExplanation {
    let mut contents = facts.rows.iter().map(content);
    let newest = contents.next();
    let on_device = match facts.rows.first() {
        None => Presence::Unknown,
        Some(row) => match row.removed {
            Some(_) if row.from_storage => Presence::Gone { since: None },
            Some(since) => Presence::Gone { since: Some(since) },
            None => {
                let received = row.received;
                let moment = Moment { received, now };
                Presence::There {
                    because: staying(facts.policy.as_ref(), facts.left.as_ref(), &facts.visits, hold, &moment),
                }
            }
        },
    };
    FileExplanation {
        device: facts.device.clone(),
        source: facts.source.clone(),
        path: facts.path.clone(),
        outcome: outcome(facts),
        content: newest,
        earlier: contents.collect(),
        on_device,
        hold: held(hold),
        visits: facts.visits.clone(),
    }
}

/// Judges a device.
pub fn decide_device(facts: &DeviceFacts, hold: &Standing, now: When) -> DeviceExplanation {
    let source = |source: &SourceFacts| {
        let because = source.oldest_received.map(|received| {
            let moment = Moment { received, now };
            staying(source.policy.as_ref(), None, &source.visits, hold, &moment)
        });
        SourceExplanation {
            source: source.source.clone(),
            visits: source.visits.clone(),
            newest: source.newest,
            kept_files: source.kept_files,
            kept_bytes: source.kept_bytes,
            because,
            left: source.left.clone(),
            unlisted: source.unlisted,
        }
    };
    DeviceExplanation {
        device: facts.device.clone(),
        configured: facts.configured,
        sources: facts.sources.iter().map(source).collect(),
        hold: held(hold),
    }
}

fn outcome(facts: &FileFacts) -> Outcome {
    let newest = facts.rows.first();
    let is_there = newest.is_some_and(|row| row.removed.is_none());
    match (newest, left(facts)) {
        // Of a file whose content is here, a visit says why it is still there: that is told with its presence.
        (Some(_), Some(left)) if !is_there => Outcome::NotReceived(left.clone()),
        (None, Some(left)) => Outcome::NotReceived(left.clone()),
        (Some(row), _) if row.dropped => Outcome::Dropped,
        (Some(_), _) => Outcome::Stored,
        (None, None) => match facts.policy.as_ref().map(|policy| &policy.filter) {
            Some(Verdict::Excluded(glob)) => Outcome::LeftOut { exclude: Some(glob.clone()) },
            Some(Verdict::NotIncluded) => Outcome::LeftOut { exclude: None },
            Some(Verdict::Wanted) | None => Outcome::NeverSeen,
        },
    }
}

/// What the last visit left, if that is not the hold's doing: the hold is looked at as it stands now.
fn left(facts: &FileFacts) -> Option<&Left> {
    facts.left.as_ref().filter(|left| left.kind != LeftKind::Held)
}

fn held(hold: &Standing) -> Option<Hold> {
    match hold {
        Standing::Held(hold) => Some(hold.clone()),
        Standing::Free | Standing::Over(_) => None,
    }
}

fn content(row: &Row) -> Content {
    let kept = match row {
        Row { dropped: true, .. } => Kept::Dropped,
        Row { beginning: true, .. } => Kept::Beginning,
        Row { archive_path, .. } if archive_path.is_version() => Kept::Version,
        _ => Kept::Plain,
    };
    Content {
        receipt: row.id,
        run: row.run,
        bytes: row.bytes,
        sha256: row.digest,
        received: row.received,
        modified: row.modified,
        archive_path: row.archive_path.clone(),
        kept,
        from_storage: row.from_storage,
        clashed_with: row.rival.clone(),
        lies: row.lies.clone(),
        left: row.removed,
    }
}

/// When a file was received, and now.
struct Moment {
    received: When,
    now: When,
}

/// Why a received file is still there. What a person can change comes before what passes by itself.
fn staying(policy: Option<&Policy>, left: Option<&Left>, visits: &Visits, hold: &Standing, moment: &Moment) -> Staying {
    let Some(policy) = policy else { return Staying::NotConfigured };
    match &policy.filter {
        Verdict::Wanted => {}
        Verdict::Excluded(glob) => return Staying::LeftOut { exclude: Some(glob.clone()) },
        Verdict::NotIncluded => return Staying::LeftOut { exclude: None },
    }
    // What a hold left is judged by the hold as it stands now.
    let was_held = left.is_some_and(|left| left.kind == LeftKind::Held);
    if let Some(left) = left.filter(|_| !was_held) {
        return Staying::Left(left.clone());
    }
    let high_water = policy.high_water;
    let Some(after) = policy.delete_after else { return Staying::Never { high_water } };
    let after_ns = i64::try_from(after.as_nanos()).unwrap_or(i64::MAX);
    let due = When(moment.received.0.saturating_add(after_ns));
    if due > moment.now {
        return Staying::Until { due, high_water };
    }
    if hold.is_held() {
        return Staying::Held;
    }
    match (&visits.trouble, &visits.now) {
        (Some(Spell { class: Some(Class::Brake), reason, .. }), _) => {
            Staying::Brake { reason: reason.clone().unwrap_or_default() }
        }
        (Some(_), _) => Staying::Failing,
        (None, Some(Spell { state: State::Offline, .. })) => Staying::Offline,
        _ => match visits.succeeded {
            Some(visited) if visited > due && !was_held => Staying::NotAsked { visited },
            _ => Staying::Due { since: due },
        },
    }
}
