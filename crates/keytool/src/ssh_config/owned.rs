//! The file that keytool owns, as a list of blocks.

use std::fmt::Write as _;

use pipeline_core::path::DeviceName;

use super::Entry;
use crate::changes::{Change, ChangeError, Original};
use crate::places::Places;

const HEADER: &str = "\
# Written by keytool, which owns this file and changes it block by block. Lines that you add to a block stay.
# Entries of your own belong into ~/.ssh/config: keytool respects them.
";

/// The file, and what is to become of it.
#[derive(Clone, Debug)]
pub struct Owned {
    original: Original,
    /// What stands before the first block.
    head: String,
    blocks: Vec<Block>,
    /// What was done, in words.
    done: Vec<String>,
}

/// A `Host` or `Match` line and all lines up to the next one.
#[derive(Clone, Debug)]
pub struct Block {
    /// The first of the names, where the line is `Host` and names alone: a short one may have been added behind ours. Other blocks
    /// are somebody else's and are left alone.
    alias: Option<String>,
    /// All of its lines as they are, the first included.
    text: String,
}

impl Owned {
    /// Reads it; a missing one is empty.
    pub fn load(places: &Places) -> Result<Owned, ChangeError> {
        let original = Original::read(&places.owned)?;
        let mut owned = Owned { head: String::new(), blocks: Vec::new(), done: Vec::new(), original };
        for line in owned.original.utf8()?.to_owned().split_inclusive('\n') {
            let (keyword, value) = split(line);
            match keyword.to_ascii_lowercase().as_str() {
                "host" => {
                    owned.blocks.push(Block { alias: first_name(value), text: line.to_owned() });
                }
                "match" => owned.blocks.push(Block { alias: None, text: line.to_owned() }),
                _ => match owned.blocks.last_mut() {
                    Some(block) => block.text.push_str(line),
                    None => owned.head.push_str(line),
                },
            }
        }
        Ok(owned)
    }

    /// The aliases that have a block, in order.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().filter_map(|block| block.alias.as_deref())
    }

    /// The block of an alias.
    pub fn block(&self, alias: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.alias.as_deref() == Some(alias))
    }

    /// Makes the entry say this. Other lines of its block stay.
    pub fn set(&mut self, entry: &Entry) {
        let alias = entry.alias.as_str();
        match self.blocks.iter_mut().find(|block| block.alias.as_deref() == Some(alias)) {
            Some(block) => {
                if block.set(entry) {
                    self.done.push(format!("update entry {alias}"));
                }
            }
            None => {
                let mut text = format!("Host {alias}\n");
                for (keyword, value) in &entry.settings {
                    writeln!(text, "    {keyword} {value}").ok();
                }
                self.blocks.push(Block { alias: Some(alias.to_owned()), text });
                self.done.push(format!("add entry {alias}"));
            }
        }
    }

    /// Takes an entry out; false where there is none.
    pub fn remove(&mut self, alias: &str) -> bool {
        let before = self.blocks.len();
        let was_last = self.blocks.last().is_some_and(|block| block.alias.as_deref() == Some(alias));
        self.blocks.retain(|block| block.alias.as_deref() != Some(alias));
        let removed = self.blocks.len() < before;
        if removed {
            // The empty line before it came with it.
            if let Some(last) = self.blocks.last_mut().filter(|last| was_last && last.text.ends_with("\n\n")) {
                last.text.pop();
            }
            self.done.push(format!("remove entry {alias}"));
        }
        removed
    }

    /// The whole text as it is to be.
    pub fn text(&self) -> String {
        let mut text = if self.head.trim().is_empty() { HEADER.to_owned() } else { self.head.clone() };
        for block in &self.blocks {
            end_line(&mut text);
            if !text.ends_with("\n\n") {
                text.push('\n');
            }
            text.push_str(&block.text);
        }
        end_line(&mut text);
        text
    }

    /// The change that makes it so; none where nothing was done.
    pub fn change(self, places: &Places) -> Option<Change> {
        if self.done.is_empty() {
            return None;
        }
        let words = format!("{} in {}", self.done.join(", "), places.show(&places.owned));
        let text = self.text();
        Change::replace(self.original, 0o600, text.into_bytes(), words)
    }
}

impl Block {
    /// Its lines.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first value of a keyword.
    pub fn value(&self, keyword: &str) -> Option<&str> {
        let lines = self.text.lines().map(split);
        lines.filter(|(word, _)| word.eq_ignore_ascii_case(keyword)).map(|(_, value)| value).next()
    }

    /// Whether anything had to be changed.
    fn set(&mut self, entry: &Entry) -> bool {
        let mut changed = false;
        for (keyword, value) in &entry.settings {
            if self.value(keyword) != Some(value) {
                self.set_one(keyword, value);
                changed = true;
            }
        }
        changed
    }

