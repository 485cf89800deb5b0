//! Which Pis there are, and what follows from the number of one.
//!
//! The OpenSSH config is the registry: a Pi is there when an entry names it, keytool's or one written by hand. Guarantees that
//! numbers, names and ports belong together one to one.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use pipeline_core::config::Onboarding;
use pipeline_core::error::{Class, Classified};
use pipeline_core::path::DeviceName;
use pipeline_core::ssh_config::{HostParams, SshConfig, SshConfigError};

use crate::changes::ChangeError;
use crate::places::Places;
use crate::ssh_config::Owned;

/// The number of a Pi.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u16);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What follows from the number of a Pi, and what its entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pi {
    /// Its number.
    pub id: Id,
    /// Its alias in the OpenSSH config.
    pub name: DeviceName,
    /// Where its tunnel ends on the jump host.
    pub port: u16,
    /// The private key for it.
    pub key: PathBuf,
    /// Its entry in the OpenSSH config.
    pub entry: Entry,
}

/// Where a Pi has its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In the file that keytool owns.
    Ours,
    /// In a file of the user's: respected and not touched.
    HandWritten {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Whether it names the key of its own; otherwise OpenSSH tries its defaults.
        has_key: bool,
    },
    /// Nowhere yet.
    None,
}

impl Entry {
    /// Whether somebody chose the key by hand: then it may serve elsewhere, and is not ours to replace or to shut out.
    pub fn names_own_key(&self) -> bool {
        matches!(self, Entry::HandWritten { has_key: true, .. })
    }
}

/// Why there is no such Pi.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A text that is no number of a Pi, nor a range.
    #[error("'{text}' is not the number of a Pi")]
    NotAnId {
        /// As typed.
        text: String,
    },
    /// A number that no port can have.
    #[error("'{text}' goes beyond {}, the last port that there is", u16::MAX)]
    TooLarge {
        /// As typed.
        text: String,
    },
    /// A range that ends before it begins.
    #[error("'{text}' is empty: it ends before it begins")]
    EmptyRange {
        /// As typed.
        text: String,
    },
    /// A number that leads beyond the last port.
    #[error("Pi {id} would need port {}, and {} is the last one", u32::from(*base_port) + u32::from(id.0), u16::MAX)]
    NoPort {
        /// Which.
        id: Id,
        /// Port of the first Pi.
        base_port: u16,
    },
    /// The number makes a name that is none.
    #[error("'{name}' can't be the name of a Pi")]
    Name {
        /// The name.
        name: String,
    },
    /// The number makes the name of the jump host: one would take the other's entry.
    #[error("'{name}' is the jump host, and can't be a Pi")]
    Jump {
        /// The name.
        name: String,
    },
    /// A Pi that has no entry.
    #[error("{name} has no entry in the OpenSSH config")]
    Unknown {
        /// Its name.
        name: DeviceName,
    },
    /// See [`ChangeError`].
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// See [`SshConfigError`].
    #[error(transparent)]
    SshConfig(#[from] SshConfigError),
}

impl Classified for RegistryError {
    fn class(&self) -> Class {
        match self {
            RegistryError::Change(error) => error.class(),
            RegistryError::SshConfig(error) => error.class(),
            _ => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RegistryError::NotAnId { .. } | RegistryError::TooLarge { .. } | RegistryError::EmptyRange { .. } => {
                Some("numbers are like 31, 1-50 or 31,34,40-45".into())
            }
            RegistryError::NoPort { .. } => {
                Some("set a smaller base_port under onboarding in the configuration".into())
            }
            RegistryError::Jump { .. } => {
                Some("set another jump, or another name, under onboarding in the configuration".into())
            }
            RegistryError::Name { .. } => Some("see name under onboarding in the configuration".into()),
            RegistryError::Unknown { name } => {
                Some(format!("'keytool list' shows those that have one; 'keytool add-pi' adds {name}"))
            }
            RegistryError::Change(error) => error.hint(),
            RegistryError::SshConfig(error) => error.hint(),
        }
    }
}

