//! Host patterns: the language of `hosts`, of the keys of `devices`, and of hosts on the command line.
//!
//! `raspberry31` is one name, `raspberry[1-9,12]` ten names, `[01-12]` counts with leading zeros, `*` and `?` stand for any text and
//! any one character of an alias that the OpenSSH config has, and `!` in front leaves out what the rest matches.

use std::collections::BTreeSet;
use std::fmt;

use crate::path::{DeviceName, DeviceNameError};

/// A pattern may not stand for more names than this.
pub const MAX_NAMES: usize = 10_000;

/// A checked host pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    text: String,
    negated: bool,
    parts: Vec<Part>,
    /// None where a wildcard makes the pattern open.
    names: Option<Vec<DeviceName>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `*`
    Any,
    /// `?`
    One,
    /// `[1-9,12]`
    Numbers(Vec<Range>),
}

/// A run of numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    last: u32,
    /// Digits to fill up to with zeros; 1 where there is nothing to fill.
    width: usize,
}

/// Why a text is not a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// No name at all.
    #[error("'{0}' names no host")]
    Empty(String),
    /// A character that no name has.
    #[error("'{pattern}' holds {character:?}, which no host pattern can")]
    Character {
        /// The pattern.
        pattern: String,
        /// The character.
        character: char,
    },
    /// A `[` without `]`.
    #[error("'{0}' has a '[' that is not closed")]
    Open(String),
    /// Brackets that hold something other than numbers and ranges.
    #[error("'[{range}]' in '{pattern}' is not a range of numbers")]
    Range {
        /// The pattern.
        pattern: String,
        /// What stands in the brackets.
        range: String,
    },
    /// More than [`MAX_NAMES`].
    #[error("'{0}' stands for more than {MAX_NAMES} hosts")]
    TooMany(String),
    /// What it stands for can't name a device.
    #[error(transparent)]
    Name(#[from] DeviceNameError),
}

