//! What can go wrong while a local fleet is set up.

use std::io;
use std::path::PathBuf;

/// Why there is no fleet, or why it could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the fleet could not be made or read.
    #[error("can't {doing} {path}", path = .path.display())]
    File {
        /// What was tried: "write", "create", ...
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The temporary directory has a name that OpenSSH's configuration files can't carry without quoting.
    #[error("the temporary directory {} has characters in its name that ssh configuration can't carry", .0.display())]
    AwkwardDirectory(PathBuf),
    /// A program that the fleet needs is not there.
    #[error("{0} was not found")]
    Missing(String),
    /// A program under test was not built.
    #[error("{} is not there", .0.display())]
    NotBuilt(PathBuf),
    /// `cargo build` failed; what it said.
    #[error("cargo could not build {0}: {1}")]
    Build(String, String),
    /// A program did not start.
    #[error("{program} did not start")]
    Spawn {
        /// Which.
        program: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A helper program failed; what it said.
    #[error("{program} failed: {said}")]
    Helper {
        /// Which.
        program: String,
        /// The end of its output.
        said: String,
    },
    /// A server ended, or did not answer in time; the end of its log.
    #[error("{name} did not get ready on port {port}: {log}")]
    NotReady {
        /// Of which machine.
        name: String,
        /// Where an SSH banner was waited for.
        port: u16,
        /// The last lines it logged.
        log: String,
    },
    /// Signals could not be caught.
    #[error("can't catch signals")]
    Signals(#[source] io::Error),
    /// No port could be reserved, or a reserved one could not be used.
    #[error("can't reserve a port on 127.0.0.1")]
    Port(#[source] io::Error),
}

impl Error {
    /// Wraps the failure of an operation on a file: `.map_err(Error::file("write", &path))`.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |cause| Error::File { doing, path, cause }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::AwkwardDirectory(_) => Some("set TMPDIR to a directory with a plain name, such as /tmp"),
            Error::Missing(_) => Some("run `make setup`: it installs the OpenSSH server and client"),
            Error::NotBuilt(_) => Some("run `make demo` or `make fleet`: they build it first"),
            Error::NotReady { log, .. } if log.contains("unshare") => {
                Some("machines with passwords need user namespaces: as root, or with those of ordinary users allowed")
            }
            Error::NotReady { log, .. } if log.contains("account is locked") => {
                Some("this account has no valid password entry: run it as another user")
            }
            _ => None,
        }
    }
}