/// Reads numbers and ranges as typed: `31`, `1-50`, `31,34`. Each number comes once, in the order of the first mention.
pub fn ids(texts: &[String]) -> Result<Vec<Id>, RegistryError> {
    let is_number = |text: &str| {
        let plain = text.chars().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        plain && !text.is_empty()
    };
    let mut seen = BTreeSet::new();
    let mut ids = Vec::new();
    for text in texts.iter().flat_map(|text| text.split(',')) {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        if !is_number(first) || !is_number(last) {
            return Err(RegistryError::NotAnId { text: text.to_owned() });
        }
        let too_large = |_| RegistryError::TooLarge { text: text.to_owned() };
        let (first, last): (u16, u16) = (first.parse().map_err(too_large)?, last.parse().map_err(too_large)?);
        if first > last {
            return Err(RegistryError::EmptyRange { text: text.to_owned() });
        }
        ids.extend((first..=last).map(Id).filter(|id| seen.insert(*id)));
    }
    Ok(ids)
}

/// The Pis of one user.
#[derive(Clone, Debug)]
pub struct Registry {
    onboarding: Onboarding,
    places: Places,
    ssh_config: SshConfig,
    ours: BTreeSet<String>,
    is_included: bool,
}

impl Registry {
    /// Looks at what is there. The line that includes our entries may be missing, because we were interrupted before it was written or
    /// because somebody took it out: they count all the same, as they will when it is written again.
    pub fn new(onboarding: &Onboarding, places: &Places, ssh_config: SshConfig) -> Result<Registry, RegistryError> {
        let ours = Owned::load(places)?.aliases().map(str::to_owned).collect();
        let is_included = ssh_config.includes(&places.owned);
        let ssh_config = if is_included { ssh_config } else { ssh_config.with_first(&places.owned)? };
        Ok(Registry { onboarding: onboarding.clone(), places: places.clone(), ssh_config, ours, is_included })
    }

    /// How Pis are named, reached and logged in to.
    pub fn onboarding(&self) -> &Onboarding {
        &self.onboarding
    }

    /// Whether `ssh` reads our entries.
    pub fn is_included(&self) -> bool {
        self.is_included
    }

    /// What the OpenSSH config said when it was read, with our entries.
    pub fn ssh_config(&self) -> &SshConfig {
        &self.ssh_config
    }

    /// The Pi with this number, whether it has an entry or not.
    pub fn pi(&self, id: Id) -> Result<Pi, RegistryError> {
        let name = self.called(id);
        if name == self.onboarding.jump {
            return Err(RegistryError::Jump { name });
        }
        let name = DeviceName::new(name.clone()).map_err(|_| RegistryError::Name { name })?;
        let base_port = self.onboarding.base_port;
        let port = base_port.checked_add(id.0).ok_or(RegistryError::NoPort { id, base_port })?;
        let entry = self.entry(name.as_str());
        let mut pi = Pi { id, key: self.places.key(name.as_str()), name, port, entry };
        if let Entry::HandWritten { has_key, .. } = &mut pi.entry {
            // What its entry says is so, whatever we would have made of it.
            let host = self.ssh_config.resolve(pi.name.as_str())?;
            *has_key = !host.default_identities;
            if let Some(key) = host.identity_files.first().filter(|_| *has_key) {
                pi.key.clone_from(key);
            }
            if host.hostname == "localhost" || host.hostname == "127.0.0.1" {
                pi.port = host.port;
            }
        }
        Ok(pi)
    }

    /// The Pi with this number, which must have an entry.
    pub fn known(&self, id: Id) -> Result<Pi, RegistryError> {
        let pi = self.pi(id)?;
        if pi.entry == Entry::None { Err(RegistryError::Unknown { name: pi.name }) } else { Ok(pi) }
    }

