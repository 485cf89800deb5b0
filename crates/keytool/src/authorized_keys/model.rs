//! The lines of an `authorized_keys` file. Pure.
//!
//! Guarantees: every line that is not asked to change stays byte for byte as it was, whatever is in it, and so does the order.
//! A line is found by the key in it and never by its comment, and every line that sshd reads is found: they are bytes, in whatever
//! encoding. Only the text of a comment may lose what is not UTF-8.

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
    /// What comes after the key. What is not UTF-8 in it is U+FFFD.
    pub comment: String,
}

/// The options before a key, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<u8>);

/// The content of a file. A file that is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizedKeys {
    bytes: Vec<u8>,
}

impl Key {
    /// Reads `TYPE BASE64 [COMMENT]`, as in a `.pub` file; the key and the comment.
    pub fn parse(line: &str) -> Option<(Key, String)> {
        Key::read(line.trim_ascii_start().as_bytes())
    }

    fn read(line: &[u8]) -> Option<(Key, String)> {
        // A host's key and a user's have the same form.
        let (key, comment) = HostKey::read(line)?;
        Some((Key(key), String::from_utf8_lossy(comment.trim_ascii()).into_owned()))
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
        self.0.extend_from_slice(name.as_bytes());
        self
    }

    /// With one more: `name="value"`. The value must not hold a line break.
    pub fn value(self, name: &str, value: &str) -> Options {
        self.written(format!("{name}=\"{}\"", value.replace('"', "\\\"")).as_bytes())
    }

    /// With one more, as it is written.
    fn written(mut self, option: &[u8]) -> Options {
        self.separate();
        self.0.extend_from_slice(option);
        self
    }

    fn separate(&mut self) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
    }

    /// Whether a key may do everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What an option is set to, as text, each time that it is there, in order; empty for one without a value. Names are compared
    /// as sshd does, in any case.
    pub fn all(&self, name: &str) -> Vec<String> {
        let value = |option: &[u8]| {
            let value = option.get(name.len() + 1..).unwrap_or_default();
            let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
            String::from_utf8_lossy(value).replace("\\\"", "\"")
        };
        self.find_all(name).into_iter().map(value).collect()
    }

    /// An option as it is written, with its name.
    fn find(&self, name: &str) -> Option<&[u8]> {
        self.find_all(name).into_iter().next()
    }

    /// Every one of that name.
    fn find_all(&self, name: &str) -> Vec<&[u8]> {
        let mut found = Vec::new();
        let mut rest = self.0.as_slice();
        while !rest.is_empty() {
            let end = outside_quotes(rest, |byte| byte == b',').unwrap_or(rest.len());
            let (option, after) = rest.split_at(end);
            let own_name = option.split(|&byte| byte == b'=').next().unwrap_or_default();
            if own_name.eq_ignore_ascii_case(name.as_bytes()) {
                found.push(option);
            }
            rest = after.strip_prefix(b",").unwrap_or_default();
        }
        found
    }
}

/// As it is written; what is not UTF-8 is U+FFFD.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The first place outside double quotes where `wanted` holds. As sshd has it: a quote after a backslash is none.
fn outside_quotes(text: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'"' if !escaped => quoted = !quoted,
            byte if !quoted && wanted(byte) => return Some(at),
            _ => {}
        }
        escaped = byte == b'\\';
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
        let is_blank = |byte: u8| byte == b' ' || byte == b'\t';
        // Its lines are strings of C.
        let line = line.split(|&byte| byte == 0 || byte == b'\n').next()?;
        let line = line.get(line.iter().position(|&byte| !is_blank(byte))?..)?;
        if line.starts_with(b"#") {
            return None;
        }
        if let Some((key, comment)) = Key::read(line) {
            return Some(Entry::plain(key, &comment));
        }
        let (options, rest) = line.split_at(outside_quotes(line, is_blank)?);
        let (key, comment) = Key::read(rest.trim_ascii_start())?;
        Some(Entry { options: Options(options.to_owned()), key, comment })
    }
}

impl Entry {
    /// With the bounds of place and time that another line of the key has: they can only take away.
    pub fn bounded_as(mut self, other: &Entry) -> Entry {
        for name in ["from", "expiry-time"] {
            if let Some(option) = other.options.find(name) {
                self.options = self.options.written(option);
            }
        }
        self
    }

    /// As in a file.
    fn line(&self) -> Vec<u8> {
        let space: &[u8] = if self.options.is_empty() { b"" } else { b" " };
        let plain = Entry { options: Options::default(), ..self.clone() };
        [&self.options.0, space, plain.to_string().as_bytes(), b"\n"].concat()
    }
}

/// As in a file, without a line break; in options, what is not UTF-8 is U+FFFD.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.options.is_empty() {
            write!(f, "{} ", self.options)?;
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

    /// The same, each with the number of its line, from 1.
    pub fn numbered(&self) -> Vec<(usize, Entry)> {
        (1..).zip(self.lines()).filter_map(|(number, line)| Some((number, Entry::parse(line)?))).collect()
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
                    Some(new) => bytes.extend(new.line()),
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
        bytes.extend(entry.line());
        AuthorizedKeys { bytes }
    }

    /// With their line breaks.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split_inclusive(|&byte| byte == b'\n')
    }
}
