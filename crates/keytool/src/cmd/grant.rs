//! `keytool grant` and `grants`: access for other people, for a time.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::Timestamp;
use pipeline_core::cancel::Cancel;
use pipeline_core::config::duration as parse_duration;
use program::exit::Exit;
use program::failure::Failure;
use program::signals::Received;
use program::streams::Mark;
use program::words::duration;
use serde::Serialize;

use super::fleet::{self, Named};
use super::person::{Asker, EntranceArgs};
use super::{Context, failed, typed_ids};
use crate::authorized_keys::{self, AuthorizedKeys, AuthorizedKeysError, Key};
use crate::grant::{self, Beside, Clock, End, Grant, GrantError, Left};
use crate::key;
use crate::onboard::batch::Person as _;
use crate::onboard::row::Row as Stray;
use crate::registry::{Pi, Registry};
use crate::shell::{Remote, one_line};
use crate::visits::{Visits, exit};

/// Options of `keytool grant`.
#[derive(Debug, Args)]
pub struct GrantArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// The public key of whoever is let in
    #[arg(long, value_name = "FILE.pub")]
    pub key: PathBuf,
    /// For how long: 12h, 7d, 1d12h
    #[arg(long, value_name = "DURATION", value_parser = expiry)]
    pub expires: Duration,
    /// Say what would be changed there; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to get in, where our own key may not change who is let in.
    #[command(flatten)]
    pub entrance: EntranceArgs,
}

/// Options of `keytool grants`.
#[derive(Debug, Args)]
pub struct GrantsArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34 [default: all]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Write the list to standard output as JSON
    #[arg(long)]
    pub json: bool,
    /// How to get in, where our own key may not look.
    #[command(flatten)]
    pub entrance: EntranceArgs,
}

/// The form of the JSON; a change that breaks readers counts up.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
struct List<'a> {
    schema: u32,
    pis: Vec<OfPi<'a>>,
}

#[derive(Debug, Serialize)]
struct OfPi<'a> {
    id: String,
    name: &'a str,
    /// None where it was not found out.
    grants: Option<Vec<Row>>,
    problem: Option<&'a str>,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    who: String,
    fingerprint: String,
    /// With a `Z` in UTC, without one in the Pi's zone; none: for ever, or unreadable.
    until: Option<String>,
    /// What its line says of its end, where nobody can read that: sshd then passes the line over.
    unreadable: Option<String>,
    /// None where it is over, for ever, or unreadable.
    seconds_left: Option<u64>,
    expired: bool,
    /// Other lines that let the key in: `FILE:LINE`.
    besides: Vec<String>,
}

fn expiry(text: &str) -> Result<Duration, String> {
    let expiry = parse_duration(text).filter(|expiry| *expiry >= Duration::from_secs(60));
    expiry.ok_or_else(|| "it is a duration such as 12h, 7d or 1d12h, a minute at least".into())
}

/// `keytool grant`.
pub fn give(context: &Context, args: &GrantArgs) -> Result<Exit, Failure> {
    let (key, who) = public_key(&args.key)?;
    let now = Timestamp::now();
    let end = Timestamp::try_from(SystemTime::from(now) + args.expires)
        .map_err(|error| Failure::because(Exit::Usage, "can't reckon when that ends", &error))?;
    let Named { pis, strays } = Named::of(&context.registry()?, &typed_ids(&args.ids)?, Registry::known)?;
    let (visits, signal) = visits(context, &args.entrance, &pis)?;
    let results = visits.each(&pis, |_, remote| {
        let clock = Clock::trusted(remote, end, now).map_err(failed)?;
        grant::give(&authorized_keys::read(remote).map_err(unchanged)?, &key, &who, &clock.end).map_err(failed)?;
        if args.dry_run {
            return Ok(clock.end);
        }
        // Whatever has come in between: the line of somebody else stays.
        let give = |keys: &_| grant::give(keys, &key, &who, &clock.end).unwrap_or_else(|_| keys.clone());
        authorized_keys::edit(remote, give).map_err(unchanged)?;
        Ok(clock.end)
    });
    for (pi, result) in pis.iter().zip(&results) {
        let (name, streams) = (&pi.name, &context.ui.streams);
        match result {
            Ok(end) if args.dry_run => streams.say(&format!("{name}: let {who} in until {}", on_clock(end))),
            Ok(end) => streams.mark(Mark::Good, &format!("{name}: {who} is let in until {}", on_clock(end))),
            Err(failure) => tell_failure(context, pi, failure),
        }
    }
    match args.dry_run {
        true => context.ui.nothing_was_changed(),
        false if results.iter().any(Result::is_ok) => {
            context
                .ui
                .streams
                .say("a session that is open then goes on until it ends; 'keytool revoke' takes it back before");
        }
        false => {}
    }
    Ok(ended(context, &results, &strays, &signal))
}

