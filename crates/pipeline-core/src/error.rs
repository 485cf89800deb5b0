//! Classes of failure. Each room has its own error enum; the class alone decides what follows.

/// What kind of failure an error is. Only this decides retry, skip and exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// May go away by itself: a broken connection, a time-out in the middle. Retried once, then the next run.
    Transient,
    /// The device or the jump host could not be reached. For a device: reported, not a failure.
    Unreachable,
    /// A host key is unknown or wrong. Never retried, never learnt.
    HostKey,
    /// The user's configuration, keys or permissions must change first.
    Config,
    /// The storage is full, read-only, missing or not ours. Ends the run.
    Storage,
    /// Two digests that must agree do not, or a peer breaks the protocol. Nothing is removed.
    Integrity,
    /// A limit that the user set against mistakes was met. Nothing is removed.
    Brake,
    /// Another run holds the lock.
    Locked,
    /// A signal asked the run to stop.
    Interrupted,
    /// A defect of ours.
    Internal,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 10] = [
        Class::Transient,
        Class::Unreachable,
        Class::HostKey,
        Class::Config,
        Class::Storage,
        Class::Integrity,
        Class::Brake,
        Class::Locked,
        Class::Interrupted,
        Class::Internal,
    ];

    /// Its word in JSON and in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Class::Transient => "transient",
            Class::Unreachable => "unreachable",
            Class::HostKey => "host_key",
            Class::Config => "config",
            Class::Storage => "storage",
            Class::Integrity => "integrity",
            Class::Brake => "brake",
            Class::Locked => "locked",
            Class::Interrupted => "interrupted",
            Class::Internal => "internal",
        }
    }

    /// The class with this word.
    pub fn of_word(word: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.word() == word)
    }

    /// Whether what it is of a device's failure stands until a visit has come past it. What may go away by itself does not; nor does a
    /// storage that fails, which is the run's trouble and no device's.
    pub fn stands(self) -> bool {
        match self {
            Class::HostKey | Class::Config | Class::Integrity | Class::Brake | Class::Internal => true,
            Class::Transient | Class::Unreachable | Class::Storage | Class::Locked | Class::Interrupted => false,
        }
    }

    /// Of an error that the state directory met: a disk that is full or read-only is a storage that fails; anything else is a
    /// path or a permission to be set right.
    pub fn of_state_dir(error: &std::io::Error) -> Class {
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | ReadOnlyFilesystem => Class::Storage,
            _ => Class::Config,
        }
    }
}

/// What to do where the disk of the state directory is full or read-only.
pub const STATE_DISK_HINT: &str =
    "make room on the disk that holds `state_dir`, or see why it is read-only; nothing was copied or removed";

/// An error that knows its class and, where there is one, what to do next.
///
/// `Display` is one lower-case line without the cause (that is `source()`) and without advice.
pub trait Classified: std::error::Error {
    /// The class, which decides what follows.
    fn class(&self) -> Class;

    /// What a person can do about it: one sentence, printed as `hint:`.
    fn hint(&self) -> Option<String> {
        None
    }

    /// The machine on the way that it is about, where all that lie behind that one meet the same.
    fn hop(&self) -> Option<&str> {
        None
    }
}

/// Writes an error and its causes as one line: `what: cause: cause`.
pub fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&describe(cause));
        source = cause.source();
    }
    line
}

/// Writes one cause. `std::io::Error` says "Permission denied (os error 13)"; people need only the first half.
pub fn describe(cause: &(dyn std::error::Error + 'static)) -> String {
    let text = cause.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_one_word() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).ok(), Some(class.word().into()));
            assert_eq!(Class::of_word(class.word()), Some(class));
        }
        assert_eq!(Class::of_word("weather"), None);
    }

    #[test]
    fn an_os_error_is_said_in_words() {
        let error = std::io::Error::from_raw_os_error(13);
        assert_eq!(describe(&error), "permission denied");
    }
}
