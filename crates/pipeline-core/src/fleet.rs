//! Host patterns and the OpenSSH config to devices.
//!
//! Guarantees that every device has an entry in the OpenSSH config, that none comes twice, and that they stand in the order of
//! the configuration. A range takes those of its names that have an entry; a pattern with `*` or `?` stands for the aliases that
//! the OpenSSH config names without wildcards. Routes are left to [`crate::ssh_config`].

use std::collections::HashSet;
use std::path::PathBuf;

use crate::config::{Config, DeviceSettings, HostPattern, HostPatternError, nearest};
use crate::error::{Class, Classified};
use crate::path::DeviceName;
use crate::ssh_config::SshConfig;

/// One device to visit.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its alias in the OpenSSH config.
    pub name: DeviceName,
    /// What holds for it.
    pub settings: DeviceSettings,
}

/// Why patterns do not lead to devices.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A host of the configuration has no entry in the OpenSSH config.
    #[error("unknown host alias '{name}'{}: {} has no entry for it", and_more(*more), file.display())]
    UnknownAlias {
        /// The first.
        name: DeviceName,
        /// How many others there are.
        more: usize,
        /// The OpenSSH config.
        file: PathBuf,
        /// Aliases that are nearly the same.
        near: Vec<String>,
    },
    /// A pattern of the configuration matches nothing.
    #[error("'{pattern}' matches no host alias in {}", file.display())]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// The OpenSSH config.
        file: PathBuf,
    },
    /// What is left out is everything.
    #[error("the patterns behind '!' leave every device out")]
    Empty,
    /// A host on the command line is not a pattern.
    #[error(transparent)]
    Pattern(#[from] HostPatternError),
    /// A host on the command line is not one of the fleet.
    #[error("'{pattern}' is not a device of this fleet")]
    NotInFleet {
        /// As typed.
        pattern: String,
        /// Devices that are nearly the same.
        near: Vec<String>,
    },
}

fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

impl Classified for FleetError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            FleetError::UnknownAlias { near, file, .. } => format!(
                "{}'keytool add-pi' writes the entry of a new device to {}; to leave one out, add \"!name\" to hosts",
                did_you_mean(near),
                file.display()
            ),
            FleetError::NoMatch { .. } => {
                "a '*' or '?' matches the names that stand without wildcards in 'Host' lines; write a range instead: \
                 \"raspberry[1-99]\""
                    .into()
            }
            FleetError::Empty => "take one of them out".into(),
            FleetError::Pattern(_) => "hosts are like raspberry31, 'raspberry[1-9,12]' or 'raspberry*'".into(),
            FleetError::NotInFleet { near, .. } => {
                format!("{}the fleet is what hosts in the configuration names", did_you_mean(near))
            }
        })
    }
}

fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("did you mean '{}'? ", near.join("' or '")) }
}

/// The devices that `hosts` names, each with its settings.
pub fn resolve(config: &Config, ssh_config: &SshConfig) -> Result<Vec<Device>, FleetError> {
    let file = || ssh_config.file().to_owned();
    let aliases = ssh_config.aliases();
    let left_out = |name: &DeviceName| config.hosts.iter().any(|host| host.is_negated() && host.matches(name.as_str()));
    let mut seen = HashSet::new();
    let mut devices = Vec::new();
    let mut unknown: Vec<DeviceName> = Vec::new();
    for host in config.hosts.iter().filter(|host| !host.is_negated()) {
        let names = match host.names() {
            Some(names) => names.to_vec(),
            None => {
                let matching = aliases.iter().filter(|alias| host.matches(alias));
                // An alias that can't name a device is something else: a git server, an address with a port.
                matching.filter_map(|alias| DeviceName::new(alias.as_str()).ok()).collect()
            }
        };
        if names.is_empty() {
            return Err(FleetError::NoMatch { pattern: host.to_string(), file: file() });
        }
        // A range is written once for all the Pis to come: it takes those that have an entry, but at least one.
        let some_will_do = names.len() > 1 && names.iter().any(|name| ssh_config.names(name.as_str()));
        for name in names {
            if left_out(&name) || !seen.insert(name.clone()) {
                continue;
            }
            if ssh_config.names(name.as_str()) {
                devices.push(Device { settings: config.device(&name), name });
            } else if !some_will_do {
                unknown.push(name);
            }
        }
    }
    if let Some(name) = unknown.first() {
        let near = nearest(name.as_str(), aliases.iter().map(String::as_str)).into_iter().map(str::to_owned).collect();
        return Err(FleetError::UnknownAlias { name: name.clone(), more: unknown.len() - 1, file: file(), near });
    }
    if devices.is_empty() { Err(FleetError::Empty) } else { Ok(devices) }
}

