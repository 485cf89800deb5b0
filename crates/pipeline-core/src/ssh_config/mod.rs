//! OpenSSH client configs: what an alias stands for, and the route to it.
//!
//! Guarantees that for the keywords it reads, an alias means what `ssh -G -F FILE ALIAS` says: a test compares the two on a
//! table of real-life configs. Never runs a command: a `Match exec` that would decide about a host is an error. Keywords that
//! do not bear on the route or on keys are passed over, a `StrictHostKeyChecking no` among them: checking is always strict.
//! Files are read once, by [`SshConfig::load`]. Connecting, known_hosts and keys are left to [`crate::ssh`].
//!
//! Written here because the crate ssh2-config (0.9) has neither `Match` nor tokens, and asks the process for its home.

mod error;
mod jump;
mod line;
mod pattern;
mod read;
mod resolve;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::Surroundings;
use line::Criterion;
use read::{Kind, Line, Reader, Step};

pub use error::SshConfigError;
pub use jump::Hop;

const SYSTEM_FILE: &str = "/etc/ssh/ssh_config";

/// A config with everything that it includes.
#[derive(Clone, Debug)]
pub struct SshConfig {
    file: PathBuf,
    /// In the order in which they count.
    files: Vec<Vec<Line>>,
    notes: Vec<String>,
    surroundings: Surroundings,
}

/// How to reach one host and who it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostParams {
    /// The name that was looked up.
    pub alias: String,
    /// Name or address to connect to, as seen from the hop before.
    pub hostname: String,
    /// Port to connect to.
    pub port: u16,
    /// Login.
    pub user: String,
    /// Private keys to offer, in order. May not exist.
    pub identity_files: Vec<PathBuf>,
    /// Whether `identity_files` are OpenSSH's defaults, so that a missing one means nothing.
    pub default_identities: bool,
    /// Offer no key of the ssh agent but those in `identity_files`.
    pub identities_only: bool,
    /// Socket of the ssh agent; none: do not ask it.
    pub identity_agent: Option<PathBuf>,
    /// Where the host key must stand; the user's files first.
    pub user_known_hosts_files: Vec<PathBuf>,
    /// Files for the whole machine.
    pub global_known_hosts_files: Vec<PathBuf>,
    /// Name to look up in the known_hosts files in place of the host name and port.
    pub host_key_alias: Option<String>,
    /// Hops to pass through, first hop first. [`SshConfig::route`] follows them.
    pub proxy_jump: Vec<Hop>,
    /// A command that would make the connection. Not supported: [`SshConfig::route`] refuses it.
    pub proxy_command: Option<String>,
}

impl SshConfig {
    /// Reads a config as `ssh -F FILE` does; `~/.ssh/config` as `ssh` without `-F`, that is together with the machine's own.
    pub fn load(file: &Path, surroundings: &Surroundings) -> Result<SshConfig, SshConfigError> {
        let system = Path::new(SYSTEM_FILE);
        let with_system = file == surroundings.home.join(".ssh/config") && system.exists();
        SshConfig::load_both(file, with_system.then_some(system), surroundings)
    }

    /// The same where the user may have no config yet: then it is empty, but for the machine's own.
    pub fn load_if_there(file: &Path, surroundings: &Surroundings) -> Result<SshConfig, SshConfigError> {
        match SshConfig::load(file, surroundings) {
            Err(SshConfigError::Read { path, source }) if path == file && source.kind() == ErrorKind::NotFound => {
                Ok(SshConfig {
                    file: file.to_owned(),
                    files: Vec::new(),
                    notes: Vec::new(),
                    surroundings: surroundings.clone(),
                })
            }
            loaded => loaded,
        }
    }

    fn load_both(file: &Path, system: Option<&Path>, surroundings: &Surroundings) -> Result<SshConfig, SshConfigError> {
        let mut reader = Reader { surroundings, kind: Kind::User, notes: Vec::new() };
        let mut files = vec![reader.read(file, 0)?];
        if let Some(system) = system {
            reader.kind = Kind::System;
            files.push(reader.read(system, 0)?);
        }
        Ok(SshConfig { file: file.to_owned(), files, notes: reader.notes, surroundings: surroundings.clone() })
    }

