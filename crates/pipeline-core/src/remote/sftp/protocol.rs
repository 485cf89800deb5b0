//! Packets of the SSH file transfer protocol, version 3, as far as we speak it: bytes to values and back.
//!
//! From draft-ietf-secsh-filexfer-02, which is what OpenSSH implements; `statvfs@openssh.com` from OpenSSH's PROTOCOL file. Knows no
//! connection. A packet that is not what it says is an error, never a panic.

use crate::entry::usable;

/// The largest packet that is taken. OpenSSH's server sends no more than this.
pub(super) const MAX_PACKET_BYTES: usize = 256 * 1024 + 1024;
/// The version that we speak.
const VERSION: u32 = 3;

const INIT: u8 = 1;
const REPLY_VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const RMDIR: u8 = 15;
const REALPATH: u8 = 16;
const REPLY_STATUS: u8 = 101;
const REPLY_HANDLE: u8 = 102;
const REPLY_DATA: u8 = 103;
const REPLY_NAME: u8 = 104;
const REPLY_ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const REPLY_EXTENDED: u8 = 201;

const FLAG_SIZE: u32 = 1;
const FLAG_OWNER: u32 = 2;
const FLAG_MODE: u32 = 4;
const FLAG_TIMES: u32 = 8;
const FLAG_EXTENDED: u32 = 0x8000_0000;
const OPEN_FOR_READING: u32 = 1;

/// The extension that tells of the disk.
pub(super) const STATVFS: &[u8] = b"statvfs@openssh.com";

