//! Changes to files of this machine: first decided, then told, then made.
//!
//! Guarantees: a list of [`Change`]s can be shown without making any. A file is replaced whole or not at all (written beside it,
//! synced, renamed, directory synced), at the end of whatever symlinks lead to it, and keeps its mode and, where we may, its
//! owner. Nothing that [`Change::create`] or [`Change::create_later`] makes ever replaces anything. Who is killed at any step
//! leaves every file as it was or as it was to be, and maybe a hidden file beside it that the next change of that file
//! overwrites; deciding once more gives what is left to do. Changes are made under one lock of all keytools of this user. A list
//! of changes with one that can be seen to be impossible is not begun. A file with a second name (a hard link) is one of these:
//! the two would part without a word.
//!
//! Leaves to others: what the files should say.

mod error;
mod lock;
mod obstacle;
mod original;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::places::Places;

pub use error::ChangeError;
pub use obstacle::Obstacle;
pub use original::Original;

use lock::Lock;

/// One change, not made yet. What it writes may be secret.
pub struct Change {
    words: String,
    act: Act,
}

enum Act {
    MakeDir { path: PathBuf, mode: u32 },
    Create { path: PathBuf, mode: u32, content: Zeroizing<Vec<u8>> },
    CreateLater { path: PathBuf, mode: u32, content: Maker },
    Replace { original: Original, mode: u32, content: Vec<u8> },
    MoveAside { from: PathBuf, to: PathBuf },
    Supersede { new: PathBuf, path: PathBuf, old: PathBuf },
    Drop { path: PathBuf },
}

/// Makes content when it is needed: a key costs time, and a dry run must not make one.
struct Maker(Box<dyn Fn() -> Result<Zeroizing<Vec<u8>>, String>>);

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Change").field(&self.words).finish()
    }
}

impl Change {
    /// A directory, unless it is there.
    pub fn make_dir(path: &Path, mode: u32, places: &Places) -> Option<Change> {
        let words = format!("make directory {}", places.show(path));
        (!path.exists()).then(|| Change { words, act: Act::MakeDir { path: path.to_owned(), mode } })
    }

    /// A new file with known content. Making it fails where something has that name by then.
    pub fn create(path: &Path, mode: u32, content: Vec<u8>, words: String) -> Change {
        Change { words, act: Act::Create { path: path.to_owned(), mode, content: Zeroizing::new(content) } }
    }

    /// A new file whose content is made together with it. The same holds.
    pub fn create_later(
        path: &Path,
        mode: u32,
        words: String,
        content: impl Fn() -> Result<Zeroizing<Vec<u8>>, String> + 'static,
    ) -> Change {
        Change { words, act: Act::CreateLater { path: path.to_owned(), mode, content: Maker(Box::new(content)) } }
    }

    /// Other content for a file that was read, or that was not there and gets `mode` then; none where it has that content.
    /// Making it fails with [`ChangeError::Changed`] where the file is no longer the one that was read.
    pub fn replace(original: Original, mode: u32, content: Vec<u8>, words: String) -> Option<Change> {
        let same = original.bytes() == Some(&content);
        (!same).then_some(Change { words, act: Act::Replace { original, mode, content } })
    }

    /// A file gets another name, where nothing has that name.
    pub fn move_aside(from: &Path, to: &Path, places: &Places) -> Change {
        let words = format!("move {} to {}", places.show(from), places.show(to));
        Change { words, act: Act::MoveAside { from: from.to_owned(), to: to.to_owned() } }
    }

    /// A file takes another's place, which keeps a name: at every instant `path` is there and is the one or the other.
    pub fn supersede(new: &Path, path: &Path, old: &Path, places: &Places) -> Change {
        let words = format!("put {} in the place of {}", places.show(new), places.show(path));
        Change { words, act: Act::Supersede { new: new.to_owned(), path: path.to_owned(), old: old.to_owned() } }
    }

    /// A note of our own is over; none where there is none. Nothing else is ever deleted.
    pub fn drop_note(path: &Path, places: &Places) -> Option<Change> {
        let words = format!("remove the note {}", places.show(path));
        path.exists().then(|| Change { words, act: Act::Drop { path: path.to_owned() } })
    }

    fn make(&self) -> Result<(), ChangeError> {
        match &self.act {
            Act::MakeDir { path, mode } => write::make_dir(path, *mode),
            Act::Create { path, mode, content } => write::create(path, *mode, content),
            Act::CreateLater { path, mode, content } => {
                let content = (content.0)().map_err(|problem| ChangeError::Make { path: path.clone(), problem })?;
                write::create(path, *mode, &content)
            }
            Act::Replace { original, mode, content } => write::replace(original, *mode, content),
            Act::MoveAside { from, to } => write::move_aside(from, to),
            Act::Supersede { new, path, old } => write::supersede(new, path, old),
            Act::Drop { path } => write::drop_note(path),
        }
    }

    /// Whether it makes a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.act, Act::MakeDir { .. })
    }
}

/// Makes changes, or only tells them.
#[derive(Clone, Debug)]
pub struct Editor {
    places: Places,
    dry_run: bool,
}

/// So often a file may change under our hands before we give up.
const PATIENCE: usize = 5;

impl Editor {
    /// With `dry_run` no file is touched and no lock taken; what can be seen to stand in the way is found as well.
    pub fn new(places: Places, dry_run: bool) -> Editor {
        Editor { places, dry_run }
    }

    /// Decides and makes, and gives the words of what was (or in a dry run: would be) changed, in order.
    ///
    /// `decide` looks at the files and says what to change, each file at most once. It is called again under the lock, and
    /// once more whenever a file changed between looking and making; so it must do nothing but look. On failure the changes
    /// before the one that failed are made, and calling again does the rest.
    pub fn perform<E: From<ChangeError>>(&self, decide: impl Fn() -> Result<Vec<Change>, E>) -> Result<Vec<String>, E> {
        let first = decide()?;
        first.iter().try_for_each(obstacle::look)?;
        if self.dry_run || first.is_empty() {
            return Ok(first.into_iter().map(|change| change.words).collect());
        }
        write::is_own(&self.places)?;
        let mut done = Vec::new();
        // The lock lies in one of them.
        for dir in first.iter().filter(|change| change.is_dir()) {
            dir.make()?;
            done.push(dir.words.clone());
        }
        let _lock = Lock::take(&self.places.lock)?;
        let mut tries = 0;
        loop {
            let changes = decide()?;
            changes.iter().try_for_each(obstacle::look)?;
            match make_all(&changes, &mut done) {
                Err(ChangeError::Changed { .. }) if tries < PATIENCE => tries += 1,
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(done),
            }
        }
    }
}

fn make_all(changes: &[Change], done: &mut Vec<String>) -> Result<(), ChangeError> {
    for change in changes {
        change.make()?;
        done.push(change.words.clone());
    }
    Ok(())
}
