//! Every key of the file: its name, its form, its default.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::error::ConfigError;
use super::section::Section;
use super::yaml::Document;
use super::{
    AgentMode, Config, DeleteOverrides, DeletePolicy, DeviceSettings, Filter, HostPattern, Notify, NotifyWhen,
    Onboarding, Overrides, ReadBack, Setup, Surroundings, Timeouts, VersionPolicy, layout, units,
};
use crate::path::DeviceName;

const TOP: &[&str] = &[
    "hosts",
    "source",
    "storage",
    "ssh_config",
    "layout",
    "include",
    "exclude",
    "settle",
    "delete",
    "versions",
    "jobs",
    "bandwidth",
    "alert_after",
    "timeouts",
    "state_dir",
    "agent",
    "agent_dir",
    "read_back",
    "metrics",
    "ping",
    "notify",
    "devices",
    "onboarding",
];
const DEVICE: &[&str] =
    &["source", "layout", "include", "exclude", "settle", "delete", "versions", "bandwidth", "alert_after"];
const DELETE: &[&str] = &["after", "high_water", "low_water", "max_files"];
const VERSIONS: &[&str] = &["replace"];
const TIMEOUTS: &[&str] = &["connect", "idle"];
const NOTIFY: &[&str] = &["command", "when", "timeout"];
const ONBOARDING: &[&str] = &["jump", "name", "user", "base_port", "key_type"];

/// Every key at every depth, for the test that the example shows them all.
#[cfg(test)]
pub(super) const ALL: &[&[&str]] = &[TOP, DEVICE, DELETE, VERSIONS, TIMEOUTS, NOTIFY, ONBOARDING];

const HOSTS: &str =
    "hosts is a list of names and patterns in quotes: [\"raspberry31\", \"raspberry[1-9,12]\", \"!raspberry7\"]";
const SOURCE: &str = "source is the full path of a directory on the device: /home/pi/beephotos";
const STORAGE: &str = "storage is the full path of a directory on this machine: /mnt/san/shared/Shared";
const GLOBS: &str = "globs are in quotes, in a list: [\"*.jpg\", \"raw/**/*.csv\", \"cache/\"]";
const FULL_PATH: &str = "a full path, or one that starts with ~/";
const TEXTFILE: &str = "a full path whose name ends in .prom: node_exporter reads no other";
const DELETE_SECTION: &str = "delete is a section; to keep all files on the device: delete: { after: never }";
const VERSIONS_SECTION: &str =
    "versions is a section; to keep only the newest content of a database: versions: { replace: [\"*.db\"] }";
const NOTIFY_SECTION: &str =
    "notify is a section: { command: [\"/usr/local/lib/pipeline/notify-mail\", \"me@example.org\"] }";
