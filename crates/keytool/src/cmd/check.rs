//! `keytool check`: is everything as a Pi needs it? Here: key, entry, pinned host key. There: reachable, the right machine, login,
//! and whether a visit could begin.
//! Changes nothing on either side.

use std::time::SystemTime;

use clap::Args;
use pipeline_core::cancel::Cancel;
use pipeline_core::config::DeviceSettings;
use pipeline_core::error::Class;
use pipeline_core::fleet::Device;
use pipeline_core::remote::{Connect as _, Intent};
use pipeline_core::ssh::{Connector, SshError};
use program::exit::Exit;
use program::failure::Failure;
use serde::Serialize;

use super::add_pi::is_of_fleet;
use super::fleet::{self, Named};
use super::list::{self, Local};
use super::{Context, typed_ids};
use crate::onboard::OnboardError;
use crate::onboard::row::{Problem, Row as Outcome};
use crate::registry::{Entry, Pi, Registry};

/// Options of `keytool check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34 [default: all]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Write what was found to standard output as JSON
    #[arg(long)]
    pub json: bool,
}

/// The form of the JSON; a change that breaks readers counts up.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    pis: Vec<Found>,
}

/// One Pi, without secrets.
#[derive(Debug, Serialize)]
struct Found {
    /// What this machine knows.
    #[serde(flatten)]
    local: Local,
    /// Whether anything answers there; none where it was not found out.
    reachable: Option<bool>,
    /// Whether it is the machine that is pinned.
    host_key: Option<bool>,
    /// Whether our key is let in.
    login: Option<bool>,
    /// What is not as it must be.
    failure: Option<Problem>,
}

pub fn run(context: &Context, args: &CheckArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let Named { pis, strays } = match args.ids.as_slice() {
        [] => Named::all(&registry),
        // One without an entry has a row of its own, in the JSON too.
        texts => Named::of(&registry, &typed_ids(texts)?, Registry::pi)?,
    };
    let cancel = Cancel::new();
    let signal = fleet::listen(context, &cancel)?;
    let connector = fleet::connector(context, &cancel)?;
    let now = SystemTime::now();
    let mut found: Vec<Found> =
        pis.iter().map(|pi| here(pi, list::look(&registry, pi, &context.places, now))).collect();
    let mut work: Vec<(&Pi, &mut Found)> = pis.iter().zip(&mut found).collect();
    fleet::each(&mut work, context.setup.jobs, |(pi, found)| {
        let config = context.setup.config.as_ref().filter(|config| is_of_fleet(pi, config));
        there(pi, &connector, config.map(|config| config.device(&pi.name)), found);
    });
    let rows: Vec<Outcome> = found.iter().map(outcome).chain(strays.iter().cloned()).collect();
    if args.json {
        context.ui.json(&Report { schema: SCHEMA, pis: found })?;
        fleet::conclude(context, &strays, None);
        return Ok(fleet::exit(&rows, Some(&signal)));
    }
    if found.is_empty() {
        context.ui.streams.say("no Pis yet: 'keytool add-pi 31' adds one");
        return Ok(Exit::Done);
    }
    let cells: Vec<Vec<String>> = found.iter().map(Found::cells).collect();
    let notes: Vec<Vec<String>> = found.iter().map(|found| found.local.place().into_iter().collect()).collect();
    let headings = ["id", "host", "key", "age", "entry", "host key", "reachable", "login"];
    context.ui.table_with_notes(&headings, &cells, &notes);
    Ok(fleet::conclude(context, &rows, Some(&signal)))
}

/// What is wrong on this machine alone.
fn here(pi: &Pi, local: Local) -> Found {
    let problem =
        local.problem().map(|what| Problem { class: Class::Config, what: format!("{}: {what}", pi.name), hint: None });
    Found { local, reachable: None, host_key: None, login: None, failure: problem }
}

/// What the way to it and the machine itself say.
fn there(pi: &Pi, connector: &Connector, settings: Option<DeviceSettings>, found: &mut Found) {
    if pi.entry == Entry::None {
        return;
    }
    let error = match connector.reach(&pi.name, &()) {
        Ok(_) => {
            (found.reachable, found.host_key, found.login) = (Some(true), Some(true), Some(true));
            // A key may be bound to something else than what a visit wants of it.
            let visit = settings.map(|settings| Device { name: pi.name.clone(), settings });
            if let Some(Err(error)) = visit.map(|device| connector.connect(&device, &(), Intent::Look)) {
                found.failure.get_or_insert_with(|| Problem::of(&OnboardError::Visit(error)));
            }
            return;
        }
        Err(error) => error,
    };
    match &error {
        SshError::HostKey { .. } => (found.reachable, found.host_key) = (Some(true), Some(false)),
        // Nobody was there to unlock it.
        SshError::Auth { host, .. } if found.local.is_encrypted() && *host == pi.name.as_str() => {
            (found.reachable, found.host_key) = (Some(true), Some(true));
            let key = OnboardError::Locked(pi.key.clone());
            found.failure.get_or_insert_with(|| Problem::of(&key));
            return;
        }
        SshError::Auth { .. } => {
            (found.reachable, found.host_key, found.login) = (Some(true), Some(true), Some(false));
        }
        error if Problem::of(error).is_away() => found.reachable = Some(false),
        _ => {}
    }
    // What is wrong here is told first: it may be the reason.
    found.failure.get_or_insert_with(|| Problem::of(&error));
}

fn outcome(found: &Found) -> Outcome {
    let mut row = Outcome::new(None, found.local.name());
    row.problem.clone_from(&found.failure);
    row
}

impl Found {
    fn cells(&self) -> Vec<String> {
        let word = |is: Option<bool>, yes: &str, no: &str| is.map_or("-", |is| if is { yes } else { no }).to_owned();
        let host_key = match self.host_key {
            Some(true) => "right",
            Some(false) if self.local.is_pinned() => "WRONG",
            _ if self.local.is_pinned() => "pinned",
            _ => "not pinned",
        };
        vec![
            self.local.id().to_owned(),
            self.local.name().to_owned(),
            self.local.key_kind().unwrap_or("-").to_owned(),
            self.local.shown_age(),
            self.local.shown_entry().to_owned(),
            host_key.to_owned(),
            word(self.reachable, "yes", "no"),
            match self.login {
                None if self.reachable == Some(true) && self.local.is_encrypted() => "not tried".to_owned(),
                login => word(login, "works", "refused"),
            },
        ]
    }
}
