//! Small file systems that fill, go away and turn read-only.
//!
//! They stand in a mount namespace of the test's own, which nobody else sees and which goes with it. Only root may have one:
//! for anybody else the tests that need them say so, and pass.

use std::convert::Infallible;
use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const NOTHING: Option<&str> = None;

/// Tells the story where mounts of its own are possible. What it starts lives among them too.
///
/// # Panics
/// Where the story does.
pub fn among_own_mounts(story: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let teller = scope.spawn(|| {
            // Of this thread alone, and of what it starts.
            let own = unshare(CloneFlags::CLONE_NEWNS)
                .and_then(|()| mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING));
            match own {
                Ok(()) => story(),
                #[allow(clippy::print_stderr)] // how a test says that it tested nothing
                Err(error) => eprintln!("not tested: mounts of its own are not to be had ({error}); root has them"),
            }
        });
        if let Err(panic) = teller.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A file system in memory, mounted. Dropping it unmounts it, whoever uses it.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts an empty one of this size over a directory.
    ///
    /// # Panics
    /// Where that fails, as everything here.
    #[track_caller]
    pub fn mount(at: &Path, bytes: u64) -> Disk {
        let options = format!("size={bytes},mode=755");
        done(mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())));
        Disk(at.into())
    }

    /// Shows it at a second place.
    #[track_caller]
    pub fn bind(&self, at: &Path) -> Disk {
        done(mount(Some(&self.0), at, NOTHING, MsFlags::MS_BIND, NOTHING));
        Disk(at.into())
    }

    /// Gives it another size.
    #[track_caller]
    pub fn resize(&self, bytes: u64) {
        let options = format!("size={bytes}");
        done(mount(NOTHING, &self.0, NOTHING, MsFlags::MS_REMOUNT, Some(options.as_str())));
    }

    /// Makes this mount read-only, or writable again.
    #[track_caller]
    pub fn set_read_only(&self, read_only: bool) {
        let flag = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        done(mount(NOTHING, &self.0, NOTHING, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flag, NOTHING));
    }

    /// Uses up all that is free, whoever else is writing. Returns the file that does it.
    #[track_caller]
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let filled = File::create(&path).and_then(|mut filler| -> Result<Infallible> {
            let block = [7; 4096];
            loop {
                filler.write_all(&block)?;
            }
        });
        match filled {
            Err(error) if error.kind() == ErrorKind::StorageFull => path,
            Err(error) => panic!("{}: {error}", path.display()),
            Ok(never) => match never {},
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
    }
}

#[track_caller]
fn done(result: nix::Result<()>) {
    result.unwrap_or_else(|error| panic!("can't mount: {error}"));
}
