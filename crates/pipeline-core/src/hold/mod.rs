//! The hold: one brake on all removals, for as long as a person wants it.
//!
//! It is a file in the state directory, as text for people too, so it survives every reboot and is seen by whoever looks. Guarantees:
//! nothing is removed from a device without a [`NotHeld`], which only a look at the file gives; a file that can't be read or
//! understood is a hold; so is one whose end has come by a clock that may be wrong. Placing and ending it need no more than
//! write access to the directory: a run may be under way. Nobody but a person takes it away: runs only read it.
//! Leaves to others: what else a run does meanwhile, which is everything.

#[cfg(test)]
mod tests;
mod until;
mod watch;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::error::{Class, Classified, STATE_DISK_HINT, describe};

pub use until::{UntilError, parse_until};
pub use watch::{NotHeld, Watch};

/// In the state directory.
pub const FILE_NAME: &str = "hold.json";

/// Enough for a sentence or two.
pub const MAX_REASON_BYTES: usize = 1000;

const MAX_FILE_BYTES: u64 = 64 * 1024;
const ABOUT: &str = "While this file is here, pipeline removes nothing from any device. 'pipeline release' ends it.";

/// So long after a start the clock may still be what an empty battery made of it: by then the network has set it, or there is
/// no network, and no device either.
const SETTLED: Duration = Duration::from_secs(15 * 60);

/// What is known of a hold. All that a damaged file leaves is the remark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Since when, in UTC.
    pub since: Option<String>,
    /// Who placed it.
    pub by: Option<String>,
    /// Why, in his words.
    pub reason: Option<String>,
    /// When it is to end by itself, in UTC; none: only a person ends it.
    pub until: Option<String>,
    /// Why it stands although nobody can read it, or although its end has come.
    pub remark: Option<String>,
}

/// Whether removals are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody holds them.
    Free,
    /// They are held.
    Held(Hold),
    /// They were, and the time is over. The file is still there: nobody has taken it away.
    Over(Hold),
}

impl Standing {
    /// Whether nothing may be removed.
    pub fn is_held(&self) -> bool {
        matches!(self, Standing::Held(_))
    }
}

/// Why a hold can't be placed or ended.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The file can't be written or taken away.
    #[error("can't {doing} {}", .file.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody would read that much.
    #[error("the reason is longer than {MAX_REASON_BYTES} bytes")]
    LongReason,
}

impl Classified for HoldError {
    fn class(&self) -> Class {
        match self {
            HoldError::Io { source, .. } => Class::of_state_dir(source),
            HoldError::LongReason => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            HoldError::Io { .. } if self.class() == Class::Storage => STATE_DISK_HINT.into(),
            HoldError::Io { file, .. } if is_dir(file) => {
                "a directory has the name of the hold, which holds all removals as well: move it away, or run `pipeline release`".into()
            }
            HoldError::Io { .. } => {
                "run it as the user that runs `pipeline sync`, or as root; `state_dir` must be there (`pipeline init` makes it)"
                    .into()
            }
            HoldError::LongReason => "say it in a sentence".into(),
        })
    }
}

/// What time it is, as far as this machine can know.
#[derive(Clone, Debug)]
struct Moment {
    now: Timestamp,
    /// Names this start of the machine; none where it can't be told.
    boot: Option<String>,
    /// How long it has been up, asleep or not. Nobody can set that clock.
    up: Duration,
}

impl Moment {
    fn now() -> Moment {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let up = clock_gettime(ClockId::Boottime);
        Moment {
            now: Timestamp::now(),
            boot: boot.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()),
            up: Duration::from_secs(u64::try_from(up.tv_sec).unwrap_or(0)),
        }
    }
}

/// The file's text.
#[derive(Debug, Serialize, Deserialize)]
// A word that nobody knows may be one that mattered.
#[serde(deny_unknown_fields)]
struct Form {
    about: String,
    since: String,
    by: String,
    reason: Option<String>,
    until: Option<String>,
    /// Which start of the machine it was placed in, and how long after that.
    boot: Option<String>,
    up_seconds: u64,
}

/// Looks whether removals are held, now.
pub fn read(state_dir: &Path) -> Standing {
    let file = state_dir.join(FILE_NAME);
    let damaged = |why: String| {
        let remark = Some(format!("{} can't be {why}, which counts as a hold", file.display()));
        Standing::Held(Hold { remark, ..Hold::default() })
    };
    // Not through a link, and not waiting for whoever writes to a pipe.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let opened = match OpenOptions::new().read(true).custom_flags(flags).open(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && state_dir.is_dir() => return Standing::Free,
        opened => opened,
    };
    let mut text = Vec::new();
    match opened.and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)) {
        Ok(bytes) if bytes as u64 > MAX_FILE_BYTES => {
            damaged(format!("understood: it is larger than {MAX_FILE_BYTES} bytes"))
        }
        Ok(_) => stands(&text, &Moment::now()).unwrap_or_else(|why| damaged(format!("understood: {why}"))),
        Err(error) => damaged(format!("read: {}", describe(&error))),
    }
}