/// The devices that `hosts` names as far as can be told without the OpenSSH config: names that stand alone, and of ranges and wildcards what
/// is known from elsewhere.
pub fn remembered<'a>(config: &Config, known: impl IntoIterator<Item = &'a DeviceName>) -> Vec<Device> {
    let known: Vec<&DeviceName> = known.into_iter().collect();
    let left_out = |name: &DeviceName| config.hosts.iter().any(|host| host.is_negated() && host.matches(name.as_str()));
    let mut seen = HashSet::new();
    let mut devices = Vec::new();
    for host in config.hosts.iter().filter(|host| !host.is_negated()) {
        let names: Vec<&DeviceName> = match host.names() {
            Some([name]) => vec![name],
            Some(names) => names.iter().filter(|name| known.contains(name)).collect(),
            None => known.iter().copied().filter(|name| host.matches(name.as_str())).collect(),
        };
        for name in names {
            if !left_out(name) && seen.insert(name.clone()) {
                devices.push(Device { settings: config.device(name), name: name.clone() });
            }
        }
    }
    devices
}

/// Those of a fleet that patterns from the command line name, in the order of the fleet. No pattern: all.
///
/// A plain name must be there. A range or wildcard takes what is there of it, but something. Patterns behind `!` alone leave
/// out of all.
pub fn select(devices: &[Device], patterns: &[String]) -> Result<Vec<Device>, FleetError> {
    let patterns = patterns.iter().map(|text| HostPattern::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let (without, with): (Vec<&HostPattern>, Vec<&HostPattern>) = patterns.iter().partition(|p| p.is_negated());
    for pattern in &with {
        if !devices.iter().any(|device| pattern.matches(device.name.as_str())) {
            let names = devices.iter().map(|device| device.name.as_str());
            let near = nearest(&pattern.to_string(), names).into_iter().map(str::to_owned).collect();
            return Err(FleetError::NotInFleet { pattern: pattern.to_string(), near });
        }
    }
    let wanted = |device: &&Device| {
        let fits = |pattern: &&HostPattern| pattern.matches(device.name.as_str());
        (with.is_empty() || with.iter().any(fits)) && !without.iter().any(fits)
    };
    let selected: Vec<Device> = devices.iter().filter(wanted).cloned().collect();
    if selected.is_empty() && !devices.is_empty() { Err(FleetError::Empty) } else { Ok(selected) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::config::Surroundings;

    const SSH: &str = "Host raspberry1 raspberry2\nHost raspberry10\n  HostName x\nHost awsbox git@host\n\
                       Host cam-* !cam-9 !awsbox\n  User pi\nHost *\n  Port 22\n";

    fn surroundings() -> Surroundings {
        Surroundings {
            home: "/home/bee".into(),
            user: "bee".into(),
            uid: rustix::process::getuid().as_raw(),
            xdg_state_home: None,
            env: BTreeMap::new(),
        }
    }

    fn ssh_config(text: &str) -> SshConfig {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        std::fs::write(&file, text).unwrap();
        SshConfig::load(&file, &surroundings()).unwrap()
    }

    fn config(hosts: &str) -> Config {
        let text = format!(
            "hosts: {hosts}\nsource: /data\nstorage: /srv\ndevices: {{ 'raspberry[2-9]': {{ source: /other }} }}\n"
        );
        Config::parse(&text, Path::new("p.yaml"), &surroundings()).unwrap()
    }

    fn names(devices: &[Device]) -> Vec<&str> {
        devices.iter().map(|device| device.name.as_str()).collect()
    }

    #[test]
    fn patterns_to_devices() {
        let ssh_config = ssh_config(SSH);
        let table: [(&str, &[&str]); 10] = [
            ("[raspberry2, raspberry1]", &["raspberry2", "raspberry1"]),
            ("['raspberry[10,1-2]']", &["raspberry10", "raspberry1", "raspberry2"]),
            ("['raspberry*']", &["raspberry1", "raspberry2", "raspberry10"]),
            ("['raspberry?']", &["raspberry1", "raspberry2"]),
            ("['raspberry*', raspberry1, raspberry2]", &["raspberry1", "raspberry2", "raspberry10"]),
            ("['*', '!awsbox']", &["raspberry1", "raspberry2", "raspberry10"]),
            ("['!raspberry1*', 'raspberry*']", &["raspberry2"]),
            ("['raspberry[1-10]', '!raspberry[3-9]']", &["raspberry1", "raspberry2", "raspberry10"]),
            ("['raspberry[1-99]']", &["raspberry1", "raspberry2", "raspberry10"]),
            ("['cam-[07-08]', cam-x]", &["cam-07", "cam-08", "cam-x"]),
        ];
        for (hosts, expected) in table {
            assert_eq!(names(&resolve(&config(hosts), &ssh_config).unwrap()), expected, "{hosts}");
        }
    }

    #[test]
    fn without_an_openssh_config_the_fleet_is_what_is_known_of_it() {
        let known =
            ["raspberry7", "raspberry10", "raspberry2", "cam-1", "old"].map(|name| DeviceName::new(name).unwrap());
        let table: [(&str, &[&str]); 5] = [
            ("[raspberry1, raspberry2]", &["raspberry1", "raspberry2"]),
            ("['raspberry[1-9]', raspberry2]", &["raspberry2", "raspberry7"]),
            ("['raspberry*', '!raspberry7']", &["raspberry10", "raspberry2"]),
            ("['zebra[1-3]']", &[]),
            ("['zebra*', 'cam-[1-2]']", &["cam-1"]),
        ];
        for (hosts, expected) in table {
            assert_eq!(names(&remembered(&config(hosts), &known)), expected, "{hosts}");
        }
    }

    #[test]
    fn each_device_has_its_own_settings() {
        let devices = resolve(&config("['raspberry[1-2]']"), &ssh_config(SSH)).unwrap();
        let sources: Vec<&Path> = devices.iter().map(|device| device.settings.source.as_path()).collect();
        assert_eq!(sources, [Path::new("/data"), Path::new("/other")]);
    }

    #[test]
    fn what_is_no_fleet() {
        let ssh_config = ssh_config(SSH);
        let table = [
            ("[rasberry1]", "unknown host alias 'rasberry1': F has no entry for it", "did you mean 'raspberry1' or"),
            ("['raspberry[3-5]']", "unknown host alias 'raspberry3' and 2 more: F has no entry for it", "did you mean"),
            ("[zebra]", "unknown host alias 'zebra': F has no entry for it", "'keytool add-pi' writes the entry"),
            ("[cam-9]", "unknown host alias 'cam-9': F has no entry for it", "'keytool add-pi' writes the entry"),
            ("['bee*']", "'bee*' matches no host alias in F", "a '*' or '?' matches the names"),
            ("['cam-*']", "'cam-*' matches no host alias in F", "a '*' or '?' matches the names"),
            ("['git*']", "'git*' matches no host alias in F", "a '*' or '?' matches the names"),
            ("['raspberry*', '!*']", "the patterns behind '!' leave every device out", "take one of them out"),
        ];
        for (hosts, message, hint) in table {
            let error = resolve(&config(hosts), &ssh_config).unwrap_err();
            let said = error.to_string().replace(ssh_config.file().to_str().unwrap(), "F");
            assert_eq!(said, message, "{hosts}");
            assert!(error.hint().unwrap().starts_with(hint), "{hosts}: {:?}", error.hint());
            assert_eq!(error.class(), Class::Config);
        }
    }

    #[test]
    fn an_alias_inside_a_block_that_does_not_count_is_none() {
        let ssh_config = ssh_config("Host pi1 pi2 !pi2\nMatch host x\n  Port 1\nHost pi3\n");
        assert_eq!(ssh_config.aliases(), ["pi1", "pi3"]);
        assert!(!ssh_config.names("pi2"));
    }

    #[test]
    fn selection_on_the_command_line() {
        let devices = resolve(&config("[raspberry10, 'raspberry[1-2]']"), &ssh_config(SSH)).unwrap();
        let select = |patterns: &[&str]| {
            select(&devices, &patterns.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
                .map(|devices| names(&devices).join(" "))
                .map_err(|error| error.to_string())
        };
        let table: [(&[&str], Result<&str, &str>); 10] = [
            (&[], Ok("raspberry10 raspberry1 raspberry2")),
            (&["raspberry2", "raspberry10"], Ok("raspberry10 raspberry2")),
            (&["raspberry[1-9]"], Ok("raspberry1 raspberry2")),
            (&["raspberry?", "raspberry1"], Ok("raspberry1 raspberry2")),
            (&["!raspberry1"], Ok("raspberry10 raspberry2")),
            (&["raspberry*", "!raspberry1*"], Ok("raspberry2")),
            (&["raspberry1", "!raspberry1"], Err("the patterns behind '!' leave every device out")),
            (&["raspberry1", "raspberry3"], Err("'raspberry3' is not a device of this fleet")),
            (&["raspberry[3-9]"], Err("'raspberry[3-9]' is not a device of this fleet")),
            (&["raspberry["], Err("'raspberry[' has a '[' that is not closed")),
        ];
        for (patterns, expected) in table {
            assert_eq!(select(patterns), expected.map(str::to_owned).map_err(str::to_owned), "{patterns:?}");
        }
    }
}
