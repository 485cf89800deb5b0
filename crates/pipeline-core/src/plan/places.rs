//! The names beside the plain one, for files whose place something else has.
//!
//! Pure. The same device and path give the same names in every run, so that a file that went to its second name finds itself there
//! again. Bytes, not text: a name that is not UTF-8 has second names as well.

use std::fmt::Write as _;

use crate::digest::Digest;
use crate::path::{DeviceName, RelPath};

/// The path with `~DEVICE` before the extension of its name; and with `~DEVICE~HASH`, a hash of the path on the device, for where
/// that name is taken as well. A name that grows too long is cut before them.
pub fn beside(path: &RelPath, device: &DeviceName) -> Vec<RelPath> {
    let mut hash = String::new();
    for byte in &Digest::of(path.as_bytes()).as_bytes()[..4] {
        write!(hash, "{byte:02x}").unwrap_or_default();
    }
    let marks = [format!("~{device}"), format!("~{device}~{hash}")];
    marks.iter().filter_map(|mark| marked(path, mark)).collect()
}

fn marked(path: &RelPath, mark: &str) -> Option<RelPath> {
    let name = path.file_name();
    // A dot at the beginning hides a file; it begins no extension. Nor does one so far from the end that nothing would be left.
    let dot = name.iter().rposition(|&b| b == b'.').filter(|&at| at > 0 && name.len() - at <= MAX_EXTENSION_BYTES);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let room = MAX_NAME_BYTES.saturating_sub(mark.len() + extension.len());
    let mut bytes = path.as_bytes()[..path.as_bytes().len() - name.len()].to_vec();
    bytes.extend_from_slice(cut(stem, room));
    bytes.extend_from_slice(mark.as_bytes());
    bytes.extend_from_slice(extension);
    RelPath::new(bytes).ok()
}

/// Longest name in Linux, in bytes. Where the storage allows less, its own rules shorten what comes out here.
const MAX_NAME_BYTES: usize = 255;

/// A longer one is part of the name's stem.
const MAX_EXTENSION_BYTES: usize = 32;

/// The beginning of a name, at most `room` bytes, not in the middle of a UTF-8 character.
fn cut(name: &[u8], room: usize) -> &[u8] {
    if name.len() <= room {
        return name;
    }
    let is_inside = |at: usize| name[at] & 0b1100_0000 == 0b1000_0000;
    // No character is longer than four bytes: beyond that it is none.
    let at = (room.saturating_sub(3)..=room).rev().find(|&at| !is_inside(at)).unwrap_or(room);
    &name[..at]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(path: &[u8]) -> Vec<Vec<u8>> {
        let device = DeviceName::new("pi").unwrap();
        beside(&RelPath::new(path).unwrap(), &device).iter().map(|path| path.as_bytes().to_vec()).collect()
    }

    #[test]
    fn the_device_comes_before_the_extension() {
        let table: [(&[u8], &[u8], &[u8]); 6] = [
            (b"day/x.jpg", b"day/x~pi.jpg", b"day/x~pi~f92c6b2d.jpg"),
            (b"x", b"x~pi", b"x~pi~2d711642"),
            (b".hidden", b".hidden~pi", b".hidden~pi~16924190"),
            (b"a.b/x.tar.gz", b"a.b/x.tar~pi.gz", b"a.b/x.tar~pi~d3b8e1d4.gz"),
            (b"\xff.\xfe", b"\xff~pi.\xfe", b"\xff~pi~3e9e4cfd.\xfe"),
            (b"x.", b"x~pi.", b"x~pi~c92f00b1."),
        ];
        for (path, second, third) in table {
            let shown: Vec<_> = names(path).iter().map(|name| name.escape_ascii().to_string()).collect();
            assert_eq!(shown, [second.escape_ascii().to_string(), third.escape_ascii().to_string()]);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_keeps_its_extension() {
        let long = format!("day/{}.jpg", "ü".repeat(125));
        for name in names(long.as_bytes()) {
            let text = String::from_utf8(name).unwrap();
            let name = text.strip_prefix("day/").unwrap();
            assert!(name.len() <= MAX_NAME_BYTES && name.len() > MAX_NAME_BYTES - 3, "{name}");
            assert!(name.starts_with("üü") && name.contains("ü~pi") && name.ends_with(".jpg"), "{name}");
        }
        let no_text = [&b"\xff"[..].repeat(250), &b".jpg"[..]].concat();
        assert!(names(&no_text).iter().all(|name| name.len() <= MAX_NAME_BYTES && name.ends_with(b".jpg")));
    }

    #[test]
    fn a_path_that_grows_too_long_has_no_names_beside_it() {
        let long = [b"d/".repeat(2047), b"x".to_vec()].concat();
        assert_eq!(names(&long), Vec::<Vec<u8>>::new());
    }
}
