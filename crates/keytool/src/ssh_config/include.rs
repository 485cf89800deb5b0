//! The one line of keytool in the user's own OpenSSH config.

use glob::{MatchOptions, Pattern};

use super::{EntryError, quoted};
use crate::changes::{Change, ChangeError, Original};
use crate::places::{INCLUDED, Places};

/// What the line names. A relative path means `~/.ssh` to whoever's config it stands in, but in the machine's own it means
/// `/etc/ssh`: outside the home, only a full path is the same file to everybody.
pub fn included(places: &Places) -> Result<String, EntryError> {
    if is_at_home(places) {
        return Ok(INCLUDED.into());
    }
    let path = places.owned.display().to_string();
    // Old versions take `%` as it is, and new ones as a token.
    if path.contains('%') {
        return Err(EntryError::Path { path });
    }
    quoted(&Pattern::escape(&path))
}

fn is_at_home(places: &Places) -> bool {
    places.ssh_config.starts_with(&places.home)
}

/// Puts the line at the top, unless a line that holds for every host includes the file already. `included` is what the line names.
pub fn include(included: &str, places: &Places) -> Result<Option<Change>, ChangeError> {
    let original = Original::read(&places.ssh_config)?;
    let old = original.bytes().map_or(&[][..], Vec::as_slice);
    if includes(&original.text(), places) {
        return Ok(None);
    }
    let end = if first_line(old).ends_with(b"\r\n") { "\r\n" } else { "\n" };
    let content = [format!("Include {included}{end}").as_bytes(), old].concat();
    let words = format!("put 'Include {included}' at the top of {}", places.show(&places.ssh_config));
    Ok(Change::replace(original, 0o600, content, words))
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default()
}

/// Whether a line before the first `Host` or `Match` includes the owned file.
fn includes(config: &str, places: &Places) -> bool {
    for line in config.lines() {
        let mut words = line.split([' ', '\t', '=', '"']).filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default();
        if keyword.eq_ignore_ascii_case("host") || keyword.eq_ignore_ascii_case("match") {
            return false;
        }
        if keyword.eq_ignore_ascii_case("include") && words.any(|word| names_owned(word, places)) {
            return true;
        }
    }
    false
}

fn names_owned(word: &str, places: &Places) -> bool {
    let below = |dir: &std::path::Path, rest: &str| format!("{}/{rest}", Pattern::escape(&dir.display().to_string()));
    let pattern = match word.strip_prefix("~/") {
        Some(rest) => below(&places.home, rest),
        None if word.starts_with('/') => word.to_owned(),
        None if is_at_home(places) => below(&places.ssh_dir, word),
        None => return false,
    };
    // As `ssh` has it: `*` stays within one directory, and passes over what is hidden.
    let options =
        MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    Pattern::new(&pattern).is_ok_and(|pattern| pattern.matches_path_with(&places.owned, options))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::tests::places;

    #[test]
    fn a_line_that_includes_the_owned_file_is_found() {
        let places = places("/home/bee".as_ref());
        let table = [
            ("", false),
            ("Include config.d/pipeline.conf", true),
            ("# hello\r\n\r\n  include \"~/.ssh/config.d/*.conf\"\r\n", true),
            ("Include other /home/bee/.ssh/config.d/pipeline.conf", true),
            ("Include=config.d/*", true),
            ("Include */*.conf", true),
            ("Include *.conf", false),
            ("Include *", false),
            ("Include ~/*/config.d/pipeline.conf", false),
            ("Include config.d/other.conf", false),
            ("#Include config.d/pipeline.conf", false),
            ("Host x\n  Include config.d/pipeline.conf", false),
            ("Match all\nInclude config.d/pipeline.conf", false),
        ];
        for (config, expected) in table {
            assert_eq!(includes(config, &places), expected, "{config}");
        }
    }

    #[test]
    fn a_config_outside_the_home_needs_the_full_path() {
        let mut places = places("/home/b [1]".as_ref());
        assert_eq!(included(&places).unwrap(), INCLUDED);
        assert!(includes("Include config.d/pipeline.conf", &places));
        places.ssh_config = "/etc/ssh/ssh_config".into();
        let line = included(&places).unwrap();
        assert_eq!(line, "\"/home/b [[]1[]]/.ssh/config.d/pipeline.conf\"");
        assert!(!includes("Include config.d/pipeline.conf", &places));
        assert!(includes("Include /home/*/.ssh/config.d/pipeline.conf", &places));
        places.owned = "/home/50%/.ssh/config.d/pipeline.conf".into();
        assert!(included(&places).is_err());
    }
}
