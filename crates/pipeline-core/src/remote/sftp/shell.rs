//! The programs that a device's shell runs for us where there is no agent, and how they are handed over.
//!
//! They must work with any POSIX `sh` (dash, busybox), with GNU's and busybox's `find`, `stat` and `xargs`, behind any login
//! shell. File names reach them as NUL lists on stdin alone, never on a command line. Each changes to the source first and
//! names files relative to it, so that no name is too long and none looks like an option.
//!
//! What a file is, they say in one form: `DEV INO SIZE SECONDS.NANOSECONDS SECONDS.NANOSECONDS`, modified and changed.

use crate::entry::Identity;
use crate::shell::bare;

pub(crate) use crate::shell::{assign, in_sh};

/// The line that comes before every answer, whatever start-up files have printed before.
pub(super) const MARK: &str = "=pipeline=";

/// How the device's tools say what a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stat {
    /// GNU: in our form at once.
    Gnu,
    /// busybox, and GNU of old: whole seconds, and the times in words that have the rest.
    Words,
}

/// What a device's shell can do for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tools {
    pub(super) stat: Stat,
    /// `find` prints what we want by itself.
    pub(super) find_prints: bool,
    /// librsync's program is there.
    pub(super) rdiff: bool,
}

/// A command for the device: `script` with the source's path in `$r`. `each` is what it runs for some files at a time, in a
/// shell of its own.
fn command(root: &[u8], stat: Stat, script: &str, each: &str) -> String {
    let stat = match stat {
        Stat::Gnu => include_str!("scripts/stat_gnu.sh"),
        Stat::Words => include_str!("scripts/stat_words.sh"),
    };
    let prelude = bare(&[include_str!("scripts/prelude.sh"), stat].concat());
    let (script, each) = (bare(script), bare(each));
    let parts = [("r", root), ("P", prelude.as_bytes()), ("I", each.as_bytes()), ("S", script.as_bytes())];
    let assigned = parts.map(|(name, value)| assign(name, value)).join("; ");
    in_sh(&format!("LC_ALL=C; TZ=UTC0; {assigned}; export LC_ALL TZ r P I; echo {MARK}; eval \"$P\"; eval \"$S\""))
}

/// Finds out what the device can do. Answers one line: `probe`, then words `name=value`, the last of them the clock.
pub(super) fn probe(root: &[u8]) -> String {
    command(root, Stat::Gnu, include_str!("scripts/probe.sh"), "")
}

/// Lists the source. Answers records of two fields, each ended by NUL: what it is, and where, relative to the source.
///
/// What it is: a letter as `find` has it (`f`, `d`, `l`, other; `u` for what can't be looked at), and what our form says. The
/// source itself comes first, with an empty path, and each directory before what is in it; last is `E STATUS` and an empty path.
pub(super) fn list(root: &[u8], tools: Tools) -> String {
    if tools.find_prints {
        return command(root, tools.stat, include_str!("scripts/list_find.sh"), "");
    }
    command(root, tools.stat, include_str!("scripts/list_stat.sh"), include_str!("scripts/list_stat_each.sh"))
}

/// Looks at files as long as it is asked, one after the other, each named by three fields on stdin that end with NUL: the
/// second of the clock to wait for (0: none), the beginnings that are known (bytes and digest of each, in words), the path.
///
/// Answers lines, each with a letter: `w` works; `p 1` begins as was said, `p 0` does not (and that was all);
/// `e BEFORE;DIGEST;AFTER` was read; `g` gone; `c` no regular file; `f WORDS` could not be read.
pub(super) fn examine(root: &[u8], tools: Tools) -> String {
    command(root, tools.stat, include_str!("scripts/examine.sh"), include_str!("scripts/examine_each.sh"))
}

/// Removes files, each named by two fields on stdin that end with NUL: what it must be, and its path.
///
/// Answers a line for each: `r` removed, `g` gone before, `c` another file, `b` open for writing, `u` of another user,
/// `n` nobody's open files can be seen, `f WORDS` could not be removed.
pub(super) fn remove(root: &[u8], tools: Tools) -> String {
    command(root, tools.stat, include_str!("scripts/remove.sh"), include_str!("scripts/remove_each.sh"))
}

/// Says how the device is, in records that [`crate::health::read`] understands.
pub(super) fn health(root: &[u8]) -> String {
    command(root, Stat::Gnu, &format!("h=/\n{}", crate::health::script()), "")
}

/// Computes a delta. stdin: a path of so many bytes, then the signature; stdout: the delta.
pub(super) fn delta(root: &[u8], tools: Tools, path_bytes: usize) -> String {
    let script = format!("n={path_bytes}\n{}", include_str!("scripts/delta.sh"));
    command(root, tools.stat, &script, "")
}

/// What [`probe`] said: the tools, where they are enough, else what is missing; and the clock, nanoseconds since 1970.
pub(super) fn read_probe(line: &str) -> Option<(Result<Tools, String>, i64)> {
    let words: Vec<(&str, &str)> = line.strip_prefix("probe ")?.split(' ').filter_map(|w| w.split_once('=')).collect();
    let value = |name: &str| words.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    let lists = words.contains(&("find", "prints")) || words.contains(&("find", "lists"));
    let needed = [
        ("a find that can list files", lists),
        ("a stat that says times in full", value("stat").is_some()),
        ("sha256sum", value("sha256sum").is_some()),
        ("xargs -0", value("xargs").is_some()),
        ("head -c", value("head").is_some()),
        ("/proc", value("proc").is_some()),
    ];
    let missing: Vec<&str> = needed.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    let tools = Tools {
        stat: if value("stat") == Some("gnu") { Stat::Gnu } else { Stat::Words },
        find_prints: words.contains(&("find", "prints")),
        rdiff: value("rdiff").is_some(),
    };
    let tools = if missing.is_empty() { Ok(tools) } else { Err(missing.join(", ")) };
    Some((tools, value("clock")?.parse().ok()?))
}

/// What a file must be, as the scripts say it. None for a time before 1970, which tools write in different ways.
pub(super) fn say(identity: &Identity) -> Option<String> {
    let time = |ns: i64| (ns >= 0).then(|| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000));
    let Identity { dev, ino, size, mtime_ns, ctime_ns } = *identity;
    Some(format!("{dev} {ino} {size} {} {}", time(mtime_ns)?, time(ctime_ns)?))
}

/// What a script said that a file is.
pub(super) fn read(words: &str) -> Option<Identity> {
    let mut words = words.split_ascii_whitespace();
    let mut number = || words.next()?.parse().ok();
    let (dev, ino, size) = (number()?, number()?, number()?);
    let mut time = || nanoseconds(words.next()?);
    let (mtime_ns, ctime_ns) = (time()?, time()?);
    Some(Identity { dev, ino, size, mtime_ns, ctime_ns })
}

/// `1795312809.804175812`; `find` adds a tenth digit.
fn nanoseconds(time: &str) -> Option<i64> {
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let mut digits = String::from(fraction.get(..fraction.len().min(9))?);
    while digits.len() < 9 {
        digits.push('0');
    }
    let fraction: i64 = digits.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}
