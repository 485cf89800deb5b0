//! strace's text to calls.
//!
//! Reads what `strace -f -y -xx --syscall-times` writes: every string in hex, so that no name of a file can be mistaken for
//! strace's own punctuation.

use std::collections::HashMap;
use std::fmt::Display;

use super::{Arg, Call};

/// The calls of a trace that returned, in the order in which they were entered. Calls that never returned, and those that strace
/// itself shortened, are left out.
///
/// # Panics
/// At a line that strace does not write.
pub fn parse(trace: &str) -> Vec<Call> {
    let mut unfinished: HashMap<u32, (u64, String)> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let bad = |why: &dyn Display| -> ! { panic!("{why}: {line}") };
        // strace pads the number of a process.
        let Some((thread, rest)) = line.split_once(' ') else { bad(&"no process") };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else { bad(&"no time") };
        let (Ok(thread), Some(time)) = (thread.parse(), nanoseconds(time)) else { bad(&"no number") };
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        let (entered_ns, whole) = if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (time, begun.to_owned()));
            continue;
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, end)) = resumed.split_once(" resumed>") else { bad(&"not resumed") };
            let Some((entered, begun)) = unfinished.remove(&thread) else { bad(&"never begun") };
            (entered, begun + end)
        } else {
            (time, rest.to_owned())
        };
        match call(thread, entered_ns, &whole) {
            Ok(call) => calls.extend(call),
            Err(why) => bad(&why),
        }
    }
    calls.sort_by_key(|call: &Call| call.entered_ns);
    calls
}

/// `name(args) = result <seconds>`; none where it did not return.
fn call(thread: u32, entered_ns: u64, text: &str) -> Result<Option<Call>, &'static str> {
    if text.trim_end().ends_with("= ?") {
        return Ok(None);
    }
    let (name, rest) = text.split_once('(').ok_or("no arguments")?;
    let (rest, took) = match rest.rsplit_once(" <") {
        Some((rest, took)) => (rest, took.strip_suffix('>').and_then(nanoseconds)),
        None => (rest, None),
    };
    let (args, result) = rest.rsplit_once(" = ").ok_or("no result")?;
    let args = args.trim_end().strip_suffix(')').ok_or("no end of the arguments")?;
    let args = args.split(", ").map(arg).collect::<Result<Vec<_>, _>>()?;
    let (number, path) = match result.split_once('<') {
        Some((number, path)) => (number, Some(unescaped(path.strip_suffix('>').ok_or("no end of a path")?)?)),
        None => (result.split(' ').next().unwrap_or(result), None),
    };
    let result = number.parse().map_err(|_| "no number as the result")?;
    let left_ns = entered_ns + took.ok_or("no duration")?;
    Ok(Some(Call { thread, name: name.into(), args, result, returned: path, entered_ns, left_ns }))
}

fn arg(text: &str) -> Result<Arg, &'static str> {
    if let Some(string) = text.strip_prefix('"') {
        // Three dots follow where strace has shortened it.
        let string = string.trim_end_matches("...").strip_suffix('"').ok_or("no end of a string")?;
        return unescaped(string).map(Arg::Bytes);
    }
    // So it marks a file that has lost its name since it was opened.
    match text.trim_end_matches("(deleted)").strip_suffix('>').and_then(|text| text.split_once('<')) {
        Some((_, path)) => unescaped(path).map(Arg::Descriptor),
        None => Ok(Arg::Other(text.into())),
    }
}

/// `\x` and two digits for each byte. Anything else stands for itself.
fn unescaped(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let digits = after.strip_prefix(b"x").and_then(|digits| digits.get(..2)).ok_or("no hex digits")?;
        let digits = std::str::from_utf8(digits).map_err(|_| "no hex digits")?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| "no hex digits")?);
        rest = &after[3..];
    }
    Ok(bytes)
}

/// Seconds with nine decimals.
fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    let fraction: u64 = (fraction.len() == 9).then(|| fraction.parse().ok()).flatten()?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + fraction)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_two_threads_interleave() {
        let trace = "\
7 1795304836.220138504 fsync(4<\\x2f\\x61> <unfinished ...>\n\
8     1795304836.220138600 openat2(3<\\x2f>, \"\\x61\\x0a\\x2c\\x20\", {flags=O_RDONLY, resolve=RESOLVE_BENEATH}, 24) = 5<\\x2f\\x61> <0.000000010>\n\
7 1795304836.220139000 <... fsync resumed>) = -1 EIO (Input/output error) <0.000000496>\n\
8 1795304836.230000000 --- SIGCHLD {si_signo=SIGCHLD} ---\n\
8 1795304836.230000001 read(5<\\x2f\\x61>,  <unfinished ...>) = ?\n\
8 1795304836.230000002 +++ killed by SIGKILL +++\n";
        let calls = parse(trace);
        assert_eq!(calls.len(), 2);
        let fsync = &calls[0];
        assert_eq!((fsync.name.as_str(), fsync.thread, fsync.result), ("fsync", 7, -1));
        assert_eq!(fsync.args, [Arg::Descriptor(b"/a".to_vec())]);
        assert_eq!((fsync.entered_ns, fsync.left_ns), (1_795_304_836_220_138_504, 1_795_304_836_220_139_000));
        let open = &calls[1];
        assert_eq!(open.args[1], Arg::Bytes(b"a\n, ".to_vec()));
        assert_eq!((open.result, open.returned.as_deref()), (5, Some(b"/a".as_slice())));
    }

    #[test]
    #[should_panic(expected = "never begun")]
    fn what_strace_does_not_write_is_no_trace() {
        parse("7 1795304836.220139000 <... fsync resumed>) = 0 <0.000000496>\n");
    }
}