    /// What a Pi with this number is called in words, even where it can't be.
    pub fn called(&self, id: Id) -> String {
        self.onboarding.name.replacen("{id}", &id.to_string(), 1)
    }

    /// A Pi as an entry of the user's own says, else as ours says or is going to say.
    pub fn host(&self, pi: &Pi) -> Result<HostParams, RegistryError> {
        let mut host = self.ssh_config.resolve(pi.name.as_str())?;
        if let Entry::HandWritten { .. } = pi.entry {
            return Ok(host);
        }
        host.hostname = "localhost".into();
        host.port = pi.port;
        host.user.clone_from(&self.onboarding.user);
        host.identity_files = vec![pi.key.clone()];
        host.default_identities = false;
        host.identities_only = true;
        host.host_key_alias = Some(pi.name.to_string());
        host.proxy_command = None;
        Ok(host)
    }

    /// The port that its entry says by now. One of ours may be older than the configuration.
    pub fn port_now(&self, pi: &Pi) -> Result<u16, RegistryError> {
        Ok(if pi.entry == Entry::Ours { self.ssh_config.resolve(pi.name.as_str())?.port } else { pi.port })
    }

    /// Another alias that leads elsewhere with the key of this Pi.
    pub fn shares_key(&self, pi: &Pi) -> Result<Option<String>, RegistryError> {
        let here = self.ssh_config.resolve(pi.name.as_str())?;
        let elsewhere = |alias: &String| {
            // What can't be resolved can't be logged in to either.
            self.ssh_config.resolve(alias).is_ok_and(|host| {
                host.identity_files.contains(&pi.key) && (&host.hostname, host.port) != (&here.hostname, here.port)
            })
        };
        Ok(self.ssh_config.aliases().into_iter().find(elsewhere))
    }

    /// Every Pi that has an entry, or at least a key, by number; and the numbers of entries that can be no Pi's. A file that is
    /// called so and has no entry is somebody else's.
    pub fn all(&self) -> (Vec<Pi>, Vec<(Id, RegistryError)>) {
        let mut ids = BTreeSet::new();
        ids.extend(self.ssh_config.aliases().iter().chain(&self.ours).filter_map(|alias| self.id_of(alias)));
        let files = std::fs::read_dir(&self.places.ssh_dir).into_iter().flatten().flatten();
        ids.extend(files.filter_map(|file| self.id_of(file.file_name().to_str()?)));
        let (mut pis, mut misfits) = (Vec::new(), Vec::new());
        for id in ids {
            match self.pi(id) {
                Ok(pi) => pis.push(pi),
                Err(error) if self.entry(&self.called(id)) != Entry::None => misfits.push((id, error)),
                Err(_) => {}
            }
        }
        (pis, misfits)
    }

    /// The number in a name that is made like those of Pis.
    pub fn id_of(&self, name: &str) -> Option<Id> {
        if name == self.onboarding.jump {
            return None;
        }
        let (before, after) = self.onboarding.name.split_once("{id}")?;
        let number = name.strip_prefix(before)?.strip_suffix(after)?;
        ids(&[number.to_owned()]).ok().filter(|ids| ids.len() == 1 && !number.contains(['-', ',']))?.pop()
    }

