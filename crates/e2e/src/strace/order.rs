//! What must have returned before a file may be unlinked on its Pi, judged from traces (invariants I1, I3 and I6).
//!
//! ```text
//! sync of the staged file → (read back) → rename → sync of its directory, and of the parent of each new directory
//!   → row written to the catalog's log → commit record → sync of the log → marker read → unlink on the Pi
//! ```
//!
//! Each step is looked for as a call of the collector on that very file, directory, row or log that was entered after the step
//! before had returned.

use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Arg, Call};

/// A file that was unlinked on a Pi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its path in the archive.
    pub path: Vec<u8>,
    /// When the call was entered.
    pub entered_ns: u64,
}

/// The files that a Pi's calls have unlinked below `source`; `device` begins their paths in the archive.
pub fn removals(calls: &[Call], device: &str, source: &Path) -> Vec<Removal> {
    let removal = |call: &Call| match call.args.as_slice() {
        [Arg::Descriptor(dir), Arg::Bytes(name), flags] if call.name == "unlinkat" && call.result == 0 => {
            let file = *flags == Arg::Other("0".into());
            let path = join(dir, name);
            let below = path.strip_prefix(source.as_os_str().as_bytes())?.strip_prefix(b"/")?;
            file.then(|| Removal { path: join(device.as_bytes(), below), entered_ns: call.entered_ns })
        }
        _ => None,
    };
    calls.iter().filter_map(removal).collect()
}

/// One thing that was done before a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub what: &'static str,
    /// Which call of the history.
    pub call: usize,
}

/// Everything that a collector did, in all its runs.
#[derive(Debug)]
pub struct History<'a> {
    calls: &'a [Call],
    storage: &'a [u8],
    marker: Vec<u8>,
    /// Calls on a path, by what it is to them: `fsync`, `read`, `open`, `write`.
    on: HashMap<(&'static str, Vec<u8>), Vec<usize>>,
    /// Renames by the new path, whether they succeeded or not.
    renames: HashMap<Vec<u8>, Vec<usize>>,
    /// Directories made.
    made: HashMap<Vec<u8>, Vec<usize>>,
    /// Writes to the catalog's log; the bytes as text, a character for each, which can be searched fast.
    log: Vec<(usize, String)>,
    log_path: Vec<u8>,
    /// Whether stored bytes must be read back before the rename.
    reads_back: bool,
}

