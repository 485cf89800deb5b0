//! The agents that we can put on a device: files on the collector's disk, one for each architecture.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::read::GzEncoder;

use super::DeployError;
use crate::digest::Digest;

/// An architecture that there can be an agent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// PCs.
    X86_64,
    /// 64-bit Raspberry Pis. Their kernel may be 64-bit where the rest is not: the agent is static and runs nevertheless.
    Aarch64,
    /// 32-bit Raspberry Pis from the second on.
    Armv7l,
}

impl Arch {
    pub(super) const ALL: [Arch; 3] = [Arch::Aarch64, Arch::Armv7l, Arch::X86_64];

    /// Of this machine, where there can be an agent for it.
    pub(super) fn own() -> Option<Arch> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Arch::X86_64),
            "aarch64" => Some(Arch::Aarch64),
            "arm" => Some(Arch::Armv7l),
            _ => None,
        }
    }

    /// What `uname -m` says on machines that run it.
    pub(super) fn machines(self) -> &'static [&'static str] {
        match self {
            Arch::X86_64 => &["x86_64", "amd64"],
            Arch::Aarch64 => &["aarch64", "arm64"],
            Arch::Armv7l => &["armv7l", "armv8l"],
        }
    }

    /// The architecture whose agent runs on a machine that calls itself so.
    pub(super) fn of_machine(machine: &str) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.machines().contains(&machine))
    }

    /// `e_machine` of the ELF header.
    fn elf_machine(self) -> u16 {
        match self {
            Arch::X86_64 => 62,
            Arch::Aarch64 => 183,
            Arch::Armv7l => 40,
        }
    }
}

/// As in file names.
impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.machines()[0])
    }
}

/// An agent on our disk.
#[derive(Debug)]
pub struct Binary {
    pub(super) arch: Arch,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) digest: Digest,
    /// Its file name on a device: version, the beginning of the digest, architecture. Other content has another name.
    pub(super) name: String,
    /// It as it travels, once some device has needed it.
    packed: Mutex<Option<Arc<[u8]>>>,
}

impl Binary {
    pub(super) fn new(arch: Arch, path: &Path, digest: Digest, bytes: u64) -> Binary {
        let short = &digest.to_string()[..12];
        let name = format!("pipeline-agent-{}-{short}-{arch}", env!("CARGO_PKG_VERSION"));
        Binary { arch, path: path.to_owned(), bytes, digest, name, packed: Mutex::default() }
    }

    /// What a device is sent: the content, compressed by gzip where the device can unpack it. Done once for all devices.
    pub(super) fn upload(&self, packed: bool) -> Result<Arc<[u8]>, DeployError> {
        let unreadable = |source| DeployError::Read { path: self.path.clone(), source };
        if !packed {
            return std::fs::read(&self.path).map(Arc::from).map_err(unreadable);
        }
        // Whoever comes second waits for the first: it would take as long itself.
        let mut known = self.packed.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let file = File::open(&self.path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        GzEncoder::new(file, Compression::default()).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(known.insert(bytes.into()).clone())
    }
}

/// Looks for an agent for each architecture; the first directory that has one counts.
///
/// Names, best first: `pipeline-agent-VERSION-ARCH`, `pipeline-agent-ARCH`, and `pipeline-agent` for this machine's own.
pub(super) fn find(dirs: &[PathBuf]) -> Result<Vec<Binary>, DeployError> {
    Arch::ALL.into_iter().filter_map(|arch| find_one(dirs, arch).transpose()).collect()
}

fn find_one(dirs: &[PathBuf], arch: Arch) -> Result<Option<Binary>, DeployError> {
    let version = env!("CARGO_PKG_VERSION");
    let mut names = vec![format!("pipeline-agent-{version}-{arch}"), format!("pipeline-agent-{arch}")];
    if Arch::own() == Some(arch) {
        names.push("pipeline-agent".into());
    }
    for path in dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name))) {
        match File::open(&path) {
            Ok(file) => return load(file, &path, arch).map(Some),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(source) => return Err(DeployError::Read { path, source }),
        }
    }
    Ok(None)
}

fn load(mut file: File, path: &Path, arch: Arch) -> Result<Binary, DeployError> {
    let unreadable = |source| DeployError::Read { path: path.to_owned(), source };
    let mut header = Vec::new();
    (&mut file).take(20).read_to_end(&mut header).map_err(unreadable)?;
    let machine = header.strip_prefix(b"\x7fELF").and(header.get(18..20));
    if machine != Some(&arch.elf_machine().to_le_bytes()) {
        return Err(DeployError::WrongBinary { path: path.to_owned(), arch });
    }
    file.rewind().map_err(unreadable)?;
    let (digest, bytes) = Digest::of_reader(&mut file, &mut vec![0; 64 * 1024]).map_err(unreadable)?;
    Ok(Binary::new(arch, path, digest, bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The beginning of a program for an architecture.
    fn program(arch: Arch) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(18, 0);
        bytes.extend(arch.elf_machine().to_le_bytes());
        bytes.extend(b"the rest");
        bytes
    }

    #[test]
    fn the_best_name_in_the_first_directory_counts() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = Arch::own().unwrap();
        let versioned = format!("pipeline-agent-{}-{own}", env!("CARGO_PKG_VERSION"));
        for (dir, name) in [(&first, "pipeline-agent"), (&second, &versioned), (&second, "pipeline-agent")] {
            std::fs::write(dir.path().join(name), program(own)).unwrap();
        }
        let find = |dirs: &[&tempfile::TempDir]| {
            let dirs: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
            super::find(&dirs).unwrap().iter().map(|binary| binary.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(find(&[&first, &second]), [first.path().join("pipeline-agent")]);
        assert_eq!(find(&[&second, &first]), [second.path().join(versioned)]);
    }

    #[test]
    fn the_name_on_the_device_tells_contents_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipeline-agent-armv7l");
        std::fs::write(&path, program(Arch::Armv7l)).unwrap();
        let before = find(&[dir.path().to_owned()]).unwrap().remove(0);
        assert_eq!((before.arch, before.bytes), (Arch::Armv7l, program(Arch::Armv7l).len() as u64));
        std::fs::write(&path, [program(Arch::Armv7l), b"!".to_vec()].concat()).unwrap();
        let after = find(&[dir.path().to_owned()]).unwrap().remove(0);
        assert_ne!(before.name, after.name);
    }

    #[test]
    fn a_program_for_another_machine_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pipeline-agent-aarch64"), program(Arch::X86_64)).unwrap();
        let error = find(&[dir.path().to_owned()]).unwrap_err();
        assert!(matches!(error, DeployError::WrongBinary { arch: Arch::Aarch64, .. }), "{error}");
    }

    #[test]
    fn machines_find_their_agent() {
        let table = [
            ("x86_64", Some(Arch::X86_64)),
            ("aarch64", Some(Arch::Aarch64)),
            ("armv7l", Some(Arch::Armv7l)),
            ("armv8l", Some(Arch::Armv7l)),
            ("armv6l", None),
            ("i686", None),
        ];
        for (machine, arch) in table {
            assert_eq!(Arch::of_machine(machine), arch, "{machine}");
        }
    }
}
