//! Validated names: a path below a device's source, and the name of a device.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::de::Error as _;

/// The longest relative path that is accepted, in bytes (Linux's `PATH_MAX`).
pub const MAX_PATH_BYTES: usize = 4096;

/// A path below a device's source directory: bytes as the device has them.
///
/// Never empty or absolute, no empty, `.` or `..` component, no NUL, at most [`MAX_PATH_BYTES`].
/// Decoding from the wire checks this too, so that a hostile device can't name anything else.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Box<[u8]>);

/// Why bytes are not a [`RelPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No bytes at all.
    #[error("the path is empty")]
    Empty,
    /// More than [`MAX_PATH_BYTES`].
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// It starts with `/`.
    #[error("the path is absolute")]
    Absolute,
    /// It holds a NUL byte.
    #[error("the path holds a NUL byte")]
    Nul,
    /// It holds `..`, `.`, or `//`, or ends in `/`.
    #[error("the path has an empty, '.' or '..' component")]
    Component,
    /// It lies where the archive keeps its own files.
    #[error("the path is reserved for the archive's own files")]
    Reserved,
}

impl RelPath {
    /// Checks bytes and makes a path of them.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<RelPath, PathError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if bytes[0] == b'/' {
            return Err(PathError::Absolute);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        if bytes.split(|&b| b == b'/').any(|c| matches!(c, b"" | b"." | b"..")) {
            return Err(PathError::Component);
        }
        Ok(RelPath(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, for the standard library.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The components, first to last.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// All but the last component; none where there is only one.
    pub fn parent(&self) -> Option<RelPath> {
        let end = self.0.iter().rposition(|&b| b == b'/')?;
        Some(RelPath(self.0[..end].into()))
    }

    /// This path with `name` (one or more components) below it.
    pub fn join(&self, name: &[u8]) -> Result<RelPath, PathError> {
        let mut bytes = self.0.to_vec();
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        RelPath::new(bytes)
    }
}

/// As a person can read it on one line: UTF-8 as it is; control characters, backslash and other bytes as `\n`, `\\`, `\xff`.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.0)
    }
}

/// Writes bytes on one line; see the `Display` of [`RelPath`]. Reversible.
pub fn write_escaped(f: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\\' => f.write_str("\\\\")?,
                c if c.is_control() => c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|b| write!(f, "\\x{b:02x}"))?,
                c => f.write_char(c)?,
            }
        }
        chunk.invalid().iter().try_for_each(|b| write!(f, "\\x{b:02x}"))?;
    }
    Ok(())
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The readable form for people, the bytes on the wire.
impl serde::Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> serde::Deserialize<'de> for RelPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<RelPath, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        RelPath::new(bytes).map_err(D::Error::custom)
    }
}

/// The name of a device: its alias in the OpenSSH config.
///
/// 1 to 64 of ASCII letters, digits, `.`, `_` and `-`, not starting with `.` or `-`: it is also a directory name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct DeviceName(String);

/// A text that can't name a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' can't name a device: up to 64 letters, digits, '.', '_' and '-', starting with a letter or digit")]
pub struct DeviceNameError(pub String);

impl DeviceName {
    /// Checks a text and makes a name of it.
    pub fn new(name: impl Into<String>) -> Result<DeviceName, DeviceNameError> {
        let name = name.into();
        let valid = name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if valid { Ok(DeviceName(name)) } else { Err(DeviceNameError(name)) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What sorts names as people count: `raspberry2` before `raspberry10`. Numbers in a name go by their value, whatever zeros are in front.
pub fn by_number(name: &str) -> impl Ord + use<> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (text, from_digits) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let digits = from_digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(from_digits.len());
        let value = from_digits[..digits].trim_start_matches('0');
        // Of two numbers the one with more digits is greater.
        parts.push((text.to_owned(), value.len(), value.to_owned()));
        rest = &from_digits[digits..];
    }
    (parts, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_numbers() {
        let sorted = [
            "1",
            "9",
            "a",
            "pi",
            "pi1",
            "pi09",
            "pi9",
            "pi10",
            "pi10a",
            "pi10b2",
            "pi10b10",
            "pi18446744073709551617",
            "pi-9-b",
            "pi-10-a",
            "q",
        ];
        for (i, one) in sorted.iter().enumerate() {
            for (j, other) in sorted.iter().enumerate() {
                assert_eq!(by_number(one).cmp(&by_number(other)), i.cmp(&j), "{one} {other}");
            }
        }
    }

    #[test]
    fn refuses_what_could_leave_the_root() {
        let table: [(&[u8], PathError); 9] = [
            (b"", PathError::Empty),
            (b"/etc/passwd", PathError::Absolute),
            (b"..", PathError::Component),
            (b"../x", PathError::Component),
            (b"a/../b", PathError::Component),
            (b"a//b", PathError::Component),
            (b"a/", PathError::Component),
            (b"./a", PathError::Component),
            (b"a\0b", PathError::Nul),
        ];
        for (bytes, error) in table {
            assert_eq!(RelPath::new(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(RelPath::new(vec![b'a'; MAX_PATH_BYTES + 1]), Err(PathError::TooLong));
    }

    #[test]
    fn takes_awkward_names_as_they_are() {
        for bytes in [&b"-rf"[..], b"...", b"a b ", b"\xff\xfe", b"a\nb", b"*?[x]", "e\u{301}".as_bytes()] {
            let path = RelPath::new(bytes).unwrap();
            assert_eq!(path.as_bytes(), bytes);
            let wire = postcard::to_stdvec(&path).unwrap();
            assert_eq!(postcard::from_bytes::<RelPath>(&wire).unwrap(), path);
        }
        assert_eq!(RelPath::new(&b"a\n\xff\\"[..]).unwrap().to_string(), "a\\n\\xff\\\\");
    }

    #[test]
    fn a_hostile_path_does_not_decode() {
        let wire = postcard::to_stdvec(&b"../x"[..]).unwrap();
        assert!(postcard::from_bytes::<RelPath>(&wire).is_err());
    }

    #[test]
    fn parts() {
        let path = RelPath::new(&b"2026-11-21/cam 1/x.jpg"[..]).unwrap();
        assert_eq!(path.file_name(), b"x.jpg");
        assert_eq!(path.parent().unwrap().as_bytes(), b"2026-11-21/cam 1");
        assert_eq!(path.parent().unwrap().parent().unwrap().parent(), None);
    }

    #[test]
    fn device_names() {
        assert!(DeviceName::new("raspberry31").is_ok());
        for bad in ["", ".pipeline", "-x", "a/b", "a b", "*", "ü"] {
            assert!(DeviceName::new(bad).is_err(), "{bad}");
        }
    }
}
