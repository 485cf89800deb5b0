//! What a storage can do, and what follows from it, in words.
//!
//! Leaves to others: to find it out ([`super::probe`]), to keep it ([`super::marker`]), to act on it.

use serde::{Deserialize, Serialize};

use crate::archive::names::{MAX_NAME_BYTES, NameRules};

/// What a storage can do, as [`super::Archive::init`] found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Name of the file system, as far as its number is known; else the number.
    pub file_system: String,
    /// It lies behind a network or a process of its own: what was written is read back past the page cache.
    pub network: bool,
    /// `fsync` of a file works. Without it the storage is refused.
    pub sync_files: bool,
    /// `fsync` of a directory works. Without it, renames are taken for durable when the server has answered.
    pub sync_directories: bool,
    /// A rename that never replaces (`RENAME_NOREPLACE`).
    pub rename_without_replacing: bool,
    /// A second name for a file (`link`).
    pub hard_links: bool,
    /// A file is made only where there is none (`O_EXCL`).
    pub exclusive_create: bool,
    /// Steps of a settable modification time, in nanoseconds; none where it can't be set.
    pub time_step_ns: Option<u64>,
    /// `chmod` has an effect. Nothing depends on it.
    pub permissions: bool,
    /// `a` and `A` are two names.
    pub case_sensitive: bool,
    /// The composed and the decomposed form of a letter are two names.
    pub distinct_unicode_forms: bool,
    /// What it can't hold in a name.
    pub names: NameRules,
}

impl Capabilities {
    /// Those of a storage that can do everything.
    pub fn all() -> Capabilities {
        Capabilities {
            file_system: "unknown".into(),
            network: false,
            sync_files: true,
            sync_directories: true,
            rename_without_replacing: true,
            hard_links: true,
            exclusive_create: true,
            time_step_ns: Some(1),
            permissions: true,
            case_sensitive: true,
            distinct_unicode_forms: true,
            names: NameRules::none(),
        }
    }

    /// What was found and what follows, as lines for people: a short heading and a sentence.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let say = |able: bool, yes: &str, no: &str| if able { yes.to_owned() } else { no.to_owned() };
        let behind = if self.network { "stored files are read back from it before they count" } else { "local" };
        vec![
            ("file system", format!("{}: {behind}", self.file_system)),
            ("sync of files", say(self.sync_files, "works", "does not work: this storage can't be used")),
            (
                "sync of directories",
                say(self.sync_directories, "works", "not supported: the server's answer is trusted"),
            ),
            ("rename without replacing", say(self.rename_without_replacing, "works", self.rename_instead())),
            ("exclusive creation", say(self.exclusive_create, "works", "does not work; staging uses random names")),
            ("hard links", say(self.hard_links, "work", "not supported; versions are copies")),
            ("modification times", self.describe_times()),
            ("permissions", say(self.permissions, "can be set", "can't be set; not needed")),
            (
                "upper and lower case",
                say(
                    self.case_sensitive,
                    "are told apart",
                    "are one: the second such file gets a name with its device in it",
                ),
            ),
            (
                "forms of Unicode",
                say(
                    self.distinct_unicode_forms,
                    "are told apart",
                    "are one: the second such file gets a name with its device in it",
                ),
            ),
            ("names", self.names.describe()),
            (
                "longest name",
                format!(
                    "{} bytes{}",
                    self.names.max_bytes,
                    if self.names.max_bytes < MAX_NAME_BYTES { "; longer ones are split into directories" } else { "" }
                ),
            ),
        ]
    }

    fn rename_instead(&self) -> &'static str {
        if self.hard_links {
            "not supported; a second link is made instead"
        } else {
            "not supported; looked up first instead"
        }
    }

    fn describe_times(&self) -> String {
        match self.time_step_ns {
            None => "can't be set: files carry the time of storing, the catalog has the device's".into(),
            Some(1) => "can be set, to the nanosecond".into(),
            Some(step) if step < 1_000_000_000 => format!("can be set, in steps of {step} ns"),
            Some(step) => format!("can be set, in steps of {} s", step / 1_000_000_000),
        }
    }
}

impl NameRules {
    /// What is escaped, as a sentence.
    fn describe(&self) -> String {
        let mut what: Vec<String> = self.characters.chars().map(String::from).collect();
        for (escaped, name) in [
            (self.control_characters, "control characters"),
            (self.trailing_dot, "a dot at the end"),
            (self.trailing_space, "a space at the end"),
            (self.dos_names, "DOS device names such as aux.h"),
            (self.non_utf8, "bytes that are not UTF-8"),
        ] {
            what.extend(escaped.then(|| name.to_owned()));
        }
        if what.is_empty() {
            "all are held as they are".into()
        } else {
            format!("escaped as %3A and so on: {}", what.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(capabilities: &Capabilities, what: &str) -> String {
        capabilities
            .describe()
            .into_iter()
            .find(|(heading, _)| *heading == what)
            .map(|(_, line)| line)
            .unwrap_or_default()
    }

    #[test]
    fn a_limit_is_said_together_with_what_follows() {
        let all = Capabilities::all();
        assert_eq!(said(&all, "names"), "all are held as they are");
        assert_eq!(said(&all, "longest name"), "255 bytes");
        let names = NameRules { characters: ":?".into(), trailing_dot: true, max_bytes: 143, ..NameRules::none() };
        let poor = Capabilities {
            network: true,
            rename_without_replacing: false,
            hard_links: false,
            time_step_ns: Some(2_000_000_000),
            names,
            ..all
        };
        assert_eq!(said(&poor, "names"), "escaped as %3A and so on: : ? a dot at the end");
        assert_eq!(said(&poor, "longest name"), "143 bytes; longer ones are split into directories");
        assert_eq!(said(&poor, "modification times"), "can be set, in steps of 2 s");
        assert_eq!(said(&poor, "rename without replacing"), "not supported; looked up first instead");
        assert!(said(&poor, "file system").ends_with("read back from it before they count"));
    }
}
