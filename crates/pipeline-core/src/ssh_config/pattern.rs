//! OpenSSH's patterns: `*` and `?`, lists of them, negation.

/// Whether `text` matches a pattern of `*` (any text) and `?` (one byte).
pub(super) fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut t, mut p) = (0, 0);
    // Where to go on when a guess about the last star was wrong.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((t, p + 1));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                t += 1;
                p += 1;
            }
            _ => match retry {
                Some((from, after_star)) => {
                    retry = Some((from + 1, after_star));
                    (t, p) = (from + 1, after_star);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Whether `text` matches a comma-separated list: at least one pattern, and none of those behind `!`.
pub(super) fn matches_list(text: &str, list: &str) -> bool {
    let mut found = false;
    for item in list.split(',') {
        match item.strip_prefix('!') {
            Some(negated) if matches(text, negated) => return false,
            Some(_) => {}
            None => found |= matches(text, item),
        }
    }
    found
}

/// The same for host names, where case does not count.
pub(super) fn matches_host_list(host: &str, list: &str) -> bool {
    matches_list(&host.to_ascii_lowercase(), &list.to_ascii_lowercase())
}

/// Whether a `Host` pattern stands for one name alone.
pub(super) fn is_concrete(pattern: &str) -> bool {
    !pattern.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        let table = [
            ("", "", true),
            ("", "*", true),
            ("a", "", false),
            ("raspberry31", "raspberry*", true),
            ("raspberry31", "raspberry??", true),
            ("raspberry3", "raspberry??", false),
            ("raspberry31", "*3?", true),
            ("raspberry31", "*3", false),
            ("abcabc", "*abc", true),
            ("abcabd", "*abc", false),
            ("aXbXc", "a*b*c", true),
            ("aaab", "a*a*a*a*b", false),
            ("RASP", "rasp", false),
            ("[1]", "[1]", true),
            ("1", "[1]", false),
        ];
        for (text, pattern, expected) in table {
            assert_eq!(matches(text, pattern), expected, "{text} {pattern}");
        }
    }

    #[test]
    fn a_pattern_full_of_stars_ends_soon() {
        let text = "a".repeat(10_000);
        assert!(!matches(&text, &("a*".repeat(200) + "b")));
    }

    #[test]
    fn lists() {
        assert!(matches_list("b", "a,b"));
        assert!(!matches_list("b", "*,!b"));
        assert!(!matches_list("b", "!a"), "a list of negations alone matches nothing");
        assert!(matches_host_list("PI.local", "pi.LOCAL"));
    }
}
