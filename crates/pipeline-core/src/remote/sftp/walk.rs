//! Lists the source by SFTP alone.
//!
//! Guarantees that nothing is followed that the server calls a link, and bounded memory. What it knows of a file is its size and
//! its time in whole seconds: the other fields of an identity are 0. Some directories are read at once, so that a long link
//! stays in use. Can't tell what is mounted below the source.

use std::collections::HashMap;

use super::client::Client;
use super::protocol::{Attributes, Reply, Request, Status};
use crate::entry::{Entry, Identity, OtherKind};
use crate::path::{MAX_PATH_BYTES, RelPath};
use crate::remote::bounds::Tally;
use crate::remote::{RemoteError, Scanned};

/// Directories that are read at once.
const MAX_OPEN: usize = 8;
/// Requests for names of one directory that are under way at once. A server gives a hundred names for each.
const MAX_ASKED: usize = 4;
/// What directories that are still to be read may take, in bytes of memory.
const MAX_WAITING_BYTES: usize = 32 << 20;
/// What one of them takes besides its path.
const DIR_BYTES: usize = 64;

const OTHER: RemoteError = RemoteError::Protocol("its sftp server answered something else");

/// Lists everything below `root`, a path without links.
pub(super) fn walk(
    client: &mut Client,
    root: &[u8],
    each: &mut dyn FnMut(Scanned) -> Result<(), RemoteError>,
) -> Result<(), RemoteError> {
    let source = Dir { path: Vec::new(), mtime_ns: 0 };
    let mut walk = Walk {
        client,
        root,
        each,
        tally: Tally::default(),
        waiting: vec![source],
        waiting_bytes: DIR_BYTES,
        open: Vec::new(),
        routes: HashMap::new(),
    };
    walk.run()
}

struct Walk<'a> {
    client: &'a mut Client,
    root: &'a [u8],
    each: &'a mut dyn FnMut(Scanned) -> Result<(), RemoteError>,
    tally: Tally,
    /// Last in, first out: few wait at a time.
    waiting: Vec<Dir>,
    waiting_bytes: usize,
    open: Vec<Open>,
    /// Which directory an answer is about; none: nobody waits for it.
    routes: HashMap<u32, Option<usize>>,
}

struct Dir {
    /// Relative to the source, which is empty itself.
    path: Vec<u8>,
    mtime_ns: i64,
}

/// A directory that is being read.
struct Open {
    key: usize,
    dir: Dir,
    handle: Option<Vec<u8>>,
    asked: usize,
    ended: bool,
    empty: bool,
    told_too_long: bool,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), RemoteError> {
        let mut next_key = 0;
        loop {
            while self.open.len() < MAX_OPEN {
                let Some(dir) = self.waiting.pop() else { break };
                self.waiting_bytes -= dir.path.len() + DIR_BYTES;
                let id = self.client.send(&Request::OpenDir(&below(self.root, &dir.path)));
                next_key += 1;
                self.routes.insert(id, Some(next_key));
                self.open.push(Open {
                    key: next_key,
                    dir,
                    handle: None,
                    asked: 1,
                    ended: false,
                    empty: true,
                    told_too_long: false,
                });
            }
            if self.routes.is_empty() {
                return Ok(());
            }
            let (id, reply) = self.client.receive()?;
            let key = self.routes.remove(&id).ok_or(OTHER)?;
            if let Some(index) = key.and_then(|key| self.open.iter().position(|open| open.key == key)) {
                self.answered(index, reply)?;
            }
        }
    }

    fn answered(&mut self, index: usize, reply: Reply) -> Result<(), RemoteError> {
        let open = &mut self.open[index];
        open.asked -= 1;
        match reply {
            Reply::Handle(handle) if open.handle.is_none() => open.handle = Some(handle),
            Reply::Names(names) if open.handle.is_some() => {
                for (name, attributes) in names {
                    self.named(index, &name, &attributes)?;
                }
            }
            Reply::Status(Status::Eof, _) => open.ended = true,
            // It is gone since its name was read.
            Reply::Status(Status::NoSuchFile, _) if open.handle.is_none() && !open.dir.path.is_empty() => {
                (open.ended, open.empty) = (true, false);
            }
            Reply::Status(status, words) if status != Status::Ok => {
                (open.ended, open.empty) = (true, false);
                let path = RelPath::new(&open.dir.path[..]).ok();
                self.tell(Scanned::Unreadable(path, status.describe(&words)))?;
            }
            _ => return Err(OTHER),
        }
        let open = &mut self.open[index];
        if let (false, Some(handle)) = (open.ended, &open.handle) {
            while open.asked < MAX_ASKED {
                self.routes.insert(self.client.send(&Request::ReadDir(handle)), Some(open.key));
                open.asked += 1;
            }
        }
        if open.ended && open.asked == 0 {
            let open = self.open.swap_remove(index);
            if let Some(handle) = &open.handle {
                self.routes.insert(self.client.send(&Request::Close(handle)), None);
            }
            if let (true, Ok(path)) = (open.empty, RelPath::new(open.dir.path)) {
                self.tell(Scanned::EmptyDir(path, open.dir.mtime_ns))?;
            }
        }
        Ok(())
    }

    fn named(&mut self, index: usize, name: &[u8], attributes: &Attributes) -> Result<(), RemoteError> {
        if name == b"." || name == b".." {
            return Ok(());
        }
        if name.is_empty() || name.contains(&b'/') {
            return Err(RemoteError::Protocol("it lists a name that is none"));
        }
        let open = &mut self.open[index];
        open.empty = false;
        let bytes = if open.dir.path.is_empty() { name.to_vec() } else { [&open.dir.path, &b"/"[..], name].concat() };
        let Ok(path) = RelPath::new(&bytes[..]) else {
            if std::mem::replace(&mut open.told_too_long, true) {
                return Ok(());
            }
            let within = RelPath::new(&open.dir.path[..]).ok();
            return self
                .tell(Scanned::Unreadable(within, format!("it holds paths of more than {MAX_PATH_BYTES} bytes")));
        };
        let mtime_ns = i64::from(attributes.mtime.unwrap_or(0)) * 1_000_000_000;
        match (attributes.size, attributes.mtime, attributes.mode) {
            _ if attributes.is_dir() => {
                self.waiting_bytes += bytes.len() + DIR_BYTES;
                if self.waiting_bytes > MAX_WAITING_BYTES {
                    return Err(RemoteError::Protocol("it lists more directories than a device can hold"));
                }
                self.waiting.push(Dir { path: bytes, mtime_ns });
                Ok(())
            }
            (Some(size), Some(_), _) if attributes.is_file() => {
                let identity = Identity { dev: 0, ino: 0, size, mtime_ns, ctime_ns: 0 };
                self.tell(Scanned::File(Entry { path, identity }))
            }
            _ if attributes.is_link() => self.tell(Scanned::Other(path, OtherKind::Symlink)),
            (_, _, None) | (None, _, _) | (_, None, _) => {
                self.tell(Scanned::Unreadable(Some(path), "the sftp server does not say what it is".into()))
            }
            _ => self.tell(Scanned::Other(path, OtherKind::Special)),
        }
    }

    fn tell(&mut self, item: Scanned) -> Result<(), RemoteError> {
        self.tally.count(&item)?;
        (self.each)(item)
    }
}

/// The absolute path of what lies below the source.
pub(super) fn below(root: &[u8], path: &[u8]) -> Vec<u8> {
    match (root, path) {
        (root, b"") => root.to_vec(),
        (b"/", path) => [b"/", path].concat(),
        (root, path) => [root, b"/", path].concat(),
    }
}