const COMMAND: &str = "command is a program by its full path and its arguments, in a list: [\"/usr/local/lib/pipeline/notify-mail\", \"me@example.org\"]";
const AFTER: &str = "after is a duration such as 0s, 10m or 30d, or never";
const ALERT_AFTER: &str = "alert_after is a duration such as 6h, 24h or 7d, or never";
/// A day: whoever works by daylight, and whatever records by it, has shown itself by then.
const DEFAULT_ALERT_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Reads a whole file.
pub(super) fn read(document: &Document<'_>, surroundings: &Surroundings) -> Result<Config, ConfigError> {
    let top = Section::root(document, TOP)?;
    let path = |text: &str| surroundings.expand_home(text).filter(|path| path.is_absolute() && !text.contains('\0'));

    let hosts = top.list("hosts", HOSTS, HostPattern::parse)?;
    let hosts = top.required("hosts", HOSTS, hosts)?;
    if hosts.iter().all(HostPattern::is_negated) {
        return Err(top.refuse("hosts", "no host is named".into(), HOSTS));
    }
    let given = device(&top)?;
    let storage = top.text("storage", STORAGE, path)?;
    let defaults = DeviceSettings {
        source: top.required("source", SOURCE, given.source)?,
        layout: given.layout.unwrap_or_else(|| "{host}/{path}".into()),
        include: given.include.unwrap_or_default(),
        exclude: given.exclude.unwrap_or_else(|| vec!["*.tmp".into(), "*.part".into()]),
        settle: given.settle.unwrap_or(Duration::from_secs(10)),
        delete: given.delete.over(&DeletePolicy::default()),
        versions: VersionPolicy { replace: given.replace.unwrap_or_default() },
        bandwidth: given.bandwidth.flatten(),
        alert_after: given.alert_after.unwrap_or(Some(DEFAULT_ALERT_AFTER)),
    };
    let storage = top.required("storage", STORAGE, storage)?;

    let state_dir = if surroundings.is_root() {
        PathBuf::from("/var/lib/pipeline")
    } else {
        let state = surroundings.xdg_state_home.clone().unwrap_or_else(|| surroundings.home.join(".local/state"));
        state.join("pipeline")
    };
    let Setup { ssh_config, timeouts, jobs, onboarding, .. } = setup(&top, surroundings)?;
    Ok(Config {
        hosts,
        storage,
        ssh_config,
        jobs,
        timeouts,
        state_dir: top.text("state_dir", FULL_PATH, path)?.unwrap_or(state_dir),
        agent: top
            .choice("agent", &[("auto", AgentMode::Auto), ("never", AgentMode::Never)])?
            .unwrap_or(AgentMode::Auto),
        agent_dir: top.text("agent_dir", FULL_PATH, path)?,
        read_back: top
            .choice("read_back", &[("auto", ReadBack::Auto), ("always", ReadBack::Always)])?
            .unwrap_or(ReadBack::Auto),
        metrics: top.text("metrics", TEXTFILE, |text| path(text).filter(|path| is_textfile(path)))?,
        ping: top.text("ping", "ping is a URL: https://hc-ping.com/…", url)?,
        notify: match top.section("notify", NOTIFY, NOTIFY_SECTION)? {
            Some(section) => notify(&section, surroundings)?,
            None => None,
        },
        defaults,
        devices: devices(&top)?,
        onboarding,
    })
}

/// Whether node_exporter's textfile collector would read it.
fn is_textfile(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "prom")
}

/// Reads a file that may lack what it must have for a run.
pub(super) fn read_setup(document: &Document<'_>, surroundings: &Surroundings) -> Result<Setup, ConfigError> {
    match read(document, surroundings) {
        Ok(config) => Ok(config.into()),
        Err(ConfigError::Missing { .. }) => setup(&Section::root(document, TOP)?, surroundings),
        Err(error) => Err(error),
    }
}

fn setup(top: &Section<'_>, surroundings: &Surroundings) -> Result<Setup, ConfigError> {
    let path = |text: &str| surroundings.expand_home(text).filter(|path| path.is_absolute() && !text.contains('\0'));
    let defaults = Setup::without_file(surroundings);
    let timeouts = match top.section("timeouts", TIMEOUTS, "timeouts is a section: { connect: 15s, idle: 60s }")? {
        Some(section) => timeouts(&section)?,
        None => defaults.timeouts,
    };
    let onboarding = match top.section("onboarding", ONBOARDING, "onboarding is a section")? {
        Some(section) => onboarding(&section)?,
        None => defaults.onboarding,
    };
    let jobs = top.number("jobs", 1..=1000)?;
    Ok(Setup {
        ssh_config: top.text("ssh_config", FULL_PATH, path)?.unwrap_or(defaults.ssh_config),
        timeouts,
        jobs: jobs.and_then(|jobs| usize::try_from(jobs).ok()).unwrap_or(defaults.jobs),
        onboarding,
        config: None,
    })
}

