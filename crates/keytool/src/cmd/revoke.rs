//! `keytool revoke`: access for other people ends before its time.

use std::path::PathBuf;

use clap::Args;
use program::exit::Exit;
use program::failure::Failure;
use program::streams::Mark;

use super::fleet::Named;
use super::grant::{Seen, ended, public_key, tell_failure, unchanged, visits};
use super::init::fingerprint;
use super::person::EntranceArgs;
use super::{Context, typed_ids};
use crate::authorized_keys::{self, Key};
use crate::grant::{self, Beside, Grant, Left};
use crate::onboard::fingerprints::normal;
use crate::registry::{Pi, Registry};
use crate::shell::{Remote, one_line};

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
    #[arg(long, value_name = "SHA256:…", value_parser = fingerprint)]
    pub fingerprint: Option<String>,
    /// That which is over by time: only its line is left
    #[arg(long)]
    pub expired: bool,
    /// Everybody's that `keytool grant` has let in
    #[arg(long)]
    pub all: bool,
}

/// What became of a Pi's grants.
struct Taken {
    /// Those that went.
    gone: Vec<Grant>,
    /// What lets the same keys in all the same.
    beside: Vec<Beside>,
}

pub fn run(context: &Context, args: &RevokeArgs) -> Result<Exit, Failure> {
    let key = args.whose.key.as_deref().map(public_key).transpose()?;
    let fingerprint = key.map(|(key, _)| key.fingerprint()).or_else(|| args.whose.fingerprint.as_deref().map(normal));
    let Named { pis, strays } = Named::of(&context.registry()?, &typed_ids(&args.ids)?, Registry::known)?;
    let (visits, signal) = visits(context, &args.entrance, &pis)?;
    let results = visits.each(&pis, |_, remote| take(remote, args, fingerprint.as_deref()));
    for (pi, result) in pis.iter().zip(&results) {
        match result {
            Ok(taken) => tell(context, pi, taken, args.dry_run),
            Err(failure) => tell_failure(context, pi, failure),
        }
    }
    let taken = || results.iter().flatten();
    if args.dry_run {
        context.ui.nothing_was_changed();
    } else if taken().any(|taken| !taken.gone.is_empty()) {
        context.ui.streams.say("a session that is open goes on until it ends: end it on the Pi if it must not");
    }
    let stays = taken().any(|taken| !taken.beside.is_empty());
    let exit = ended(context, &results, &strays, &signal);
    Ok(if stays && exit == Exit::Done { Exit::Partial } else { exit })
}

fn take(remote: &Remote, args: &RevokeArgs, fingerprint: Option<&str>) -> Result<Taken, Failure> {
    let Some(seen) = Seen::look(remote)? else { return Ok(Taken { gone: Vec::new(), beside: Vec::new() }) };
    let is_over = |grant: &Grant| grant.left(&seen.clock) == Left::Over;
    let gone: Vec<Grant> = seen
        .grants()
        .into_iter()
        .filter(|grant| match fingerprint {
            Some(fingerprint) => grant.key.fingerprint() == fingerprint,
            None => args.whose.all || is_over(grant),
        })
        .collect();
    if !args.dry_run && !gone.is_empty() {
        let is_unwanted = |grant: &Grant| gone.iter().any(|gone| gone.key == grant.key);
        authorized_keys::edit(remote, |keys| grant::take(keys, is_unwanted)).map_err(unchanged)?;
    }
    let is_unwanted = |key: &Key| match fingerprint {
        Some(fingerprint) => key.fingerprint() == fingerprint,
        None => gone.iter().any(|grant| grant.key == *key),
    };
    // As it is now: lines may have moved, and others may have come.
    let now = if args.dry_run || gone.is_empty() { Some(seen) } else { Seen::look(remote)? };
    let beside = now.map(|now| now.beside(is_unwanted)).unwrap_or_default();
    Ok(Taken { gone, beside })
}

/// What was done on a Pi, or would be. Whoever is let in all the same is no success.
fn tell(context: &Context, pi: &Pi, taken: &Taken, dry_run: bool) {
    let streams = &context.ui.streams;
    let words = match (taken.gone.len(), dry_run) {
        (0, _) => "there was nothing to take back".into(),
        (_, true) => {
            let whose = |grant: &Grant| format!("{} ({})", one_line(&grant.who), grant.key.fingerprint());
            format!("take back the access of {}", taken.gone.iter().map(whose).collect::<Vec<_>>().join(", "))
        }
        (1, false) => "1 access taken back".into(),
        (count, false) => format!("{count} accesses taken back"),
    };
    let words = format!("{}: {words}", pi.name);
    match taken.gone.is_empty() || dry_run || !taken.beside.is_empty() {
        true => streams.say(&words),
        false => streams.mark(Mark::Good, &words),
    }
    for line in &taken.beside {
        streams.mark(Mark::Bad, &format!("{}: still lets {} in, by {line}", pi.name, line.key.fingerprint()));
    }
    if !taken.beside.is_empty() {
        streams.advise(Mark::Bad, "'keytool grant' did not write that: if it must not be, take the line out there");
    }
}
