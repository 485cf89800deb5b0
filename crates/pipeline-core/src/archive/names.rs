//! Names of files as a storage can hold them.
//!
//! Escapes only what the storage was found unable to hold, as `%3A`, and then `%` itself as `%25`. A component that is too
//! long becomes a chain of directories whose names end in `%+`. On a storage that holds everything, names stay as they are.
//!
//! Guarantees: [`NameRules::unescape`] undoes [`NameRules::escape`] whatever the bytes, so that two names never become one; and
//! every component of an escaped path obeys the rules. Leaves to others: to find the rules ([`super::probe`]) and to keep
//! them ([`super::marker`]); case and Unicode forms, which can't be escaped without making every name ugly: there a second
//! file finds its path occupied.

use serde::{Deserialize, Serialize};

use crate::path::{PathError, RelPath};

/// Longest name in Linux, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// A storage that can't hold names of this many bytes is treated as if it could; all known ones can.
pub const MIN_NAME_BYTES: usize = 64;

/// ASCII characters that some servers refuse in names.
pub const SUSPECT_CHARACTERS: &str = "\\:*?\"<>|";

/// Ends a part of a component that goes on in the next directory. No escape sequence looks like it.
const GOES_ON: &[u8] = b"%+";

/// What a part may grow by: [`GOES_ON`], and one escaped byte where a part alone looks like a reserved name.
const SPARE_BYTES: usize = 4;

/// What a storage can't hold in a name. Kept in its marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRules {
    /// Which of `\ : * ? " < > |` are escaped.
    pub characters: String,
    /// Bytes 1 to 31 and 127 are escaped.
    pub control_characters: bool,
    /// A dot at the end is escaped.
    pub trailing_dot: bool,
    /// A space at the end is escaped.
    pub trailing_space: bool,
    /// Names of DOS devices, with or without an extension, are escaped in their first letter.
    pub dos_names: bool,
    /// Bytes that are not UTF-8 are escaped.
    pub non_utf8: bool,
    /// Longest component, in bytes; at least 64.
    pub max_bytes: usize,
}

impl Default for NameRules {
    fn default() -> NameRules {
        NameRules::none()
    }
}

impl NameRules {
    /// The rules of a storage that holds every name as it is.
    pub fn none() -> NameRules {
        NameRules {
            characters: String::new(),
            control_characters: false,
            trailing_dot: false,
            trailing_space: false,
            dos_names: false,
            non_utf8: false,
            max_bytes: MAX_NAME_BYTES,
        }
    }

    /// Whether every name stays as it is.
    pub fn is_none(&self) -> bool {
        *self == NameRules::none()
    }

    /// What either forbids. A storage's rules only ever grow, so that what was escaped once can still be read back.
    pub fn and(&self, other: &NameRules) -> NameRules {
        let has = |c: &char| self.characters.contains(*c) || other.characters.contains(*c);
        NameRules {
            characters: SUSPECT_CHARACTERS.chars().filter(has).collect(),
            control_characters: self.control_characters || other.control_characters,
            trailing_dot: self.trailing_dot || other.trailing_dot,
            trailing_space: self.trailing_space || other.trailing_space,
            dos_names: self.dos_names || other.dos_names,
            non_utf8: self.non_utf8 || other.non_utf8,
            max_bytes: self.max_bytes.min(other.max_bytes),
        }
    }

    /// The path as this storage can hold it. Fails where it grows too long for a path.
    pub fn escape(&self, path: &RelPath) -> Result<RelPath, PathError> {
        if self.is_none() {
            return Ok(path.clone());
        }
        let mut escaped = Vec::with_capacity(path.as_bytes().len());
        for component in path.components() {
            if !escaped.is_empty() {
                escaped.push(b'/');
            }
            self.escape_component(component, &mut escaped);
        }
        RelPath::new(escaped)
    }

    /// The path that [`escape`](NameRules::escape) made this one of; none where it can't have made it.
    pub fn unescape(&self, path: &RelPath) -> Option<RelPath> {
        if self.is_none() {
            return Some(path.clone());
        }
        let mut plain = Vec::with_capacity(path.as_bytes().len());
        let mut goes_on = false;
        for (nth, part) in path.components().enumerate() {
            if nth > 0 && !goes_on {
                plain.push(b'/');
            }
            goes_on = part.ends_with(GOES_ON);
            let text = if goes_on { &part[..part.len() - GOES_ON.len()] } else { part };
            unescape_part(text, &mut plain)?;
        }
        if goes_on { None } else { RelPath::new(plain).ok() }
    }