impl HostPattern {
    /// Checks a text and makes a pattern of it.
    pub fn parse(text: &str) -> Result<HostPattern, HostPatternError> {
        let (negated, mut rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.is_empty() {
            return Err(HostPatternError::Empty(text.to_owned()));
        }
        let mut parts = Vec::new();
        while let Some(c) = rest.chars().next() {
            let literal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let length = match c {
                '*' => {
                    parts.push(Part::Any);
                    1
                }
                '?' => {
                    parts.push(Part::One);
                    1
                }
                '[' => {
                    let end = rest.find(']').ok_or_else(|| HostPatternError::Open(text.to_owned()))?;
                    parts.push(Part::Numbers(numbers(text, &rest[1..end])?));
                    end + 1
                }
                c if literal(c) => {
                    let end = rest.find(|c| !literal(c)).unwrap_or(rest.len());
                    parts.push(Part::Text(rest[..end].to_owned()));
                    end
                }
                character => return Err(HostPatternError::Character { pattern: text.to_owned(), character }),
            };
            rest = &rest[length..];
        }
        let names = expand(text, &parts)?;
        Ok(HostPattern { text: text.to_owned(), negated, parts, names })
    }

    /// Whether it leaves hosts out.
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// The names it stands for, in order; none where a wildcard makes it open.
    pub fn names(&self) -> Option<&[DeviceName]> {
        self.names.as_deref()
    }

    /// Whether a name fits, a leading `!` aside.
    pub fn matches(&self, name: &str) -> bool {
        // All places in the name that the parts so far can reach.
        let mut reached = BTreeSet::from([0]);
        for part in &self.parts {
            reached = reached.into_iter().flat_map(|at| part.ends(name, at)).collect();
        }
        reached.contains(&name.len())
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Part {
    /// Where in `name` this part can end if it begins at `at`.
    fn ends(&self, name: &str, at: usize) -> Vec<usize> {
        let rest = &name[at..];
        match self {
            Part::Text(text) if rest.starts_with(text.as_str()) => vec![at + text.len()],
            Part::Text(_) => Vec::new(),
            Part::Any => rest.char_indices().map(|(i, _)| at + i).chain([name.len()]).collect(),
            Part::One => rest.chars().next().map(|c| at + c.len_utf8()).into_iter().collect(),
            Part::Numbers(ranges) => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                (1..=digits).filter(|&n| ranges.iter().any(|range| range.holds(&rest[..n]))).map(|n| at + n).collect()
            }
        }
    }
}

impl Range {
    fn holds(&self, digits: &str) -> bool {
        let Ok(number) = digits.parse() else { return false };
        (self.first..=self.last).contains(&number) && self.write(number) == digits
    }

    fn write(&self, number: u32) -> String {
        format!("{number:0width$}", width = self.width)
    }

    fn len(&self) -> usize {
        (self.last - self.first) as usize + 1
    }
}

/// Reads `1-9,12`.
fn numbers(pattern: &str, text: &str) -> Result<Vec<Range>, HostPatternError> {
    let fail = || HostPatternError::Range { pattern: pattern.to_owned(), range: text.to_owned() };
    let number = |digits: &str| {
        let digits = Some(digits).filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<u32>().ok()
    };
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
        // [01-9] could mean two things.
        if padded(last) && first.len() != last.len() || padded(first) && first.len() > last.len() {
            return None;
        }
        let width = if padded(first) { first.len() } else { 1 };
        Some(Range { first: number(first)?, last: number(last)?, width }).filter(|range| range.first <= range.last)
    };
    text.split(',').map(|item| range(item.trim())).collect::<Option<Vec<Range>>>().ok_or_else(fail)
}

/// All names, or none where there is a wildcard.
fn expand(pattern: &str, parts: &[Part]) -> Result<Option<Vec<DeviceName>>, HostPatternError> {
    let mut names = vec![String::new()];
    for part in parts {
        match part {
            Part::Any | Part::One => return Ok(None),
            Part::Text(text) => names.iter_mut().for_each(|name| name.push_str(text)),
            Part::Numbers(ranges) => {
                let count = ranges.iter().map(Range::len).fold(0, usize::saturating_add);
                if names.len().saturating_mul(count) > MAX_NAMES {
                    return Err(HostPatternError::TooMany(pattern.to_owned()));
                }
                let numbers: Vec<String> =
                    ranges.iter().flat_map(|range| (range.first..=range.last).map(|n| range.write(n))).collect();
                names = names.iter().flat_map(|name| numbers.iter().map(move |n| format!("{name}{n}"))).collect();
            }
        }
    }
    Ok(Some(names.into_iter().map(DeviceName::new).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(pattern: &str) -> Vec<String> {
        HostPattern::parse(pattern).unwrap().names().unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_in_order() {
        let table: [(&str, &[&str]); 10] = [
            ("raspberry31", &["raspberry31"]),
            ("pi[1-3]", &["pi1", "pi2", "pi3"]),
            ("pi[9-11]", &["pi9", "pi10", "pi11"]),
            ("pi[1-2,12,7]", &["pi1", "pi2", "pi12", "pi7"]),
            ("pi[ 1 , 3 ]", &["pi1", "pi3"]),
            ("pi[08-11]", &["pi08", "pi09", "pi10", "pi11"]),
            ("pi[098-100]", &["pi098", "pi099", "pi100"]),
            ("s[1-2]-pi[1-2].bee", &["s1-pi1.bee", "s1-pi2.bee", "s2-pi1.bee", "s2-pi2.bee"]),
            ("!pi[0-1]", &["pi0", "pi1"]),
            ("[1-2]", &["1", "2"]),
        ];
        for (pattern, expected) in table {
            assert_eq!(names(pattern), expected, "{pattern}");
        }
        assert_eq!(names("pi[1-10000]").len(), 10_000);
    }

    #[test]
    fn matching_agrees_with_the_names() {
        let table = [
            ("pi[1-9,12]", "pi9", true),
            ("pi[1-9,12]", "pi12", true),
            ("pi[1-9,12]", "pi10", false),
            ("pi[1-9,12]", "pi1", true),
            ("pi[1-9,12]", "pi01", false),
            ("pi[1-9,12]", "pi1x", false),
            ("pi[01-12]", "pi01", true),
            ("pi[01-12]", "pi1", false),
            ("pi[1-3][0-9]", "pi31", true),
            ("pi[1-3][0-9]", "pi3", false),
            ("pi*", "pi", true),
            ("pi*", "pi31", true),
            ("*", "anything", true),
            ("pi?", "pi3", true),
            ("pi?", "pi31", false),
            ("pi[1-9]*", "pi31", true),
            ("*[1-3]", "pi33", true),
            ("!pi3*", "pi31", true),
            ("pi", "PI", false),
            ("a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(HostPattern::parse(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_not_a_pattern() {
        let table = [
            ("", "'' names no host"),
            ("!", "'!' names no host"),
            ("pi 1", "'pi 1' holds ' ', which no host pattern can"),
            ("pi@host", "'pi@host' holds '@', which no host pattern can"),
            ("!!pi", "'!!pi' holds '!', which no host pattern can"),
            ("pi]", "'pi]' holds ']', which no host pattern can"),
            ("pi[1-9", "'pi[1-9' has a '[' that is not closed"),
            ("pi[]", "'[]' in 'pi[]' is not a range of numbers"),
            ("pi[a-c]", "'[a-c]' in 'pi[a-c]' is not a range of numbers"),
            ("pi[9-1]", "'[9-1]' in 'pi[9-1]' is not a range of numbers"),
            ("pi[1-]", "'[1-]' in 'pi[1-]' is not a range of numbers"),
            ("pi[1,,2]", "'[1,,2]' in 'pi[1,,2]' is not a range of numbers"),
            ("pi[01-9]", "'[01-9]' in 'pi[01-9]' is not a range of numbers"),
            ("pi[1-09]", "'[1-09]' in 'pi[1-09]' is not a range of numbers"),
            ("pi[+1]", "'[+1]' in 'pi[+1]' is not a range of numbers"),
            ("pi[99999999999]", "'[99999999999]' in 'pi[99999999999]' is not a range of numbers"),
            ("pi[0-10000]", "'pi[0-10000]' stands for more than 10000 hosts"),
            ("pi[0-4294967295]", "'pi[0-4294967295]' stands for more than 10000 hosts"),
            ("a[1-101]b[1-100]", "'a[1-101]b[1-100]' stands for more than 10000 hosts"),
            (
                "-pi",
                "'-pi' can't name a device: up to 64 letters, digits, '.', '_' and '-', starting with a letter or digit",
            ),
        ];
        for (pattern, expected) in table {
            assert_eq!(HostPattern::parse(pattern).unwrap_err().to_string(), expected, "{pattern}");
        }
    }
}
