//! The collector's half of the agent protocol: requests out, answers in.
//!
//! Guarantees that waiting is bounded (silence ends with an error, a wish to stop is seen at once) and that whatever the
//! agent sends costs bounded memory. Leaves to its caller to keep few enough requests unanswered: see `docs/wire.md`.

use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::bounds::{Tally, words};
use super::link::{Broken, Input};
use super::{Answer, Remote, RemoteError, Scanned};
use crate::clock::now_ns;
use crate::entry::{Entry, Prefix, Vitals};
use crate::health::Texts;
use crate::path::RelPath;
use crate::receipt::Receipt;
use crate::wire::{
    FetchEnd, FileRef, FrameReader, FrameWriter, MAX_DATA_BYTES, MAX_FRAME_BYTES, MAX_REMOVALS, PROTOCOL, RemoveEnd,
    Reply, Request, WireError,
};

use super::link::{Link, Options};

/// Half a frame for each list of removals or directories: one message must fit a frame.
const MAX_LIST_BYTES: usize = MAX_FRAME_BYTES / 2;
/// What a [`FileRef`] takes on the wire besides its path, at most.
const FILE_REF_BYTES: usize = 64;

/// A device that runs the agent.
pub struct AgentRemote {
    writer: FrameWriter<UnixStream>,
    reader: FrameReader<Input>,
    broken: Broken,
    version: String,
    vitals: Vitals,
    clock_offset_ns: i64,
    until: Instant,
    /// The list of files was asked for, and nothing of it was read.
    listing: bool,
    stream: UnixStream,
    _guard: Box<dyn Send>,
}

impl AgentRemote {
    /// Greets the agent and opens `source` on the device, an absolute path.
    ///
    /// Errors: `NotStarted` with the device's own words where no agent answers, `Refused` with the agent's.
    pub fn open(link: Link, source: &Path, options: Options) -> Result<AgentRemote, RemoteError> {
        AgentRemote::greet(link, source, options, &[])
    }

    /// The same, and has the device list the source meanwhile, for who [scans](Remote::scan) it next: that is a round trip less.
    pub fn open_to_scan(link: Link, source: &Path, options: Options) -> Result<AgentRemote, RemoteError> {
        let mut remote = AgentRemote::greet(link, source, options, &[Request::Scan])?;
        remote.listing = true;
        Ok(remote)
    }

    /// Greets the agent, with what else is to be asked in the same breath.
    fn greet(link: Link, source: &Path, options: Options, ahead: &[Request]) -> Result<AgentRemote, RemoteError> {
        let io = |e| RemoteError::Broken(WireError::Io(e));
        let (broken, until) = (Broken::new(&options, link.errors), options.until);
        link.stream.set_write_timeout(Some(options.idle)).map_err(io)?;
        let input = Input::new(link.stream.try_clone().map_err(io)?, options).map_err(io)?;
        let mut writer = FrameWriter::plain(link.stream.try_clone().map_err(io)?);
        let mut reader = FrameReader::new(input);
        let sent = now_ns();
        let open = Request::Open { protocol: PROTOCOL, root: source.as_os_str().as_bytes().to_vec() };
        let mut requests = std::iter::once(&open).chain(ahead);
        requests.try_for_each(|request| writer.push(request)).map_err(RemoteError::Broken)?;
        let greeted = writer.flush().and_then(|()| reader.expect_magic());
        if let Err(error) = greeted {
            return Err(match broken.by(error) {
                RemoteError::Ended(words) => RemoteError::NotStarted(words),
                other => other,
            });
        }
        let (version, vitals) = match reader.next::<Reply<'_>>() {
            Ok(Some(Reply::Opened { version, vitals })) => (words(version), vitals),
            Ok(Some(Reply::Refused { reason })) => return Err(RemoteError::Refused(words(reason))),
            Ok(Some(_)) => return Err(RemoteError::Protocol("it did not greet")),
            Ok(None) => return Err(broken.by(WireError::Ended)),
            Err(error) => return Err(broken.by(error)),
        };
        let clock_offset_ns = vitals.clock_ns.saturating_sub(sent / 2 + now_ns() / 2);
        Ok(AgentRemote {
            writer,
            reader,
            broken,
            version,
            vitals,
            clock_offset_ns,
            until,
            listing: false,
            stream: link.stream,
            _guard: link.guard,
        })
    }

    fn push(&mut self, request: &Request) -> Result<(), RemoteError> {
        // Who asks for something else first does not want the list; its answers come all the same.
        self.pass_over_list()?;
        self.writer.push(request).map_err(|e| self.broken.by(e))
    }

    fn flush(&mut self) -> Result<(), RemoteError> {
        self.writer.flush().map_err(|e| self.broken.by(e))
    }

    /// Waits until an answer begins. What was asked is sent before anything is waited for.
    fn pass_over_working(&mut self) -> Result<(), RemoteError> {
        loop {
            if !self.reader.ready() && self.writer.pending_bytes() > 0 {
                self.flush()?;
            }
            match self.reader.skip(&Reply::Working) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err(self.broken.by(error)),
            }
        }
    }
}

