//! The configuration file, as far as `keytool init` writes it: where the user has none, a commented one; else the section
//! `onboarding`, and the keys that a run needs.
//!
//! Guarantees: bytes that are not about a changed value stay, comments among them; what is written was read back by the very
//! reader that `pipeline` uses, gives what was wanted, and changes the meaning of nothing else. A form of YAML that can't be
//! edited like that is refused with the lines to write by hand. Leaves to others: what the values should be.

mod edit;
mod scalar;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use pipeline_core::config::{ConfigError, Onboarding, Setup, Surroundings};
use pipeline_core::error::{Class, Classified};

use crate::changes::{Change, ChangeError, Original};
use crate::places::Places;
use scalar::scalar;

/// What the file is to say. What is none here is left as it is, or left to be filled in.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The whole section.
    pub onboarding: Onboarding,
    /// Directory on each device.
    pub source: Option<String>,
    /// Archive root on this machine.
    pub storage: Option<String>,
}

/// Why the file can't be made to say so.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// The file is wrong before we touch it, or a value that was given can't be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// See [`ChangeError`].
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The file has another value for something that is decided once.
    #[error("{} has another {key}: {has}", file.display())]
    Decided {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value there.
        has: String,
    },
    /// It is written in a way that can't be edited line by line.
    #[error("can't edit {} without touching more of it", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// What a person should write there.
        lines: String,
    },
}

impl Classified for YamlError {
    fn class(&self) -> Class {
        match self {
            YamlError::Change(error) => error.class(),
            _ => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            YamlError::Config(error) => error.hint(),
            YamlError::Change(error) => error.hint(),
            YamlError::Decided { key, .. } => Some(format!("change {key} there by hand, or leave the option away")),
            YamlError::Form { lines, .. } => Some(format!("make it say: {lines}")),
        }
    }
}

/// The changes after which `file` says what is wanted: none where it does.
pub fn ensure(
    file: &Path,
    wanted: &Wanted,
    surroundings: &Surroundings,
    places: &Places,
) -> Result<Vec<Change>, YamlError> {
    let original = Original::read(file)?;
    if original.bytes().is_none() {
        let text = template(wanted);
        // A value that was given and can't be is told before it is written.
        Setup::parse(&text, file, surroundings)?;
        let mut changes = directories_to(file, places);
        changes.push(Change::create(file, 0o644, text.into_bytes(), format!("write {}", places.show(file))));
        return Ok(changes);
    }
    let text = original.utf8()?.to_owned();
    let before = Setup::parse(&text, file, surroundings)?;
    let edited = edit::edit(&text, wanted, file)?;
    let after = Setup::parse(&edited, file, surroundings);
    if !after.is_ok_and(|after| after.onboarding == wanted.onboarding && !alters(&before, &after)) {
        return Err(YamlError::Form { file: file.to_owned(), lines: flow(&wanted.onboarding) });
    }
    let words = format!("set onboarding in {}", places.show(file));
    Ok(Change::replace(original, 0o644, edited.into_bytes(), words).into_iter().collect())
}

/// Whether a file could say so.
pub fn judge(wanted: &Wanted, surroundings: &Surroundings) -> Result<(), ConfigError> {
    let line =
        |(key, example), value: &Option<String>| format!("{key}: {}\n", scalar(value.as_deref().unwrap_or(example)));
    let [source, storage] = EXAMPLES;
    let (source, storage) = (line(source, &wanted.source), line(storage, &wanted.storage));
    let text = format!("hosts: [pi]\n{source}{storage}{}\n", flow(&wanted.onboarding));
    Setup::parse(&text, Path::new(""), surroundings).map(|_| ())
}

/// Whether something was given another meaning that had one, the section aside.
fn alters(before: &Setup, after: &Setup) -> bool {
    let rest = |setup: &Setup| {
        let mut setup = setup.clone();
        setup.onboarding = Onboarding::default();
        if let Some(config) = &mut setup.config {
            config.onboarding = Onboarding::default();
        }
        setup
    };
    let (before, mut after) = (rest(before), rest(after));
    // A file that was not complete may be now.
    if before.config.is_none() {
        after.config = None;
    }
    format!("{before:?}") != format!("{after:?}")
}

fn directories_to(file: &Path, places: &Places) -> Vec<Change> {
    let above: Vec<&Path> = file.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
    above.into_iter().rev().filter_map(|dir| Change::make_dir(dir, 0o755, places)).collect()
}

/// The keys of the section with their values, in the order of the documents.
fn pairs(onboarding: &Onboarding) -> [(&'static str, String); 5] {
    [
        ("jump", scalar(&onboarding.jump)),
        ("name", scalar(&onboarding.name)),
        ("user", scalar(&onboarding.user)),
        ("base_port", onboarding.base_port.to_string()),
        ("key_type", onboarding.key_type.clone()),
    ]
}

/// The section on one line.
fn flow(onboarding: &Onboarding) -> String {
    let pairs = pairs(onboarding).map(|(key, value)| format!("{key}: {value}"));
    format!("onboarding: {{ {} }}", pairs.join(", "))
}

/// The pattern that takes every Pi.
fn hosts(onboarding: &Onboarding) -> String {
    onboarding.name.replacen("{id}", "[1-999]", 1)
}

/// What stands in a new file, as a comment, for a key that is not decided yet.
const EXAMPLES: [(&str, &str); 2] = [("source", "/home/pi/beephotos"), ("storage", "/mnt/san/shared/Shared")];

/// A new file. What is not decided yet stands in it as a comment.
fn template(wanted: &Wanted) -> String {
    let line = |value: &Option<String>, (key, example)| match value {
        Some(value) => format!("{key}: {}", scalar(value)),
        None => format!("#{key}: {example}"),
    };
    let Onboarding { jump, name, user, base_port, key_type } = &wanted.onboarding;
    let hosts = hosts(&wanted.onboarding);
    let (jump, name, user) = (scalar(jump), scalar(name), scalar(user));
    format!(
        "# Configuration of the pipeline: one file for `pipeline` and `keytool`. Written by `keytool init`, and yours from now on;\n\
         # there are more keys than these, all of them explained in the example that comes with the documents.\n\
         \n\
         # Devices, by their alias in the OpenSSH config. A range takes those that have an entry there.\n\
         hosts: [\"{hosts}\"]\n\
         \n\
         # Directory on each device.\n\
         {}\n\
         \n\
         # Archive root on this machine, prepared by `pipeline init`.\n\
         {}\n\
         \n\
         # For keytool.\n\
         onboarding:\n  \
           # Alias of the jump host.\n  \
           jump: {jump}\n  \
           # Alias of a new device.\n  \
           name: {name}\n  \
           # Login on the devices.\n  \
           user: {user}\n  \
           # The tunnel of device 31 is port base_port + 31 on the jump host.\n  \
           base_port: {base_port}\n  \
           # ed25519, ecdsa or rsa.\n  \
           key_type: {key_type}\n",
        line(&wanted.source, EXAMPLES[0]),
        line(&wanted.storage, EXAMPLES[1]),
    )
}
