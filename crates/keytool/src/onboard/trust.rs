//! Is it the machine that it should be? Decided by what it shows, what is pinned, and what somebody wrote down. Pure, but for
//! reading known_hosts.
//!
//! Guarantees: a key that differs from a pinned one, that is revoked, or that another machine of the fleet has, is never offered
//! to a person as one to say yes to; where fingerprints were given, no other key is. One yes is about one key: each kind is shown in
//! a connection of its own, so whoever relays them may have sent each to another machine.

use std::path::PathBuf;

use pipeline_core::error::{Class, Classified};
use pipeline_core::ssh::HostKey;
use pipeline_core::ssh::host_key::{self, HostKeyError, HostKeys, Place};
use pipeline_core::ssh_config::HostParams;

use super::fingerprints::Fingerprints;
use crate::known_hosts::{self, Known};

/// What is to be made of the keys that a machine shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These are in known_hosts already.
    Pinned(Vec<HostKey>),
    /// Somebody wrote these fingerprints down.
    Listed(Vec<HostKey>),
    /// Nobody vouched for it yet: the best of the keys that are shown, which is the one that people are told to compare.
    Unknown(HostKey),
}

impl Verdict {
    /// The keys that a login may meet, and that are to be pinned after a yes.
    pub fn keys(&self) -> &[HostKey] {
        match self {
            Verdict::Pinned(keys) | Verdict::Listed(keys) => keys,
            Verdict::Unknown(key) => std::slice::from_ref(key),
        }
    }
}

/// Why a machine is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It is not the machine that is pinned, or its key is revoked, or known_hosts can't be read.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// Another machine has this key.
    #[error("'{name}' shows {key}, which is the host key of '{other}' too{}", place(place_of))]
    Cloned {
        /// The machine.
        name: String,
        /// Kind and fingerprint.
        key: String,
        /// The other machine.
        other: String,
        /// The line that says so; none where the other one shows it just now.
        place_of: Option<Place>,
    },
    /// Another machine is looked up by the same name.
    #[error("'{name}' and '{other}' are both looked up as '{known_as}' in known_hosts")]
    SameName {
        /// The machine.
        name: String,
        /// The other machine.
        other: String,
        /// The name.
        known_as: String,
    },
    /// It shows no key at all.
    #[error("'{0}' shows no host key")]
    Nothing(String),
    /// It shows none of the keys that were written down for it.
    #[error("'{name}' shows {shown}, which is not what {} has for it", list(file))]
    NotListed {
        /// The machine.
        name: String,
        /// Kinds and fingerprints.
        shown: String,
        /// Where the fingerprints are from; empty: from the command line.
        file: PathBuf,
    },
    /// Nothing was written down for it.
    #[error("{} has no fingerprint for '{name}', which shows {shown}", list(file))]
    NoneListed {
        /// The machine.
        name: String,
        /// Kinds and fingerprints.
        shown: String,
        /// Where the fingerprints are from.
        file: PathBuf,
    },
}

fn place(place: &Option<Place>) -> String {
    place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default()
}

fn list(file: &std::path::Path) -> String {
    if file.as_os_str().is_empty() { "--fingerprint".into() } else { file.display().to_string() }
}

impl Classified for TrustError {
    fn class(&self) -> Class {
        match self {
            TrustError::HostKey(error) => error.class(),
            _ => Class::HostKey,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            TrustError::HostKey(error) => return error.hint(),
            TrustError::Cloned { .. } => {
                "one card is a copy of the other; give this machine a key of its own with 'sudo rm /etc/ssh/ssh_host_*' and \
                 'sudo dpkg-reconfigure openssh-server' (or 'sudo ssh-keygen -A'), restart it, and run this again"
                    .into()
            }
            TrustError::Nothing(_) => return None,
            TrustError::SameName { .. } => {
                "each could pose as the other: give each entry a HostKeyAlias of its own, and run this again".into()
            }
            TrustError::NotListed { .. } => {
                "another machine answers in its place, or the fingerprint is wrong: 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the \
                 machine itself tells"
                    .into()
            }
            TrustError::NoneListed { file, .. } => {
                format!("add what 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' says on the machine itself to {}", list(file))
            }
        })
    }
}

