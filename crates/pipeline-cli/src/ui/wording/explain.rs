//! An explanation as a paragraph, for somebody who reads it at night: what is so, since when, why, and what to do. Pure.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pipeline_core::catalog::history::{LeftKind, State};
use pipeline_core::explain::{
    Content, DeviceExplanation, Explanation, FileExplanation, Kept, Left, Lies, Outcome, Presence, SourceExplanation,
    Staying, Visits, When,
};
use pipeline_core::hold::Hold;
use program::words::{bytes, count};

use super::hold_line;

/// So many earlier contents have a sentence each.
const MOST_EARLIER: usize = 5;

/// Where the words are read.
pub struct Reader<'a> {
    /// Times are told in this zone.
    pub zone: &'a TimeZone,
    /// Where the storage is.
    pub storage: &'a Path,
}

impl Reader<'_> {
    /// The sentences of an explanation; each ends with a full stop.
    pub fn sentences(&self, explanation: &Explanation) -> Vec<String> {
        match explanation {
            Explanation::File(file) => self.file(file),
            Explanation::Device(device) => self.device(device),
        }
    }

    fn time(&self, when: When) -> String {
        self.local(when.timestamp())
    }

    fn local(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    /// A hold whose times are told like all others.
    fn hold(&self, hold: &Hold) -> String {
        let local = |utc: &Option<String>| {
            let time = utc.as_ref()?.parse::<Timestamp>().ok();
            time.map(|time| self.local(time)).or_else(|| utc.clone())
        };
        let hold = Hold { since: local(&hold.since), until: local(&hold.until), ..hold.clone() };
        sentence(&hold_line(&hold))
    }

    fn file(&self, file: &FileExplanation) -> Vec<String> {
        let FileExplanation { device, source, path, outcome, content, earlier, on_device, hold, visits } = file;
        let name = format!("{path} of {device}");
        let mut said = Vec::new();
        match outcome {
            Outcome::Stored | Outcome::Dropped => {}
            Outcome::NotReceived(left) if content.is_some() => {
                said.push(format!(
                    "{name} has other content now that has not been received: {}.",
                    left_words(left, file)
                ));
                said.push(left_advice(left.kind).into());
            }
            Outcome::NotReceived(left) => {
                said.push(format!("{name} has not been received: {}.", left_words(left, file)));
                said.push(format!("It has been so since {}.", self.time(left.since)));
                said.push(left_advice(left.kind).into());
            }
            Outcome::LeftOut { exclude } => {
                said.push(format!("{name} is neither received nor removed: {}.", filter_words(exclude.as_deref())));
            }
            Outcome::NeverSeen => said.push(format!("No visit has seen {name}, below {source}.")),
        }
        if let Some(content) = content {
            let name = if matches!(outcome, Outcome::NotReceived(_)) { "What was there before".into() } else { name };
            let copy = matches!(on_device, Presence::There { .. }).then_some(device.as_str());
            said.extend(self.content(&name, content, copy));
        }
        match on_device {
            Presence::Unknown => {}
            Presence::Gone { since: None } => said.push(format!("When it left {device} is not known.")),
            Presence::Gone { since: Some(since) } if *outcome == Outcome::Stored => {
                said.push(format!("It left {device} at {}.", self.time(*since)));
            }
            Presence::Gone { since: Some(since) } => {
                said.push(format!("On {device} it is there no longer, since {}.", self.time(*since)));
            }
            Presence::There { because } => {
                said.push(format!("It is still on {device}: {}.", self.staying(because, file)));
            }
        }
        for older in earlier.iter().take(MOST_EARLIER) {
            said.push(self.earlier(older));
        }
        if earlier.len() > MOST_EARLIER {
            said.push(format!("Before those there were {} more.", earlier.len() - MOST_EARLIER));
        }
        let is_gone = matches!(on_device, Presence::Gone { .. }) && !matches!(outcome, Outcome::NotReceived(_));
        if !is_gone {
            said.extend(self.visits(device, visits));
            if matches!(on_device, Presence::There { .. }) {
                said.extend(hold.iter().map(|hold| self.hold(hold)));
            }
        }
        said
    }

    /// `copy` is the device that still has it, as far as the last visit knows.
    fn content(&self, name: &str, content: &Content, copy: Option<&str>) -> Vec<String> {
        let received = self.time(content.received);
        let came = match content.from_storage {
            true => format!("is in the catalog since {received}, from what lay in the storage"),
            false => format!("was received at {received} in run {}", content.run),
        };
        let size = size(content.bytes);
        let place = self.storage.join(content.archive_path.as_rel_path().as_path());
        let stored = match content.kept {
            Kept::Plain => format!("and is stored as {}", place.display()),
            Kept::Version => format!("and is stored as {}, the name of an earlier version", place.display()),
            Kept::Beginning => format!("and is the beginning of {}", place.display()),
            Kept::Dropped => "and is kept no longer".to_owned(),
        };
        let mut said = vec![
            format!("{name} {came} {stored}: {size}, SHA-256 {}.", content.sha256),
            format!("Row {} of the catalog is its receipt.", content.receipt),
        ];
        if let Some(rival) = &content.clashed_with {
            said.push(format!(
                "It has a name of its own because {} of {} has the place {}: both are whole.",
                rival.path, rival.device, rival.archive_path
            ));
        }
        match (&content.lies, content.kept) {
            (_, Kept::Dropped) => said.push(
                "Either `versions.replace` names it, so that only its newest content is kept, or somebody changed or took away \
                 what lay in the storage: its manifests and a backup may tell."
                    .into(),
            ),
            (Lies::AsCatalogued, _) => said.push("A file of that size lies there now; nobody has read it for this answer.".into()),
            (Lies::Missing, _) => said.push(lost_words("nothing lies there now", "", copy)),
            (Lies::Otherwise { found }, _) => {
                let aside = "move what lies there out of the storage; ";
                said.push(lost_words(&format!("there is {found}"), aside, copy));
            }
            (Lies::Unknown { reason }, _) => said.push(format!("Whether it lies there now can't be seen: {reason}.")),
        }
        said
    }

    fn earlier(&self, content: &Content) -> String {
        let (received, size) = (self.time(content.received), size(content.bytes));
        let came = if content.from_storage { "was found in the storage at" } else { "was received at" };
        let fate = match content.kept {
            Kept::Plain | Kept::Version => {
                format!("is kept as {}", self.storage.join(content.archive_path.as_rel_path().as_path()).display())
            }
            Kept::Beginning => format!("is the beginning of {}", content.archive_path),
            Kept::Dropped => "is kept no longer".to_owned(),
        };
        format!("An earlier content, {size}, SHA-256 {}, {came} {received} and {fate}.", content.sha256)
    }

    /// Why it is still there, after a colon.
    fn staying(&self, because: &Staying, file: &FileExplanation) -> String {
        match because {
            Staying::Left(left) => left_words(left, file),
            because => self.due_words(because),
        }
    }

    fn due_words(&self, because: &Staying) -> String {
        let early = |high_water: &Option<u8>| match high_water {
            Some(percent) => format!(", or until more than {percent} % of the card is in use"),
            None => String::new(),
        };
        match because {
            Staying::NotConfigured => {
                "the configuration no longer names this directory of the device, so no run goes there".into()
            }
            Staying::LeftOut { exclude } => {
                format!("{}, and what the filters leave out is not removed either", filter_words(exclude.as_deref()))
            }
            Staying::Left(left) => left.reason.clone(),
            Staying::Never { high_water } => format!("`delete.after` keeps it there for ever{}", early(high_water)),
            Staying::Until { due, high_water } => {
                format!("`delete.after` keeps it there until {}{}", self.time(*due), early(high_water))
            }
            Staying::Held => "it is due, and removals are on hold".into(),
            Staying::Offline => "it is due, and goes at the first visit that reaches the device".into(),
            Staying::Brake { reason } => {
                format!("it is due, and the brake `delete.max_files` stopped the removals: {reason}")
            }
            Staying::Failing => "it is due, and visits fail".into(),
            Staying::NotAsked { visited } => format!(
                "it was due, and the visit of {} did all else and left it: most likely that run had --no-delete",
                self.time(*visited)
            ),
            Staying::Due { since } => {
                format!("it has been due since {}, and goes at the next visit", self.time(*since))
            }
        }
    }

    fn visits(&self, device: &str, visits: &Visits) -> Vec<String> {
        let answered = match visits.last {
            Some(last) => format!("{device} last answered at {}.", self.time(last)),
            None => format!("{device} has never answered yet."),
        };
        let mut said = vec![answered];
        let Some(spell) = &visits.now else { return said };
        let reason = spell.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let (since, last) = (self.time(spell.since), self.time(spell.last));
        match spell.state {
            State::Reached => {}
            State::Offline => {
                said.push(format!("It has been offline since {since}, at the last try of {last} too{reason}."));
            }
            State::Failed => said.push(format!("Visits have failed since {since}, the last one at {last}{reason}.")),
        }
        said.extend(spell.hint.iter().map(|hint| sentence(&format!("What to do: {hint}"))));
        // What was wrong before it was away, or broke off, is not mended by that.
        if let Some(trouble) = visits.trouble.as_ref().filter(|trouble| *trouble != spell) {
            let reason = trouble.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            said.push(format!(
                "Before that visits failed, the last one at {}, and none has come past it{reason}.",
                self.time(trouble.last)
            ));
            said.extend(trouble.hint.iter().map(|hint| sentence(&format!("What to do: {hint}"))));
        }
        said
    }

    fn device(&self, about: &DeviceExplanation) -> Vec<String> {
        let device = &about.device;
        let mut said = Vec::new();
        if !about.configured {
            said.push(format!("The configuration does not name {device}: no run goes there."));
        }
        if about.sources.is_empty() {
            said.push(format!("No visit to {device} is known, and nothing was received from it."));
        }
        for source in &about.sources {
            said.extend(self.source(device, source));
        }
        said.extend(about.hold.iter().map(|hold| self.hold(hold)));
        said
    }

    fn source(&self, device: &str, about: &SourceExplanation) -> Vec<String> {
        let mut said = self.visits(device, &about.visits);
        match about.visits.succeeded {
            Some(succeeded) => said.push(format!("A visit last did all there was to do at {}.", self.time(succeeded))),
            None => said.push("No visit has done all there was to do yet.".into()),
        }
        let from = if about.source.is_empty() { "a directory that nobody knows any more" } else { &about.source };
        said.push(match about.newest {
            Some(newest) => format!("The newest data from {from} came at {}.", self.time(newest)),
            None => format!("Nothing was received from {from} yet."),
        });
        if about.kept_files > 0 {
            let files = format!("{} ({})", count(about.kept_files, "received file"), bytes(about.kept_bytes));
            let because = about.because.as_ref().map(|because| format!("; of the oldest: {}", self.due_words(because)));
            said.push(format!("Still on it: {files}{}.", because.unwrap_or_default()));
        }
        for left in &about.left {
            let of = left.left.of.as_ref().map_or_else(|| "the directory itself".to_owned(), ToString::to_string);
            let files = match left.files {
                1 => of,
                files => format!("{} such as {of}", count(files, "file")),
            };
            said.push(sentence(&format!("{}: {}", kind_words(left.left.kind, &files), left.left.reason)));
        }
        if about.unlisted > 0 {
            said.push(format!("It left {} that are not listed one by one.", count(about.unlisted, "more file")));
        }
        said
    }
}