impl AgentRemote {
    fn pass_over_list(&mut self) -> Result<(), RemoteError> {
        if std::mem::take(&mut self.listing) { self.listed(&mut |_| Ok(())) } else { Ok(()) }
    }

    /// Reads a list that was asked for.
    fn listed(&mut self, each: &mut dyn FnMut(Scanned) -> Result<(), RemoteError>) -> Result<(), RemoteError> {
        let mut tally = Tally::default();
        loop {
            self.pass_over_working()?;
            let item = match self.reader.next::<Reply<'_>>() {
                Ok(Some(Reply::Found(entry))) => Scanned::File(entry),
                Ok(Some(Reply::Other { path, kind })) => Scanned::Other(path, kind),
                Ok(Some(Reply::EmptyDir { path, mtime_ns })) => Scanned::EmptyDir(path, mtime_ns),
                Ok(Some(Reply::Unreadable { path, reason })) => Scanned::Unreadable(path, words(reason)),
                Ok(Some(Reply::Scanned { files })) if files == tally.files() => return Ok(()),
                Ok(Some(Reply::Scanned { .. })) => {
                    return Err(RemoteError::Protocol("its list of files is incomplete"));
                }
                Ok(Some(Reply::Refused { reason })) => return Err(RemoteError::Refused(words(reason))),
                Ok(Some(_)) => return Err(RemoteError::Protocol("it answered something else than a scan")),
                Ok(None) => return Err(self.broken.by(WireError::Ended)),
                Err(error) => return Err(self.broken.by(error)),
            };
            tally.count(&item)?;
            each(item)?;
        }
    }
}

impl Remote for AgentRemote {
    fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    fn clock_offset_ns(&self) -> Option<i64> {
        Some(self.clock_offset_ns)
    }

    fn until(&self) -> Instant {
        self.until
    }

    fn agent(&self) -> Option<&str> {
        Some(&self.version)
    }

