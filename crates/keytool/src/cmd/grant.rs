//! `keytool grant`, `grants` and `revoke`: access for other people, for a time.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::Timestamp;
use jiff::civil::DateTime;
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
use crate::authorized_keys::{self, AuthorizedKeysError, Key};
use crate::grant::{self, Clock, Grant, GrantError};
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

/// Options of `keytool revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// Whose access ends.
    #[command(flatten)]
    pub whose: Whose,
    /// Say what would be changed there; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to get in, where our own key may not change who is let in.
    #[command(flatten)]
    pub entrance: EntranceArgs,
}

/// Whose access ends.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// That of this public key
    #[arg(long, value_name = "FILE.pub")]
    pub key: Option<PathBuf>,
    /// That of the key with this fingerprint, as `keytool grants` shows it
    #[arg(long, value_name = "SHA256:…")]
    pub fingerprint: Option<String>,
    /// That which is over by time: only its line is left
    #[arg(long)]
    pub expired: bool,
    /// Everybody's that `keytool grant` has let in
    #[arg(long)]
    pub all: bool,
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
    /// On the Pi's clock, in its zone; none: for ever.
    until: Option<String>,
    /// None where it is over, or for ever.
    seconds_left: Option<u64>,
    expired: bool,
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
        grant::give(&authorized_keys::read(remote).map_err(unchanged)?, &key, &who, clock.end).map_err(failed)?;
        if args.dry_run {
            return Ok(clock.end);
        }
        // Whatever has come in between: the line of somebody else stays.
        let give = |keys: &_| grant::give(keys, &key, &who, clock.end).unwrap_or_else(|_| keys.clone());
        authorized_keys::edit(remote, give).map_err(unchanged)?;
        Ok(clock.end)
    });
    let words = |end: &DateTime| match args.dry_run {
        true => format!("let {who} in until {}", show(*end)),
        false => format!("{who} is let in until {}", show(*end)),
    };
    tell(context, &pis, &results, args.dry_run, words);
    Ok(ended(context, &results, &strays, &signal))
}

