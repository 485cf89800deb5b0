//! A file system in memory that behaves like a Windows server behind CIFS: the system's standard input is `/dev/fuse`, mounted
//! by the shell that began this process.
//!
//! It refuses reserved characters and DOS names, drops dots and spaces at the end, takes `a` for `A`, knows neither hard links
//! nor `RENAME_NOREPLACE` nor `fsync` of a directory, ignores `chmod`, and counts time in steps of two seconds. It may be in
//! certain [`Moods`]. The numbers and structures are those of `linux/fuse.h`, protocol 7.31.

#![allow(clippy::cast_possible_truncation)] // requests are small, and so are the files

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

pub const LONGEST_NAME: usize = 200;

const MAX_WRITE: u32 = 64 * 1024;
const ROOT: u64 = 1;

/// By the name without case: the name as it was given, and the number of its node.
type Names = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

type Answer = Result<Vec<u8>, Errno>;

struct Node {
    content: Content,
    mtime: u64,
}

enum Content {
    File(Vec<u8>),
    Directory(Names),
}

struct Server {
    nodes: BTreeMap<u64, Node>,
    moods: Arc<Moods>,
}

/// What the server does while a flag is set.
#[derive(Default)]
pub struct Moods {
    /// Returns another first byte than was written.
    pub lies: AtomicBool,
    /// Renames, and says that there was nothing to rename, once: as where an answer got lost and the request is repeated.
    pub repeats: AtomicBool,
    /// Takes every file for one that a program has open, and replaces none.
    pub busy: AtomicBool,
}

/// Ends the process when the server does: whoever waits for an answer would wait for ever.
struct Fuse;