/// Judges the keys that `host` shows. `fleet` are the names under which known_hosts may have the machines of the fleet, those of
/// `host` among them or not.
pub fn judge(
    host: &HostParams,
    shown: &[HostKey],
    fleet: &[Known],
    listed: Option<&Fingerprints>,
) -> Result<Verdict, TrustError> {
    let known = HostKeys::load(host)?;
    let mut pinned = Vec::new();
    let mut refusal = None;
    for key in shown {
        match known.verify(key.blob()) {
            Ok(()) => pinned.push(key.clone()),
            Err(HostKeyError::Unknown { .. }) => {}
            Err(error @ HostKeyError::Revoked { .. }) => return Err(error.into()),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    // One kind may be pinned and another not: the machine has proven to own the one that is.
    if let (true, Some(error)) = (pinned.is_empty(), refusal) {
        return Err(error.into());
    }
    let known_as = host_key::lookup_name(host);
    let same_name = |known: &Known| match known {
        // A port is one machine's; only what entries say can be the same.
        Known::Machine { host: other, name, .. } if *other != host.alias && !known_as.starts_with('[') => {
            name.eq_ignore_ascii_case(&known_as).then(|| other.clone())
        }
        _ => None,
    };
    if let Some(other) = fleet.iter().find_map(same_name) {
        return Err(TrustError::SameName { name: host.alias.clone(), other, known_as });
    }
    for key in shown {
        if let Some((other, place)) = known_hosts::other_with(key, host, fleet)? {
            let (name, key) = (host.alias.clone(), key.to_string());
            return Err(TrustError::Cloned { name, key, other, place_of: Some(place) });
        }
    }
    let listed = match listed {
        None => None,
        Some(listed) => Some(of_list(host, shown, listed)?),
    };
    match (pinned.is_empty(), listed) {
        (false, _) => Ok(Verdict::Pinned(pinned)),
        (true, Some(keys)) => Ok(Verdict::Listed(keys)),
        (true, None) => {
            shown.first().cloned().map(Verdict::Unknown).ok_or_else(|| TrustError::Nothing(host.alias.clone()))
        }
    }
}

/// Those of the keys whose fingerprints are on the list.
fn of_list(host: &HostParams, shown: &[HostKey], listed: &Fingerprints) -> Result<Vec<HostKey>, TrustError> {
    let fingerprints = listed.of(&host.alias);
    let (name, words, file) = (host.alias.clone(), words(shown), listed.file().to_owned());
    if fingerprints.is_empty() {
        return Err(TrustError::NoneListed { name, shown: words, file });
    }
    let keys: Vec<HostKey> = shown.iter().filter(|key| fingerprints.contains(&key.fingerprint())).cloned().collect();
    if keys.is_empty() { Err(TrustError::NotListed { name, shown: words, file }) } else { Ok(keys) }
}

/// Refuses machines of one batch that show the same key. Each is given by its name and the keys that it shows.
pub fn twin(name: &str, shown: &[HostKey], batch: &[(String, Vec<HostKey>)]) -> Result<(), TrustError> {
    for (other, keys) in batch.iter().filter(|(other, _)| other != name) {
        if let Some(key) = shown.iter().find(|key| keys.contains(key)) {
            let (name, key, other) = (name.to_owned(), key.to_string(), other.clone());
            return Err(TrustError::Cloned { name, key, other, place_of: None });
        }
    }
    Ok(())
}

/// What speaks against a host key that nobody has vouched for: another one that somebody accepted by hand for the port where it is
/// shown.
pub fn doubts(host: &HostParams, shown: &[HostKey]) -> Result<Vec<String>, TrustError> {
    let others = known_hosts::by_port(host)?.into_iter().filter(|entry| !shown.contains(&entry.key));
    let words = |entry: host_key::Entry| {
        let Place { file, line } = entry.place;
        format!("[{}]:{} had {} before ({}:{line})", host.hostname, host.port, entry.key, file.display())
    };
    Ok(others.map(words).collect())
}

/// Kinds and fingerprints, for a sentence.
fn words(keys: &[HostKey]) -> String {
    keys.iter().map(HostKey::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pipeline_core::config::Surroundings;
    use pipeline_core::ssh_config::SshConfig;

    use super::*;

    /// Made by ssh-keygen.
    const KEYS: [&str; 3] = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRF",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBC73LtYJgpfV3DjtekZFpI56tg+2KnkrXN+d74o87RRTNy1HBrF0sRuP5joa++7KU9/dzzBT9DFyH6q4lIi0eFg=",
    ];

    fn key(index: usize) -> HostKey {
        HostKey::parse(KEYS[index]).unwrap()
    }

    /// `raspberry31` at port 5031, with this known_hosts.
    fn host(dir: &Path, known_hosts: &str) -> HostParams {
        std::fs::write(dir.join("known_hosts"), known_hosts).unwrap();
        let config = format!(
            "Host raspberry31\n HostName localhost\n Port 5031\n HostKeyAlias raspberry31\n UserKnownHostsFile {0}/known_hosts\n \
             GlobalKnownHostsFile none\n",
            dir.display()
        );
        std::fs::write(dir.join("config"), config).unwrap();
        let surroundings = Surroundings {
            home: dir.to_owned(),
            user: "bee".into(),
            uid: 1000,
            xdg_state_home: None,
            env: std::collections::BTreeMap::new(),
        };
        SshConfig::load(&dir.join("config"), &surroundings).unwrap().resolve("raspberry31").unwrap()
    }

    #[test]
    fn what_a_machine_shows_is_judged() {
        let dir = tempfile::tempdir().unwrap();
        let beside = dir.path().join("known_34");
        std::fs::write(&beside, format!("bee34 {}\n", KEYS[1])).unwrap();
        let fleet = [
            ("raspberry34", "raspberry34"),
            ("raspberry34", "[localhost]:5034"),
            ("raspberry34", "bee34"),
            ("raspberry31", "raspberry31"),
            ("raspberry31", "[localhost]:5031"),
            ("raspberry31", "bee31"),
        ];
        let machine = |(host, name): (&str, &str)| Known::Machine {
            host: host.into(),
            name: name.into(),
            files: vec![beside.clone()],
        };
        let mut fleet = fleet.map(machine).to_vec();
        fleet.push(Known::Numbered { pattern: "raspberry{id}".into(), last: 99 });
        let [one, two, ecdsa] = KEYS;
        let unknown = "unknown";
        let table = [
            (String::new(), vec![0, 2], unknown),
            (format!("raspberry31 {one}\n"), vec![0, 2], "pinned 1"),
            (format!("raspberry31 {one}\nraspberry31 {ecdsa}\n"), vec![0, 2], "pinned 2"),
            // Another kind than is pinned is another machine; beside one that is pinned it is the same.
            (format!("raspberry31 {one}\n"), vec![2], "'raspberry31' shows ecdsa"),
            (format!("raspberry31 {one}\n"), vec![1], "'raspberry31' shows ssh-ed25519"),
            (format!("raspberry31 {one}\n@revoked * {ecdsa}\n"), vec![0, 2], "which"),
            // A cloned card, by name and as somebody accepted it by hand.
            (format!("raspberry34 {one}\n"), vec![0], "is the host key of 'raspberry34' too"),
            (format!("[localhost]:5034 {ecdsa}\n"), vec![0, 2], "is the host key of 'raspberry34' too"),
            // What known_hosts calls the other one need not be its alias, nor is it looked up in the same file.
            (format!("bee34 {one}\n"), vec![0], "is the host key of 'raspberry34' too"),
            (String::new(), vec![1], "is the host key of 'raspberry34' too"),
            // Of a Pi that has only its tunnel yet, and no entry.
            (format!("raspberry77 {one}\n"), vec![0], "is the host key of 'raspberry77' too"),
            // Another name of the same machine.
            (format!("bee31 {one}\n"), vec![0], unknown),
            (format!("raspberry31 {one}\nraspberry34 {one}\n"), vec![0], "is the host key of 'raspberry34' too"),
            // The same machine by its port, and one that is no other Pi.
            (format!("[localhost]:5031 {one}\n"), vec![0], unknown),
            (format!("192.168.1.31 {one}\nraspberry34 {two}\n"), vec![0, 2], unknown),
        ];
        for (known_hosts, shown, expected) in table {
            let shown: Vec<HostKey> = shown.into_iter().map(key).collect();
            let verdict = match judge(&host(dir.path(), &known_hosts), &shown, &fleet, None) {
                Ok(Verdict::Pinned(keys)) => format!("pinned {}", keys.len()),
                // Of two kinds, one may be another machine's: a yes is about the best, and pins no more than that.
                Ok(Verdict::Unknown(key)) => format!("unknown{}", if key == shown[0] { "" } else { " and other" }),
                Ok(Verdict::Listed(_)) => "listed".into(),
                Err(error) => error.to_string(),
            };
            assert!(verdict.contains(expected) && !verdict.ends_with("and other"), "{verdict}\n{known_hosts}");
        }
    }

    #[test]
    fn two_machines_with_one_name_are_not_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        let known = |name: &str| Known::Machine { host: "raspberry34".into(), name: name.into(), files: Vec::new() };
        let judge = |name: &str| judge(&host(dir.path(), ""), &[key(0)], &[known(name)], None);
        let refused = judge("Raspberry31").unwrap_err();
        let words = "'raspberry31' and 'raspberry34' are both looked up as 'raspberry31' in known_hosts";
        assert_eq!(refused.to_string(), words);
        judge("raspberry34").unwrap();
    }

    #[test]
    fn a_list_lets_no_other_key_in() {
        let dir = tempfile::tempdir().unwrap();
        let listed = |fingerprints: &[String]| Fingerprints::of_one("raspberry31", fingerprints);
        let (one, two) = (key(0).fingerprint(), key(1).fingerprint());
        let judge = |known_hosts: &str, shown: &[usize], listed: &Fingerprints| {
            let shown: Vec<HostKey> = shown.iter().map(|&index| key(index)).collect();
            judge(&host(dir.path(), known_hosts), &shown, &[], Some(listed))
        };
        let both = listed(&[two.clone(), one.clone()]);
        assert_eq!(judge("", &[0, 2], &both).unwrap(), Verdict::Listed(vec![key(0)]));
        let refused = judge("", &[0, 2], &listed(&[two])).unwrap_err();
        assert!(matches!(refused, TrustError::NotListed { .. }), "{refused}");
        let refused = judge("", &[0], &Fingerprints::of_one("raspberry34", &[one])).unwrap_err();
        assert!(matches!(refused, TrustError::NoneListed { .. }), "{refused}");
        // A pin is no way round the list.
        let pinned = format!("raspberry31 {}\n", KEYS[2]);
        assert!(judge(&pinned, &[2], &both).is_err());
        assert_eq!(judge(&pinned, &[0, 2], &both).unwrap(), Verdict::Pinned(vec![key(2)]));
    }

    #[test]
    fn twins_of_one_batch_are_both_refused() {
        let batch = [("a".to_owned(), vec![key(0), key(2)]), ("b".into(), vec![key(1)]), ("c".into(), vec![key(2)])];
        let refused: Vec<bool> = batch.iter().map(|(name, keys)| twin(name, keys, &batch).is_err()).collect();
        assert_eq!(refused, [true, false, true]);
    }
}