/// `keytool grants`.
pub fn list(context: &Context, args: &GrantsArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let Named { pis, strays } = match args.ids.as_slice() {
        [] => Named::all(&registry),
        texts => Named::of(&registry, &typed_ids(texts)?, Registry::known)?,
    };
    let (visits, signal) = visits(context, &args.entrance, &pis)?;
    let results = visits.each(&pis, |_, remote| {
        let grants = grants(remote)?;
        Ok(grants.iter().map(|(grant, clock)| row(grant, clock)).collect::<Vec<Row>>())
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
    let mut cells = Vec::new();
    for (pi, result) in pis.iter().zip(&results) {
        match result {
            Ok(rows) => cells.extend(rows.iter().map(|row| row.cells(pi))),
            Err(failure) => context.ui.streams.warning(&of(pi, failure)),
        }
    }
    if !cells.is_empty() {
        context.ui.table(&["host", "who", "fingerprint", "until", "left"], &cells);
    } else if results.iter().all(Result::is_ok) {
        context.ui.streams.say("nobody is let in by 'keytool grant'");
    } else if results.iter().any(Result::is_ok) {
        context.ui.streams.say("nobody is let in by 'keytool grant' where it was found out");
    }
    Ok(exit)
}

/// `keytool revoke`.
pub fn take(context: &Context, args: &RevokeArgs) -> Result<Exit, Failure> {
    let key = args.whose.key.as_deref().map(public_key).transpose()?;
    let fingerprint = key.map(|(key, _)| key.fingerprint()).or_else(|| args.whose.fingerprint.clone());
    let Named { pis, strays } = Named::of(&context.registry()?, &typed_ids(&args.ids)?, Registry::known)?;
    let (visits, signal) = visits(context, &args.entrance, &pis)?;
    let results = visits.each(&pis, |_, remote| {
        let unwanted: Vec<Grant> = grants(remote)?
            .into_iter()
            .filter(|(grant, clock)| match &fingerprint {
                Some(fingerprint) => grant.key.fingerprint() == *fingerprint,
                None => args.whose.all || grant.left(clock).is_none(),
            })
            .map(|(grant, _)| grant)
            .collect();
        if !args.dry_run {
            let is_unwanted = |grant: &Grant| unwanted.iter().any(|unwanted| unwanted.key == grant.key);
            authorized_keys::edit(remote, |keys| grant::take(keys, is_unwanted)).map_err(unchanged)?;
        }
        Ok(unwanted)
    });
    tell(context, &pis, &results, args.dry_run, |unwanted: &Vec<Grant>| match (unwanted.len(), args.dry_run) {
        (0, _) => "there was nothing to take back".into(),
        (_, true) => {
            let whose: Vec<String> = unwanted
                .iter()
                .map(|grant| format!("{} ({})", one_line(&grant.who), grant.key.fingerprint()))
                .collect();
            format!("take back the access of {}", whose.join(", "))
        }
        (1, false) => "1 access taken back".into(),
        (count, false) => format!("{count} accesses taken back"),
    });
    Ok(ended(context, &results, &strays, &signal))
}

fn visits(context: &Context, given: &EntranceArgs, pis: &[Pi]) -> Result<(Visits, Received), Failure> {
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

fn public_key(file: &std::path::Path) -> Result<(Key, String), Failure> {
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

/// The grants of a Pi, each with its clock.
fn grants(remote: &Remote) -> Result<Vec<(Grant, Clock)>, Failure> {
    let grants = grant::all(&authorized_keys::read(remote).map_err(unchanged)?);
    if grants.is_empty() {
        return Ok(Vec::new());
    }
    let clock = Clock::ask(remote, Timestamp::now()).map_err(failed)?;
    Ok(grants.into_iter().map(|grant| (grant, clock)).collect())
}

/// Why the list of who is let in could not be read or changed.
fn unchanged(error: AuthorizedKeysError) -> Failure {
    match error {
        AuthorizedKeysError::Noise(words) => failed(GrantError::Bound(words)),
        error => failed(error),
    }
}

fn row(grant: &Grant, clock: &Clock) -> Row {
    let left = grant.left(clock);
    Row {
        who: one_line(&grant.who),
        fingerprint: grant.key.fingerprint(),
        until: grant.end.map(|end| end.to_string()),
        seconds_left: left.filter(|_| grant.end.is_some()).map(|left| left.as_secs()),
        expired: left.is_none(),
    }
}

impl Row {
    fn cells(&self, pi: &Pi) -> Vec<String> {
        let left = match (self.expired, self.seconds_left) {
            (true, _) => "over".into(),
            (false, None) => "no end".into(),
            (false, Some(seconds)) => duration(Duration::from_secs(seconds)),
        };
        let until = self.until.as_deref().unwrap_or("-").replace('T', " ");
        vec![pi.name.to_string(), self.who.clone(), self.fingerprint.clone(), until, left]
    }
}

/// What it comes to, strays among it, which are told. A signal counts only where it stopped something.
fn ended<T>(context: &Context, results: &[Result<T, Failure>], strays: &[Stray], signal: &Received) -> Exit {
    let stray = fleet::conclude(context, strays, None);
    match exit(results.iter().map(|result| result.as_ref().err())) {
        Exit::Done => stray,
        Exit::Unreachable if stray != Exit::Done => signal.exit().unwrap_or(stray),
        exit => signal.exit().unwrap_or(exit),
    }
}

/// One line for each Pi: what was done there, or would be.
fn tell<T>(context: &Context, pis: &[Pi], results: &[Result<T, Failure>], dry_run: bool, words: impl Fn(&T) -> String) {
    for (pi, result) in pis.iter().zip(results) {
        match result {
            Ok(found) if dry_run => context.ui.streams.say(&format!("{}: {}", pi.name, words(found))),
            Ok(done) => context.ui.streams.mark(Mark::Good, &format!("{}: {}", pi.name, words(done))),
            Err(failure) => {
                let mark = if failure.exit == Exit::Unreachable { Mark::Away } else { Mark::Bad };
                context.ui.streams.mark(mark, &of(pi, failure).what);
                if let Some(hint) = &failure.hint {
                    context.ui.streams.advise(mark, hint);
                }
            }
        }
    }
    if dry_run {
        context.ui.nothing_was_changed();
    }
}

/// With the name of the Pi in front.
fn of(pi: &Pi, failure: &Failure) -> Failure {
    Failure { what: format!("{}: {}", pi.name, failure.what), ..failure.clone() }
}

fn show(end: DateTime) -> String {
    end.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