/// What the last visit did with a file, and why.
fn left_words(left: &Left, file: &FileExplanation) -> String {
    let what = match &left.of {
        Some(of) if *of == file.path => "it".to_owned(),
        Some(of) => format!("the directory {of}"),
        None => format!("the whole directory {}", file.source),
    };
    format!("{}: {}", kind_words(left.kind, &what), left.reason)
}

/// What the last visit did with something.
fn kind_words(kind: LeftKind, what: &str) -> String {
    match kind {
        LeftKind::Deferred => format!("the last visit left {what} for later"),
        LeftKind::Kept => format!("the last visit left {what} where it is"),
        LeftKind::Failed => format!("the last visit could not handle {what}"),
        LeftKind::Skipped => format!("the last visit left {what} alone"),
        LeftKind::Held => format!("the last visit left {what}, since removals were on hold"),
    }
}

/// What is not in the storage as it was stored, and where else it may be.
fn lost_words(found: &str, aside: &str, copy: Option<&str>) -> String {
    match copy {
        Some(device) => format!(
            "But {found}. {device} still has it: {aside}once it is due to leave {device} it is received again, or copy it from there by \
             hand under the very same name. `pipeline verify` looks for more."
        ),
        None => format!("But {found}: run `pipeline verify`, and look for it in a backup of the storage."),
    }
}

fn left_advice(kind: LeftKind) -> &'static str {
    match kind {
        LeftKind::Deferred => "Nothing need be done: it is taken once it has been left alone for `settle`.",
        LeftKind::Kept => "It is safe where it is, and stays there until there is a place for it.",
        LeftKind::Failed => "The next visit tries again.",
        LeftKind::Skipped => "Only regular files are received.",
        LeftKind::Held => "It goes when the hold ends.",
    }
}

fn filter_words(exclude: Option<&str>) -> String {
    match exclude {
        Some(glob) => format!("the glob '{glob}' of `exclude` leaves it out"),
        None => "no glob of `include` takes it".into(),
    }
}

fn size(number: u64) -> String {
    if number < 1024 { count(number, "byte") } else { format!("{} ({number} bytes)", bytes(number)) }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// Breaks a paragraph into lines between words, none longer than `width` unless one word is.
pub fn wrapped(paragraph: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests;
