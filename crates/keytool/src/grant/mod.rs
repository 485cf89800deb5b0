//! Access for other people, for a time: lines of `authorized_keys` with `expiry-time`.
//!
//! Guarantees: only lines that carry our mark are ever replaced or removed; the end of a grant is written as the machine's own
//! sshd reads it, and only where its clock can be trusted to keep it. Leaves to others: the connection, and sessions that are open
//! when a grant ends.
//!
//! `expiry-time` in UTC (`…Z`) needs OpenSSH 9.1 on the machine, and means one moment; without, it means the machine's zone, and any
//! since 7.7 understands it. Where the zone is changed later, or an end falls into the hour that comes twice in autumn, that is
//! another moment.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use pipeline_core::error::{Class, Classified};
use pipeline_core::ssh::SshError;

use crate::authorized_keys::{AuthorizedKeys, Entry, Key, Options};
use crate::shell::{Shell, ask, one_line};

mod beside;
mod end;
#[cfg(test)]
mod tests;

pub use beside::{Beside, beside};
use end::STAMP;
pub use end::{End, Left};

/// The first OpenSSH whose sshd reads an end in UTC.
const READS_UTC: (u32, u32) = (9, 1);

/// What the comment of our lines begins with.
const MARK: &str = "keytool-grant ";

/// How wrong a machine's clock may be before it can't be trusted to end a grant.
const TOLERANCE: Duration = Duration::from_secs(300);

/// Somebody's access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// His key.
    pub key: Key,
    /// The comment of his key.
    pub who: String,
    /// What its line says of its end, the first to come of it; none where somebody has taken that out of the line.
    ends: Vec<End>,
}

/// A machine's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What it shows.
    pub now: Timestamp,
    /// The same in its zone.
    pub local: DateTime,
    /// The moment that was asked about, as its sshd reads it.
    pub end: End,
}

/// Why nothing was granted.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The connection broke.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The login ran something else than it was told; its words.
    #[error("the key runs no commands there, as one that is bound to the agent: it is answered '{0}'")]
    Bound(String),
    /// The machine's answer makes no sense.
    #[error("the machine can't tell its time: {0}")]
    Noise(String),
    /// Its clock is wrong, and it is the one that ends a grant.
    #[error("the machine's clock is {} {}", words(*by), if *behind { "behind" } else { "ahead" })]
    Clock {
        /// How much.
        by: Duration,
        /// In which direction.
        behind: bool,
    },
    /// The key is in a line that is not ours.
    #[error("this key is let in already, by a line that keytool did not write")]
    LetInAlready,
}

impl Classified for GrantError {
    fn class(&self) -> Class {
        match self {
            GrantError::Ssh(error) => error.class(),
            GrantError::Bound(_) | GrantError::Noise(_) | GrantError::Clock { .. } | GrantError::LetInAlready => {
                Class::Config
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            GrantError::Ssh(error) => return error.hint(),
            GrantError::Bound(_) => "give --password-stdin or --identity with a key that may run commands there".into(),
            GrantError::Noise(_) => "see what 'date' says there".into(),
            GrantError::Clock { .. } => {
                "set it right first ('timedatectl' says what is wrong): the machine's own sshd ends the access".into()
            }
            GrantError::LetInAlready => {
                "sshd goes by the first line that fits: take that line out of ~/.ssh/authorized_keys first".into()
            }
        })
    }
}

/// In the largest unit that says enough.
fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Clock {
    /// Asks a machine, and how its sshd would read `end`.
    pub fn ask(shell: &dyn Shell, end: Timestamp) -> Result<Clock, GrantError> {
        let second = end.as_second().to_string();
        let answer = ask(shell, &[("e", second.as_bytes())], include_str!("clock.sh"), b"")?;
        match answer.word.as_str() {
            "" => Err(GrantError::Bound(answer.complaints)),
            word => Clock::parse(word, end).ok_or_else(|| {
                let said = if answer.complaints.is_empty() { word } else { &answer.complaints };
                GrantError::Noise(one_line(said))
            }),
        }
    }

    /// The same, for a promise: an error where its clock is too far from `now`.
    pub fn trusted(shell: &dyn Shell, end: Timestamp, now: Timestamp) -> Result<Clock, GrantError> {
        let clock = Clock::ask(shell, end)?;
        let by = clock.now.duration_since(now).unsigned_abs();
        if by > TOLERANCE {
            return Err(GrantError::Clock { by, behind: clock.now < now });
        }
        Ok(clock)
    }

    fn parse(answer: &str, end: Timestamp) -> Option<Clock> {
        let [now, local, local_end, openssh] =
            answer.strip_prefix("clock ")?.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let stamp = |text| DateTime::strptime(STAMP, text).ok();
        let version =
            openssh.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let local_end = stamp(local_end)?;
        let end = match version.is_some_and(|version: (u32, u32)| version >= READS_UTC) {
            true => End::Utc(Timestamp::from_second(end.as_second()).ok()?),
            false => End::Local(local_end),
        };
        Some(Clock { now: Timestamp::from_second(now.parse().ok()?).ok()?, local: stamp(local)?, end })
    }
}

impl Grant {
    /// The grant that a line is, if it is one of ours.
    pub fn of(entry: &Entry) -> Option<Grant> {
        let who = entry.comment.strip_prefix(MARK)?.to_owned();
        Some(Grant { key: entry.key.clone(), who, ends: End::all(&entry.options) })
    }

    /// When it ends; none where somebody has taken that out of the line.
    pub fn end(&self, clock: &Clock) -> Option<&End> {
        // sshd passes over a line with one that it can't read, whatever else it says.
        let unreadable = self.ends.iter().find(|end| end.left(clock) == Left::Unknown);
        unreadable.or_else(|| self.ends.iter().min_by_key(|end| end.left(clock)))
    }

    /// How long it lasts yet.
    pub fn left(&self, clock: &Clock) -> Left {
        self.end(clock).map_or(Left::Endless, |end| end.left(clock))
    }
}

/// How long a line holds yet, whoever has written it.
fn left(entry: &Entry, clock: &Clock) -> Left {
    let ends = End::all(&entry.options);
    ends.iter().map(|end| end.left(clock)).min().unwrap_or(Left::Endless)
}

/// The grants of a file.
pub fn all(keys: &AuthorizedKeys) -> Vec<Grant> {
    keys.entries().iter().filter_map(Grant::of).collect()
}

/// With access for a key until `end`, in the place of an earlier grant for the same key.
pub fn give(keys: &AuthorizedKeys, key: &Key, who: &str, end: &End) -> Result<AuthorizedKeys, GrantError> {
    if keys.entries().iter().any(|entry| entry.key == *key && Grant::of(entry).is_none()) {
        return Err(GrantError::LetInAlready);
    }
    let options = Options::default().value("expiry-time", &end.stamp());
    Ok(keys.set(&Entry { options, ..Entry::plain(key.clone(), &format!("{MARK}{who}")) }))
}

/// Without the grants that `unwanted` names.
pub fn take(keys: &AuthorizedKeys, unwanted: impl Fn(&Grant) -> bool) -> AuthorizedKeys {
    keys.without(|entry| Grant::of(entry).is_some_and(|grant| unwanted(&grant)))
}