impl Drop for Fuse {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Serves in a thread of its own until the process ends.
pub fn serve() -> Arc<Moods> {
    let moods = Arc::new(Moods::default());
    let root = Node { content: Content::Directory(BTreeMap::new()), mtime: 0 };
    let mut server = Server { nodes: BTreeMap::from([(ROOT, root)]), moods: moods.clone() };
    std::thread::spawn(move || {
        let _fuse = Fuse;
        let device = std::io::stdin();
        let mut request = vec![0; MAX_WRITE as usize + 4096];
        loop {
            let n = rustix::io::retry_on_intr(|| rustix::io::read(device.as_fd(), &mut request)).unwrap();
            let (header, body) = request[..n].split_at(40);
            let (opcode, unique, node) = (u32_at(header, 4), u64_at(header, 8), u64_at(header, 16));
            // Forgetting and interrupting take no answer.
            if matches!(opcode, 2 | 36 | 42) {
                continue;
            }
            let (error, body) = match server.answer(opcode, node, body) {
                Ok(body) => (0, body),
                Err(error) => (-error.raw_os_error(), Vec::new()),
            };
            let mut reply = Out::default().u32(16 + body.len() as u32).u32(error as u32).u64(unique).0;
            reply.extend_from_slice(&body);
            // NOENT: whoever asked is gone.
            match rustix::io::write(device.as_fd(), &reply) {
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    moods
}

impl Server {
    fn answer(&mut self, opcode: u32, node: u64, body: &[u8]) -> Answer {
        match opcode {
            1 => self.find(node, strings(body)[0]).map(|found| self.entry(found)),
            3 => Ok(self.attr_out(node)),
            4 => self.set_attr(node, body),
            9 => self.make(node, strings(&body[8..])[0], Content::Directory(BTreeMap::new())),
            35 => {
                let entry = self.make(node, strings(&body[16..])[0], Content::File(Vec::new()))?;
                Ok([entry, vec![0; 16]].concat())
            }
            10 | 11 => self.take(node, strings(body)[0], opcode == 11).map(|_| Vec::new()),
            12 => self.rename(node, u64_at(body, 0), strings(&body[8..])[0], strings(&body[8..])[1]),
            13 => Err(Errno::PERM),
            14 | 27 => Ok(vec![0; 16]),
            15 => self.read(node, u64_at(body, 8), u32_at(body, 16)),
            16 => self.write(node, u64_at(body, 8), &body[40..][..u32_at(body, 16) as usize]),
            17 => Ok(Out::default()
                .u64(1 << 20)
                .u64(1 << 20)
                .u64(1 << 20)
                .u64(0)
                .u64(0)
                .u32(4096)
                .u32(255)
                .u32(4096)
                .pad(28)),
            // Release, sync of a file, flush, release of a directory.
            18 | 20 | 25 | 29 => Ok(Vec::new()),
            // BIG_WRITES; steps of a nanosecond, so that the kernel does not round.
            26 => Ok(Out::default().u32(7).u32(31).u32(0).u32(1 << 5).u32(0).u32(MAX_WRITE).u32(1).pad(36)),
            28 => self.list(node, u64_at(body, 8), u32_at(body, 16)),
            30 => Err(Errno::INVAL),
            _ => Err(Errno::NOSYS),
        }
    }

    fn directory(&mut self, node: u64) -> Result<&mut Names, Errno> {
        match &mut self.nodes.get_mut(&node).ok_or(Errno::STALE)?.content {
            Content::Directory(names) => Ok(names),
            Content::File(_) => Err(Errno::NOTDIR),
        }
    }

    fn find(&mut self, dir: u64, name: &[u8]) -> Result<u64, Errno> {
        let (key, _) = windows_name(name)?;
        self.directory(dir)?.get(&key).map(|(_, node)| *node).ok_or(Errno::NOENT)
    }

    fn make(&mut self, dir: u64, name: &[u8], content: Content) -> Answer {
        let (key, shown) = windows_name(name)?;
        let node = self.nodes.last_key_value().map_or(ROOT, |(last, _)| last + 1);
        let names = self.directory(dir)?;
        if names.contains_key(&key) {
            return Err(Errno::EXIST);
        }
        names.insert(key, (shown, node));
        self.nodes.insert(node, Node { content, mtime: 0 });
        Ok(self.entry(node))
    }

    fn take(&mut self, dir: u64, name: &[u8], directory: bool) -> Result<u64, Errno> {
        let node = self.find(dir, name)?;
        match &self.nodes[&node].content {
            Content::Directory(names) if directory && !names.is_empty() => return Err(Errno::NOTEMPTY),
            Content::Directory(_) if !directory => return Err(Errno::ISDIR),
            Content::File(_) if directory => return Err(Errno::NOTDIR),
            _ => {}
        }
        let (key, _) = windows_name(name)?;
        self.directory(dir)?.remove(&key);
        Ok(node)
    }

    fn rename(&mut self, from_dir: u64, to_dir: u64, from: &[u8], to: &[u8]) -> Answer {
        let (key, shown) = windows_name(to)?;
        if self.moods.busy.load(Ordering::SeqCst) && self.directory(to_dir)?.contains_key(&key) {
            return Err(Errno::ACCESS);
        }
        let node = self.take(from_dir, from, false)?;
        self.directory(to_dir)?.insert(key, (shown, node));
        if self.moods.repeats.swap(false, Ordering::SeqCst) { Err(Errno::NOENT) } else { Ok(Vec::new()) }
    }

    fn read(&self, node: u64, offset: u64, bytes: u32) -> Answer {
        let Content::File(content) = &self.nodes[&node].content else { return Err(Errno::ISDIR) };
        let start = content.len().min(offset as usize);
        let mut found = content[start..content.len().min(start + bytes as usize)].to_vec();
        if self.moods.lies.load(Ordering::SeqCst) {
            found.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        }
        Ok(found)
    }

    fn write(&mut self, node: u64, offset: u64, bytes: &[u8]) -> Answer {
        let node = self.nodes.get_mut(&node).ok_or(Errno::STALE)?;
        let Content::File(content) = &mut node.content else { return Err(Errno::ISDIR) };
        let end = offset as usize + bytes.len();
        content.resize(content.len().max(end), 0);
        content[offset as usize..end].copy_from_slice(bytes);
        Ok(Out::default().u32(bytes.len() as u32).pad(4))
    }

    fn list(&mut self, node: u64, offset: u64, bytes: u32) -> Answer {
        let mut out = Out::default();
        for (n, (name, node)) in self.directory(node)?.values().enumerate().skip(offset as usize) {
            let entry = Out::default().u64(*node).u64(n as u64 + 1).u32(name.len() as u32).u32(0).0;
            let padded = (entry.len() + name.len()).next_multiple_of(8);
            if out.0.len() + padded > bytes as usize {
                break;
            }
            let end = out.0.len() + padded;
            out.0.extend_from_slice(&entry);
            out.0.extend_from_slice(name);
            out.0.resize(end, 0);
        }
        Ok(out.0)
    }

    fn set_attr(&mut self, node: u64, body: &[u8]) -> Answer {
        const SIZE: u32 = 1 << 3;
        const MTIME: u32 = 1 << 5;
        let (valid, found) = (u32_at(body, 0), self.nodes.get_mut(&node).ok_or(Errno::STALE)?);
        if valid & MTIME != 0 {
            found.mtime = u64_at(body, 40) & !1;
        }
        if let (true, Content::File(content)) = (valid & SIZE != 0, &mut found.content) {
            content.resize(u64_at(body, 16) as usize, 0);
        }
        Ok(self.attr_out(node))
    }

    fn entry(&self, node: u64) -> Vec<u8> {
        // Nothing may be remembered: a generation of 0, no time of validity.
        [Out::default().u64(node).pad(32), self.attr(node)].concat()
    }

    fn attr_out(&self, node: u64) -> Vec<u8> {
        [vec![0; 16], self.attr(node)].concat()
    }

    fn attr(&self, number: u64) -> Vec<u8> {
        let node = &self.nodes[&number];
        let (mode, size) = match &node.content {
            Content::File(content) => (0o100_755, content.len() as u64),
            Content::Directory(_) => (0o040_755, 0),
        };
        let times = Out::default().u64(number).u64(size).u64(size.div_ceil(512)).u64(0).u64(node.mtime).u64(0);
        times.u32(0).u32(0).u32(0).u32(mode).u32(1).u32(0).u32(0).u32(0).u32(4096).pad(4)
    }
}

/// The name without case, and as it is shown; or how a Windows server refuses it.
fn windows_name(name: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Errno> {
    let text = std::str::from_utf8(name).map_err(|_| Errno::ILSEQ)?;
    if name.len() > LONGEST_NAME {
        return Err(Errno::NAMETOOLONG);
    }
    if text.contains(|c: char| "\\:*?\"<>|".contains(c) || c.is_control()) {
        return Err(Errno::INVAL);
    }
    let shown = text.trim_end_matches(['.', ' ']);
    let upper = shown.to_uppercase();
    let stem = upper.split('.').next().unwrap_or_default();
    if shown.is_empty() || ["CON", "PRN", "AUX", "NUL", "COM1", "LPT1"].contains(&stem.trim_end()) {
        return Err(Errno::NOENT);
    }
    Ok((upper.into_bytes(), shown.into()))
}

#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn u32(mut self, value: u32) -> Out {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Out {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn pad(mut self, bytes: usize) -> Vec<u8> {
        self.0.resize(self.0.len() + bytes, 0);
        self.0
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Strings that end in a NUL.
fn strings(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|&b| b == 0).collect()
}