    /// Where an alias has its entry. A file that includes ours does not count as the user's.
    pub fn entry(&self, alias: &str) -> Entry {
        let owned = self.places.owned.canonicalize().ok();
        let is_owned = |file: &PathBuf| *file == self.places.owned || file.canonicalize().ok() == owned;
        let by_hand = self.ssh_config.places(alias).into_iter().find(|(file, _)| !is_owned(file));
        match by_hand {
            Some((file, line)) => Entry::HandWritten { file, line, has_key: true },
            None if self.ours.contains(alias) => Entry::Ours,
            None => Entry::None,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::places::tests::{places, surroundings};

    fn numbers(texts: &[&str]) -> Result<Vec<u16>, String> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        ids(&texts).map(|ids| ids.into_iter().map(|id| id.0).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_ranges() {
        assert_eq!(numbers(&["31", "34-36", "7,35,1-2"]), Ok(vec![31, 34, 35, 36, 7, 1, 2]));
        assert_eq!(numbers(&["0"]), Ok(vec![0]));
        for text in ["", "x", "-1", "1-", "031", "1,,2", "1-2-3", "+3", "1 ", "raspberry31"] {
            assert!(numbers(&[text]).unwrap_err().ends_with("is not the number of a Pi"), "{text}");
        }
        for text in ["65536", "1-99999", "99999999999999999999"] {
            assert!(
                numbers(&[text]).unwrap_err().ends_with("goes beyond 65535, the last port that there is"),
                "{text}"
            );
        }
        assert_eq!(numbers(&["5-4"]).unwrap_err(), "'5-4' is empty: it ends before it begins");
    }

    /// Of a home with two entries of ours, and a config of the user's own.
    pub fn registry(name: &str, base_port: u16, config: &str) -> (tempfile::TempDir, Registry) {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path());
        std::fs::create_dir_all(&places.owned_dir).unwrap();
        std::fs::write(&places.owned, "Host raspberry31\nHost raspberry034\n").unwrap();
        std::fs::write(&places.ssh_config, format!("Include config.d/pipeline.conf\n{config}")).unwrap();
        let ssh_config = SshConfig::load(&places.ssh_config, &surroundings(home.path())).unwrap();
        let onboarding = Onboarding { name: name.into(), base_port, ..Onboarding::default() };
        let registry = Registry::new(&onboarding, &places, ssh_config).unwrap();
        (home, registry)
    }

    #[test]
    fn what_follows_from_a_number() {
        let (home, registry) = registry("bee-{id}-cam", 65_000, "");
        let pi = registry.pi(Id(7)).unwrap();
        assert_eq!((pi.name.as_str(), pi.port, pi.entry), ("bee-7-cam", 65_007, Entry::None));
        assert_eq!(pi.key, home.path().join(".ssh/bee-7-cam"));
        let error = registry.pi(Id(536)).unwrap_err();
        assert_eq!(error.to_string(), "Pi 536 would need port 65536, and 65535 is the last one");
        for (name, id) in [("bee-7-cam", Some(7)), ("bee-07-cam", None), ("bee-1-2-cam", None), ("bee--cam", None)] {
            assert_eq!(registry.id_of(name), id.map(Id), "{name}");
        }
    }

    #[test]
    fn an_entry_is_ours_or_the_users_or_not_there() {
        let config = "Host raspberry5 other\n  HostName localhost\n  Port 77\n  IdentityFile ~/k\nHost raspberry60536\n  HostName localhost\nHost raspberry* \n  User x\n";
        let (home, registry) = registry("raspberry{id}", 5000, config);
        // The last is too large a number for a Pi, and no entry says that it should be one.
        for name in ["raspberry9", "raspberry65000"] {
            std::fs::write(home.path().join(".ssh").join(name), "").unwrap();
        }
        let (all, misfits) = registry.all();
        let misfits: Vec<String> = misfits.iter().map(|(_, error)| error.to_string()).collect();
        assert_eq!(misfits, ["Pi 60536 would need port 65536, and 65535 is the last one"]);
        let found: Vec<(u16, &Entry)> = all.iter().map(|pi| (pi.id.0, &pi.entry)).collect();
        let file = home.path().join(".ssh/config");
        let by_hand = Entry::HandWritten { file, line: 2, has_key: true };
        assert_eq!(found, [(5, &by_hand), (9, &Entry::None), (31, &Entry::Ours)]);
        assert_eq!((all[0].port, all[0].key.as_path()), (77, home.path().join("k").as_path()));
        assert_eq!(registry.known(Id(9)).unwrap_err().to_string(), "raspberry9 has no entry in the OpenSSH config");
    }
}
