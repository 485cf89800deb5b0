//! The texts, as the agent reads them.
//!
//! Guarantees bounded memory, and that no read waits. Reads a fixed list of files that the kernel makes, and nothing else.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::{FILES, MAX_LINES, MAX_TEXT_BYTES, Piece, Texts, tells_of_the_card};

/// What stands for a `*` at the most.
const MAX_MATCHES: usize = 64;
/// The kernel gives one record at a time, none longer than this.
const RECORD_BYTES: usize = 8 * 1024;
/// Longer than any log of a kernel, in records.
const MAX_RECORDS: usize = 500_000;

/// Reads all that can be read below `root`, which is `/` but in tests.
pub(crate) fn collect(root: &Path) -> Texts {
    let files = FILES.iter().filter_map(|(piece, pattern)| Some((*piece, contents(&matching(root, pattern))?)));
    let log = log(&root.join("dev/kmsg")).map(|text| (Piece::Log, text));
    Texts(files.chain(log).collect())
}

/// The beginnings of files, put together; none where the first can't be opened.
fn contents(files: &[PathBuf]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for (at, file) in files.iter().enumerate() {
        match open(file) {
            Ok(file) => {
                let room = (MAX_TEXT_BYTES - text.len()) as u64;
                // A sensor that can't be read just now leaves its text empty.
                file.take(room).read_to_end(&mut text).ok();
            }
            Err(_) if at == 0 => return None,
            Err(_) => {}
        }
    }
    text.retain(|&byte| byte != 0);
    (!files.is_empty()).then_some(text)
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The paths below `root` that a pattern stands for, in order.
fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut paths = vec![root.to_owned()];
    for component in pattern.split('/') {
        let Some((before, after)) = component.split_once('*') else {
            paths.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let matches = |name: &OsStr| {
            let name = name.as_bytes();
            let long_enough = name.len() >= before.len() + after.len() && name.first() != Some(&b'.');
            long_enough && name.starts_with(before.as_bytes()) && name.ends_with(after.as_bytes())
        };
        let entries = paths.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
        let mut matched: Vec<PathBuf> =
            entries.filter(|entry| matches(&entry.file_name())).map(|entry| entry.path()).take(MAX_MATCHES).collect();
        matched.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        paths = matched;
    }
    paths.retain(|path| path.exists());
    paths
}

/// The last lines of the kernel's log that tell of trouble with the card, as `dmesg` writes them. None where it may not be read.
fn log(kmsg: &Path) -> Option<Vec<u8>> {
    let mut file = open(kmsg).ok()?;
    let mut lines: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut buffer, mut rest) = (vec![0; RECORD_BYTES], Vec::new());
    for _ in 0..MAX_RECORDS {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => rest.extend_from_slice(&buffer[..bytes]),
            // What was next has been overwritten meanwhile; the one after it comes now.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => continue,
            // All of it was read; or nobody knows why not.
            Err(_) => break,
        }
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if let Some(line) = as_dmesg(&line)
                && tells_of_the_card(&line)
            {
                lines.push_back(line);
                if lines.len() > MAX_LINES {
                    lines.pop_front();
                }
            }
        }
        // No record goes on for so long.
        if rest.len() > RECORD_BYTES {
            rest.clear();
        }
    }
    let text: Vec<u8> = lines.into_iter().flatten().filter(|&byte| byte != 0).collect();
    Some(text[text.len().saturating_sub(MAX_TEXT_BYTES)..].to_vec())
}

/// `6,339,5140900,-;message` as `[    5.140900] message`. None for what only adds to a record.
fn as_dmesg(line: &[u8]) -> Option<Vec<u8>> {
    let at = line.iter().position(|&byte| byte == b';')?;
    let (head, message) = (std::str::from_utf8(&line[..at]).ok()?, &line[at + 1..]);
    let time: u64 = head.split(',').nth(2)?.parse().ok()?;
    let stamp = format!("[{:5}.{:06}] ", time / 1_000_000, time % 1_000_000);
    Some([stamp.as_bytes(), message].concat())
}
