//! Contents of files by SFTP: many files, and many pieces of each, under way at once.
//!
//! Guarantees: pieces come out in order, and files in the order in which they were asked for; what is asked for and not yet taken
//! is bounded by the window. A *guarded* file is said to be whole only if its size and its time were the same before and after,
//! and its path leads to it without links; of any other, somebody else must say what it is.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::client::Client;
use super::protocol::{Attributes, Reply, Request, Status};
use crate::entry::Identity;
use crate::remote::RemoteError;

/// What every server gives at once.
const PIECE_BYTES: u32 = 32 * 1024;
/// Files that are open at once: enough to hide the round trips of small ones.
const MAX_OPEN: usize = 64;
/// What is under way at least and at most; between the two, as much as 200 Mbit/s carry in a round trip.
const MIN_WINDOW: usize = 1024 * 1024;
const MAX_WINDOW: usize = 8 * 1024 * 1024;
const BYTES_PER_MILLISECOND: u128 = 25_000;

/// What a guarded file must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guard {
    pub(super) size: u64,
    pub(super) mtime_seconds: u32,
}

impl Guard {
    /// As the listing by SFTP had it.
    pub(super) fn of(identity: &Identity) -> Guard {
        let seconds = u32::try_from(identity.mtime_ns / 1_000_000_000).unwrap_or(0);
        Guard { size: identity.size, mtime_seconds: seconds }
    }

    pub(super) fn holds(self, attributes: &Attributes) -> bool {
        attributes.is_file() && attributes.size == Some(self.size) && attributes.mtime == Some(self.mtime_seconds)
    }
}

/// The next of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Data(Vec<u8>),
    End(End),
}

/// How the reading of a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All that was asked for came.
    Whole,
    /// It is another file, or shorter.
    Changed,
    Gone,
    Failed(String),
}

impl End {
    fn of(status: Status, words: &str) -> End {
        match status {
            Status::NoSuchFile => End::Gone,
            status => End::Failed(status.describe(words)),
        }
    }
}

/// All that is being read.
pub(super) struct Contents {
    window: usize,
    readings: VecDeque<Reading>,
    /// Whom the answer to a request is for.
    routes: HashMap<u32, Route>,
    answers: HashMap<u32, Reply>,
    next_key: u64,
    asked_bytes: usize,
}

#[derive(Clone, Copy)]
enum Route {
    /// What was opened for this reading.
    Open(u64),
    /// The next thing that this reading waits for.
    Part(u64),
    /// Somebody will ask for it.
    Kept,
    /// Nobody.
    Ignored,
}

/// A file that is being read.
struct Reading {
    key: u64,
    path: Vec<u8>,
    /// What has not been asked for yet.
    next: u64,
    end: u64,
    guard: Option<Guard>,
    handle: Handle,
    /// What was asked for and not taken, in order.
    parts: VecDeque<Part>,
    failed: Option<End>,
    /// The last of the parts has been asked for.
    complete: bool,
}

enum Handle {
    Closed,
    Opening,
    Open(Vec<u8>),
}

struct Part {
    request: u32,
    kind: Kind,
    reply: Option<Reply>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Where the path leads.
    RealPath,
    /// What it is: the open file, or the path.
    Attributes,
    Data {
        offset: u64,
        bytes: u32,
    },
}

impl Contents {
    pub(super) fn new(round_trip: Duration) -> Contents {
        let bytes = round_trip.as_millis().saturating_mul(BYTES_PER_MILLISECOND);
        Contents {
            window: usize::try_from(bytes).unwrap_or(usize::MAX).clamp(MIN_WINDOW, MAX_WINDOW),
            readings: VecDeque::new(),
            routes: HashMap::new(),
            answers: HashMap::new(),
            next_key: 0,
            asked_bytes: 0,
        }
    }

    /// Whether one more file would be begun at once.
    pub(super) fn has_room(&self) -> bool {
        self.readings.len() < MAX_OPEN && self.asked_bytes < self.window
    }

