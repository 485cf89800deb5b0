//! Where programs are: those under test, beside the running executable; those of the system, in `PATH` and `sbin`.
//!
//! Guarantees that a test never runs yesterday's build: a test executable has cargo build a program before its first use.
//! Any other executable (the demo) takes what lies beside it, and says what is missing. A test may also have the programs built that
//! speak the next protocol, in a directory of their own: the version that a fleet is about to be upgraded to.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// What every program of the fleet gets as `PATH`.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Packages of the workspace by the program that they build.
const PACKAGES: [(&str, &str); 4] = [
    ("keytool", "keytool"),
    ("local-fleet", "local-fleet"),
    ("pipeline", "pipeline-cli"),
    ("pipeline-agent", "pipeline-agent"),
];

/// Whether a program of this name is built by the workspace.
pub(crate) fn is_ours(name: &str) -> bool {
    PACKAGES.iter().any(|(program, _)| *program == name)
}

/// Builds go one after the other, and each program is built once for each test executable.
static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The feature of the programs, and the directory below `target` that they are in.
const NEXT_PROTOCOL: &str = "next-protocol";

/// The directory that holds the programs of this workspace.
#[derive(Clone, Debug)]
pub struct Programs {
    dir: PathBuf,
    /// Whether the running executable is a test, which cargo can build for.
    testing: bool,
    /// Whether they speak the next protocol.
    next: bool,
}

impl Programs {
    /// Finds the directory from the running executable: `target/PROFILE`, or wherever the programs were installed.
    pub fn find() -> Result<Programs> {
        let exe = env::current_exe().map_err(Error::file("find", "the running executable"))?;
        let dir = exe.parent().unwrap_or(Path::new("/"));
        let testing = dir.file_name() == Some(OsStr::new("deps"));
        let dir = if testing { dir.parent().unwrap_or(dir) } else { dir };
        Ok(Programs { dir: dir.to_owned(), testing, next: false })
    }

    /// The absolute path of a program of this workspace: `pipeline`, `keytool`, `pipeline-agent` or `local-fleet`.
    ///
    /// # Panics
    /// At any other name.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let (name, package) = PACKAGES.into_iter().find(|(program, _)| *program == name).expect("a program of ours");
        let path = self.dir().join(name);
        if self.testing
            && let Some(cargo) = env::var_os("CARGO")
        {
            self.build(&cargo, name, package, &path)?;
        }
        if path.is_file() { Ok(path) } else { Err(Error::NotBuilt(path)) }
    }

    /// The same programs, of this version or of the one that speaks the next protocol. Tests alone can have that one.
    pub(crate) fn of_next_protocol(&self, next: bool) -> Programs {
        Programs { next, ..self.clone() }
    }

    /// Where they are: for the next protocol `target/next-protocol/PROFILE`.
    fn dir(&self) -> PathBuf {
        match (self.next, self.dir.parent(), self.dir.file_name()) {
            (true, Some(target), Some(profile)) => target.join(NEXT_PROTOCOL).join(profile),
            _ => self.dir.clone(),
        }
    }

    /// One package at a time, so that the agent is built with the features of the agent alone.
    fn build(&self, cargo: &OsStr, name: &str, package: &str, path: &Path) -> Result<()> {
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if built.contains(path) {
            return Ok(());
        }
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", package, "--bin", name, "--manifest-path"]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
        // The directory is named like the profile, but for that of `dev`.
        match self.dir.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => {}
            Some(profile) => drop(command.args(["--profile", profile])),
        }
        if let Some(target) = self.dir.parent() {
            if self.next {
                // What does not differ is not built twice. A cargo before 1.91 passes that over and takes longer.
                command.args(["--features", NEXT_PROTOCOL]).env("CARGO_BUILD_BUILD_DIR", target);
                command.arg("--target-dir").arg(target.join(NEXT_PROTOCOL));
            } else {
                command.arg("--target-dir").arg(target);
            }
        }
        let output = command.output().map_err(|cause| Error::Spawn { program: "cargo".into(), cause })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Build(name.into(), said));
        }
        built.insert(path.to_owned());
        Ok(())
    }
}

/// The absolute path of a program of the system; `sbin` counts though it may not be in a user's `PATH`.
pub fn system(name: &str) -> Result<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    env::split_paths(&format!("{path}:{PATH}"))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::Missing(name.into()))
}