/// The keys that may differ from device to device, here or below `devices`.
fn device(section: &Section<'_>) -> Result<Overrides, ConfigError> {
    let glob = |text: &str| Filter::new(&[text.to_owned()], &[]).map(|_| text.to_owned());
    let delete = match section.section("delete", DELETE, DELETE_SECTION)? {
        Some(section) => delete(&section)?,
        None => DeleteOverrides::default(),
    };
    let replace = match section.section("versions", VERSIONS, VERSIONS_SECTION)? {
        Some(section) => section.list("replace", GLOBS, glob)?,
        None => None,
    };
    Ok(Overrides {
        source: section.text("source", SOURCE, source)?,
        layout: section.text("layout", layout::ALLOWED, layout::check)?,
        include: section.list("include", GLOBS, glob)?,
        exclude: section.list("exclude", GLOBS, glob)?,
        settle: section.text("settle", units::DURATION, units::duration)?,
        delete,
        replace,
        bandwidth: nullable(section, "bandwidth", section.text("bandwidth", units::RATE, units::rate)?),
        alert_after: or_never(section, "alert_after", ALERT_AFTER, |wait| !wait.is_zero())?,
    })
}

fn delete(section: &Section<'_>) -> Result<DeleteOverrides, ConfigError> {
    let after = or_never(section, "after", AFTER, |_| true)?;
    let high = section.text("high_water", units::PERCENT, units::percent)?;
    let low = section.text("low_water", units::PERCENT, units::percent)?;
    match (high, low) {
        (Some(high), None) => {
            let allowed = "high_water and low_water go together: { high_water: 80%, low_water: 60% }";
            return Err(section.refuse("high_water", format!("'{high}%' without a low_water"), allowed));
        }
        (None, Some(low)) => {
            let allowed = "high_water and low_water go together: { high_water: 80%, low_water: 60% }";
            return Err(section.refuse("low_water", format!("'{low}%' without a high_water"), allowed));
        }
        (Some(high), Some(low)) if low >= high => {
            let allowed = "low_water is below high_water: removal starts at the one and stops at the other";
            return Err(section.refuse(
                "low_water",
                format!("'{low}%' is not below the high_water of {high}%"),
                allowed,
            ));
        }
        _ => {}
    }
    let water = section.has("high_water") || section.has("low_water");
    Ok(DeleteOverrides {
        after,
        water: water.then(|| high.zip(low)),
        max_files: nullable(section, "max_files", section.number("max_files", 1..=u64::MAX)?),
    })
}

/// A duration that `allows` lets through, or `never`, which is none.
fn or_never(
    section: &Section<'_>,
    key: &str,
    allowed: &str,
    allows: impl Fn(&Duration) -> bool,
) -> Result<Option<Option<Duration>>, ConfigError> {
    let given = section.text(key, allowed, |text| match text {
        "never" => Some(None),
        text => units::duration(text).filter(|duration| allows(duration)).map(Some),
    })?;
    // 'after: null' could be meant as never, and would delete at once.
    if given.is_none() && section.has(key) {
        return Err(section.refuse(key, "nothing is not allowed".into(), allowed));
    }
    Ok(given)
}

/// Tells a key that is absent from one that is `null`, which takes a limit away.
fn nullable<T>(section: &Section<'_>, key: &str, value: Option<T>) -> Option<Option<T>> {
    section.has(key).then_some(value)
}

/// None where no command is named: the rest of the section says only how.
fn notify(section: &Section<'_>, surroundings: &Surroundings) -> Result<Option<Notify>, ConfigError> {
    let choices = [("failure", NotifyWhen::Failure), ("change", NotifyWhen::Change), ("always", NotifyWhen::Always)];
    let when = section.choice("when", &choices)?.unwrap_or(NotifyWhen::Change);
    let timeout = section.text("timeout", WAIT, wait)?.unwrap_or(Duration::from_secs(30));
    let word = |text: &str| if text.contains('\0') { Err("NUL is not allowed") } else { Ok(text.to_owned()) };
    let Some(words) = section.list("command", COMMAND, word)? else { return Ok(None) };
    let mut words = words.into_iter();
    let Some(program) = words.next() else { return Err(section.refuse("command", "an empty list".into(), COMMAND)) };
    // Which program a name stands for would depend on who starts the run.
    let program = surroundings
        .expand_home(&program)
        .filter(|path| path.is_absolute())
        .ok_or_else(|| section.refuse("command", format!("'{program}' is no full path"), COMMAND))?;
    Ok(Some(Notify { program, arguments: words.collect(), when, timeout }))
}

