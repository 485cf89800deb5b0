//! The lines of an `authorized_keys` file. Pure.
//!
//! Guarantees: every line that is not asked to change stays byte for byte as it was, whatever is in it, and so does the order.
//! A line is found by the key in it and never by its comment.

use std::fmt;

use pipeline_core::ssh::HostKey;

/// A public key: what it is, without what anybody calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(HostKey);

/// A line that lets a key in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the key may do; empty: everything.
    pub options: Options,
    /// The key.
    pub key: Key,
    /// What comes after the key.
    pub comment: String,
}

/// The options before a key, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(String);

/// The content of a file. A file that is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizedKeys {
    bytes: Vec<u8>,
}

impl Key {
    /// Reads `TYPE BASE64 [COMMENT]`, as in a `.pub` file; the key and the comment.
    pub fn parse(line: &str) -> Option<(Key, &str)> {
        let blank = [' ', '\t'];
        let line = line.trim();
        // A host's key and a user's have the same form.
        let key = HostKey::parse(line)?;
        let after_type = line.split_once(blank).map_or("", |(_, rest)| rest.trim_start());
        let comment = after_type.split_once(blank).map_or("", |(_, comment)| comment.trim());
        Some((Key(key), comment))
    }

    /// In OpenSSH's form: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }
}

/// As in a file: `ssh-ed25519 AAAA…`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.openssh())
    }
}

impl Options {
    /// With one more that has no value: `restrict`.
    pub fn flag(mut self, name: &str) -> Options {
        self.separate();
        self.0.push_str(name);
        self
    }

    /// With one more: `name="value"`. The value must not hold a line break.
    pub fn value(mut self, name: &str, value: &str) -> Options {
        self.separate();
        self.0.push_str(&format!("{name}=\"{}\"", value.replace('"', "\\\"")));
        self
    }

    fn separate(&mut self) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
    }

    /// Whether a key may do everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What an option is set to; empty for one without a value. Names are compared as sshd does, in any case.
    pub fn get(&self, name: &str) -> Option<String> {
        let mut rest = self.0.as_str();
        while !rest.is_empty() {
            let end = end_of_option(rest);
            let (option, after) = rest.split_at(end);
            let (own_name, value) = option.split_once('=').unwrap_or((option, ""));
            if own_name.eq_ignore_ascii_case(name) {
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
                return Some(value.replace("\\\"", "\""));
            }
            rest = after.trim_start_matches(',');
        }
        None
    }
}

/// Where the first option ends: at a comma outside quotes.
fn end_of_option(text: &str) -> usize {
    outside_quotes(text, |c| c == ',').unwrap_or(text.len())
}

/// The first place outside double quotes where `wanted` holds. As sshd has it: a quote after a backslash is none.
fn outside_quotes(text: &str, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            c if !quoted && wanted(c) => return Some(at),
            _ => {}
        }
        escaped = c == '\\';
    }
    None
}

impl Entry {
    /// A key that may do everything. A comment is one line, whoever wrote it: a second one would be a line of the file.
    pub fn plain(key: Key, comment: &str) -> Entry {
        let comment = comment.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
        Entry { options: Options::default(), key, comment }
    }

    /// Reads a line as sshd does; none for blank lines, comments, and what sshd would pass over.
    fn parse(line: &[u8]) -> Option<Entry> {
        let line = std::str::from_utf8(line).ok()?.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        if let Some((key, comment)) = Key::parse(line) {
            return Some(Entry::plain(key, comment));
        }
        let end = outside_quotes(line, |c| c == ' ' || c == '\t')?;
        let (options, rest) = line.split_at(end);
        let (key, comment) = Key::parse(rest)?;
        Some(Entry { options: Options(options.to_owned()), key, comment: comment.to_owned() })
    }
}

impl Entry {
    /// With the bounds of place and time that another line of the key has: they can only take away.
    pub fn bounded_as(mut self, other: &Entry) -> Entry {
        for name in ["from", "expiry-time"] {
            if let Some(value) = other.options.get(name) {
                self.options = self.options.value(name, &value);
            }
        }
        self
    }
}

/// As in a file, without a line break.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.options.is_empty() {
            write!(f, "{} ", self.options.0)?;
        }
        write!(f, "{}", self.key)?;
        if !self.comment.is_empty() {
            write!(f, " {}", self.comment)?;
        }
        Ok(())
    }
}

impl AuthorizedKeys {
    /// Takes the content of a file.
    pub fn new(bytes: Vec<u8>) -> AuthorizedKeys {
        AuthorizedKeys { bytes }
    }

    /// The content of the file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lines that let a key in, in their order.
    pub fn entries(&self) -> Vec<Entry> {
        self.lines().filter_map(Entry::parse).collect()
    }

    /// The first line for a key, which is the one that sshd goes by.
    pub fn entry(&self, key: &Key) -> Option<Entry> {
        self.lines().filter_map(Entry::parse).find(|entry| entry.key == *key)
    }

    /// With a line for the key of `entry`, whatever that line may already say: what somebody wrote about the key stays.
    pub fn ensure(&self, entry: &Entry) -> AuthorizedKeys {
        if self.entry(&entry.key).is_some() { self.clone() } else { self.append(entry) }
    }

    /// With exactly this line for its key, in the place of the first that there was.
    pub fn set(&self, entry: &Entry) -> AuthorizedKeys {
        let mut to_write = Some(entry);
        let mut bytes = Vec::new();
        for line in self.lines() {
            match Entry::parse(line) {
                Some(old) if old.key == entry.key => match to_write.take() {
                    Some(new) if old == *new => bytes.extend_from_slice(line),
                    Some(new) => bytes.extend_from_slice(format!("{new}\n").as_bytes()),
                    None => {}
                },
                _ => bytes.extend_from_slice(line),
            }
        }
        match to_write {
            Some(entry) => self.append(entry),
            None => AuthorizedKeys { bytes },
        }
    }

    /// Without the lines that `unwanted` names.
    pub fn without(&self, unwanted: impl Fn(&Entry) -> bool) -> AuthorizedKeys {
        let kept = self.lines().filter(|line| !Entry::parse(line).is_some_and(|entry| unwanted(&entry)));
        AuthorizedKeys { bytes: kept.flatten().copied().collect() }
    }

    fn append(&self, entry: &Entry) -> AuthorizedKeys {
        let mut bytes = self.bytes.clone();
        // Else the last line and ours would become one.
        if bytes.last().is_some_and(|&last| last != b'\n') {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(format!("{entry}\n").as_bytes());
        AuthorizedKeys { bytes }
    }

    /// With their line breaks.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split_inclusive(|&byte| byte == b'\n')
    }
}