    fn escape_component(&self, component: &[u8], out: &mut Vec<u8>) {
        let mut name = Vec::with_capacity(component.len());
        for chunk in component.utf8_chunks() {
            for &byte in chunk.valid().as_bytes() {
                if self.forbids(byte) { push_escape(byte, &mut name) } else { name.push(byte) }
            }
            for &byte in chunk.invalid() {
                if self.non_utf8 { push_escape(byte, &mut name) } else { name.push(byte) }
            }
        }
        match name.last() {
            Some(&last @ b'.') if self.trailing_dot => replace_last(last, &mut name),
            Some(&last @ b' ') if self.trailing_space => replace_last(last, &mut name),
            _ => {}
        }
        let whole = out.len();
        self.push_part(&name, out);
        if out.len() - whole > self.max_bytes {
            out.truncate(whole);
            self.push_chain(&name, out);
        }
    }

    fn forbids(&self, byte: u8) -> bool {
        byte == b'%' || self.control_characters && byte.is_ascii_control() || self.characters.as_bytes().contains(&byte)
    }

    /// Writes a name in parts that are each short enough.
    fn push_chain(&self, name: &[u8], out: &mut Vec<u8>) {
        let room = self.max_bytes.max(MIN_NAME_BYTES) - SPARE_BYTES;
        let mut rest = name;
        while rest.len() > room {
            let (part, after) = rest.split_at(boundary(rest, room));
            self.push_part(part, out);
            out.extend_from_slice(GOES_ON);
            out.push(b'/');
            rest = after;
        }
        self.push_part(rest, out);
    }

    /// Writes one part; escapes its first byte where the part as it is means something else.
    fn push_part(&self, part: &[u8], out: &mut Vec<u8>) {
        match part {
            [first, rest @ ..] if matches!(part, b"." | b"..") || self.dos_names && is_dos_name(part) => {
                push_escape(*first, out);
                out.extend_from_slice(rest);
            }
            _ => out.extend_from_slice(part),
        }
    }
}

