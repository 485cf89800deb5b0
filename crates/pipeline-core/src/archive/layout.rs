//! Where a file goes in the archive.
//!
//! Guarantees: an [`ArchivePath`] stays below the archive root and never names what is the pipeline's own there. The same
//! device, source and path give the same archive path for as long as layout and marker stay. Leaves to others: two files
//! that are given one path ([`super::Commit::Occupied`]), and symbolic links that stand in the way ([`crate::rooted`]).

use crate::archive::capabilities::Capabilities;
use crate::archive::error::PlaceError;
use crate::archive::names::boundary;
use crate::archive::store::below;
use crate::digest::Digest;
use crate::path::{DeviceName, PathError, RelPath};

/// The directory at the top of the archive that holds marker, staging and versions.
pub const PRIVATE_DIR: &str = ".pipeline";

/// The directory that holds content which made room for newer content of the same path.
pub const VERSION_DIR: &str = ".pipeline/versions";

/// How the name of a version says when its content was modified, UTC.
const VERSION_TIME: &str = "%Y%m%dT%H%M%SZ";

/// The directory at the top of the archive that holds the manifests.
pub const MANIFEST_DIR: &str = "SHA256SUMS";

/// A path below the archive root: escaped, laid out, never inside [`PRIVATE_DIR`] or [`MANIFEST_DIR`]; or that of a version, inside
/// [`VERSION_DIR`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchivePath(RelPath);

impl ArchivePath {
    /// Lays out one file of a device. `source_name` is the last component of the device's source directory.
    pub(super) fn place(
        layout: &str,
        device: &DeviceName,
        source_name: &[u8],
        path: &RelPath,
        storage: &Capabilities,
    ) -> Result<ArchivePath, PlaceError> {
        let mut laid_out = Vec::with_capacity(device.as_str().len() + path.as_bytes().len() + layout.len());
        let mut rest = layout;
        while let Some((literal, after)) = rest.split_once('{') {
            laid_out.extend_from_slice(literal.as_bytes());
            let (field, after) = after.split_once('}').ok_or(PlaceError::Unclosed)?;
            laid_out.extend_from_slice(match field {
                "host" => device.as_str().as_bytes(),
                "path" => path.as_bytes(),
                "source_name" => source_name,
                _ => return Err(PlaceError::Unknown),
            });
            rest = after;
        }
        laid_out.extend_from_slice(rest.as_bytes());
        let escaped = RelPath::new(laid_out).and_then(|path| storage.names.escape(&path)).map_err(PlaceError::Path)?;
        if is_private(&escaped, storage.case_sensitive) {
            return Err(PlaceError::Path(PathError::Reserved));
        }
        Ok(ArchivePath(escaped))
    }

