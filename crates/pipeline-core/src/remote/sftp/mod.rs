//! A device without an agent: any stock `sshd`, and the tools that its shell finds.
//!
//! Two modes. *With a shell* that has `find`, `stat`, `sha256sum` and `xargs`: files have full identities, the device computes
//! digests itself, and a removal makes the agent's checks as far as a script can. *By SFTP alone* (a forced `internal-sftp`, a
//! shell without the tools): a file is its size and its time in seconds; so it is read again before it is removed.
//! [`caveats`](Remote::caveats) says in words what each lacks; `docs/delivery.md` says it at length.
//!
//! Guarantees in both: answers in the order of the requests; `Complete` is said only of content whose digest is that of the file
//! that was asked for; bounded waiting and memory, whatever the device does; nothing on the device is changed but by `remove` and
//! `prune`. Leaves to others how a channel to the device is opened.

mod abilities;
mod client;
mod contents;
mod examine;
mod lines;
mod list;
mod protocol;
mod removal;
pub(crate) mod shell;
mod walk;

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Answer, Link, Options, Remote, RemoteError, Scanned};
use crate::clock::now_ns;
use crate::digest::Hasher;
use crate::entry::{Entry, Prefix, Vitals};
use crate::health::{self, Texts};
use crate::path::RelPath;
use crate::receipt::Receipt;
use crate::wire::{FetchEnd, RemoveEnd};

use abilities::{caveats, disk, probe};
use client::Client;
use contents::{Contents, End, Guard, Next};
use examine::Examiner;
use lines::Script;
use protocol::{Reply, Request};
use shell::Tools;
use walk::below;

/// What a client says first to an SFTP server, and no shell minds.
#[cfg(feature = "ssh")]
pub(crate) fn greeting() -> Vec<u8> {
    protocol::hello()
}

/// Whether an answer to the [`greeting`] is that of an SFTP server, from its first bytes.
#[cfg(feature = "ssh")]
pub(crate) fn is_welcome(answer: &[u8]) -> bool {
    answer.first() == Some(&0)
}

/// A delta that is longer than this share of the file is not worth its time.
const WORTH: u64 = 2;
/// What the slowest device reads and compares in a second: it may be silent so long while it computes a delta.
const DELTA_BYTES_PER_SECOND: u64 = 2 << 20;
/// Pieces of a delta.
const PIECE_BYTES: usize = 64 * 1024;

/// Opens channels to one device, any number of them, over a connection that is there.
pub trait Channels: Send {
    /// To its SFTP server.
    fn sftp(&self) -> Result<Link, RemoteError>;

    /// To a command that its login shell runs. `NoChannel` where it runs none.
    fn exec(&self, command: &str) -> Result<Link, RemoteError>;
}

/// A device that is served without an agent.
pub struct SftpRemote {
    client: Client,
    channels: Box<dyn Channels>,
    options: Options,
    source: Vec<u8>,
    /// The source without links; or why there is none.
    place: Result<Vec<u8>, String>,
    tools: Option<Tools>,
    examiner: Option<Examiner>,
    contents: Contents,
    jobs: VecDeque<Job>,
    ready: VecDeque<Answered>,
    data: Vec<u8>,
    vitals: Vitals,
    /// None where nobody can ask it.
    clock_offset_ns: Option<i64>,
    caveats: Vec<String>,
}

/// What was asked and is not answered.
enum Job {
    Fetch(Fetch),
    Delta(Delta),
    Remove(Vec<(u32, Receipt)>),
    Prune(Vec<RelPath>, Duration),
}

struct Fetch {
    id: u32,
    entry: Entry,
    /// The last is what the collector holds; none of nothing.
    known: Vec<Prefix>,
    begun: bool,
    /// Its beginning is not what was known: nothing is read.
    differs: bool,
    hasher: Hasher,
}

struct Delta {
    id: u32,
    entry: Entry,
    signature: Vec<u8>,
    script: Option<Script>,
    /// It has not read all of the signature: an old program goes as soon as it has seen of which kind it is.
    refused: bool,
    bytes: u64,
}

/// What is answered, but for content.
enum Answered {
    Fetched(u32, FetchEnd),
    Removed(u32, RemoveEnd),
    Pruned(RelPath, bool),
}

/// What a step has led to.
enum Step {
    /// Content lies in `data`.
    Data,
    /// Look again.
    On,
}

