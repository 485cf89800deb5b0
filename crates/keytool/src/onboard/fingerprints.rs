//! Fingerprints that somebody wrote down beside the machines themselves.
//!
//! One line for each: the machine's name and `SHA256:…`, with whatever else `ssh-keygen -l` prints around it. Blank lines and
//! those that begin with `#` do not count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pipeline_core::error::{Class, Classified};

/// Which host keys each machine may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    file: PathBuf,
    of: BTreeMap<String, Vec<String>>,
}

/// Why a list of fingerprints can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintsError {
    /// It can't be read.
    #[error("can't read {}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not of the form.
    #[error("{}:{line}: '{text}' is not a name and a fingerprint", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
}

impl Classified for FingerprintsError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some("each line is like 'raspberry31 SHA256:…'; on the machine, 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' tells".into())
    }
}

impl Fingerprints {
    /// Reads a file.
    pub fn load(file: &Path) -> Result<Fingerprints, FingerprintsError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| FingerprintsError::Read { file: file.to_owned(), source })?;
        Fingerprints::parse(&text, file)
    }

    fn parse(text: &str, file: &Path) -> Result<Fingerprints, FingerprintsError> {
        let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (index, text) in text.lines().enumerate() {
            let mut words = text.split_whitespace();
            let Some(name) = words.next().filter(|name| !name.starts_with('#')) else { continue };
            let Some(fingerprint) = words.find(|word| is_fingerprint(word)) else {
                let (line, text) = (index + 1, crate::shell::one_line(text));
                return Err(FingerprintsError::Line { file: file.to_owned(), line, text });
            };
            of.entry(name.to_owned()).or_default().push(normal(fingerprint));
        }
        Ok(Fingerprints { file: file.to_owned(), of })
    }

    /// Of one machine, as if a file said so.
    pub fn of_one(name: &str, fingerprints: &[String]) -> Fingerprints {
        let fingerprints = fingerprints.iter().map(|fingerprint| normal(fingerprint)).collect();
        Fingerprints { file: PathBuf::new(), of: [(name.to_owned(), fingerprints)].into() }
    }

    /// The fingerprints of one machine, in OpenSSH's form.
    pub fn of(&self, name: &str) -> &[String] {
        self.of.get(name).map_or(&[], Vec::as_slice)
    }

    /// Where they are from.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// Whether a word has the form of a SHA-256 fingerprint: 43 characters of base64, with or without padding.
pub fn is_fingerprint(word: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    normal(word).strip_prefix("SHA256:").is_some_and(|hash| hash.len() == 43 && hash.bytes().all(is_base64))
}

/// As OpenSSH writes it: some tools pad.
pub fn normal(fingerprint: &str) -> String {
    fingerprint.trim_end_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "SHA256:OQwzHNaJf+yRKYeKJagzYdnXYje+xqBSfHhDDjupeOg";
    const TWO: &str = "SHA256:AAAAHNaJf+yRKYeKJagzYdnXYje+xqBSfHhDDjupeOg";

    #[test]
    fn lines_are_read_with_what_ssh_keygen_prints_around() {
        let text =
            format!("# 21 November\n\nraspberry31 {ONE}\r\n raspberry34: \nraspberry31 256 {TWO}= root@pi (ED25519)\n");
        let found = Fingerprints::parse(&text, Path::new("list"));
        assert_eq!(found.unwrap_err().to_string(), "list:4: 'raspberry34:' is not a name and a fingerprint");
        let found = Fingerprints::parse(&text.replace(" raspberry34: \n", ""), Path::new("list")).unwrap();
        assert_eq!(found.of("raspberry31"), [ONE, TWO]);
        assert!(found.of("raspberry3").is_empty());
    }

    #[test]
    fn only_sha256_is_a_fingerprint() {
        assert!(is_fingerprint(ONE) && is_fingerprint(&format!("{ONE}=")));
        for word in ["", "SHA256:", "MD5:aa:bb", &ONE[..49], &ONE.replace('+', "-"), &ONE.replace("SHA", "sha")] {
            assert!(!is_fingerprint(word), "{word}");
        }
    }
}
