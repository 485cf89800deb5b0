//! The `authorized_keys` file of a login on another machine.
//!
//! Decided here, done there: the content is read, `model` makes the new one of it, and a script puts that in its place
//! only if the file still has exactly the content that was read.
//!
//! Guarantees: the file is whole at every instant, whatever is killed, full or unplugged: new content is written beside it,
//! synced, and renamed over it. No line that was not asked to change does. A file has the mode that it had, or 0600, and
//! `~/.ssh` 0700; where others could write, nobody but the owner can afterwards, because sshd passes such files over. A
//! symbolic link is followed. A file of another user is refused, and one that has a hard link besides. Two of us at the same moment wait for each other where the
//! machine has `flock`.
//!
//! Leaves to others: what the lines are for, and whether sshd looks at this file at all; a login tells.

mod error;
#[cfg(test)]
mod killed_tests;
mod model;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
#[allow(clippy::print_stderr)] // a test that is skipped says so
mod tests;

use crate::shell::{Answer, Shell, ask};

pub use error::AuthorizedKeysError;
pub use model::{AuthorizedKeys, Entry, Key, Options};

/// How often the file may change between reading and writing before somebody should be told.
const MAX_ATTEMPTS: usize = 5;

/// The file that we change, and the one that sshd reads besides where nobody has told it otherwise.
pub const FILES: [&str; 2] = ["~/.ssh/authorized_keys", "~/.ssh/authorized_keys2"];

/// Reads the file of the login; empty where there is none.
pub fn read(shell: &dyn Shell) -> Result<AuthorizedKeys, AuthorizedKeysError> {
    Ok(AuthorizedKeys::new(read_file(shell, "")?.unwrap_or_default()))
}

/// Reads the second of [`FILES`], which is never changed; empty where there is none.
pub fn read_second(shell: &dyn Shell) -> Result<AuthorizedKeys, AuthorizedKeysError> {
    Ok(AuthorizedKeys::new(read_file(shell, "2")?.unwrap_or_default()))
}

/// Changes the file of the login as `change` says, which may be asked more than once. Returns whether there was anything to do.
///
/// After an error the file has the old content or the new one, whole. Any of them may be tried again.
pub fn edit(
    shell: &dyn Shell,
    change: impl Fn(&AuthorizedKeys) -> AuthorizedKeys,
) -> Result<bool, AuthorizedKeysError> {
    for _ in 0..MAX_ATTEMPTS {
        let old = read_file(shell, "")?;
        let before = AuthorizedKeys::new(old.clone().unwrap_or_default());
        let after = change(&before);
        if after == before {
            return Ok(false);
        }
        if swap(shell, old.as_deref(), after.as_bytes())? {
            return Ok(true);
        }
    }
    Err(AuthorizedKeysError::Restless)
}

/// The content; none where there is no file. `suffix`: what the name of the file ends with.
fn read_file(shell: &dyn Shell, suffix: &str) -> Result<Option<Vec<u8>>, AuthorizedKeysError> {
    let Answer { word, rest, complaints } = ask(shell, &[("s", suffix.as_bytes())], include_str!("show.sh"), b"")?;
    match word.split_once(' ').unwrap_or((&word, "")) {
        ("absent", _) => Ok(None),
        // RACE: it may be replaced between being measured and being read; what is written goes by what was read.
        ("file", bytes) if bytes.parse() == Ok(rest.len()) => Ok(Some(rest)),
        ("file", _) => Err(AuthorizedKeysError::Restless),
        ("failed", step) => Err(AuthorizedKeysError::of_step(step, complaints)),
        _ => Err(AuthorizedKeysError::Noise(complaints)),
    }
}

/// Puts `new` in the place of `old`; false where something else is there by now.
fn swap(shell: &dyn Shell, old: Option<&[u8]>, new: &[u8]) -> Result<bool, AuthorizedKeysError> {
    let absent: &[u8] = if old.is_none() { b"1" } else { b"" };
    let old = old.unwrap_or_default();
    let (old_bytes, new_bytes) = (old.len().to_string(), new.len().to_string());
    let variables = [("a", absent), ("o", old_bytes.as_bytes()), ("n", new_bytes.as_bytes())];
    let Answer { word, complaints, .. } = ask(shell, &variables, include_str!("swap.sh"), &[old, new].concat())?;
    match word.split_once(' ').unwrap_or((&word, "")) {
        ("done", _) => Ok(true),
        ("changed", _) => Ok(false),
        ("failed", step) => Err(AuthorizedKeysError::of_step(step, complaints)),
        _ => Err(AuthorizedKeysError::Noise(complaints)),
    }
}