/// What we ask. Paths and handles are bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request<'a> {
    /// Open a file for reading.
    Open(&'a [u8]),
    /// Close a file or directory.
    Close(&'a [u8]),
    /// Read so many bytes from there.
    Read(&'a [u8], u64, u32),
    /// What lies at a path; of a link, the link itself.
    Lstat(&'a [u8]),
    /// What an open file is.
    Fstat(&'a [u8]),
    /// Open a directory.
    OpenDir(&'a [u8]),
    /// Some more entries of a directory.
    ReadDir(&'a [u8]),
    /// Remove a file.
    Remove(&'a [u8]),
    /// Remove an empty directory.
    RemoveDir(&'a [u8]),
    /// A path without links, `.` and `..`.
    RealPath(&'a [u8]),
    /// The disk that a path is on.
    StatVfs(&'a [u8]),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is done, or not: [`Status`].
    Status(Status, String),
    /// What was opened.
    Handle(Vec<u8>),
    /// Content.
    Data(Vec<u8>),
    /// Names, each with what lies there.
    Names(Vec<(Vec<u8>, Attributes)>),
    /// What lies there.
    Attributes(Attributes),
    /// The answer to an extension.
    Extended(Vec<u8>),
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Eof,
    NoSuchFile,
    PermissionDenied,
    /// Anything else, `SSH_FX_FAILURE` above all.
    Other(u32),
}

/// What lies at a path, as far as the server says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    /// Type and permissions, as in `st_mode`.
    pub(super) mode: Option<u32>,
    /// Last change of the content, seconds since 1970, which ends in 2106.
    pub(super) mtime: Option<u32>,
}

impl Attributes {
    fn has_type(&self, wanted: u32) -> bool {
        self.mode.is_some_and(|mode| mode & 0o170_000 == wanted)
    }

    pub(super) fn is_file(&self) -> bool {
        self.has_type(0o100_000)
    }

    pub(super) fn is_dir(&self) -> bool {
        self.has_type(0o040_000)
    }

    pub(super) fn is_link(&self) -> bool {
        self.has_type(0o120_000)
    }
}

/// The disk that the source is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) total_bytes: u64,
    pub(super) free_bytes: u64,
    pub(super) total_files: u64,
    pub(super) free_files: u64,
}

/// A packet that can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The first packet.
pub(super) fn hello() -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 5, INIT];
    packet.extend(VERSION.to_be_bytes());
    packet
}

/// The answer to [`hello`], without its length: whether the server knows [`STATVFS`].
pub(super) fn welcome(packet: &[u8]) -> Result<bool, Malformed> {
    let mut rest = Cursor(packet);
    if rest.byte()? != REPLY_VERSION || rest.number()? < VERSION {
        return Err(Malformed);
    }
    let mut statvfs = false;
    while !rest.0.is_empty() {
        let (name, version) = (rest.string()?, rest.string()?);
        statvfs |= name == STATVFS && version == b"2";
    }
    Ok(statvfs)
}

impl Request<'_> {
    /// Adds the packet to `out`.
    pub(super) fn put(&self, id: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 4]);
        let (kind, string): (u8, &[u8]) = match *self {
            Request::Open(path) => (OPEN, path),
            Request::Close(handle) => (CLOSE, handle),
            Request::Read(handle, ..) => (READ, handle),
            Request::Lstat(path) => (LSTAT, path),
            Request::Fstat(handle) => (FSTAT, handle),
            Request::OpenDir(path) => (OPENDIR, path),
            Request::ReadDir(handle) => (READDIR, handle),
            Request::Remove(path) => (REMOVE, path),
            Request::RemoveDir(path) => (RMDIR, path),
            Request::RealPath(path) => (REALPATH, path),
            Request::StatVfs(path) => (EXTENDED, path),
        };
        out.push(kind);
        out.extend(id.to_be_bytes());
        if let Request::StatVfs(_) = self {
            put_string(STATVFS, out);
        }
        put_string(string, out);
        match *self {
            Request::Open(_) => out.extend([OPEN_FOR_READING.to_be_bytes(), [0; 4]].concat()),
            Request::Read(_, offset, bytes) => {
                out.extend(offset.to_be_bytes());
                out.extend(bytes.to_be_bytes());
            }
            _ => {}
        }
        let bytes = length(out.len() - start - 4);
        out[start..start + 4].copy_from_slice(&bytes);
    }
}

impl Reply {
    /// Reads a packet without its length: which request it answers, and how.
    pub(super) fn read(packet: &[u8]) -> Result<(u32, Reply), Malformed> {
        let mut rest = Cursor(packet);
        let kind = rest.byte()?;
        let id = rest.number()?;
        let reply = match kind {
            REPLY_STATUS => {
                let status = Status::of(rest.number()?);
                // Very old servers leave the words out.
                let words = rest.string().unwrap_or_default();
                Reply::Status(status, String::from_utf8_lossy(words).into_owned())
            }
            REPLY_HANDLE => Reply::Handle(rest.string()?.to_vec()),
            REPLY_DATA => Reply::Data(rest.string()?.to_vec()),
            REPLY_NAME => {
                let mut names = Vec::new();
                for _ in 0..rest.number()? {
                    let name = rest.string()?.to_vec();
                    // What `ls -l` would say.
                    rest.string()?;
                    names.push((name, rest.attributes()?));
                }
                Reply::Names(names)
            }
            REPLY_ATTRS => Reply::Attributes(rest.attributes()?),
            REPLY_EXTENDED => Reply::Extended(rest.0.to_vec()),
            _ => return Err(Malformed),
        };
        Ok((id, reply))
    }
}

impl Status {
    fn of(code: u32) -> Status {
        match code {
            0 => Status::Ok,
            1 => Status::Eof,
            2 => Status::NoSuchFile,
            3 => Status::PermissionDenied,
            other => Status::Other(other),
        }
    }

    /// As a person says it; `words` are the server's own.
    pub(super) fn describe(self, words: &str) -> String {
        match self {
            Status::NoSuchFile => "no such file or directory".into(),
            Status::PermissionDenied => "permission denied".into(),
            _ if words.is_empty() => "the sftp server says no".into(),
            _ => format!("the sftp server says '{}'", words.to_lowercase()),
        }
    }
}

impl Disk {
    /// Reads the answer to [`Request::StatVfs`].
    pub(super) fn read(reply: &[u8]) -> Result<Disk, Malformed> {
        let mut rest = Cursor(reply);
        let [_, unit, blocks, free, available, files, _, free_files] = [(); 8].map(|()| rest.long());
        let (unit, available) = (unit?, available?);
        Ok(Disk {
            total_bytes: usable(blocks?, free?, available).saturating_mul(unit),
            free_bytes: available.saturating_mul(unit),
            total_files: files?,
            free_files: free_files?,
        })
    }
}

/// What is left of a packet.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.take(4)?.try_into().map(u32::from_be_bytes).map_err(|_| Malformed)
    }

    fn long(&mut self) -> Result<u64, Malformed> {
        self.take(8)?.try_into().map(u64::from_be_bytes).map_err(|_| Malformed)
    }

    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.number()?;
        self.take(usize::try_from(bytes).map_err(|_| Malformed)?)
    }

    fn attributes(&mut self) -> Result<Attributes, Malformed> {
        let flags = self.number()?;
        let mut attributes = Attributes::default();
        if flags & FLAG_SIZE != 0 {
            attributes.size = Some(self.long()?);
        }
        if flags & FLAG_OWNER != 0 {
            self.long()?;
        }
        if flags & FLAG_MODE != 0 {
            attributes.mode = Some(self.number()?);
        }
        if flags & FLAG_TIMES != 0 {
            self.number()?;
            attributes.mtime = Some(self.number()?);
        }
        if flags & FLAG_EXTENDED != 0 {
            for _ in 0..self.number()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(attributes)
    }
}

fn put_string(string: &[u8], out: &mut Vec<u8>) {
    out.extend(length(string.len()));
    out.extend(string);
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_as_the_draft_has_it() {
        let mut out = Vec::new();
        Request::Read(b"h", 1, 2).put(7, &mut out);
        let expected =
            [&[0, 0, 0, 22, 5, 0, 0, 0, 7, 0, 0, 0, 1, b'h'][..], &1u64.to_be_bytes(), &[0, 0, 0, 2]].concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn a_disk_is_as_df_has_it() {
        // Block sizes; blocks, free and available ones; inodes, free and available ones.
        let reply = [1, 4, 1000, 300, 250, 90, 80, 70].map(u64::to_be_bytes).concat();
        // 700 blocks are in use, and 74 %, not 75 %, of what is not kept for root.
        let disk = Disk { total_bytes: 4 * 950, free_bytes: 4 * 250, total_files: 90, free_files: 70 };
        assert_eq!(Disk::read(&reply), Ok(disk));
    }

    #[test]
    fn names_come_with_what_lies_there() {
        let long = |text: &[u8]| [&length(text.len())[..], text].concat();
        let attributes =
            [&13u32.to_be_bytes()[..], &5u64.to_be_bytes(), &0o100_644u32.to_be_bytes(), &[0; 4], &9u32.to_be_bytes()];
        let packet =
            [&[104, 0, 0, 0, 3, 0, 0, 0, 1][..], &long(b"a\xff"), &long(b"-rw-r--r-- a"), &attributes.concat()]
                .concat();
        let expected = Attributes { size: Some(5), mode: Some(0o100_644), mtime: Some(9) };
        assert!(expected.is_file() && !expected.is_dir() && !expected.is_link());
        assert_eq!(Reply::read(&packet), Ok((3, Reply::Names(vec![(b"a\xff".to_vec(), expected)]))));
    }

    proptest! {
        #[test]
        fn no_packet_harms(packet in proptest::collection::vec(any::<u8>(), 0..64), kind in 100u8..=106) {
            for packet in [packet.clone(), [&[kind, 0, 0, 0, 1][..], &packet].concat()] {
                // An answer or an error: both are fine.
                let _read = (Reply::read(&packet), welcome(&packet), Disk::read(&packet));
            }
        }
    }
}
