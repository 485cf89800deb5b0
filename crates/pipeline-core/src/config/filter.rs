//! Which files below a source are wanted, `include` and `exclude`, and what a glob means wherever one stands.
//!
//! A glob is compared with the path below the source, byte by byte, case and all:
//!
//! - without a `/` it matches a name at any depth: `*.tmp` is `a.tmp` and `x/y/a.tmp`;
//! - with a `/` it starts at the source, a leading one or not: `raw/*.jpg` and `/raw/*.jpg` are the same;
//! - what matches a directory holds for everything below it; with a `/` at the end it matches directories only;
//! - `*` and `?` stop at `/`, `**/` stands for any number of directories, `[a-z]` for one of these, `{a,b}` for either, and a
//!   backslash takes the special meaning away.
//!
//! A file is taken if `include` is empty or one of its globs matches, and no glob of `exclude` does.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Class, Classified};
use crate::path::RelPath;

/// The globs of one device, ready to be asked.
#[derive(Clone, Debug)]
pub struct Filter {
    /// None: everything.
    include: Option<Globs>,
    exclude: Globs,
}

/// A list of globs. An empty one matches nothing.
#[derive(Clone, Debug)]
pub struct Globs(GlobSet);

/// A text that is no glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{glob}' is not a glob: {problem}")]
pub struct FilterError {
    /// The text.
    pub glob: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Classified for FilterError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some("globs are like '*.jpg', 'raw/**/*.csv' or 'cache/'".into())
    }
}

impl Filter {
    /// Compiles the globs.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Filter, FilterError> {
        let include = if include.is_empty() { None } else { Some(Globs::new(include)?) };
        Ok(Filter { include, exclude: Globs::new(exclude)? })
    }

    /// Whether the file with this path is wanted.
    pub fn takes(&self, path: &RelPath) -> bool {
        let candidate = Candidate::new(path.as_path());
        let included = self.include.as_ref().is_none_or(|globs| globs.0.is_match_candidate(&candidate));
        included && !self.exclude.0.is_match_candidate(&candidate)
    }
}

impl Globs {
    /// Compiles them.
    pub fn new(globs: &[String]) -> Result<Globs, FilterError> {
        compile(globs).map(Globs)
    }

    /// Whether one of them matches the file with this path.
    pub fn matches(&self, path: &RelPath) -> bool {
        self.0.is_match(path.as_path())
    }
}

fn compile(globs: &[String]) -> Result<GlobSet, FilterError> {
    let fail = |glob: &str, problem: String| FilterError { glob: glob.to_owned(), problem };
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let (body, directory) = match glob.strip_suffix('/') {
            Some(body) => (body, true),
            None => (glob.as_str(), false),
        };
        let anchored = match body.strip_prefix('/') {
            Some(rest) => rest.to_owned(),
            None if body.contains('/') => body.to_owned(),
            None => format!("**/{body}"),
        };
        if body.trim_matches('/').is_empty() {
            return Err(fail(glob, "it names nothing".into()));
        }
        let below = format!("{anchored}/**");
        for pattern in [Some(anchored).filter(|_| !directory), Some(below)].into_iter().flatten() {
            let compiled = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
            set.add(compiled.map_err(|error| fail(glob, error.kind().to_string()))?);
        }
    }
    set.build().map_err(|error| fail(&globs.join("', '"), error.kind().to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn takes(include: &[&str], exclude: &[&str], path: &[u8]) -> bool {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude)).unwrap().takes(&RelPath::new(path).unwrap())
    }

    #[test]
    fn what_a_glob_matches() {
        let table: [(&str, &[u8], bool); 33] = [
            ("*.tmp", b"a.tmp", true),
            ("*.tmp", b"x/y/a.tmp", true),
            ("*.tmp", b"a.tmp2", false),
            ("*.tmp", b".tmp", true),
            ("*.tmp", b"a.TMP", false),
            ("*.tmp", b"\xff\xfe.tmp", true),
            ("*.tmp", b"new\nline/a\nb.tmp", true),
            ("*.tmp", b"x.tmp/photo.jpg", true),
            ("raw/*.jpg", b"raw/a.jpg", true),
            ("raw/*.jpg", b"x/raw/a.jpg", false),
            ("raw/*.jpg", b"raw/x/a.jpg", false),
            ("/raw/*.jpg", b"raw/a.jpg", true),
            ("/notes", b"notes", true),
            ("/notes", b"x/notes", false),
            ("/notes", b"notes/2026/a", true),
            ("cache", b"cache", true),
            ("cache", b"x/cache/y/z", true),
            ("cache/", b"cache", false),
            ("cache/", b"cache/a", true),
            ("cache/", b"x/cache/a", true),
            ("a/cache/", b"a/cache/b", true),
            ("a/cache/", b"x/a/cache/b", false),
            ("raw/**/*.csv", b"raw/a.csv", true),
            ("raw/**/*.csv", b"raw/x\ny/z/a.csv", true),
            ("**/raw/*.csv", b"x/raw/a.csv", true),
            ("2026-1[12]-*", b"2026-11-21/cam 1/x.jpg", true),
            ("2026-1[12]-*", b"2026-10-21/cam 1/x.jpg", false),
            ("*.{jpg,png}", b"a.png", true),
            ("?.jpg", b"a.jpg", true),
            ("?.jpg", b"ab.jpg", false),
            ("\\*.jpg", b"*.jpg", true),
            ("\\*.jpg", b"a.jpg", false),
            ("[!a].jpg", b"b.jpg", true),
        ];
        for (glob, path, expected) in table {
            let name = path.escape_ascii();
            assert_eq!(takes(&[glob], &[], path), expected, "include {glob} {name}");
            assert_eq!(takes(&[], &[glob], path), !expected, "exclude {glob} {name}");
        }
    }

    #[test]
    fn exclude_wins() {
        assert!(takes(&["*.jpg"], &["raw/"], b"a.jpg"));
        assert!(!takes(&["*.jpg"], &["raw/"], b"raw/a.jpg"));
        assert!(!takes(&["*.jpg"], &["raw/"], b"a.csv"));
        assert!(takes(&[], &[], b"anything"));
    }

    #[test]
    fn what_is_not_a_glob() {
        for glob in ["", "/", "//", "[a", "{a", "a}", "[z-a]"] {
            let error = Filter::new(&[glob.to_owned()], &[]).unwrap_err();
            assert_eq!(error.glob, glob);
        }
    }

    #[test]
    fn no_glob_matches_nothing() {
        let path = RelPath::new(&b"log/bees.db"[..]).unwrap();
        let matches = |globs: &[&str]| {
            let globs: Vec<_> = globs.iter().map(|&glob| glob.to_owned()).collect();
            Globs::new(&globs).unwrap().matches(&path)
        };
        assert!(!matches(&[]));
        assert!(matches(&["*.db"]) && matches(&["x", "log/"]) && !matches(&["*.csv"]));
    }
}