impl SftpRemote {
    /// Greets the device's SFTP server and finds out what its shell can do.
    ///
    /// Errors: `NoSftp` where no such server answers, `NoChannel` where the device opens none for it.
    pub fn open(channels: Box<dyn Channels>, source: &Path, options: Options) -> Result<SftpRemote, RemoteError> {
        let mut client = Client::open(channels.sftp()?, &options)?;
        let source = source.as_os_str().as_bytes().to_vec();
        let round_trip = client.round_trip()?;
        let place = match client.call(&Request::RealPath(&source))? {
            Reply::Names(mut names) if names.len() == 1 => Ok(names.remove(0).0),
            Reply::Status(status, words) => Err(status.describe(&words)),
            _ => return Err(RemoteError::Protocol("its sftp server answered something else")),
        };
        let (tools, clock) = probe(&*channels, &source, &options)?;
        let on_the_way = i64::try_from(round_trip.as_nanos() / 2).unwrap_or(0);
        let offset = |(device_ns, heard_ns): (i64, i64)| device_ns.saturating_add(on_the_way).saturating_sub(heard_ns);
        let clock_offset_ns = clock.map(offset);
        let caveats = caveats(&tools, clock.is_some());
        let disk = disk(&mut client, place.as_deref().ok())?;
        let vitals = Vitals {
            clock_ns: now_ns().saturating_add(clock_offset_ns.unwrap_or(0)),
            total_bytes: disk.total_bytes,
            free_bytes: disk.free_bytes,
            total_files: disk.total_files,
            free_files: disk.free_files,
        };
        Ok(SftpRemote {
            client,
            channels,
            options,
            source,
            place,
            tools: tools.ok(),
            examiner: None,
            contents: Contents::new(round_trip),
            jobs: VecDeque::new(),
            ready: VecDeque::new(),
            data: Vec::new(),
            vitals,
            clock_offset_ns,
            caveats,
        })
    }

    fn script(&self, command: &str) -> Result<Script, RemoteError> {
        Script::new(self.channels.exec(command)?, &self.options)
    }

    /// The device's clock; ours where nobody can ask it.
    fn now_ns(&self) -> i64 {
        now_ns().saturating_add(self.clock_offset_ns.unwrap_or(0))
    }

    /// Has the device compute the digest of a file, where its shell can.
    fn examine(&mut self, entry: &Entry, known: &[Prefix]) -> Result<(), RemoteError> {
        let Some(tools) = self.tools else { return Ok(()) };
        let now_ns = self.now_ns();
        let examiner = match &mut self.examiner {
            Some(examiner) => examiner,
            none => {
                let link = self.channels.exec(&shell::examine(&self.source, tools))?;
                none.insert(Examiner::new(Script::new(link, &self.options)?))
            }
        };
        examiner.ask(entry, known, now_ns);
        Ok(())
    }

    /// Begins to read files that were asked for, as many as the link needs to stay full.
    fn read_ahead(&mut self) -> Result<(), RemoteError> {
        let Ok(place) = &self.place else { return Ok(()) };
        for (index, job) in self.jobs.iter_mut().enumerate() {
            let Job::Fetch(fetch) = job else { break };
            if fetch.begun || fetch.differs {
                continue;
            }
            if !self.contents.has_room() {
                break;
            }
            let size = fetch.entry.identity.size;
            let known = fetch.known.last().map_or(0, |known| known.bytes);
            let (start, guard) = match &mut self.examiner {
                None => (0, Some(Guard::of(&fetch.entry.identity))),
                Some(examiner) => match examiner.begins(index)? {
                    Some(true) => (known, None),
                    Some(false) => {
                        fetch.differs = true;
                        continue;
                    }
                    None if index > 0 => break,
                    None => {
                        fetch.differs = !examiner.wait_for_beginning()?;
                        if fetch.differs {
                            break;
                        }
                        (known, None)
                    }
                },
            };
            if known > size {
                fetch.differs = true;
                continue;
            }
            fetch.begun = true;
            self.contents.push(below(place, fetch.entry.path.as_bytes()), start, size, guard);
        }
        Ok(())
    }

