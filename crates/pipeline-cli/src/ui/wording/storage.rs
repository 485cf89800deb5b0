//! What was found in the storage, in words: a verification, a catalog that was made anew.

use std::time::Duration;

use pipeline_core::event::{ArchiveFault, Fault, RebuildReport, RoundReport, VerifyReport};
use program::words::{bytes, count, duration};

/// The line of a catalog that was made anew.
pub fn rebuild_line(report: &RebuildReport) -> String {
    let RebuildReport { manifests, lines, files, bytes: size, problems } = report;
    let from = format!("{} of {}", count(*lines, "line"), count(*manifests, "manifest"));
    let problems = if *problems == 0 { "no problem".to_owned() } else { count(*problems, "problem") };
    format!("the catalog holds {} ({}) now, from {from}; {problems}", count(*files, "file"), bytes(*size))
}

/// So many files and bytes, as far as they are known.
pub fn amount(files: Option<u64>, size: Option<u64>) -> String {
    match (files, size) {
        (Some(files), Some(size)) => format!("{} ({})", count(files, "file"), bytes(size)),
        (Some(files), None) => count(files, "file"),
        (None, Some(size)) => format!("about {}", bytes(size)),
        (None, None) => "the storage".to_owned(),
    }
}

/// How something in the storage differs, in a word.
pub fn fault_word(fault: Fault) -> &'static str {
    match fault {
        Fault::Missing => "missing",
        Fault::Changed => "changed",
        Fault::Unreadable => "unreadable",
        Fault::Unknown => "unknown",
    }
}

/// What differs where, and who still has a copy.
pub fn fault_line(fault: &ArchiveFault) -> String {
    let ArchiveFault { fault, path, reason, device, source_path, on_device } = fault;
    let copy = match (device, source_path) {
        (Some(device), Some(path)) if *on_device => format!("; {device} still has it: {path}"),
        (Some(device), _) => format!("; it came from {device}, which no longer has it"),
        (None, _) => String::new(),
    };
    format!("{} {path}: {reason}{copy}", fault_word(*fault))
}

/// What a verification has shown.
pub fn verify_lines(report: &VerifyReport) -> Vec<String> {
    let time = duration(Duration::from_millis(report.elapsed_ms));
    let (read, size) = (count(report.files, "file"), bytes(report.bytes));
    let how = if report.stopped { "stopped after" } else { "in" };
    let mut lines = vec![format!("as the catalog says: {read} ({size}), {how} {time}")];
    let faults = [
        (report.missing, Fault::Missing),
        (report.changed, Fault::Changed),
        (report.unreadable, Fault::Unreadable),
        (report.unknown, Fault::Unknown),
    ];
    let faults: Vec<String> =
        faults.iter().filter(|(n, _)| *n > 0).map(|(n, fault)| format!("{n} {}", fault_word(*fault))).collect();
    lines.push(match (faults.is_empty(), report.on_device) {
        (true, _) => "not so: nothing".to_owned(),
        (false, 0) => format!("not so: {}", faults.join(", ")),
        (false, copies) => format!("not so: {}; of {copies} the device still has a copy", faults.join(", ")),
    });
    lines.extend(report.round.map(|RoundReport { finished, left_files, left_bytes }| match finished {
        true => "this round is complete: every file was read once".to_owned(),
        false => format!("left in this round: {} ({})", count(left_files, "file"), bytes(left_bytes)),
    }));
    lines
}
