//! Names in a bag. Pure.
//!
//! A manifest of a bag is UTF-8, and tools do not agree on how it holds a `%` or the end of a line (RFC 8493 wants `%25`, the
//! reference implementation reads it as it stands). So no name in a bag has any of them: such bytes, control characters and what is not
//! UTF-8 are written as quoted-printable has it, `=HH`, and `=` as `=3D`. That may make a name three times as long. Where it is too long for
//! a disk, `=~` and a digest stand for what is left out: quoting alone never writes `=~`, so the name is no other file's. What each file was called
//! is in `files.csv`.

use std::fmt::Write as _;

use crate::archive::{ArchivePath, VERSION_DIR};
use crate::digest::Digest;

/// Where versions are in a bag: there they need not be hidden.
const VERSIONS: &str = "earlier-versions";

/// The longest name that usual file systems take, in bytes.
const LONGEST_NAME: usize = 255;

/// A path that is longer below `data/` has its directories left out: some systems take 1024 bytes in all, Linux takes 4096.
const LONGEST_PATH: usize = 900;

/// The longest ending, such as `.jpg`, that a name which is shortened keeps.
const LONGEST_ENDING: usize = 16;

/// So many digits of a digest no two names of a fleet share.
const DIGEST_DIGITS: usize = 32;

/// The path below `data/` for what lies at a place.
pub(super) fn payload(place: &ArchivePath) -> String {
    let bytes = place.as_bytes();
    let (above, below) = match bytes.strip_prefix(VERSION_DIR.as_bytes()).and_then(|below| below.strip_prefix(b"/")) {
        Some(below) if place.is_version() => (Some(VERSIONS), below),
        _ => (None, bytes),
    };
    let names: Vec<String> = below.split(|&byte| byte == b'/').map(name).collect();
    let whole = join(above, names.iter().map(String::as_str));
    match &names[..] {
        [first, _, .., last] if whole.len() > LONGEST_PATH => {
            let dirs = below.iter().rposition(|&byte| byte == b'/').map_or(below, |end| &below[..end]);
            join(above, [first, stand_in(dirs).as_str(), last].into_iter())
        }
        _ => whole,
    }
}

fn join<'a>(above: Option<&'a str>, names: impl Iterator<Item = &'a str>) -> String {
    above.into_iter().chain(names).collect::<Vec<_>>().join("/")
}

/// One name of a path.
fn name(bytes: &[u8]) -> String {
    let whole = quoted(bytes);
    if whole.len() <= LONGEST_NAME {
        return whole;
    }
    let ending = whole.rfind('.').map(|dot| &whole[dot..]).filter(|ending| ending.len() <= LONGEST_ENDING);
    let end = format!("{}{}", stand_in(bytes), ending.unwrap_or_default());
    let mut cut = LONGEST_NAME - end.len();
    // Neither within a character nor within what stands for a byte.
    while !whole.is_char_boundary(cut) || whole.as_bytes()[cut - 2..cut].contains(&b'=') {
        cut -= 1;
    }
    format!("{}{end}", &whole[..cut])
}

/// What stands for bytes that are left out.
fn stand_in(bytes: &[u8]) -> String {
    let digest = Digest::of(bytes).to_string();
    format!("=~{}", &digest[..DIGEST_DIGITS])
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

    #[test]
    fn names_that_are_too_long_are_shortened_and_stay_apart() {
        let named = |place: &[u8]| payload(&ArchivePath::from_bytes(place).unwrap());
        let digest_of = |bytes: &[u8]| Digest::of(bytes).to_string()[..32].to_owned();
        let place = |file: &[u8]| [b"pi31/", file].concat();
        // The longest that a Pi can have, and the longest that fits as it is.
        let (longest, fits) = (vec![0xff; 255], vec![0xff; 85]);
        assert_eq!(named(&place(&fits)), format!("pi31/{}", "=FF".repeat(85)));
        let expected = format!("pi31/{}=~{}", "=FF".repeat(73), digest_of(&longest));
        assert_eq!(named(&place(&longest)), expected);
        assert!(expected.len() - "pi31/".len() > LONGEST_NAME - 3);
        // An ending says what it is; what is in the middle keeps two apart.
        let photo = |middle: u8| [&[0xff; 100][..], &[middle], &[0xfe; 100], b".jpg"].concat();
        let (one, two) = (named(&place(&photo(b'1'))), named(&place(&photo(b'2'))));
        assert!(one != two && one.ends_with(&format!("=FF=~{}.jpg", digest_of(&photo(b'1')))), "{one}");
        // Neither characters nor what stands for a byte are torn, wherever the end falls.
        for before in 0..6 {
            let file = [&b"=abcde"[..before], "ü\n".repeat(80).as_bytes()].concat();
            let name = named(&place(&file));
            let (kept, _) = name.strip_prefix("pi31/").unwrap().split_once("=~").unwrap();
            let plain = String::from_utf8(file).unwrap().replace('=', "=3D").replace('\n', "=0A");
            assert!(plain.starts_with(kept) && !kept.ends_with("=0") && kept.len() > 210, "{name}");
        }
        // Directories may be too long in sum.
        let dirs = ["pi31", &"d".repeat(250), "e", &"f".repeat(250), &"g".repeat(250), &"h".repeat(250)].join("/");
        let deep = |file: &str| format!("{dirs}/{file}");
        let expected = format!("pi31/=~{}/a.jpg", digest_of(dirs.as_bytes()));
        assert_eq!(named(deep("a.jpg").as_bytes()), expected);
        let version = [VERSION_DIR, "/", &deep("a.jpg~x")].concat();
        assert_eq!(named(version.as_bytes()), format!("earlier-versions/{expected}~x"));
    }
}