    /// Goes on with the oldest request, which is a fetch.
    fn step_fetch(&mut self) -> Result<Step, RemoteError> {
        self.read_ahead()?;
        let Some(Job::Fetch(fetch)) = self.jobs.front_mut() else { return Ok(Step::On) };
        let next = match &self.place {
            Err(reason) => Next::End(End::Failed(reason.clone())),
            Ok(_) if fetch.differs => Next::End(End::Whole),
            Ok(_) => self.contents.next(&mut self.client)?,
        };
        let end = match next {
            Next::Data(data) => {
                // By SFTP alone the beginning must come over the link to be compared.
                let Some(rest) = fetch.take(&data, self.examiner.is_none()) else {
                    fetch.differs = true;
                    self.contents.leave(&mut self.client);
                    return Ok(Step::On);
                };
                self.data = rest;
                return Ok(if self.data.is_empty() { Step::On } else { Step::Data });
            }
            Next::End(end) => end,
        };
        let examined = self.examiner.as_mut().map(Examiner::wait_for_end).transpose()?;
        let Some(Job::Fetch(fetch)) = self.jobs.pop_front() else { return Ok(Step::On) };
        let id = fetch.id;
        self.ready.push_back(Answered::Fetched(id, fetch.end(end, examined)));
        Ok(Step::On)
    }

    /// Goes on with the oldest request, which is a delta.
    fn step_delta(&mut self) -> Result<Step, RemoteError> {
        let (Some(Job::Delta(delta)), Some(tools)) = (self.jobs.front_mut(), self.tools) else { return Ok(Step::On) };
        let size = delta.entry.identity.size;
        let script = match &mut delta.script {
            Some(script) => script,
            none => {
                let path = delta.entry.path.as_bytes();
                let link = self.channels.exec(&shell::delta(&self.source, tools, path.len()))?;
                let mut script = Script::new(link, &self.options)?;
                script.be_patient(Duration::from_secs(size / DELTA_BYTES_PER_SECOND));
                script.give(path)?;
                delta.refused = !script.takes(&std::mem::take(&mut delta.signature))?;
                script.end_input();
                none.insert(script)
            }
        };
        self.data.resize(PIECE_BYTES, 0);
        let bytes = if delta.refused { 0 } else { script.read(&mut self.data)? };
        delta.bytes += bytes as u64;
        let pays = delta.bytes <= size / WORTH;
        if bytes > 0 && pays {
            self.data.truncate(bytes);
            return Ok(Step::Data);
        }
        // A program that fails has its reasons: an old one does not know every kind of signature.
        let whole = pays && !delta.refused && script.succeeded();
        let examined = self.examiner.as_mut().map(Examiner::wait_for_end).transpose()?;
        let Some(Job::Delta(delta)) = self.jobs.pop_front() else { return Ok(Step::On) };
        let end = match examined {
            Some(examine::End::Read(digest)) if whole => FetchEnd::Complete(digest),
            Some(examine::End::Read(_)) | None => FetchEnd::Differs,
            Some(end) => end.into(),
        };
        self.ready.push_back(Answered::Fetched(delta.id, end));
        Ok(Step::On)
    }
}

impl Remote for SftpRemote {
    fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    fn clock_offset_ns(&self) -> Option<i64> {
        self.clock_offset_ns
    }

    fn until(&self) -> Instant {
        self.options.until
    }

    fn agent(&self) -> Option<&str> {
        None
    }

    fn health(&mut self) -> Result<Texts, RemoteError> {
        if self.tools.is_none() {
            return Ok(Texts::default());
        }
        let mut script = self.script(&shell::health(&self.source))?;
        health::read(|| script.record(0))?.ok_or(RemoteError::Protocol("its shell answered something else"))
    }

