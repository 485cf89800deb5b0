//! Files to lines, `Include` followed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SshConfigError;
use super::line::{self, Criterion, Directive, Setting};
use crate::config::Surroundings;

/// As deep as OpenSSH goes.
const MAX_DEPTH: usize = 16;

/// One line that matters, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub file: Arc<Path>,
    pub number: usize,
    pub step: Step,
}

/// What a line does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// `Host`.
    Host(Vec<String>),
    /// `Match`.
    Match(Vec<Criterion>),
    /// The lines of each included file.
    Include(Vec<Vec<Line>>),
    /// A value.
    Set(Setting),
}

/// Whose file it is; decides where a relative `Include` is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Named by the user: below `~/.ssh`.
    User,
    /// The one for the whole machine: below `/etc/ssh`.
    System,
}

/// Reads files; collects what a person should know and what is no error.
pub(super) struct Reader<'a> {
    pub surroundings: &'a Surroundings,
    pub kind: Kind,
    pub notes: Vec<String>,
}

impl Reader<'_> {
    /// Reads a file and what it includes.
    pub(super) fn read(&mut self, path: &Path, depth: usize) -> Result<Vec<Line>, SshConfigError> {
        let read = |source| SshConfigError::Read { path: path.to_owned(), source };
        let bytes = std::fs::read(path).map_err(read)?;
        if depth > 0 {
            let metadata = std::fs::metadata(path).map_err(read)?;
            let ours = metadata.uid() == 0 || metadata.uid() == self.surroundings.uid;
            if !ours || metadata.mode() & 0o002 != 0 {
                return Err(SshConfigError::Permissions { path: path.to_owned() });
            }
        }
        let file: Arc<Path> = path.into();
        let mut lines = Vec::new();
        for (number, text) in (1..).zip(String::from_utf8_lossy(&bytes).split('\n')) {
            let fail = |problem| SshConfigError::Line { file: path.to_owned(), line: number, problem };
            let step = match line::parse(text).map_err(fail)? {
                None => continue,
                Some(Directive::Ignored(keyword)) => {
                    self.notes.push(format!("{}:{number}: {keyword} is ignored", path.display()));
                    continue;
                }
                Some(Directive::Host(patterns)) => Step::Host(patterns),
                Some(Directive::Match(criteria)) => Step::Match(criteria),
                Some(Directive::Set(setting)) => Step::Set(setting),
                Some(Directive::Include(_)) if depth >= MAX_DEPTH => {
                    return Err(fail(format!("Include goes deeper than {MAX_DEPTH} files")));
                }
                Some(Directive::Include(patterns)) => {
                    let mut included = Vec::new();
                    for pattern in patterns {
                        for path in self.find(&pattern).map_err(fail)? {
                            included.push(self.read(&path, depth + 1)?);
                        }
                    }
                    Step::Include(included)
                }
            };
            lines.push(Line { file: file.clone(), number, step });
        }
        Ok(lines)
    }

    /// The files that an `Include` pattern names, in order of name. None is no error.
    fn find(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let home = || match self.surroundings.home.to_str() {
            Some(home) => Ok(glob::Pattern::escape(home)),
            None => Err("the home directory is not UTF-8"),
        };
        let anchored = match (self.kind, pattern.strip_prefix("~/")) {
            _ if pattern.starts_with('/') => pattern.to_owned(),
            (Kind::User, Some(rest)) => format!("{}/{rest}", home()?),
            (Kind::User, None) if !pattern.starts_with('~') => format!("{}/.ssh/{pattern}", home()?),
            (Kind::System, _) if !pattern.starts_with('~') => format!("/etc/ssh/{pattern}"),
            _ => return Err(format!("Include can't follow '{pattern}'")),
        };
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        let found =
            glob::glob_with(&anchored, options).map_err(|error| format!("Include '{pattern}': {}", error.msg))?;
        found.collect::<Result<_, _>>().map_err(|error| format!("Include '{pattern}': {error}"))
    }
}