    /// Reads one more file, after all others, from byte `start` to byte `end`.
    pub(super) fn push(&mut self, path: Vec<u8>, start: u64, end: u64, guard: Option<Guard>) {
        self.next_key += 1;
        self.readings.push_back(Reading {
            key: self.next_key,
            path,
            next: start,
            end,
            guard,
            handle: Handle::Closed,
            parts: VecDeque::new(),
            failed: None,
            complete: false,
        });
    }

    /// Waits for the next of the first file. After its end, the next file is the first.
    pub(super) fn next(&mut self, client: &mut Client) -> Result<Next, RemoteError> {
        loop {
            self.ask(client);
            let reading = self.readings.front_mut().ok_or(RemoteError::Protocol("it sent what nobody asked for"))?;
            if let Some(end) = reading.failed.take() {
                self.leave(client);
                return Ok(Next::End(end));
            }
            if reading.complete && reading.parts.is_empty() {
                self.leave(client);
                return Ok(Next::End(End::Whole));
            }
            if reading.parts.front().is_some_and(|part| part.reply.is_some()) {
                if let Some(data) = self.take(client)? {
                    return Ok(Next::Data(data));
                }
            } else {
                self.receive(client)?;
            }
        }
    }

    /// Ends the reading of the first file before its end.
    pub(super) fn leave(&mut self, client: &mut Client) {
        let Some(reading) = self.readings.pop_front() else { return };
        for part in &reading.parts {
            if let Kind::Data { bytes, .. } = part.kind {
                self.asked_bytes -= bytes as usize;
            }
            self.routes.entry(part.request).and_modify(|route| *route = Route::Ignored);
        }
        if let Handle::Open(handle) = &reading.handle {
            self.routes.insert(client.send(&Request::Close(handle)), Route::Ignored);
        }
    }

    /// Asks for something else in between; [`answer`](Contents::answer) has the answer.
    pub(super) fn ask_beside(&mut self, client: &mut Client, request: &Request<'_>) -> u32 {
        let id = client.send(request);
        self.routes.insert(id, Route::Kept);
        id
    }

    /// Waits for the answer to what was asked beside.
    pub(super) fn answer(&mut self, client: &mut Client, id: u32) -> Result<Reply, RemoteError> {
        loop {
            if let Some(reply) = self.answers.remove(&id) {
                return Ok(reply);
            }
            self.receive(client)?;
        }
    }

    /// Waits until nothing is under way, so that somebody else may speak with the server.
    pub(super) fn settle(&mut self, client: &mut Client) -> Result<(), RemoteError> {
        while !self.routes.is_empty() {
            self.receive(client)?;
        }
        Ok(())
    }

    /// Asks for as much as may be under way.
    fn ask(&mut self, client: &mut Client) {
        for reading in self.readings.iter_mut().take(MAX_OPEN) {
            if reading.failed.is_some() || reading.complete {
                continue;
            }
            match &reading.handle {
                // Nothing is to be read, and somebody else says what it is.
                Handle::Closed if reading.guard.is_none() && reading.next >= reading.end => reading.complete = true,
                Handle::Closed => {
                    self.routes.insert(client.send(&Request::Open(&reading.path)), Route::Open(reading.key));
                    reading.handle = Handle::Opening;
                    if reading.guard.is_some() {
                        let id = client.send(&Request::RealPath(&reading.path));
                        reading.expect(id, Kind::RealPath, &mut self.routes);
                    }
                }
                Handle::Opening => {}
                Handle::Open(handle) => {
                    let handle = handle.clone();
                    while reading.next < reading.end && self.asked_bytes < self.window {
                        let bytes = u32::try_from(reading.end - reading.next).unwrap_or(u32::MAX).min(PIECE_BYTES);
                        let kind = Kind::Data { offset: reading.next, bytes };
                        let id = client.send(&Request::Read(&handle, reading.next, bytes));
                        reading.expect(id, kind, &mut self.routes);
                        reading.next += u64::from(bytes);
                        self.asked_bytes += bytes as usize;
                    }
                    if reading.next >= reading.end {
                        reading.complete = true;
                        if reading.guard.is_some() {
                            let after = client.send(&Request::Fstat(&handle));
                            reading.expect(after, Kind::Attributes, &mut self.routes);
                            let there = client.send(&Request::Lstat(&reading.path));
                            reading.expect(there, Kind::Attributes, &mut self.routes);
                        }
                    }
                }
            }
        }
    }

