//! What a bag says of itself: `bag-info.txt`. Pure.
//!
//! Guarantees: whatever a person adds, each line is one label and one text for every tool that reads bags, and what must stand there once
//! stands there once.

use jiff::Timestamp;

use super::ExportError;
use super::bag::{Bag, utc};
use crate::catalog::history::Filter;
use crate::path::DeviceName;

/// Labels of which a bag has one, and we know what to say (RFC 8493, section 2.2.2; the last is not from there).
const OURS: [&str; 3] = ["Bagging-Date", "Payload-Oxum", "Bag-Software-Agent"];

/// Labels that may not be repeated either.
const ONCE: [&str; 3] = ["Bag-Size", "Bag-Group-Identifier", "Bag-Count"];

/// What a person adds to `bag-info.txt`: label and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BagInfo {
    label: String,
    text: String,
}

impl BagInfo {
    /// Reads `Label: text`, each line by itself and all of them together.
    pub fn parse(lines: &[String]) -> Result<Vec<BagInfo>, ExportError> {
        let mut all: Vec<BagInfo> = Vec::new();
        for line in lines {
            let refused = |why: &str| ExportError::Info { line: line.clone(), why: why.to_owned() };
            let info = BagInfo::of(line).map_err(refused)?;
            let is = |label: &&&str| label.eq_ignore_ascii_case(&info.label);
            if let Some(label) = OURS.iter().find(is) {
                return Err(refused(&format!("{label} is written without being asked for")));
            }
            let again = |other: &BagInfo| other.label.eq_ignore_ascii_case(&info.label);
            if let Some(label) = ONCE.iter().find(is).filter(|_| all.iter().any(again)) {
                return Err(refused(&format!("a bag has one {label}")));
            }
            all.push(info);
        }
        Ok(all)
    }

    fn of(line: &str) -> Result<BagInfo, &'static str> {
        let (label, text) = line.split_once(':').ok_or("it has no colon")?;
        // Blanks around it go with those that stand there anyway.
        let text = text.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let ends_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if label.is_empty() {
            return Err("it has no label");
        }
        if !label.chars().all(plain) {
            return Err("a label is letters, digits, '-' and '_'");
        }
        if text.is_empty() {
            return Err("it has a label and no text");
        }
        if text.contains(ends_line) {
            return Err("it is more than one line, or holds control characters");
        }
        Ok(BagInfo { label: label.to_owned(), text: text.to_owned() })
    }
}

/// All lines of `bag-info.txt`.
pub(super) fn lines(bag: &Bag, devices: &[DeviceName], filter: &Filter, info: &[BagInfo]) -> Vec<String> {
    let names: Vec<&str> = devices.iter().map(DeviceName::as_str).collect();
    let time = |ns: i64| utc(ns).to_string();
    let period = match (filter.period.from_ns, filter.period.until_ns) {
        (None, None) => "at any time".to_owned(),
        (Some(from), None) => format!("from {} on", time(from)),
        (None, Some(until)) => format!("before {}", time(until)),
        (Some(from), Some(until)) => format!("from {} up to {}", time(from), time(until)),
    };
    let mut lines: Vec<String> = info.iter().map(|info| format!("{}: {}", info.label, info.text)).collect();
    lines.extend([
        format!("Bag-Software-Agent: pipeline {}", env!("CARGO_PKG_VERSION")),
        format!("Bagging-Date: {}", Timestamp::now().strftime("%Y-%m-%d")),
        format!("External-Description: Files received from {}, {period}", names.join(", ")),
        format!("Payload-Oxum: {}.{}", bag.bytes, bag.files),
    ]);
    lines.extend(devices.iter().map(|device| format!("External-Identifier: {device}")));
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parsed(lines: &[&str]) -> Result<Vec<BagInfo>, String> {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        BagInfo::parse(&lines).map_err(|error| error.to_string())
    }

    #[test]
    fn what_would_spoil_a_bag_is_refused() {
        let table: [(&[&str], &str); 16] = [
            (&[""], "'' is no line of bag-info.txt: it has no colon"),
            (&["Contact-Name"], "'Contact-Name' is no line of bag-info.txt: it has no colon"),
            (&[": Ada"], "it has no label"),
            (&["Contact-Name: "], "it has a label and no text"),
            (&["Contact-Name:\t"], "it has a label and no text"),
            // Some tools would take it for the end of the line before it.
            (&[" Contact-Name: Ada"], "a label is letters"),
            (&["Contact-Name : Ada"], "a label is letters"),
            (&["Contact\nName: Ada"], "a label is letters"),
            (&["Contact-Name: Ada\nPayload-Oxum: 0.0"], "more than one line"),
            (&["Contact-Name: Ada\u{2028}Lovelace"], "more than one line"),
            (&["Contact-Name: Ada\u{85}Lovelace"], "more than one line"),
            (&["Bagging-Date: 2026-11-22"], "Bagging-Date is written without being asked for"),
            (&["payload-oxum: 1.1"], "Payload-Oxum is written without being asked for"),
            (&["BAG-SOFTWARE-AGENT: me"], "Bag-Software-Agent is written without being asked for"),
            (
                &["Bag-Count: 1 of 2", "X: y", "bag-count: 2 of 2"],
                "'bag-count: 2 of 2' is no line of bag-info.txt: a bag has one Bag-Count",
            ),
            (&["Bag-Size: 1 GB", "Bag-Size: 2 GB"], "a bag has one Bag-Size"),
        ];
        for (lines, words) in table {
            let said = parsed(lines).unwrap_err();
            assert!(said.contains(words), "{lines:?}: {said}");
        }
    }

    #[test]
    fn what_people_say_of_their_bags_is_taken() {
        let taken = parsed(&[
            "Contact-Name:Ada Lovelace ",
            "Contact-Name:  Charles: the other",
            "External-Identifier: doi:10.5072/bees",
            "Bag-Count: 1 of 2",
        ]);
        let told: Vec<_> = taken.unwrap().into_iter().map(|info| format!("{}: {}", info.label, info.text)).collect();
        let expected = [
            "Contact-Name: Ada Lovelace",
            "Contact-Name: Charles: the other",
            "External-Identifier: doi:10.5072/bees",
            "Bag-Count: 1 of 2",
        ];
        assert_eq!(told, expected);
    }
}
