//! What can go wrong with files of this machine.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use pipeline_core::error::{Class, Classified};

use super::Obstacle;

/// Why a change could not be decided or made. Every file is as it was, or as it was to be.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A file can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is to be changed is a device, a pipe or a directory.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// A file or directory can't be written.
    #[error("can't write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory that is not to be changed by its marks or its place.
    #[error("can't change {}: {obstacle}", path.display())]
    Fixed {
        /// Which.
        path: PathBuf,
        /// Why.
        obstacle: Obstacle,
        /// The change, in words.
        words: String,
    },
    /// Something has the name of a file that was to be new.
    #[error("{} is there already", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A file is no longer the one that was read.
    #[error("{} keeps changing", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// What the file is to hold could not be made.
    #[error("can't make {}: {problem}", path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Root in somebody's home: what he makes there would not be the owner's.
    #[error("{} belongs to another user", path.display())]
    OtherOwner {
        /// The directory.
        path: PathBuf,
    },
    /// Another keytool holds the lock, and goes on holding it.
    #[error("another keytool has been changing files for too long: {} is locked", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

impl Classified for ChangeError {
    fn class(&self) -> Class {
        match self {
            ChangeError::Read { .. }
            | ChangeError::NotAFile { .. }
            | ChangeError::Fixed { .. }
            | ChangeError::Exists { .. }
            | ChangeError::OtherOwner { .. } => Class::Config,
            ChangeError::Write { source, .. } => Class::of_state_dir(source),
            ChangeError::Changed { .. } | ChangeError::Locked { .. } => Class::Locked,
            ChangeError::Make { .. } => Class::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ChangeError::Read { path, .. } => Some(format!("make {} readable for this user", path.display())),
            ChangeError::NotAFile { .. } => Some(
                "keytool keeps what it writes in regular files: name one instead (for host keys: UserKnownHostsFile in the OpenSSH config)"
                    .into(),
            ),
            ChangeError::Write { source, .. } => Some(match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    "make room on that disk and run the command again: it does what is left to do".into()
                }
                ErrorKind::ReadOnlyFilesystem => "that disk is read-only; see why, and run the command again".into(),
                _ => "keytool must be allowed to write there: run it as the user that owns these files".into(),
            }),
            ChangeError::Fixed { path, obstacle, words } => {
                let own = shell_word(&format!("{}.own", path.display()));
                let path = shell_word(&path.display().to_string());
                let way = match obstacle {
                    Obstacle::Immutable => format!("'sudo chattr -i {path}' takes the mark away"),
                    Obstacle::AppendOnly => format!("'sudo chattr -a {path}' takes the mark away"),
                    Obstacle::Mounted => "mount the directory that it lies in, not the file".into(),
                    Obstacle::Linked => format!(
                        "'cp -p {path} {own} && mv {own} {path}' makes it a file of its own; a symbolic link would be followed"
                    ),
                };
                Some(format!("{way}; or do by hand what was to be done: {words}"))
            }
            ChangeError::Exists { .. } => {
                Some("keytool overwrites no file that it did not make: look at it first".into())
            }
            ChangeError::Changed { .. } => {
                Some("find out which program writes to it, and run the command again".into())
            }
            ChangeError::OtherOwner { .. } => {
                Some("run keytool as the user whose files these are; 'sudo -H -u USER keytool …' does".into())
            }
            ChangeError::Make { .. } => None,
            ChangeError::Locked { .. } => Some("wait until it ends; the lock goes with its process".into()),
        }
    }
}

/// As a person can paste it.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_hint_can_be_pasted() {
        let hint = |path: &str| {
            let words = "write it".into();
            ChangeError::Fixed { path: path.into(), obstacle: Obstacle::Linked, words }.hint().unwrap()
        };
        assert!(hint("/x/config").contains("cp -p /x/config /x/config.own && mv /x/config.own /x/config'"));
        let quoted = hint("/x y/o'neil");
        assert!(quoted.contains(r"cp -p '/x y/o'\''neil' '/x y/o'\''neil.own' && mv"), "{quoted}");
    }
}
