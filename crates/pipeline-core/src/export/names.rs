//! Names in a bag. Pure.
//!
//! A manifest of a bag is UTF-8, and tools do not agree on how it holds a `%` or the end of a line (RFC 8493 wants `%25`, the
//! reference implementation reads it as it stands). So no name in a bag has any of them: such bytes, control characters and what is not
//! UTF-8 are written as quoted-printable has it, `=HH`, and `=` as `=3D`. The original name is in `files.csv`.

use std::fmt::Write as _;

use crate::archive::{ArchivePath, VERSION_DIR};

/// Where versions are in a bag: there they need not be hidden.
const VERSIONS: &str = "earlier-versions";

/// The path below `data/` for what lies at a place.
pub(super) fn payload(place: &ArchivePath) -> String {
    let bytes = place.as_bytes();
    match bytes.strip_prefix(VERSION_DIR.as_bytes()) {
        Some(below) if place.is_version() => format!("{VERSIONS}{}", quoted(below)),
        _ => quoted(bytes),
    }
}

fn quoted(bytes: &[u8]) -> String {
    let mut name = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || matches!(c, '=' | '%' | '\u{2028}' | '\u{2029}') {
                let mut utf8 = [0; 4];
                c.encode_utf8(&mut utf8).bytes().for_each(|byte| quote(&mut name, byte));
            } else {
                name.push(c);
            }
        }
        chunk.invalid().iter().for_each(|&byte| quote(&mut name, byte));
    }
    // At its end a line of a manifest would lose it.
    if let Some(last) = name.chars().last().filter(|last| last.is_whitespace()) {
        name.pop();
        let mut utf8 = [0; 4];
        last.encode_utf8(&mut utf8).bytes().for_each(|byte| quote(&mut name, byte));
    }
    name
}

fn quote(name: &mut String, byte: u8) {
    // A String takes everything.
    write!(name, "={byte:02X}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn awkward_names_are_quoted_and_others_stay() {
        let table: [(&[u8], &str); 7] = [
            (b"pi31/2026-11-22/a b.jpg", "pi31/2026-11-22/a b.jpg"),
            ("pi31/Bienenstöcke 🐝".as_bytes(), "pi31/Bienenstöcke 🐝"),
            (b"pi31/10%3A30.jpg", "pi31/10=253A30.jpg"),
            (b"pi31/a=b\r\nc", "pi31/a=3Db=0D=0Ac"),
            (b"pi31/a ", "pi31/a=20"),
            (b"pi31/\xff\xfe", "pi31/=FF=FE"),
            (b".pipeline/versions/pi31/a~x", "earlier-versions/pi31/a~x"),
        ];
        for (place, name) in table {
            assert_eq!(payload(&ArchivePath::from_bytes(place).unwrap()), name);
        }
    }
}
