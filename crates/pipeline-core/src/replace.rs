//! A small file that takes the place of another as a whole.
//!
//! Guarantees that whoever reads it, at any instant and after a power cut too, finds the old content or the new one and never
//! half of either. Leaves to others whether the new content must be the one that is found after a power cut: the directory is
//! not synced.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Puts a new file in the place of the old one, with this mode whatever the umask.
pub(crate) fn replace(file: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    // A name that nobody reads, with a number of our own: another run may end in the same instant.
    let mut name = OsString::from(".");
    name.push(file.file_name().ok_or(io::ErrorKind::IsADirectory)?);
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = file.with_file_name(name);
    let written = write_new(&temporary, mode, content).and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        // Nobody reads it, and why it is there has been told.
        fs::remove_file(&temporary).ok();
    }
    written
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let create = || OpenOptions::new().write(true).create_new(true).open(path);
    let mut file: File = match create() {
        // Of a run that was killed here, and had the number that is now ours.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()?
        }
        created => created?,
    };
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_data()
}
