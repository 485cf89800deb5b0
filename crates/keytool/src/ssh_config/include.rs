//! The one line of keytool in the user's own OpenSSH config.

use glob::Pattern;

use crate::changes::{Change, ChangeError, Original};
use crate::places::{INCLUDED, Places};

/// Puts the line at the top, unless a line that holds for every host includes the file already.
pub fn include(places: &Places) -> Result<Option<Change>, ChangeError> {
    let original = Original::read(&places.ssh_config)?;
    let old = original.bytes().map_or(&[][..], Vec::as_slice);
    if includes(&original.text(), places) {
        return Ok(None);
    }
    let end = if first_line(old).ends_with(b"\r\n") { "\r\n" } else { "\n" };
    let content = [format!("Include {INCLUDED}{end}").as_bytes(), old].concat();
    let words = format!("put 'Include {INCLUDED}' at the top of {}", places.show(&places.ssh_config));
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
    let absolute = match word.strip_prefix("~/") {
        Some(rest) => places.home.join(rest),
        None => places.ssh_dir.join(word),
    };
    let pattern = absolute.to_str().and_then(|text| Pattern::new(text).ok());
    pattern.is_some_and(|pattern| pattern.matches_path(&places.owned))
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
            ("Include config.d/other.conf", false),
            ("#Include config.d/pipeline.conf", false),
            ("Host x\n  Include config.d/pipeline.conf", false),
            ("Match all\nInclude config.d/pipeline.conf", false),
        ];
        for (config, expected) in table {
            assert_eq!(includes(config, &places), expected, "{config}");
        }
    }
}