/// `keytool grants`.
pub fn list(context: &Context, args: &GrantsArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let Named { pis, strays } = match args.ids.as_slice() {
        [] => Named::all(&registry).with_entry(&registry),
        texts => Named::of(&registry, &typed_ids(texts)?, Registry::known)?,
    };
    let (visits, signal) = visits(context, &args.entrance, &pis)?;
    let results = visits.each(&pis, |_, remote| {
        let seen = Seen::look(remote)?;
        Ok(seen
            .map(|seen| seen.grants().iter().map(|grant| row(grant, &seen)).collect::<Vec<Row>>())
            .unwrap_or_default())
    });
    let exit = ended(context, &results, &strays, &signal);
    if args.json {
        let pis = pis.iter().zip(&results).map(|(pi, result)| OfPi {
            id: pi.id.to_string(),
            name: pi.name.as_str(),
            grants: result.as_ref().ok().cloned(),
            problem: result.as_ref().err().map(|failure| failure.what.as_str()),
        });
        let strays = strays.iter().map(|stray| OfPi {
            id: stray.id.clone().unwrap_or_default(),
            name: &stray.host,
            grants: None,
            problem: stray.problem.as_ref().map(|problem| problem.what.as_str()),
        });
        context.ui.json(&List { schema: SCHEMA, pis: pis.chain(strays).collect() })?;
        return Ok(exit);
    }
    let mut rows = Vec::new();
    for (pi, result) in pis.iter().zip(&results) {
        match result {
            Ok(of_pi) => rows.extend(of_pi.iter().map(|row| (pi, row))),
            Err(failure) => context.ui.streams.warning(&of(pi, failure)),
        }
    }
    if !rows.is_empty() {
        let cells: Vec<Vec<String>> = rows.iter().map(|(pi, row)| row.cells(pi)).collect();
        let notes: Vec<Vec<String>> = rows.iter().map(|(_, row)| row.notes()).collect();
        context.ui.table_with_notes(&["host", "who", "until", "left"], &cells, &notes);
    } else if strays.is_empty() && results.iter().all(Result::is_ok) {
        context.ui.streams.say("nobody is let in by 'keytool grant'");
    } else if results.iter().any(Result::is_ok) {
        context.ui.streams.say("nobody is let in by 'keytool grant' where it was found out");
    }
    Ok(exit)
}

pub fn visits(context: &Context, given: &EntranceArgs, pis: &[Pi]) -> Result<(Visits, Received), Failure> {
    let entrance = match given.password_stdin || given.identity.is_some() {
        true => {
            let names: Vec<&str> = pis.iter().map(|pi| pi.name.as_str()).collect();
            Some(Asker::new(context.ui, given, false, "").entrance(&context.setup.onboarding.user, &names)?)
        }
        false => None,
    };
    let cancel = Cancel::new();
    let signal = fleet::listen(context, &cancel)?;
    Ok((Visits::new(&context.setup, context.ssh_config()?, &cancel).by(entrance), signal))
}

pub fn public_key(file: &std::path::Path) -> Result<(Key, String), Failure> {
    let public = key::load_public(file).map_err(failed)?;
    let line = public.to_openssh().map_err(|error| Failure::because(Exit::Config, "can't write the key", &error))?;
    let unusable = || Failure {
        exit: Exit::Config,
        what: format!("{} is no key that a Pi could let in", file.display()),
        hint: Some("'ssh-keygen -lf' says what it is".into()),
    };
    let (key, comment) = Key::parse(&line).ok_or_else(unusable)?;
    let who = one_line(&comment);
    let who = if who.is_empty() { key.fingerprint() } else { who };
    Ok((key, who))
}

