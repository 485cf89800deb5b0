//! Host patterns and the OpenSSH config to devices.
//!
//! Guarantees that every device has an entry in the OpenSSH config, that none comes twice, and that they stand in the order of
//! the configuration. A pattern with `*` or `?` stands for the aliases that the OpenSSH config names without wildcards. Routes
//! are left to [`crate::ssh_config`].

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
    #[error("hosts leaves every device out")]
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
            FleetError::Empty => "take a '!' pattern out of hosts".into(),
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
        for name in names {
            if left_out(&name) || !seen.insert(name.clone()) {
                continue;
            }
            if ssh_config.names(name.as_str()) {
                devices.push(Device { settings: config.device(&name), name });
            } else {
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
    Ok(devices.iter().filter(wanted).cloned().collect())
}