    fn health(&mut self) -> Result<Texts, RemoteError> {
        self.push(&Request::Health)?;
        self.flush()?;
        self.pass_over_working()?;
        match self.reader.next::<Reply<'_>>() {
            Ok(Some(Reply::Health(texts))) => Ok(texts),
            Ok(Some(Reply::Refused { reason })) => Err(RemoteError::Refused(words(reason))),
            Ok(Some(_)) => Err(RemoteError::Protocol("it answered something else than how it is")),
            Ok(None) => Err(self.broken.by(WireError::Ended)),
            Err(error) => Err(self.broken.by(error)),
        }
    }

    fn scan(&mut self, each: &mut dyn FnMut(Scanned) -> Result<(), RemoteError>) -> Result<(), RemoteError> {
        if !std::mem::take(&mut self.listing) {
            self.push(&Request::Scan)?;
            self.flush()?;
        }
        self.listed(each)
    }

    fn fetch(&mut self, id: u32, entry: &Entry, known: &[Prefix]) -> Result<(), RemoteError> {
        self.push(&Request::Fetch { file: file(id, entry), known: known.to_vec() })
    }

    fn delta(&mut self, id: u32, entry: &Entry, signature: &[u8]) -> Result<(), RemoteError> {
        self.push(&Request::Delta { file: file(id, entry), signature_bytes: signature.len() as u64 })?;
        signature.chunks(MAX_DATA_BYTES).try_for_each(|piece| self.push(&Request::Signature(piece.to_vec())))
    }

    fn can_delta(&self) -> bool {
        true
    }

    fn caveats(&self) -> &[String] {
        &[]
    }

    fn remove(&mut self, receipts: Vec<(u32, Receipt)>) -> Result<(), RemoteError> {
        let mut list = Vec::new();
        let mut list_bytes = 0;
        for (id, receipt) in receipts {
            let file = FileRef { id, path: receipt.path().clone(), identity: *receipt.identity() };
            let bytes = file.path.as_bytes().len() + FILE_REF_BYTES;
            if !list.is_empty() && (list_bytes + bytes > MAX_LIST_BYTES || list.len() == MAX_REMOVALS) {
                self.push(&Request::Remove(std::mem::take(&mut list)))?;
                list_bytes = 0;
            }
            list_bytes += bytes;
            list.push(file);
        }
        if !list.is_empty() {
            self.push(&Request::Remove(list))?;
        }
        self.flush()
    }

    fn prune(&mut self, dirs: Vec<RelPath>, quiet: Duration) -> Result<(), RemoteError> {
        let quiet_ns = u64::try_from(quiet.as_nanos()).unwrap_or(u64::MAX);
        let mut list = Vec::new();
        let mut list_bytes = 0;
        for dir in dirs {
            let bytes = dir.as_bytes().len() + FILE_REF_BYTES;
            if !list.is_empty() && list_bytes + bytes > MAX_LIST_BYTES {
                self.push(&Request::Prune { dirs: std::mem::take(&mut list), quiet_ns })?;
                list_bytes = 0;
            }
            list_bytes += bytes;
            list.push(dir);
        }
        if !list.is_empty() {
            self.push(&Request::Prune { dirs: list, quiet_ns })?;
        }
        self.flush()
    }

    fn answer(&mut self) -> Result<Answer<'_>, RemoteError> {
        self.pass_over_working()?;
        match self.reader.next::<Reply<'_>>() {
            Ok(Some(Reply::Data(bytes))) => Ok(Answer::Data(bytes)),
            Ok(Some(Reply::Fetched { id, end: FetchEnd::Failed(reason) })) => {
                Ok(Answer::Fetched(id, FetchEnd::Failed(words(&reason))))
            }
            Ok(Some(Reply::Fetched { id, end })) => Ok(Answer::Fetched(id, end)),
            Ok(Some(Reply::Removed { id, end: RemoveEnd::Failed(reason) })) => {
                Ok(Answer::Removed(id, RemoveEnd::Failed(words(&reason))))
            }
            Ok(Some(Reply::Removed { id, end })) => Ok(Answer::Removed(id, end)),
            Ok(Some(Reply::Pruned { path, removed })) => Ok(Answer::Pruned(path, removed)),
            Ok(Some(Reply::Refused { reason })) => Err(RemoteError::Refused(words(reason))),
            Ok(Some(_)) => Err(RemoteError::Protocol("it answered a question that was not asked")),
            Ok(None) => Err(self.broken.by(WireError::Ended)),
            Err(error) => Err(self.broken.by(error)),
        }
    }
}

impl Drop for AgentRemote {
    fn drop(&mut self) {
        // Without this the agent and the lanes that carry it would wait for one another.
        self.stream.shutdown(Shutdown::Both).ok();
    }
}

fn file(id: u32, entry: &Entry) -> FileRef {
    FileRef { id, path: entry.path.clone(), identity: entry.identity }
}

#[cfg(test)]
mod tests;
