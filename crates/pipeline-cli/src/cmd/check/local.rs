//! What a check looks at on this machine: storage, state directory, private keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pipeline_core::archive::{Archive, ReadBack};
use pipeline_core::config::{AgentMode, Config};
use pipeline_core::error::Class;
use pipeline_core::fleet::Device;
use pipeline_core::hold::{self, Standing};
use pipeline_core::path::DeviceName;
use pipeline_core::run::{self, Lock, LockError};
use pipeline_core::ssh::deploy::Agents;
use pipeline_core::ssh::identity::{Identity, KeyProblem};
use pipeline_core::ssh_config::{HostParams, SshConfig};
use program::exit::Exit;
use program::failure::Failure;
use program::streams::Mark;

use super::cross;
use crate::ui::Ui;
use crate::ui::wording::{hold_ended_line, hold_line};

/// Storage and state directory: can each be used, and do they belong together?
pub fn storage(ui: &Ui, config: &Config) -> Exit {
    let storage = match Archive::open(&config.storage, "check", ReadBack::default()) {
        Ok(archive) => {
            ui.mark(Mark::Good, &format!("storage {}: id {}", config.storage.display(), archive.id()));
            Exit::Done
        }
        Err(error) => cross(ui, &Failure::of(&error)),
    };
    let dir = config.state_dir.display();
    // RACE: a run that begins in this very moment meets our lock and ends with 7; the next one does its work.
    let state = match Lock::acquire(&config.state_dir) {
        Ok(_) => Ok(format!("state directory {dir}")),
        // A check disturbs no run, and no run spoils a check.
        Err(LockError::Held { holder, .. }) => Ok(format!("state directory {dir}: a run is under way: {holder}")),
        Err(error) => Err(Failure::of(&error)),
    };
    match state {
        Err(failure) => storage.worse(cross(ui, &failure)),
        Ok(_) if storage != Exit::Done => storage,
        Ok(words) => match run::open(config) {
            Ok(_) => {
                ui.mark(Mark::Good, &words);
                Exit::Done
            }
            Err(error) => cross(ui, &Failure::of(&error)),
        },
    }
}

/// What kinds of device can be given an agent. The others are served without: worth a line, and not a fault.
pub fn agents(ui: &Ui, config: &Config, agents: &Agents) -> Exit {
    if config.agent == AgentMode::Never {
        return Exit::Done;
    }
    match agents.served() {
        Ok((served, lacking)) => {
            let (mark, has) = match served.is_empty() {
                true => (Mark::Away, "no agents".to_owned()),
                false => (Mark::Good, format!("agents for {}", served.join(", "))),
            };
            let lacks = if lacking.is_empty() { String::new() } else { format!("; none for {}", lacking.join(", ")) };
            ui.mark(mark, &format!("{has}{lacks}"));
            Exit::Done
        }
        Err(error) => cross(ui, &Failure::of(&error)),
    }
}

/// Whether removals are on hold: worth a line, and not a fault. Where there is no state directory, that has been told.
pub fn hold(ui: &Ui, config: &Config) {
    if !config.state_dir.is_dir() {
        return;
    }
    match hold::read(&config.state_dir) {
        Standing::Free => {}
        Standing::Held(hold) => ui.mark(Mark::Away, &hold_line(&hold)),
        Standing::Over(hold) => ui.mark(Mark::Away, &hold_ended_line(&hold)),
    }
}

/// What is to be said of private keys.
#[derive(Debug, Default)]
pub struct Keys {
    /// By path: whether it can be used, or why not.
    seen: BTreeMap<PathBuf, Result<(), Failure>>,
    /// Hosts for which no key was found at all, by the files that were looked for.
    keyless: BTreeMap<Vec<PathBuf>, BTreeSet<String>>,
    /// Devices whose route can't be worked out.
    lost: Vec<Failure>,
    /// Devices that can't be reached for want of a key or a route.
    pub unusable: BTreeSet<DeviceName>,
}

impl Keys {
    /// Looks at the keys of every host on the way to each device. Reads files, asks no agent.
    pub fn of(devices: &[Device], ssh_config: &SshConfig) -> Keys {
        let mut keys = Keys::default();
        let mut identities = BTreeMap::new();
        for device in devices {
            let usable = match ssh_config.route(device.name.as_str()) {
                // Each one is judged, also after a bad one.
                Ok(route) => route.iter().filter(|host| !keys.judge(host, &mut identities)).count() == 0,
                Err(error) => {
                    keys.lost.push(Failure::of(&error));
                    false
                }
            };
            if !usable {
                keys.unusable.insert(device.name.clone());
            }
        }
        keys
    }

    /// Whether some key for this host may work.
    fn judge(&mut self, host: &HostParams, identities: &mut BTreeMap<PathBuf, Identity>) -> bool {
        let agent = host.identity_agent.is_some();
        let mut usable = agent && !host.identities_only;
        let mut bad = false;
        for path in &host.identity_files {
            let identity = identities.entry(path.clone()).or_insert_with(|| Identity::load(path));
            match &identity.private {
                Ok(_) => {
                    self.seen.insert(path.clone(), Ok(()));
                    usable = true;
                }
                Err(KeyProblem::Missing) => {}
                // The agent may hold what the file can't give.
                Err(KeyProblem::Encrypted | KeyProblem::NotAKey) if agent && identity.public.is_some() => usable = true,
                // Nobody chose that one.
                Err(_) if host.default_identities => {}
                Err(problem) => {
                    self.seen.insert(path.clone(), Err(bad_key(path, problem)));
                    bad = true;
                }
            }
        }
        if !usable && !bad {
            self.keyless.entry(host.identity_files.clone()).or_default().insert(host.alias.clone());
        }
        usable
    }

    /// Says it.
    pub fn show(&self, ui: &Ui) -> Exit {
        let mut exit = Exit::Done;
        for (path, verdict) in &self.seen {
            match verdict {
                Ok(()) => ui.mark(Mark::Good, &format!("private key {}", path.display())),
                Err(failure) => exit = exit.worse(cross(ui, failure)),
            }
        }
        for (paths, hosts) in &self.keyless {
            exit = exit.worse(cross(ui, &no_key(paths, hosts)));
        }
        self.lost.iter().fold(exit, |exit, failure| exit.worse(cross(ui, failure)))
    }
}

fn bad_key(path: &Path, problem: &KeyProblem) -> Failure {
    let path = path.display();
    let hint = match problem {
        KeyProblem::TooOpen(_) => format!("as for ssh itself: 'chmod 600 {path}'"),
        KeyProblem::Encrypted => {
            "nobody can type it when a timer runs: load the key into an ssh agent, or take one without".into()
        }
        _ => "'IdentityFile' in the OpenSSH config names it: it must be a private key that this user can read".into(),
    };
    let what = format!("private key {path}: {problem}");
    Failure { exit: Exit::of_class(Class::Config), what, hint: Some(hint) }
}

fn no_key(paths: &[PathBuf], hosts: &BTreeSet<String>) -> Failure {
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    Failure {
        exit: Exit::of_class(Class::Config),
        what: format!("no private key for {}: looked for {}", hosts.join(", "), paths.join(", ")),
        hint: Some("'IdentityFile' in the OpenSSH config names the key; an ssh agent may hold it, too".into()),
    }
}