    fn busy(&self) -> &'static str {
        match (self.tools, self.clock_offset_ns) {
            (Some(_), _) => "open for writing: kept",
            (None, Some(_)) => removal::YOUNG,
            (None, None) => removal::UNWATCHED,
        }
    }

    fn scan(&mut self, each: &mut dyn FnMut(Scanned) -> Result<(), RemoteError>) -> Result<(), RemoteError> {
        if let Some(tools) = self.tools {
            return list::read(&mut self.script(&shell::list(&self.source, tools))?, each);
        }
        self.contents.settle(&mut self.client)?;
        match &self.place {
            Ok(place) => walk::walk(&mut self.client, place, each),
            Err(reason) => each(Scanned::Unreadable(None, reason.clone())),
        }
    }

    fn fetch(&mut self, id: u32, entry: &Entry, known: &[Prefix]) -> Result<(), RemoteError> {
        // A beginning of nothing is every file's.
        let known: Vec<Prefix> = known.iter().copied().filter(|known| known.bytes > 0).collect();
        self.examine(entry, &known)?;
        let entry = entry.clone();
        self.jobs.push_back(Job::Fetch(Fetch {
            id,
            entry,
            known,
            begun: false,
            differs: false,
            hasher: Hasher::new(),
        }));
        Ok(())
    }

    fn delta(&mut self, id: u32, entry: &Entry, signature: &[u8]) -> Result<(), RemoteError> {
        self.examine(entry, &[])?;
        let (entry, signature) = (entry.clone(), signature.to_vec());
        self.jobs.push_back(Job::Delta(Delta { id, entry, signature, script: None, refused: false, bytes: 0 }));
        Ok(())
    }

    fn can_delta(&self) -> bool {
        self.tools.is_some_and(|tools| tools.rdiff)
    }

    fn caveats(&self) -> &[String] {
        &self.caveats
    }

    fn remove(&mut self, receipts: Vec<(u32, Receipt)>) -> Result<(), RemoteError> {
        self.jobs.push_back(Job::Remove(receipts));
        Ok(())
    }

    fn prune(&mut self, dirs: Vec<RelPath>, quiet: Duration) -> Result<(), RemoteError> {
        self.jobs.push_back(Job::Prune(dirs, quiet));
        Ok(())
    }

    fn answer(&mut self) -> Result<Answer<'_>, RemoteError> {
        loop {
            if let Some(answered) = self.ready.pop_front() {
                return Ok(match answered {
                    Answered::Fetched(id, end) => Answer::Fetched(id, end),
                    Answered::Removed(id, end) => Answer::Removed(id, end),
                    Answered::Pruned(path, removed) => Answer::Pruned(path, removed),
                });
            }
            let step = match self.jobs.front() {
                Some(Job::Fetch(_)) => self.step_fetch()?,
                Some(Job::Delta(_)) => self.step_delta()?,
                Some(Job::Remove(_) | Job::Prune(..)) => self.step_removal()?,
                None => return Err(RemoteError::Protocol("an answer was waited for that nobody asked for")),
            };
            if let Step::Data = step {
                return Ok(Answer::Data(&self.data));
            }
        }
    }
}

impl Fetch {
    /// Takes content that came; what of it is to be passed on. The beginning that is known is held back, where it comes at all,
    /// and compared once it is there; none where it is another.
    fn take(&mut self, data: &[u8], with_beginning: bool) -> Option<Vec<u8>> {
        let mut rest = data;
        for known in self.known.iter().filter(|_| with_beginning) {
            let left = usize::try_from(known.bytes.saturating_sub(self.hasher.bytes())).unwrap_or(usize::MAX);
            let (held, after) = rest.split_at(left.min(rest.len()));
            self.hasher.update(held);
            let compared = !held.is_empty() && self.hasher.bytes() == known.bytes;
            if compared && self.hasher.clone().finish().0 != known.digest {
                return None;
            }
            rest = after;
        }
        self.hasher.update(rest);
        Some(rest.to_vec())
    }

    /// How it ended, by what was read and by what the device's shell said of it.
    fn end(self, end: End, examined: Option<examine::End>) -> FetchEnd {
        let read = self.hasher.finish().0;
        match (end, examined) {
            (End::Whole, Some(examine::End::Read(digest))) if !self.known.is_empty() || read == digest => {
                FetchEnd::Complete(digest)
            }
            // What we read is not what the device read while it was the right file: it has changed since.
            (End::Whole, Some(examine::End::Read(_))) => FetchEnd::Changed,
            (end, Some(examine::End::Read(_))) => end.into(),
            (_, Some(examined)) => examined.into(),
            (_, None) if self.differs => FetchEnd::Differs,
            (End::Whole, None) => FetchEnd::Complete(read),
            (end, None) => end.into(),
        }
    }
}

impl From<End> for FetchEnd {
    fn from(end: End) -> FetchEnd {
        match end {
            End::Whole | End::Changed => FetchEnd::Changed,
            End::Gone => FetchEnd::Gone,
            End::Failed(reason) => FetchEnd::Failed(reason),
        }
    }
}

impl From<examine::End> for FetchEnd {
    fn from(end: examine::End) -> FetchEnd {
        match end {
            examine::End::Read(digest) => FetchEnd::Complete(digest),
            examine::End::Differs => FetchEnd::Differs,
            examine::End::Changed => FetchEnd::Changed,
            examine::End::Gone => FetchEnd::Gone,
            examine::End::Failed(reason) => FetchEnd::Failed(reason),
        }
    }
}

#[cfg(test)]
mod tests;