/// Where to cut an escaped name: at most `room`, not inside an escape sequence or a character. `room` is at least 4.
pub(super) fn boundary(name: &[u8], room: usize) -> usize {
    for back in 1..=2 {
        if name[room - back] == b'%' {
            return room - back;
        }
    }
    // A character has at most three bytes after its first; other bytes may be cut anywhere.
    let first = (0..=3).map(|back| room - back).find(|&at| name[at] & 0b1100_0000 != 0b1000_0000);
    first.filter(|&at| at == room || name[at] >= 0b1100_0000).unwrap_or(room)
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

fn replace_last(byte: u8, name: &mut Vec<u8>) {
    name.pop();
    push_escape(byte, name);
}

fn unescape_part(mut text: &[u8], plain: &mut Vec<u8>) -> Option<()> {
    while let [first, rest @ ..] = text {
        if *first != b'%' {
            plain.push(*first);
            text = rest;
            continue;
        }
        let (high, low) = (hex(*rest.first()?)?, hex(*rest.get(1)?)?);
        let byte = high << 4 | low;
        if byte == b'/' {
            return None;
        }
        plain.push(byte);
        text = &rest[2..];
    }
    Some(())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Whether Windows takes the name for a device: the list of "Naming Files, Paths, and Namespaces" in its documentation,
/// with any extension, spaces before it, in any case.
fn is_dos_name(name: &[u8]) -> bool {
    let stem = name.split(|&b| b == b'.').next().unwrap_or_default().trim_ascii_end().to_ascii_uppercase();
    let numbered = |rest: &[u8]| matches!(rest, [b'0'..=b'9'] | [0xc2, 0xb9 | 0xb2 | 0xb3]); // ¹ ² ³ too
    match &stem[..] {
        b"CON" | b"PRN" | b"AUX" | b"NUL" | b"CONIN$" | b"CONOUT$" => true,
        [b'C', b'O', b'M', rest @ ..] | [b'L', b'P', b'T', rest @ ..] => numbered(rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn windows() -> NameRules {
        NameRules {
            characters: SUSPECT_CHARACTERS.into(),
            control_characters: true,
            trailing_dot: true,
            trailing_space: true,
            dos_names: true,
            non_utf8: true,
            max_bytes: MAX_NAME_BYTES,
        }
    }

    fn path(bytes: &[u8]) -> RelPath {
        RelPath::new(bytes).unwrap()
    }

    #[test]
    fn escapes_what_windows_refuses() {
        let table: [(&[u8], &[u8]); 14] = [
            (b"2026-11-21T10:30:00.jpg", b"2026-11-21T10%3A30%3A00.jpg"),
            (b"100%", b"100%25"),
            (b"a\\b", b"a%5Cb"),
            (b"line\nfeed", b"line%0Afeed"),
            (b"dot.", b"dot%2E"),
            (b"...", b"..%2E"),
            (b"space ", b"space%20"),
            (b"aux.h", b"%61ux.h"),
            (b"Com1", b"%43om1"),
            (b"com\xc2\xb9.log", b"%63om\xc2\xb9.log"),
            (b"auxiliary", b"auxiliary"),
            (b"con/aux.c/x", b"%63on/%61ux.c/x"),
            (b"\xff\xfe", b"%FF%FE"),
            ("e\u{301}té".as_bytes(), "e\u{301}té".as_bytes()),
        ];
        for (plain, escaped) in table {
            assert_eq!(windows().escape(&path(plain)), Ok(path(escaped)));
            assert_eq!(windows().unescape(&path(escaped)), Some(path(plain)));
        }
    }

    #[test]
    fn leaves_names_alone_where_the_storage_holds_them() {
        for name in [&b"a:b%3A"[..], b"aux", b"x. ", b"\xff", b"\n", &[b'n'; 255]] {
            assert_eq!(NameRules::none().escape(&path(name)), Ok(path(name)));
        }
    }

    #[test]
    fn a_long_name_becomes_a_chain_of_directories() {
        let rules = NameRules { max_bytes: 143, ..NameRules::none() };
        let name = path(&[b'n'; 255]);
        let escaped = rules.escape(&name).unwrap();
        assert_eq!(escaped.components().map(<[u8]>::len).collect::<Vec<_>>(), [141, 116]);
        assert_eq!(rules.unescape(&escaped), Some(name));
    }

    #[test]
    fn what_no_escape_made_is_not_undone() {
        for text in [&b"50%"[..], b"%4", b"%zz", b"%3a", b"x%+", b"a%2Fb", b"%2E%2E", b"%00"] {
            assert_eq!(windows().unescape(&path(text)), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_path_that_grows_too_long_is_refused() {
        let long = vec![b':'; 255].repeat(1).into_iter().chain([b'/']).cycle().take(255 * 15).collect::<Vec<_>>();
        assert_eq!(windows().escape(&path(&long)), Err(PathError::TooLong));
    }

    #[test]
    fn rules_only_grow() {
        let colon = NameRules { characters: ":".into(), max_bytes: 200, ..NameRules::none() };
        let dots = NameRules { characters: "\\".into(), trailing_dot: true, ..NameRules::none() };
        let both = colon.and(&dots);
        assert_eq!(
            both,
            NameRules { characters: "\\:".into(), trailing_dot: true, max_bytes: 200, ..NameRules::none() }
        );
        assert_eq!(both.and(&colon), both);
    }

    fn any_rules() -> impl Strategy<Value = NameRules> {
        let characters = proptest::sample::subsequence(SUSPECT_CHARACTERS.chars().collect::<Vec<_>>(), 0..=8);
        (characters, any::<[bool; 5]>(), MIN_NAME_BYTES..=MAX_NAME_BYTES).prop_map(|(characters, flags, max_bytes)| {
            let [control_characters, trailing_dot, trailing_space, dos_names, non_utf8] = flags;
            let characters = characters.into_iter().collect();
            NameRules { characters, control_characters, trailing_dot, trailing_space, dos_names, non_utf8, max_bytes }
        })
    }

    /// Components that are made of what is special, in every length.
    fn any_path() -> impl Strategy<Value = RelPath> {
        let bytes = [
            proptest::sample::select(b"%+.: \\|AauUxX123EF\n".to_vec()).boxed(),
            (1..=255u8).prop_filter("a separator", |b| *b != b'/').boxed(),
        ];
        let byte = proptest::strategy::Union::new(bytes);
        let name = prop_oneof![
            proptest::collection::vec(byte, 1..=255),
            proptest::collection::vec(proptest::sample::select(vec!["é", "%2E", "aux", ".", "%+", "日"]), 1..80)
                .prop_map(|parts| parts.concat().into_bytes()),
            proptest::sample::select(vec!["aux.h", "...", "NUL", "com1. ", " ", "%", "%+"]).prop_map(|s| s.into()),
        ];
        let name = name.prop_filter("not a name", |n| !matches!(&n[..], b"." | b".."));
        proptest::collection::vec(name, 1..=4).prop_map(|names| RelPath::new(names.join(&b'/')).unwrap())
    }

    proptest! {
        /// Which also shows that two paths never become one.
        #[test]
        fn unescape_undoes_escape(rules in any_rules(), path in any_path()) {
            let escaped = rules.escape(&path).unwrap();
            prop_assert_eq!(rules.unescape(&escaped), Some(path));
        }

        #[test]
        fn an_escaped_path_obeys_the_rules(rules in any_rules(), path in any_path()) {
            for name in rules.escape(&path).unwrap().components() {
                prop_assert!(name.len() <= rules.max_bytes.max(path.components().map(<[u8]>::len).max().unwrap().min(64)));
                prop_assert!(!name.iter().any(|b| rules.characters.as_bytes().contains(b)));
                prop_assert!(!(rules.control_characters && name.iter().any(u8::is_ascii_control)));
                prop_assert!(!(rules.trailing_dot && name.ends_with(b".")));
                prop_assert!(!(rules.trailing_space && name.ends_with(b" ")));
                prop_assert!(!(rules.dos_names && is_dos_name(name)));
                prop_assert!(!(rules.non_utf8 && std::str::from_utf8(name).is_err()));
            }
        }
    }
}
