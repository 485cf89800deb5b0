//! Removals and prunings without an agent: each file after its own check, as far as it can be made.
//!
//! With a shell, one script looks at identity and open files immediately before each `rm`. By SFTP alone a file is read again,
//! must have the receipt's digest, and must have been left alone for [`QUIET`]. Whatever is in doubt stays.

use std::time::Duration;

use super::contents::{End, Guard, Next};
use super::protocol::{Attributes, Reply, Request, Status};
use super::shell::{self, Tools};
use super::walk::below;
use super::{Answered, Job, SftpRemote, Step};
use crate::clock::now_ns;
use crate::digest::Hasher;
use crate::path::RelPath;
use crate::receipt::Receipt;
use crate::remote::RemoteError;
use crate::remote::bounds::words;
use crate::wire::RemoveEnd;

/// By SFTP alone nobody sees who writes to a file. One that changed within this time is taken for one that somebody still writes
/// to. Where nobody can ask the device's clock, it must also have been received this long ago by ours, and be the same since.
pub(super) const QUIET: Duration = Duration::from_secs(10 * 60);
/// What stays for that reason.
pub(super) const YOUNG: &str = "changed in the last 10 minutes: kept";
pub(super) const UNWATCHED: &str =
    "the device's clock can't be asked, and we have known the file for less than 10 minutes: kept";
/// What one script is given at once: well below what the streams in between hold, so that nobody waits for one another.
const MAX_LIST_BYTES: usize = 64 * 1024;
/// As the agent says it.
const UNSEEN: &str = "it belongs to another user, so it can't be told whether somebody writes to it: kept";
/// Its shell is shut up in a namespace, or such.
const BLIND: &str =
    "the login may not see what processes have open, so it can't be told whether somebody writes to it: kept";

const OTHER: RemoteError = RemoteError::Protocol("its shell answered something else");

/// Files that are read by SFTP before the first of them is removed.
const AT_ONCE: usize = 64;

fn gone_or_failed(status: Status, said: &str) -> RemoveEnd {
    match status {
        Status::NoSuchFile => RemoveEnd::Gone,
        status => RemoveEnd::Failed(words(&status.describe(said))),
    }
}

impl SftpRemote {
    /// Answers the oldest request, which is a removal or a pruning.
    pub(super) fn step_removal(&mut self) -> Result<Step, RemoteError> {
        match (self.jobs.pop_front(), self.tools) {
            (Some(Job::Remove(receipts)), Some(tools)) => self.remove_by_script(receipts, tools)?,
            (Some(Job::Remove(receipts)), None) => self.remove_by_sftp(receipts)?,
            (Some(Job::Prune(dirs, quiet)), _) => self.prune_all(dirs, quiet)?,
            (Some(other), _) => self.jobs.push_front(other),
            (None, _) => {}
        }
        Ok(Step::On)
    }

    fn remove_by_script(&mut self, receipts: Vec<(u32, Receipt)>, tools: Tools) -> Result<(), RemoteError> {
        let mut receipts = receipts.into_iter().peekable();
        while receipts.peek().is_some() {
            let (mut list, mut asked) = (Vec::new(), Vec::new());
            while list.len() < MAX_LIST_BYTES
                && let Some((id, receipt)) = receipts.next()
            {
                match shell::say(receipt.identity()) {
                    Some(identity) => {
                        list.extend(identity.as_bytes());
                        list.push(0);
                        list.extend(receipt.path().as_bytes());
                        list.push(0);
                        asked.push(id);
                    }
                    // No file is like that.
                    None => self.ready.push_back(Answered::Removed(id, RemoveEnd::Changed)),
                }
            }
            if asked.is_empty() {
                continue;
            }
            let mut script = self.script(&shell::remove(&self.source, tools))?;
            script.give(&list)?;
            script.end_input();
            for id in asked {
                let line = script.line()?;
                let (letter, rest) = line.split_once(' ').unwrap_or((&line, ""));
                let end = match letter {
                    "r" => RemoveEnd::Removed,
                    "g" => RemoveEnd::Gone,
                    "c" => RemoveEnd::Changed,
                    "b" => RemoveEnd::Busy,
                    "u" => RemoveEnd::Failed(UNSEEN.into()),
                    "n" => RemoveEnd::Failed(BLIND.into()),
                    "f" => RemoveEnd::Failed(words(&rest.to_lowercase())),
                    _ => return Err(OTHER),
                };
                self.ready.push_back(Answered::Removed(id, end));
            }
        }
        Ok(())
    }

    fn remove_by_sftp(&mut self, receipts: Vec<(u32, Receipt)>) -> Result<(), RemoteError> {
        let mut due = Vec::new();
        for (id, receipt) in receipts {
            let is_quiet = |age_ns: i64| u128::try_from(age_ns).is_ok_and(|age| age >= QUIET.as_nanos());
            let left_alone = is_quiet(self.now_ns().saturating_sub(receipt.identity().mtime_ns));
            // A slow clock gives old times to what is being written: there, only our own looks tell.
            let watched = self.clock_offset_ns.is_some() || is_quiet(now_ns().saturating_sub(receipt.received_ns()));
            if left_alone && watched {
                due.push((id, receipt));
            } else {
                self.ready.push_back(Answered::Removed(id, RemoveEnd::Busy));
            }
        }
        let place = match &self.place {
            Ok(place) => place.clone(),
            Err(reason) => {
                let failed = |(id, _)| Answered::Removed(id, RemoveEnd::Failed(reason.clone()));
                self.ready.extend(due.into_iter().map(failed));
                return Ok(());
            }
        };
        for files in due.chunks(AT_ONCE) {
            self.remove_some_by_sftp(&place, files)?;
        }
        Ok(())
    }