    fn receive(&mut self, client: &mut Client) -> Result<(), RemoteError> {
        let (id, reply) = client.receive()?;
        match self.routes.remove(&id) {
            None => return Err(RemoteError::Protocol("it answered an sftp request that nobody made")),
            Some(Route::Ignored) => {}
            Some(Route::Kept) => {
                self.answers.insert(id, reply);
            }
            Some(Route::Open(key)) => self.opened(client, key, reply)?,
            Some(Route::Part(key)) => {
                let reading = self.readings.iter_mut().find(|reading| reading.key == key);
                let part = reading.and_then(|reading| reading.parts.iter_mut().find(|part| part.request == id));
                if let Some(part) = part {
                    part.reply = Some(reply);
                }
            }
        }
        Ok(())
    }

    fn opened(&mut self, client: &mut Client, key: u64, reply: Reply) -> Result<(), RemoteError> {
        let reading = self.readings.iter_mut().find(|reading| reading.key == key);
        match (reply, reading) {
            (Reply::Handle(handle), Some(reading)) => {
                if reading.guard.is_some() {
                    let before = client.send(&Request::Fstat(&handle));
                    reading.expect(before, Kind::Attributes, &mut self.routes);
                }
                reading.handle = Handle::Open(handle);
            }
            (Reply::Handle(handle), None) => {
                self.routes.insert(client.send(&Request::Close(&handle)), Route::Ignored);
            }
            (Reply::Status(status, words), Some(reading)) => reading.failed = Some(End::of(status, &words)),
            (Reply::Status(..), None) => {}
            _ => return Err(OTHER),
        }
        Ok(())
    }

    /// Takes the first part of the first file, which has come; its content, if it is that.
    fn take(&mut self, client: &mut Client) -> Result<Option<Vec<u8>>, RemoteError> {
        let Some(reading) = self.readings.front_mut() else { return Ok(None) };
        let Some(Part { kind, reply: Some(reply), .. }) = reading.parts.pop_front() else { return Ok(None) };
        let failed = match (kind, reply) {
            (Kind::Data { offset, bytes }, reply) => {
                self.asked_bytes -= bytes as usize;
                match reply {
                    Reply::Data(data) if data.is_empty() || data.len() > bytes as usize => return Err(OTHER),
                    Reply::Data(data) => {
                        // A server may give less than it was asked for.
                        #[allow(clippy::cast_possible_truncation)] // at most `bytes`
                        let left = bytes - data.len() as u32;
                        if let (true, Handle::Open(handle)) = (left > 0, &reading.handle) {
                            let offset = offset + data.len() as u64;
                            let request = client.send(&Request::Read(handle, offset, left));
                            self.routes.insert(request, Route::Part(reading.key));
                            let kind = Kind::Data { offset, bytes: left };
                            reading.parts.push_front(Part { request, kind, reply: None });
                            self.asked_bytes += left as usize;
                        }
                        return Ok(Some(data));
                    }
                    Reply::Status(Status::Eof, _) => Some(End::Changed),
                    Reply::Status(status, words) => Some(End::Failed(status.describe(&words))),
                    _ => return Err(OTHER),
                }
            }
            (Kind::RealPath, Reply::Names(names)) => {
                let same = names.first().is_some_and(|(path, _)| *path == reading.path);
                (!same).then_some(End::Changed)
            }
            (Kind::Attributes, Reply::Attributes(attributes)) => {
                let same = reading.guard.is_none_or(|guard| guard.holds(&attributes));
                (!same).then_some(End::Changed)
            }
            (Kind::RealPath | Kind::Attributes, Reply::Status(status, words)) => Some(End::of(status, &words)),
            _ => return Err(OTHER),
        };
        reading.failed = reading.failed.take().or(failed);
        Ok(None)
    }
}

const OTHER: RemoteError = RemoteError::Protocol("its sftp server answered something else");

impl Reading {
    fn expect(&mut self, request: u32, kind: Kind, routes: &mut HashMap<u32, Route>) {
        routes.insert(request, Route::Part(self.key));
        self.parts.push_back(Part { request, kind, reply: None });
    }
}
