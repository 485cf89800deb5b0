//! SHA-256 of a file's content.

use std::fmt;

use sha2::Digest as _;

/// A SHA-256 digest. Chosen because every device has `sha256sum` and anyone can check the archive with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of the bytes given.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// A digest that was computed elsewhere, 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// Reads 64 hex digits, as `sha256sum` writes them; none if it is anything else.
    pub fn from_hex(text: &str) -> Option<Digest> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Digest(bytes))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads `reader` to its end through `buffer` and returns digest and length in bytes.
    pub fn of_reader(reader: impl std::io::Read, buffer: &mut [u8]) -> std::io::Result<(Digest, u64)> {
        let mut hasher = Hasher::new();
        hasher.update_from(reader, buffer)?;
        Ok(hasher.finish())
    }
}

/// 64 lower-case hex digits, as `sha256sum` writes them.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Hex for people, 32 bytes on the wire.
impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

/// Computes a [`Digest`] piece by piece and counts the bytes.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    state: sha2::Sha256,
    bytes: u64,
}

impl Hasher {
    /// Starts with no bytes.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Adds all that comes of `reader`, through `buffer`.
    pub fn update_from(&mut self, mut reader: impl std::io::Read, buffer: &mut [u8]) -> std::io::Result<()> {
        loop {
            match reader.read(buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => self.update(&buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Number of all bytes added.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Digest and number of all bytes added.
    pub fn finish(self) -> (Digest, u64) {
        (Digest(self.state.finalize().into()), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard() {
        // FIPS 180-2, appendix B.1
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), abc);
        assert_eq!(Digest::from_hex(abc), Some(Digest::of(b"abc")));
        assert_eq!([&abc[1..], "é", &"+1".repeat(32)].map(Digest::from_hex), [None; 3]);
        let (digest, bytes) = Digest::of_reader(&b"abc"[..], &mut [0; 2]).unwrap();
        assert_eq!((digest.to_string().as_str(), bytes), (abc, 3));
    }
}