impl<'a> History<'a> {
    /// Sorts the calls of a collector with this storage and state directory.
    pub fn new(calls: &'a [Call], storage: &'a Path, state_dir: &Path, reads_back: bool) -> History<'a> {
        let storage = storage.as_os_str().as_bytes();
        let log_path = join(state_dir.as_os_str().as_bytes(), b"catalog.db-wal");
        let marker = join(storage, b".pipeline/marker.json");
        let (on, renames, made, log) = (HashMap::new(), HashMap::new(), HashMap::new(), Vec::new());
        let mut history = History { calls, storage, marker, on, renames, made, log, log_path, reads_back };
        for (at, call) in calls.iter().enumerate() {
            history.sort(at, call);
        }
        history
    }

    fn sort(&mut self, at: usize, call: &Call) {
        let mut note = |what, path: &[u8]| self.on.entry((what, path.to_vec())).or_default().push(at);
        match (call.name.as_str(), call.args.as_slice()) {
            ("fsync" | "fdatasync", [Arg::Descriptor(path)]) if call.result == 0 => note("fsync", path),
            ("read", [Arg::Descriptor(path), ..]) if call.result >= 0 => note("read", path),
            ("write" | "pwrite64", [Arg::Descriptor(path), Arg::Bytes(bytes), ..]) if call.result >= 0 => {
                note("write", path);
                if *path == self.log_path {
                    self.log.push((at, text(bytes)));
                }
            }
            ("openat" | "openat2", _) => call.returned.iter().for_each(|path| note("open", path)),
            ("renameat2" | "renameat", [_, _, Arg::Descriptor(dir), Arg::Bytes(name), ..]) => {
                self.renames.entry(join(dir, name)).or_default().push(at);
            }
            ("mkdirat", [Arg::Descriptor(dir), Arg::Bytes(name), ..]) if call.result == 0 => {
                self.made.entry(join(dir, name)).or_default().push(at);
            }
            _ => {}
        }
    }

    /// The steps that allow a removal, in their order; or which one is missing.
    pub fn prove(&self, removal: &Removal) -> Result<Vec<Step>, String> {
        let target = join(self.storage, &removal.path);
        let end = removal.entered_ns;
        let mut steps = Vec::new();
        let placed = self.placed(&target, end, &mut steps)?;

        let dir = parent(&target);
        let mut names = vec![("sync of the directory", placed, dir.to_vec())];
        let mut above = dir;
        while above.len() > self.storage.len() {
            let made = self.made.get(above).into_iter().flatten();
            names.extend(made.map(|&made| ("sync of the parent of a new directory", made, parent(above).to_vec())));
            above = parent(above);
        }
        let mut durable = 0;
        for (what, after, dir) in names {
            // A directory that was removed and made again later is nothing that this file waits for.
            if after == placed || self.calls[after].left_ns <= end {
                let step = self.first(what, "fsync", &dir, self.calls[after].left_ns..end)?;
                durable = durable.max(self.calls[step.call].left_ns);
                steps.push(step);
            }
        }

        let committed = self.committed(&removal.path, durable..end, &mut steps)?;
        let opened = self.first("marker opened", "open", &self.marker, committed..end)?;
        steps.push(opened);
        steps.push(self.first("marker read", "read", &self.marker, self.calls[opened.call].left_ns..end)?);
        Ok(steps)
    }

    /// How the file got its name, whole: renamed, or found there and read. Returns the last call of it.
    fn placed(&self, target: &[u8], end: u64, steps: &mut Vec<Step>) -> Result<usize, String> {
        let renames = self.renames.get(target).map(Vec::as_slice).unwrap_or_default();
        let rename = match renames.iter().filter(|&&at| self.calls[at].result == 0).collect::<Vec<_>>().as_slice() {
            [] => return self.adopted(target, end, steps),
            [rename] => **rename,
            _ => return Err("it was renamed twice".into()),
        };
        let call = &self.calls[rename];
        let [Arg::Descriptor(dir), Arg::Bytes(name), ..] = call.args.as_slice() else {
            return Err("a rename from nowhere".into());
        };
        if !dir.starts_with(&join(self.storage, b".pipeline/staging/")) {
            return Err("it was not renamed from staging".into());
        }
        let staged = join(dir, name);
        // The last one: whatever was written before it is on disk.
        let sync = self.last("sync of the staged file", "fsync", &staged, 0..call.entered_ns)?;
        let synced = self.calls[sync.call].left_ns;
        steps.push(sync);
        let writes = self.on.get(&("write", staged.clone())).into_iter().flatten();
        if writes.clone().any(|&at| self.calls[at].left_ns > self.calls[sync.call].entered_ns) {
            return Err("the staged file was written after its sync".into());
        }
        if self.reads_back {
            let opened = self.first("staged file opened again", "open", &staged, synced..call.entered_ns)?;
            steps.push(opened);
            steps.push(self.read_to_its_end(&staged, self.calls[opened.call].left_ns..call.entered_ns)?);
        }
        steps.push(Step { what: "rename", call: rename });
        Ok(rename)
    }

    /// It had its name already: synced, then read to its end.
    fn adopted(&self, target: &[u8], end: u64, steps: &mut Vec<Step>) -> Result<usize, String> {
        let sync = self.first("sync of the adopted file", "fsync", target, 0..end)?;
        let read = self.read_to_its_end(target, self.calls[sync.call].left_ns..end)?;
        steps.extend([sync, read]);
        Ok(read.call)
    }

    /// The row of the file is on disk in the catalog's log, and so is the end of its transaction. Returns when.
    fn committed(&self, path: &[u8], span: Range<u64>, steps: &mut Vec<Step>) -> Result<u64, String> {
        let path = text(path);
        // A leaf of a table, as its first byte says. Those of the index over the paths hold the path too.
        let holds = |bytes: &str| bytes.starts_with('\u{d}') && bytes.contains(&path);
        let (row, _) = self.log.iter().find(|(_, bytes)| holds(bytes)).ok_or("its row was never written")?;
        if self.calls[*row].entered_ns < span.start {
            return Err("its row was written before its name was on disk".into());
        }
        steps.push(Step { what: "row written", call: *row });
        // A frame is a header of 24 bytes, whose second number is not 0 in the last frame of a transaction, and a page. The row
        // may be in that last frame: its header comes just before the row.
        let thread = self.calls[*row].thread;
        let writes: Vec<_> = self.log.iter().filter(|(at, _)| self.calls[*at].thread == thread).collect();
        let page = writes.iter().position(|(at, _)| at == row).unwrap_or_default();
        let commits = |(_, bytes): &&&(usize, String)| {
            let mut bytes = bytes.chars();
            bytes.clone().count() == 24 && bytes.by_ref().skip(4).take(4).any(|byte| byte != '\0')
        };
        let from = page.saturating_sub(1);
        let header = writes[from..].iter().position(|write| commits(&write)).ok_or("its row was never committed")?;
        let (last, _) = writes.get(from + header + 1).ok_or("the commit was never whole")?;
        if self.calls[*row].left_ns > self.calls[*last].left_ns {
            return Err("its row was written after the commit".into());
        }
        steps.push(Step { what: "commit written", call: *last });
        let sync =
            self.first("sync of the catalog's log", "fsync", &self.log_path, self.calls[*last].left_ns..span.end)?;
        steps.push(sync);
        Ok(self.calls[sync.call].left_ns)
    }

    fn read_to_its_end(&self, path: &[u8], span: Range<u64>) -> Result<Step, String> {
        let what = "read to its end";
        let mut ends = self.within("read", path, span).filter(|&at| self.calls[at].result == 0);
        ends.next().map(|call| Step { what, call }).ok_or_else(|| missing(what, path))
    }

    fn first(&self, what: &'static str, kind: &'static str, path: &[u8], span: Range<u64>) -> Result<Step, String> {
        let call = self.within(kind, path, span).next();
        call.map(|call| Step { what, call }).ok_or_else(|| missing(what, path))
    }

    fn last(&self, what: &'static str, kind: &'static str, path: &[u8], span: Range<u64>) -> Result<Step, String> {
        let call = self.within(kind, path, span).last();
        call.map(|call| Step { what, call }).ok_or_else(|| missing(what, path))
    }

    /// Calls that were entered and had returned within a span of time.
    fn within(&self, kind: &'static str, path: &[u8], span: Range<u64>) -> impl Iterator<Item = usize> {
        let calls = self.on.get(&(kind, path.to_vec())).into_iter().flatten().copied();
        calls.filter(move |&at| self.calls[at].entered_ns >= span.start && self.calls[at].left_ns <= span.end)
    }
}

fn missing(what: &str, path: &[u8]) -> String {
    format!("no {what} where it must be: {}", path.escape_ascii())
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [dir, b"/", name].concat()
}

fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or_default();
    &path[..end]
}