/// Who is let in on a Pi, and its clock.
pub struct Seen {
    files: [(&'static str, AuthorizedKeys); 2],
    /// Its clock.
    pub clock: Clock,
}

impl Seen {
    /// Looks; none where nobody is let in.
    pub fn look(remote: &Remote) -> Result<Option<Seen>, Failure> {
        let (first, second) = (authorized_keys::read(remote), authorized_keys::read_second(remote));
        let files = [first.map_err(unchanged)?, second.map_err(unchanged)?];
        if files.iter().all(|keys| keys.entries().is_empty()) {
            return Ok(None);
        }
        let clock = Clock::ask(remote, Timestamp::now()).map_err(failed)?;
        let [first, second] = files;
        let [first_name, second_name] = authorized_keys::FILES;
        Ok(Some(Seen { files: [(first_name, first), (second_name, second)], clock }))
    }

    /// What `keytool grant` has given.
    pub fn grants(&self) -> Vec<Grant> {
        grant::all(&self.files[0].1)
    }

    /// What else lets keys in.
    pub fn beside(&self, wanted: impl Fn(&Key) -> bool) -> Vec<Beside> {
        grant::beside(&self.files, &self.clock, wanted)
    }
}

/// Why the list of who is let in could not be read or changed.
pub fn unchanged(error: AuthorizedKeysError) -> Failure {
    match error {
        AuthorizedKeysError::Noise(words) => failed(GrantError::Bound(words)),
        error => failed(error),
    }
}

fn row(grant: &Grant, seen: &Seen) -> Row {
    let (left, end) = (grant.left(&seen.clock), grant.end(&seen.clock));
    let (until, unreadable) = match end {
        Some(End::Unreadable(text)) => (None, Some(one_line(text))),
        end => (end.map(|end| end.to_string().replace(' ', "T")), None),
    };
    Row {
        who: one_line(&grant.who),
        fingerprint: grant.key.fingerprint(),
        until,
        unreadable,
        seconds_left: if let Left::For(left) = left { Some(left.as_secs()) } else { None },
        expired: left == Left::Over,
        besides: seen.beside(|key| *key == grant.key).into_iter().map(|line| line.place).collect(),
    }
}

impl Row {
    fn cells(&self, pi: &Pi) -> Vec<String> {
        let left = match (self.expired, self.seconds_left) {
            (true, _) => "over".into(),
            (false, None) if self.unreadable.is_some() => "unreadable".into(),
            (false, None) => "no end".into(),
            (false, Some(seconds)) => duration(Duration::from_secs(seconds)),
        };
        let until = self.until.as_deref().unwrap_or("-").replace('T', " ");
        vec![pi.name.to_string(), cut(&self.who), until, left]
    }

    /// What stands below its line: it would make that wider than a screen.
    fn notes(&self) -> Vec<String> {
        let besides = self.besides.iter().map(|place| format!("let in besides by {place}, which this does not end"));
        [self.fingerprint.clone()].into_iter().chain(besides).collect()
    }
}

/// So that a line fits a screen; the JSON has all of it.
fn cut(who: &str) -> String {
    const SHOWN: usize = 24;
    match who.chars().count() > SHOWN {
        true => who.chars().take(SHOWN - 1).chain(['…']).collect(),
        false => who.to_owned(),
    }
}

/// What it comes to, strays among it, which are told. A signal counts only where it stopped something.
pub fn ended<T>(context: &Context, results: &[Result<T, Failure>], strays: &[Stray], signal: &Received) -> Exit {
    let stray = fleet::conclude(context, strays, None);
    match exit(results.iter().map(|result| result.as_ref().err())) {
        Exit::Done => stray,
        Exit::Unreachable if stray != Exit::Done => signal.exit().unwrap_or(stray),
        exit => signal.exit().unwrap_or(exit),
    }
}

/// Why nothing was done on a Pi.
pub fn tell_failure(context: &Context, pi: &Pi, failure: &Failure) {
    let mark = if failure.exit == Exit::Unreachable { Mark::Away } else { Mark::Bad };
    context.ui.streams.mark(mark, &of(pi, failure).what);
    if let Some(hint) = &failure.hint {
        context.ui.streams.advise(mark, hint);
    }
}

/// With the name of the Pi in front.
fn of(pi: &Pi, failure: &Failure) -> Failure {
    Failure { what: format!("{}: {}", pi.name, failure.what), ..failure.clone() }
}

/// An end, and by whose clock.
fn on_clock(end: &End) -> String {
    match end {
        End::Local(_) => format!("{end} on its clock, in its zone"),
        End::Utc(_) | End::Unreadable(_) => end.to_string(),
    }
}