/// What the text of the file means at this moment. Pure.
fn stands(text: &[u8], moment: &Moment) -> Result<Standing, String> {
    let form: Form = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let time = |name: &str, text: &str| -> Result<Timestamp, String> {
        text.parse().map_err(|_| format!("its '{name}' is no time in UTC such as 2026-11-22T18:00:00Z"))
    };
    let since = time("since", &form.since)?;
    let until = form.until.as_deref().map(|until| time("until", until)).transpose()?;
    let hold =
        Hold { since: Some(form.since), by: Some(form.by), reason: form.reason, until: form.until, remark: None };
    let Some(until) = until.filter(|until| *until <= moment.now) else { return Ok(Standing::Held(hold)) };
    let remark = if form.boot.is_some() && form.boot == moment.boot {
        // Since then the machine has counted the seconds itself, whatever was done to its clock.
        let wanted = Duration::try_from(until.duration_since(since)).unwrap_or_default();
        let passed = moment.up.saturating_sub(Duration::from_secs(form.up_seconds));
        (passed < wanted)
            .then_some("its end has come by the clock, but less time has passed: the clock was set forward")
    } else {
        (moment.up < SETTLED)
            .then_some("its end has come by the clock, but this machine has just started: its clock may be wrong")
    };
    Ok(match remark {
        Some(remark) => Standing::Held(Hold { remark: Some(remark.into()), ..hold }),
        None => Standing::Over(hold),
    })
}

/// Places a hold, and returns what stood before, which it takes the place of. Once this has returned, it survives a power cut.
///
/// RACE: of two at the same instant one stays; both were holds.
pub fn place(
    state_dir: &Path,
    by: &str,
    reason: Option<&str>,
    until: Option<Timestamp>,
) -> Result<Standing, HoldError> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
        return Err(HoldError::LongReason);
    }
    let moment = Moment::now();
    let utc = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let form = Form {
        about: ABOUT.into(),
        since: utc(moment.now),
        by: by.into(),
        reason: reason.map(str::to_owned),
        until: until.map(utc),
        boot: moment.boot,
        up_seconds: moment.up.as_secs(),
    };
    let before = read(state_dir);
    let file = state_dir.join(FILE_NAME);
    // With a number of our own: somebody else may be placing one, too.
    let temporary = state_dir.join(format!(".{FILE_NAME}.{}.tmp", std::process::id()));
    let error = |source| HoldError::Io { doing: "write", file: file.clone(), source };
    let written = serde_json::to_vec_pretty(&form)
        .map_err(io::Error::from)
        .and_then(|text| write_new(&temporary, &text))
        .and_then(|()| fs::rename(&temporary, &file));
    if let Err(source) = written {
        // Nobody reads it, and the first error is the one that matters.
        fs::remove_file(&temporary).ok();
        return Err(error(source));
    }
    sync_dir(state_dir).map_err(error)?;
    Ok(before)
}

/// Ends the hold, and returns what stood until now. Without one nothing happens. A directory that has its name is nobody's hold, and
/// may be somebody's: it gets another name.
///
/// If power fails before this has returned, the hold may still be there.
pub fn release(state_dir: &Path) -> Result<Standing, HoldError> {
    let before = read(state_dir);
    let file = state_dir.join(FILE_NAME);
    let error = |source| HoldError::Io { doing: "remove", file: file.clone(), source };
    match fs::remove_file(&file) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound && state_dir.is_dir() => return Ok(Standing::Free),
        Err(_) if is_dir(&file) => move_aside(state_dir, &file).map_err(error)?,
        removed => removed.map_err(error)?,
    }
    sync_dir(state_dir).map_err(error)?;
    Ok(before)
}

/// Not through a link: that can be removed.
fn is_dir(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok_and(|found| found.is_dir())
}

/// Gives a directory the first free name of `hold.json.1`, `hold.json.2` and so on.
fn move_aside(state_dir: &Path, dir: &Path) -> io::Result<()> {
    for number in 1..=u16::MAX {
        match renameat_with(CWD, dir, CWD, state_dir.join(format!("{FILE_NAME}.{number}")), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            moved => return Ok(moved?),
        }
    }
    Err(Errno::EXIST.into())
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    // Of a process that was killed here, and had the number that is now ours.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    // Root may place it; the user that runs `sync` wants to know why.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