    /// Reads all of the files, then looks at each that was as it should be once more, and removes it.
    fn remove_some_by_sftp(&mut self, place: &[u8], files: &[(u32, Receipt)]) -> Result<(), RemoteError> {
        let paths: Vec<Vec<u8>> = files.iter().map(|(_, receipt)| below(place, receipt.path().as_bytes())).collect();
        let mut begun = 0;
        let mut same = Vec::new();
        for (index, (id, receipt)) in files.iter().enumerate() {
            while begun < files.len() && self.contents.has_room() {
                let identity = files[begun].1.identity();
                self.contents.push(paths[begun].clone(), 0, identity.size, Some(Guard::of(identity)));
                begun += 1;
            }
            let mut hasher = Hasher::new();
            let end = loop {
                match self.contents.next(&mut self.client)? {
                    Next::Data(data) => hasher.update(&data),
                    Next::End(end) => break end,
                }
            };
            match end {
                End::Whole if hasher.finish().0 == *receipt.digest() => same.push(index),
                End::Whole | End::Changed => self.ready.push_back(Answered::Removed(*id, RemoveEnd::Changed)),
                End::Gone => self.ready.push_back(Answered::Removed(*id, RemoveEnd::Gone)),
                End::Failed(reason) => {
                    self.ready.push_back(Answered::Removed(*id, RemoveEnd::Failed(words(&reason))));
                }
            }
        }
        // What was read first may have changed while the others were read. Nothing is under way now that a look would wait behind.
        let mut looks = Vec::with_capacity(same.len());
        for &index in &same {
            let leads = self.contents.ask_beside(&mut self.client, &Request::RealPath(&paths[index]));
            looks.push((leads, self.contents.ask_beside(&mut self.client, &Request::Lstat(&paths[index]))));
        }
        let mut asked = Vec::new();
        for (&index, (leads, there)) in same.iter().zip(looks) {
            let leads = self.contents.answer(&mut self.client, leads)?;
            let there = self.contents.answer(&mut self.client, there)?;
            let (id, receipt) = &files[index];
            let end = match (leads, there) {
                (Reply::Names(names), Reply::Attributes(there))
                    if names.first().is_some_and(|(path, _)| *path == paths[index])
                        && Guard::of(receipt.identity()).holds(&there) =>
                {
                    // RACE: since this look, about a round trip, a program may have written to the file or renamed another over it,
                    // which is then the one that goes. SFTP has nothing better.
                    asked.push((*id, self.contents.ask_beside(&mut self.client, &Request::Remove(&paths[index]))));
                    continue;
                }
                (Reply::Names(_), Reply::Attributes(_)) => RemoveEnd::Changed,
                (Reply::Status(status, said), _) | (_, Reply::Status(status, said)) => gone_or_failed(status, &said),
                _ => return Err(OTHER),
            };
            self.ready.push_back(Answered::Removed(*id, end));
        }
        for (id, request) in asked {
            let end = match self.contents.answer(&mut self.client, request)? {
                Reply::Status(Status::Ok, _) => RemoveEnd::Removed,
                Reply::Status(status, said) => gone_or_failed(status, &said),
                _ => return Err(OTHER),
            };
            self.ready.push_back(Answered::Removed(id, end));
        }
        Ok(())
    }

    fn prune_all(&mut self, dirs: Vec<RelPath>, quiet: Duration) -> Result<(), RemoteError> {
        let Ok(place) = self.place.clone() else {
            self.ready.extend(dirs.into_iter().map(|dir| Answered::Pruned(dir, false)));
            return Ok(());
        };
        let paths: Vec<Vec<u8>> = dirs.iter().map(|dir| below(&place, dir.as_bytes())).collect();
        let now_ns = self.now_ns();
        let is_quiet = |attributes: &Attributes| {
            let mtime_ns = i64::from(attributes.mtime.unwrap_or(u32::MAX)) * 1_000_000_000;
            attributes.is_dir()
                && u128::try_from(now_ns.saturating_sub(mtime_ns)).is_ok_and(|age| age >= quiet.as_nanos())
        };
        let looks: Vec<u32> =
            paths.iter().map(|path| self.contents.ask_beside(&mut self.client, &Request::Lstat(path))).collect();
        let mut removals = Vec::new();
        for (path, look) in paths.iter().zip(looks) {
            removals.push(match self.contents.answer(&mut self.client, look)? {
                // RACE: somebody may put a file into it meanwhile; then the call fails.
                Reply::Attributes(there) if is_quiet(&there) => {
                    Ok(self.contents.ask_beside(&mut self.client, &Request::RemoveDir(path)))
                }
                Reply::Status(status, _) => Err(status == Status::NoSuchFile),
                _ => Err(false),
            });
        }
        for (dir, removal) in dirs.into_iter().zip(removals) {
            let removed = match removal {
                Ok(request) => {
                    let reply = self.contents.answer(&mut self.client, request)?;
                    matches!(reply, Reply::Status(Status::Ok | Status::NoSuchFile, _))
                }
                Err(gone) => gone,
            };
            self.ready.push_back(Answered::Pruned(dir, removed));
        }
        Ok(())
    }
}