    fn set_one(&mut self, keyword: &str, value: &str) {
        let mut lines: Vec<String> = self.text.split_inclusive('\n').map(str::to_owned).collect();
        let line = format!("    {keyword} {value}\n");
        match lines.iter_mut().find(|line| split(line).0.eq_ignore_ascii_case(keyword)) {
            Some(old) => *old = line,
            None => {
                // Behind its last line that says something: what follows may be about the next block.
                let says = |line: &String| !matches!(line.trim().chars().next(), None | Some('#'));
                let end = lines.iter().rposition(says).map_or(0, |last| last + 1);
                if let Some(last) = end.checked_sub(1).and_then(|last| lines.get_mut(last)) {
                    end_line(last);
                }
                lines.insert(end, line);
            }
        }
        self.text = lines.concat();
    }
}

/// The first of several names; none where one of them is a pattern.
fn first_name(names: &str) -> Option<String> {
    let names = names.split_ascii_whitespace().take_while(|word| !word.starts_with('#'));
    let names: Result<Vec<DeviceName>, _> = names.map(|name| DeviceName::new(name.trim_matches('"'))).collect();
    names.ok()?.first().map(ToString::to_string)
}

/// Keyword and the rest of a line.
fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (keyword, value) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
    (keyword, value.trim_matches([' ', '\t', '=']))
}

fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Editor;
    use crate::places::tests::places;

    const BEFORE: &str = "# mine, at the top\n\nHost raspberry31\n    # its card is old\n    hostname=localhost\n    Port 5031\n\
        Compression yes\n\n# between\nHost * !raspberry31\n  ServerAliveInterval 7\nMatch host x\n  Port 9\n\
        Host \"raspberry34\"\n\tport\t5034";

    fn entry(alias: &str, port: &str) -> Entry {
        let settings = vec![("HostName", "localhost".into()), ("Port", port.into()), ("User", "pi".into())];
        Entry { alias: DeviceName::new(alias).unwrap(), settings }
    }

    /// What becomes of a text, and the words for it.
    fn edited(before: &str, edit: impl Fn(&mut Owned)) -> (String, Vec<String>) {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path());
        std::fs::create_dir_all(&places.owned_dir).unwrap();
        std::fs::write(&places.owned, before).unwrap();
        let decide = || {
            let mut owned = Owned::load(&places)?;
            edit(&mut owned);
            Ok::<_, ChangeError>(owned.change(&places).into_iter().collect())
        };
        let told = Editor::new(places.clone(), false).perform(decide).unwrap();
        (std::fs::read_to_string(&places.owned).unwrap(), told)
    }

    #[test]
    fn only_what_differs_is_changed() {
        let (after, told) = edited(BEFORE, |owned| {
            ["raspberry31", "raspberry34"]
                .iter()
                .zip(["6031", "5034"])
                .for_each(|(a, port)| owned.set(&entry(a, port)));
        });
        let expected = "# mine, at the top\n\nHost raspberry31\n    # its card is old\n    hostname=localhost\n    Port 6031\n\
            Compression yes\n    User pi\n\n# between\n\nHost * !raspberry31\n  ServerAliveInterval 7\n\nMatch host x\n  Port 9\n\n\
            Host \"raspberry34\"\n\tport\t5034\n    HostName localhost\n    User pi\n";
        assert_eq!(after, expected);
        assert_eq!(told, ["update entry raspberry31, update entry raspberry34 in ~/.ssh/config.d/pipeline.conf"]);
        let (again, told) = edited(&after, |owned| owned.set(&entry("raspberry31", "6031")));
        assert_eq!((again, told), (after, vec![]));
    }

    #[test]
    fn a_name_that_somebody_added_behind_ours_stays() {
        let before = "Host raspberry31 r31 # short\n    Port 5031\n\nHost raspberry34 raspberry4*\n    Port 5034\n";
        let edit = |owned: &mut Owned| {
            assert_eq!(owned.aliases().collect::<Vec<_>>(), ["raspberry31"]);
            owned.set(&entry("raspberry31", "6031"));
        };
        let (after, told) = edited(before, edit);
        assert_eq!(told, ["update entry raspberry31 in ~/.ssh/config.d/pipeline.conf"]);
        assert!(after.contains("Host raspberry31 r31 # short\n    Port 6031\n"), "{after}");
        assert_eq!((after.matches("Host ").count(), after.matches("Port 5034").count()), (2, 1), "{after}");
    }

    #[test]
    fn an_entry_goes_and_the_others_stay() {
        let (after, told) = edited(BEFORE, |owned| assert!(owned.remove("raspberry34") && !owned.remove("raspberry3")));
        assert_eq!(told, ["remove entry raspberry34 in ~/.ssh/config.d/pipeline.conf"]);
        assert!(after.contains("Host raspberry31\n") && after.contains("Match host x\n  Port 9\n"), "{after}");
        assert!(!after.contains("raspberry34") && !after.contains("5034"), "{after}");
        assert_eq!(edited(BEFORE, |_| {}), (BEFORE.to_owned(), vec![]));
        let with = edited(&after, |owned| owned.set(&entry("raspberry34", "5034"))).0;
        assert_eq!(edited(&with, |owned| assert!(owned.remove("raspberry34"))).0, after);
    }
}