const WAIT: &str = "a duration of at least 1s, such as 15s or 2m";

fn wait(text: &str) -> Option<Duration> {
    units::duration(text).filter(|wait| !wait.is_zero())
}

fn timeouts(section: &Section<'_>) -> Result<Timeouts, ConfigError> {
    let defaults = Timeouts::default();
    Ok(Timeouts {
        connect: section.text("connect", WAIT, wait)?.unwrap_or(defaults.connect),
        idle: section.text("idle", WAIT, wait)?.unwrap_or(defaults.idle),
    })
}

fn onboarding(section: &Section<'_>) -> Result<Onboarding, ConfigError> {
    // To ssh, `ProxyJump none` means that there is no jump host.
    let alias = |text: &str| {
        let is_name = !text.eq_ignore_ascii_case("none") && DeviceName::new(text).is_ok();
        is_name.then(|| text.to_owned())
    };
    let name = |text: &str| {
        let sample = text.replacen("{id}", "1", 1);
        (sample != text && DeviceName::new(sample).is_ok()).then(|| text.to_owned())
    };
    let user = |text: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        (text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && text.chars().all(letter))
            .then(|| text.to_owned())
    };
    let key_type = |text: &str| ["ed25519", "ecdsa", "rsa"].contains(&text).then(|| text.to_owned());
    let base_port = section.number("base_port", 1024..=65535)?;
    let defaults = Onboarding::default();
    Ok(Onboarding {
        jump: section.text("jump", "jump is an OpenSSH alias: awsbox", alias)?.unwrap_or(defaults.jump),
        name: section
            .text("name", "name is an alias with {id} in it: \"raspberry{id}\"", name)?
            .unwrap_or(defaults.name),
        user: section.text("user", "user is a login on the devices: pi", user)?.unwrap_or(defaults.user),
        base_port: base_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(defaults.base_port),
        key_type: section.text("key_type", "key_type is ed25519, ecdsa or rsa", key_type)?.unwrap_or(defaults.key_type),
    })
}

fn devices(top: &Section<'_>) -> Result<Vec<(HostPattern, Overrides)>, ConfigError> {
    let allowed = "a section with what differs: { source: /data }";
    let Some(section) = top.section("devices", &[], "devices is a section of host patterns")? else {
        return Ok(Vec::new());
    };
    let mut devices = Vec::new();
    for (key, overrides) in section.sections(DEVICE, allowed)? {
        let allowed = "the keys of devices are host patterns such as \"raspberry3[0-5]\"";
        let pattern = HostPattern::parse(key).map_err(|error| section.refuse_key(key, error.to_string(), allowed))?;
        if pattern.is_negated() {
            return Err(section.refuse_key(key, "a pattern behind '!' is not allowed".into(), allowed));
        }
        let given = device(&overrides)?;
        if given.delete.max_files.is_some()
            && let Some(delete) = overrides.section("delete", DELETE, DELETE_SECTION)?
        {
            // A brake that does not brake would be worse than none.
            let allowed = "max_files counts over all devices: it stands in the delete section at the top";
            return Err(delete.refuse("max_files", "it is not for single devices".into(), allowed));
        }
        devices.push((pattern, given));
    }
    Ok(devices)
}

/// A directory on a device: absolute, without `..`, not the root, in its shortest form.
fn source(text: &str) -> Option<PathBuf> {
    let path: PathBuf = Path::new(text).components().collect();
    let sound = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    (path.is_absolute() && sound && path.file_name().is_some() && !text.contains('\0')).then_some(path)
}

fn url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let sound = !rest.starts_with(['/', ':'])
        && !rest.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    sound.then(|| text.to_owned())
}