    /// The same as it will be once a first line includes this file; one that is not there changes nothing.
    pub fn with_first(mut self, file: &Path) -> Result<SshConfig, SshConfigError> {
        let mut reader = Reader { surroundings: &self.surroundings, kind: Kind::User, notes: Vec::new() };
        let lines = match reader.read(file, 1) {
            Err(SshConfigError::Read { path, source }) if path == file && source.kind() == ErrorKind::NotFound => {
                return Ok(self);
            }
            read => read?,
        };
        self.notes.extend(reader.notes);
        let first = Line { file: self.file.as_path().into(), number: 1, step: Step::Include(vec![lines]) };
        match self.files.first_mut() {
            Some(of_user) => of_user.insert(0, first),
            None => self.files.push(vec![first]),
        }
        Ok(self)
    }

    /// Whether a line that holds for every host includes this file, at whatever depth. One that says nothing is never included.
    pub fn includes(&self, file: &Path) -> bool {
        let real = file.canonicalize().ok();
        let is_it = |found: &Path| found == file || (real.is_some() && found.canonicalize().ok() == real);
        self.files.iter().any(|lines| includes(lines, &is_it))
    }

    /// The file that was read.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is in the files, changes how `ssh` reaches hosts, and is not followed here; one line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The names that `Host` lines give without wildcards, in the order of the files.
    pub fn aliases(&self) -> Vec<String> {
        let mut found = Vec::new();
        for file in &self.files {
            collect(file, false, &mut found);
        }
        let mut seen = HashSet::new();
        found.retain(|(alias, nested)| seen.insert(*alias) && (!nested || self.names(alias)));
        found.into_iter().map(|(alias, _)| alias.to_owned()).collect()
    }

    /// Where `Host` lines, or `Match` lines with `host` or `originalhost`, name this alias without a wildcard: file and line.
    pub fn places(&self, alias: &str) -> Vec<(PathBuf, usize)> {
        let mut found = Vec::new();
        self.files.iter().for_each(|file| collect_places(file, alias, &mut found));
        found
    }

    /// Whether some `Host` line names or matches this alias, other than by a mere `*`.
    pub fn names(&self, alias: &str) -> bool {
        self.files.iter().any(|file| named(file, alias))
    }
}

/// Looks before the first line that begins something for some hosts alone.
fn includes(lines: &[Line], is_it: &dyn Fn(&Path) -> bool) -> bool {
    let for_all = lines.iter().map_while(|line| match &line.step {
        Step::Match(criteria) if !criteria.iter().all(Criterion::always_holds) => None,
        Step::Host(_) => None,
        step => Some(step),
    });
    for_all.into_iter().any(|step| match step {
        Step::Include(files) => {
            files.iter().any(|file| file.first().is_some_and(|line| is_it(&line.file)) || includes(file, is_it))
        }
        _ => false,
    })
}

/// Collects concrete names; `true` beside those inside a block, whose own condition must hold too.
fn collect<'a>(lines: &'a [Line], nested: bool, found: &mut Vec<(&'a str, bool)>) {
    let mut in_block = nested;
    for line in lines {
        match &line.step {
            Step::Host(patterns) => {
                in_block = true;
                let names = patterns.iter().filter(|p| !p.starts_with('!') && pattern::is_concrete(p));
                // A name that the same line takes back again needs the closer look too.
                let negated = patterns.iter().any(|p| p.starts_with('!'));
                found.extend(names.map(|name| (name.as_str(), nested || negated)));
            }
            Step::Match(_) => in_block = true,
            Step::Include(files) => files.iter().for_each(|file| collect(file, in_block, found)),
            Step::Set(_) => {}
        }
    }
}

fn collect_places(lines: &[Line], alias: &str, found: &mut Vec<(PathBuf, usize)>) {
    for line in lines {
        match &line.step {
            Step::Host(patterns) if patterns.iter().any(|pattern| pattern == alias) => {
                found.push((line.file.to_path_buf(), line.number));
            }
            Step::Match(criteria) if criteria.iter().any(|criterion| criterion.names(alias)) => {
                found.push((line.file.to_path_buf(), line.number));
            }
            Step::Include(files) => files.iter().for_each(|file| collect_places(file, alias, found)),
            Step::Host(_) | Step::Match(_) | Step::Set(_) => {}
        }
    }
}

/// Whether a `Host` line that counts for `alias` names it. A `Match` around an `Include` is taken to hold.
fn named(lines: &[Line], alias: &str) -> bool {
    let mut active = true;
    for line in lines {
        match &line.step {
            Step::Host(patterns) => {
                active = resolve::host_line_matches(patterns, alias);
                if active && patterns.iter().any(|p| p != "*" && !p.starts_with('!') && pattern::matches(alias, p)) {
                    return true;
                }
            }
            Step::Match(_) => active = true,
            Step::Include(files) if active && files.iter().any(|file| named(file, alias)) => return true,
            Step::Include(_) | Step::Set(_) => {}
        }
    }
    false
}
