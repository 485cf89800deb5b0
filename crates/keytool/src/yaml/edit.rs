//! Changes of single lines in a YAML file that a person wrote.
//!
//! Knows blocks, one-line flow maps, comments and blank lines; whoever calls reads the result back and thereby finds out where
//! that was not enough.

use std::path::Path;

use super::scalar::scalar;
use super::{EXAMPLES, Wanted, YamlError, flow, hosts, pairs};

/// The text with the values that are wanted.
pub(super) fn edit(text: &str, wanted: &Wanted, file: &Path) -> Result<String, YamlError> {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for ((key, example), value) in EXAMPLES.into_iter().zip([&wanted.source, &wanted.storage]) {
        if let Some(value) = value {
            decide(&mut lines, key, example, value, file)?;
        }
    }
    // However it is spelt: a second one would be an error.
    if !lines.iter().any(|line| line.trim_start_matches(['"', '\'', '?', ' ']).starts_with("hosts")) {
        append(&mut lines, &format!("hosts: [\"{}\"]", hosts(&wanted.onboarding)));
    }
    onboarding(&mut lines, wanted);
    Ok(lines.concat())
}

/// A key of the top that is decided once. `example` is what a new file has for it, as a comment.
fn decide(
    lines: &mut Vec<String>,
    key: &'static str,
    example: &str,
    value: &str,
    file: &Path,
) -> Result<(), YamlError> {
    let wanted = format!("{key}: {}", scalar(value));
    if let Some(at) = find(lines, key, 0, lines.len(), "") {
        let has = value_of(&lines[at]).0;
        let same = [value, &scalar(value), &format!("'{value}'"), &format!("\"{value}\"")].contains(&has);
        let undecided = ["", "null", "~"].contains(&has);
        if !same && !undecided {
            return Err(YamlError::Decided { file: file.to_owned(), key, has: has.to_owned() });
        }
        if undecided {
            set_value(&mut lines[at], &scalar(value));
        }
        return Ok(());
    }
    // Only that: whatever else a comment says of the key, a person has written it.
    let comment = |line: &String| line.trim_end().strip_prefix('#') == Some(&format!("{key}: {example}"));
    match lines.iter().position(comment) {
        Some(at) => lines[at] = format!("{wanted}{}", end_of(&lines[at])),
        None => append(lines, &wanted),
    }
    Ok(())
}

fn onboarding(lines: &mut Vec<String>, wanted: &Wanted) {
    let Some(at) = find(lines, "onboarding", 0, lines.len(), "") else {
        append(lines, "");
        append(lines, "onboarding:");
        for (key, value) in pairs(&wanted.onboarding) {
            append(lines, &format!("  {key}: {value}"));
        }
        return;
    };
    let (value, _) = value_of(&lines[at]);
    if !["", "null", "~"].contains(&value) {
        let now = flow(&wanted.onboarding);
        let now = now.trim_start_matches("onboarding: ");
        if value != now {
            set_value(&mut lines[at], now);
        }
        return;
    }
    if !value.is_empty() {
        set_value(&mut lines[at], "");
    }
    // To the next line that is not indented and no comment.
    let below = |line: &String| line.trim().is_empty() || line.starts_with([' ', '\t', '#']);
    let end = at + 1 + lines[at + 1..].iter().take_while(|line| below(line)).count();
    let inside = lines[at + 1..end].iter().find(|line| line.starts_with(' ') && !line.trim_start().starts_with('#'));
    let indent: String = inside.map_or("  ".into(), |line| line.chars().take_while(|c| *c == ' ').collect());
    let mut last = lines[at..end].iter().rposition(|line| line.starts_with(' ')).map_or(at, |last| at + last);
    for (key, value) in pairs(&wanted.onboarding) {
        match find(lines, key, at + 1, end, &indent) {
            Some(at) => {
                if !same(value_of(&lines[at]).0, &value) {
                    set_value(&mut lines[at], &value);
                }
            }
            None => {
                let end = end_of(&lines[last]).to_owned();
                if end.is_empty() {
                    lines[last].push('\n');
                }
                last += 1;
                lines.insert(last, format!("{indent}{key}: {value}{}", if end.is_empty() { "\n" } else { &end }));
            }
        }
    }
}

fn same(has: &str, wanted: &str) -> bool {
    let bare = |text: &str| text.trim_matches(['"', '\'']).to_owned();
    bare(has) == bare(wanted)
}

/// The line that sets a key, with exactly this indentation.
fn find(lines: &[String], key: &str, from: usize, to: usize, indent: &str) -> Option<usize> {
    let sets = |line: &String| {
        let rest = line.strip_prefix(indent).and_then(|rest| rest.strip_prefix(key));
        rest.is_some_and(|rest| rest.trim_start_matches(' ').starts_with(':'))
    };
    (from..to.min(lines.len())).find(|&at| sets(&lines[at]))
}

/// The value of a `key: value # comment` line, and where it stands.
fn value_of(line: &str) -> (&str, std::ops::Range<usize>) {
    let Some(colon) = line.find(':') else { return ("", line.len()..line.len()) };
    let rest = &line[colon + 1..];
    let mut quote = None;
    let mut end = rest.trim_end_matches(['\n', '\r']).len();
    for (at, c) in rest.char_indices() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('#', None) if rest[..at].ends_with([' ', '\t']) => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let value = rest[..end].trim();
    let start = if value.is_empty() { colon + 1 } else { colon + 1 + rest.find(value).unwrap_or(0) };
    (value, start..start + value.len())
}

fn set_value(line: &mut String, value: &str) {
    let (_, range) = value_of(line);
    let blank = if range.is_empty() && !value.is_empty() { " " } else { "" };
    line.replace_range(range, &format!("{blank}{value}"));
}

fn end_of(line: &str) -> &str {
    &line[line.trim_end_matches(['\n', '\r']).len()..]
}

fn append(lines: &mut Vec<String>, line: &str) {
    let end = lines.first().map_or("\n", |line| end_of(line)).to_owned();
    let end = if end.is_empty() { "\n".to_owned() } else { end };
    if let Some(last) = lines.last_mut()
        && end_of(last).is_empty()
    {
        last.push_str(&end);
    }
    lines.push(format!("{line}{end}"));
}
