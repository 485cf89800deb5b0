//! What stands in the way of a change, as far as it can be seen before: of several changes none is begun that the next one's
//! obstacle would leave half done.
//!
//! Guarantees: only looks. Leaves to others: what shows itself in the doing, as a full disk.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, StatxAttributes, StatxFlags, accessat, statx};
use rustix::io::Errno;

use super::{Act, Change, ChangeError};

/// Why a file can't get other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// `chattr +i`.
    Immutable,
    /// `chattr +a`.
    AppendOnly,
    /// It is where something is mounted, and can't be renamed over.
    Mounted,
    /// A rename would give this name new content, and leave the other one the old.
    Linked,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Obstacle::Immutable => "it is marked as immutable",
            Obstacle::AppendOnly => "it is marked as append-only",
            Obstacle::Mounted => "it is a mount point",
            Obstacle::Linked => "it has a second name, a hard link, which would not get the new content",
        })
    }
}

/// Looks whether a change can be made. Directories that are not there yet are somebody's earlier change.
pub(super) fn look(change: &Change) -> Result<(), ChangeError> {
    let fixed = |path: &Path, obstacle| {
        let words = change.words.clone();
        Err(ChangeError::Fixed { path: path.to_owned(), obstacle, words })
    };
    let (path, is_replaced) = match &change.act {
        Act::MakeDir { path, .. } | Act::Create { path, .. } | Act::CreateLater { path, .. } => (path.as_path(), false),
        Act::Replace { original, .. } => (original.target(), original.identity().is_some()),
        Act::MoveAside { from, .. } => (from.as_path(), false),
        Act::Supersede { path, .. } | Act::Drop { path } => (path.as_path(), false),
    };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(errno @ (Errno::ACCESS | Errno::ROFS)) =
        accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
    {
        return Err(ChangeError::Write { path: path.to_owned(), source: errno.into() });
    }
    if let Some(obstacle) = marks(dir).filter(|obstacle| *obstacle != Obstacle::Mounted) {
        return fixed(dir, obstacle);
    }
    if let Some(obstacle) = marks(path) {
        return fixed(path, obstacle);
    }
    if is_replaced && path.metadata().is_ok_and(|metadata| metadata.nlink() > 1) {
        return fixed(path, Obstacle::Linked);
    }
    Ok(())
}

/// What the file system says of a file; none where it says nothing, or there is no file.
fn marks(path: &Path) -> Option<Obstacle> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()).ok()?.stx_attributes;
    [
        (StatxAttributes::IMMUTABLE, Obstacle::Immutable),
        (StatxAttributes::APPEND, Obstacle::AppendOnly),
        (StatxAttributes::MOUNT_ROOT, Obstacle::Mounted),
    ]
    .into_iter()
    .find_map(|(mark, obstacle)| found.contains(mark).then_some(obstacle))
}