    /// From the catalog: bytes that [`as_bytes`](ArchivePath::as_bytes) gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<ArchivePath, PathError> {
        let path = ArchivePath(RelPath::new(bytes)?);
        if is_private(&path.0, true) && !path.is_version() { Err(PathError::Reserved) } else { Ok(path) }
    }

    /// Whether it is that of a version.
    pub fn is_version(&self) -> bool {
        self.as_bytes().strip_prefix(VERSION_DIR.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// Where content goes that lay at this path and makes room: the same for the same content and time, whoever asks. Each `nth` has
    /// more digits, should another content have the first ones. A name that grows longer than `max_name_bytes` is shortened, and
    /// then holds digits of its own digest.
    pub(super) fn version(
        &self,
        content: &Digest,
        mtime_seconds: i64,
        nth: usize,
        max_name_bytes: usize,
    ) -> ArchivePath {
        let time = jiff::Timestamp::from_second(mtime_seconds).unwrap_or_default().strftime(VERSION_TIME);
        let end = format!("~{time}~{}", &content.to_string()[..SHORT_DIGITS * (nth + 1)]);
        let name = fit(self.0.file_name(), end.as_bytes(), max_name_bytes);
        let dir = match self.0.parent() {
            Some(parent) => RelPath::new([VERSION_DIR.as_bytes(), b"/", parent.as_bytes()].concat()),
            None => RelPath::new(VERSION_DIR),
        };
        let path = dir.and_then(|dir| dir.join(&name)).unwrap_or_else(|_| {
            // Longer than a path can be. Short components always fit.
            let digest = Digest::of(self.as_bytes()).to_string();
            below(&[VERSION_DIR, &digest, end.trim_start_matches('~')])
        });
        ArchivePath(path)
    }

    /// The bytes, relative to the archive root.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The same as a path below the root.
    pub fn as_rel_path(&self) -> &RelPath {
        &self.0
    }
}

impl std::fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The time that the name of a version says, in seconds since 1970; none where it is no such name.
pub(super) fn version_time(name: &[u8]) -> Option<i64> {
    let time = name.rsplitn(3, |&byte| byte == b'~').nth(1)?;
    let time = jiff::civil::DateTime::strptime(VERSION_TIME, time).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Digits of a digest that tell names apart for people; where it matters, contents are compared.
const SHORT_DIGITS: usize = 8;

/// `stem` and `end` as one name of at most `max` bytes: what does not fit is cut from the stem, and its digest takes the place.
fn fit(stem: &[u8], end: &[u8], max: usize) -> Vec<u8> {
    if stem.len() + end.len() <= max {
        return [stem, end].concat();
    }
    let digest = Digest::of(stem).to_string();
    let room = max.saturating_sub(end.len() + 1 + SHORT_DIGITS);
    let cut = if room < 4 { 0 } else { boundary(stem, room) };
    [&stem[..cut], b"~", &digest.as_bytes()[..SHORT_DIGITS], end].concat()
}

/// Whether a path begins with a directory that is ours. Where the storage ignores case, so does this.
///
/// Other aliases that a server may know (short DOS names, characters that it ignores) are not caught. They could add files
/// there, never replace one, and nothing is believed because a file exists there.
fn is_private(path: &RelPath, case_sensitive: bool) -> bool {
    let top = path.components().next().unwrap_or_default();
    let ours = [PRIVATE_DIR, MANIFEST_DIR];
    if case_sensitive {
        return ours.iter().any(|name| name.as_bytes() == top);
    }
    // Upper case, since more letters meet there: the long s becomes S, the i without a dot I.
    let upper = String::from_utf8_lossy(top).to_uppercase();
    ours.iter().any(|name| name.to_uppercase() == upper)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::archive::names::NameRules;

    fn place_on(storage: &Capabilities, layout: &str, path: &[u8]) -> Result<String, PlaceError> {
        let device = DeviceName::new("raspberry31").unwrap();
        let path = RelPath::new(path).unwrap();
        ArchivePath::place(layout, &device, b"beephotos", &path, storage).map(|p| p.to_string())
    }

    fn place(layout: &str, path: &[u8]) -> Result<String, PlaceError> {
        place_on(&Capabilities::all(), layout, path)
    }

    #[test]
    fn fills_in_the_fields() {
        assert_eq!(place("{host}/{path}", b"a/b.jpg").unwrap(), "raspberry31/a/b.jpg");
        assert_eq!(place("{source_name}/{path}", b"x").unwrap(), "beephotos/x");
        assert_eq!(place("{path}", b"{host}").unwrap(), "{host}");
        assert_eq!(place("raw/{host}-{source_name}/{path}", b"x").unwrap(), "raw/raspberry31-beephotos/x");
    }

    #[test]
    fn refuses_what_leads_out_or_to_our_own() {
        for (layout, path, error) in [
            ("../{path}", &b"x"[..], PathError::Component),
            ("/{path}", b"x", PathError::Absolute),
            ("{host}//{path}", b"x", PathError::Component),
            ("", b"x", PathError::Empty),
            ("{path}", b".pipeline/staging/x", PathError::Reserved),
            ("{path}", b"SHA256SUMS", PathError::Reserved),
            (".pipeline/{path}", b"x", PathError::Reserved),
            ("{host}/{path}", &[b'x'; 4090], PathError::TooLong),
        ] {
            assert_eq!(place(layout, path), Err(PlaceError::Path(error)), "{layout}");
        }
        assert_eq!(place("{host", b"x"), Err(PlaceError::Unclosed));
        assert_eq!(place("{hots}/{path}", b"x"), Err(PlaceError::Unknown));
        assert_eq!(place("{host}/{path}", b".pipeline").unwrap(), "raspberry31/.pipeline");
        assert!(ArchivePath::from_bytes(b".pipeline/marker.json").is_err());
    }

    #[test]
    fn case_counts_only_where_the_storage_sees_it() {
        assert!(place("{path}", b".Pipeline/x").is_ok());
        let blind = Capabilities { case_sensitive: false, ..Capabilities::all() };
        for path in [".Pipeline/x", "sha256sums/x", "\u{17f}ha256sums/x"] {
            assert_eq!(place_on(&blind, "{path}", path.as_bytes()), Err(PlaceError::Path(PathError::Reserved)));
        }
    }

    #[test]
    fn a_source_without_a_name_is_refused_not_guessed() {
        let device = DeviceName::new("pi").unwrap();
        let path = RelPath::new(&b"x"[..]).unwrap();
        for name in [&b""[..], b"..", b"."] {
            assert!(ArchivePath::place("{source_name}/{path}", &device, name, &path, &Capabilities::all()).is_err());
        }
    }

    #[test]
    fn names_are_escaped_for_the_storage_and_stay_out_of_our_own() {
        let names = NameRules { characters: ":".into(), trailing_dot: true, ..NameRules::none() };
        let cifs = Capabilities { case_sensitive: false, names, ..Capabilities::all() };
        assert_eq!(place_on(&cifs, "{host}/{path}", b"10:30/x").unwrap(), "raspberry31/10%3A30/x");
        // A server that drops the dot would find our own directory.
        assert_eq!(place_on(&cifs, "{path}", b".pipeline./x").unwrap(), ".pipeline%2E/x");
    }
}
