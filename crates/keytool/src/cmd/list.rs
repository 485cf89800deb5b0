//! `keytool list`: the Pis as this machine knows them. Asks nobody.

use std::time::{Duration, SystemTime};

use clap::Args;
use pipeline_core::error::one_line;
use pipeline_core::ssh::host_key::HostKey;
use program::exit::Exit;
use program::failure::Failure;
use serde::Serialize;

use super::fleet::{self, Named};
use super::{Context, typed_ids};
use crate::key::{self, Key};
use crate::known_hosts;
use crate::onboard::row::Row as Outcome;
use crate::places::Places;
use crate::registry::{Entry, Pi, Registry};

/// Options of `keytool list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34 [default: all]
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Write the list to standard output as JSON
    #[arg(long)]
    pub json: bool,
}

/// The form of the JSON; a change that breaks readers counts up.
const SCHEMA: u32 = 1;

/// What an entry that keytool wrote is called.
const OURS: &str = "keytool";

#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    pis: Vec<Local>,
}

/// One Pi as this machine knows it, without secrets.
#[derive(Debug, Serialize)]
pub struct Local {
    /// Its number.
    id: String,
    /// Its alias in the OpenSSH config.
    name: String,
    /// Where its tunnel ends on the jump host.
    port: u16,
    /// `keytool`, `FILE:LINE`, or none.
    entry: Option<String>,
    key: Option<KeyRow>,
    /// Fingerprints of the pinned host keys.
    host_keys: Vec<String>,
    /// What is not as it must be.
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct KeyRow {
    path: String,
    kind: String,
    fingerprint: String,
    encrypted: bool,
    age_seconds: u64,
}

pub fn run(context: &Context, args: &ListArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let Named { pis, strays } = match args.ids.as_slice() {
        [] => Named::all(&registry),
        // One without an entry has a row of its own, in the JSON too.
        texts => Named::of(&registry, &typed_ids(texts)?, Registry::pi)?,
    };
    let unknown = |pi: &&Pi| !args.ids.is_empty() && pi.entry == Entry::None;
    let strays: Vec<Outcome> =
        pis.iter().filter(unknown).map(|pi| fleet::unknown(&registry, pi)).chain(strays).collect();
    let now = SystemTime::now();
    let rows: Vec<Local> = pis.iter().map(|pi| look(&registry, pi, &context.places, now)).collect();
    if args.json {
        context.ui.json(&List { schema: SCHEMA, pis: rows })?;
        return Ok(fleet::conclude(context, &strays, None));
    }
    if rows.is_empty() {
        context.ui.streams.say("no Pis yet: 'keytool add-pi 31' adds one");
        return Ok(Exit::Done);
    }
    let cells: Vec<Vec<String>> = rows.iter().map(Local::cells).collect();
    let notes: Vec<Vec<String>> =
        rows.iter().map(|row| row.place().into_iter().chain(row.problem.clone()).collect()).collect();
    context.ui.table_with_notes(&["id", "host", "port", "key", "age", "entry", "host key"], &cells, &notes);
    Ok(fleet::conclude(context, &strays, None))
}

/// What this machine knows of a Pi. An entry or pinned keys that can't be read are this Pi's problem, and no other's.
pub fn look(registry: &Registry, pi: &Pi, places: &Places, now: SystemTime) -> Local {
    let known = || -> Result<(u16, Vec<HostKey>), String> {
        let host = registry.host(pi).map_err(|error| one_line(&error))?;
        let port = registry.port_now(pi).map_err(|error| one_line(&error))?;
        Ok((port, known_hosts::pinned(&host).map_err(|error| one_line(&error))?))
    };
    match known() {
        Ok((port, host_keys)) => {
            let mut row = row(pi, port, &host_keys, places, now);
            if pi.entry == Entry::Ours && !registry.is_included() {
                let config = places.show(&places.ssh_config);
                row.problem.get_or_insert(format!(
                    "{config} does not include its entry: 'keytool add-pi {}' adds the line",
                    pi.id
                ));
            }
            row
        }
        Err(what) => Local { problem: Some(places.show_in(&what)), ..row(pi, pi.port, &[], places, now) },
    }
}

/// `port`: what its entry says.
fn row(pi: &Pi, port: u16, host_keys: &[HostKey], places: &Places, now: SystemTime) -> Local {
    let (key, mut problem) = match key::load(&pi.key) {
        Ok(Some(key)) => (Some(key_row(&key, places, now)), mode_problem(&key, places)),
        Ok(None) if pi.entry == Entry::None => (None, None),
        Ok(None) => (None, Some(format!("no key {}", places.show(&pi.key)))),
        Err(error) => (None, Some(places.show_in(&one_line(&error)))),
    };
    let entry = match &pi.entry {
        Entry::Ours => Some(OURS.into()),
        Entry::HandWritten { file, line, .. } => Some(format!("{}:{line}", places.show(file))),
        Entry::None => None,
    };
    if pi.entry == Entry::Ours && port != pi.port {
        let again = format!("its entry says port {port}, and should {}: 'keytool add-pi {}' writes it", pi.port, pi.id);
        problem.get_or_insert(again);
    }
    if entry.is_none() {
        problem.get_or_insert_with(|| format!("no entry: 'keytool add-pi {}' writes it", pi.id));
    }
    Local {
        id: pi.id.to_string(),
        name: pi.name.to_string(),
        port,
        entry,
        key,
        host_keys: host_keys.iter().map(HostKey::fingerprint).collect(),
        problem,
    }
}

fn mode_problem(key: &Key, places: &Places) -> Option<String> {
    (!key.is_private()).then(|| format!("others can read {}: chmod 600 it", places.show(&key.path)))
}

fn key_row(key: &Key, places: &Places, now: SystemTime) -> KeyRow {
    KeyRow {
        path: places.show(&key.path),
        kind: key.kind(),
        fingerprint: key.fingerprint(),
        encrypted: key.encrypted,
        age_seconds: key.age(now).as_secs(),
    }
}

impl Local {
    /// Its number.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its alias in the OpenSSH config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its entry is.
    pub fn entry(&self) -> Option<&str> {
        self.entry.as_deref()
    }

    /// The same as the table has it: where one's own is stands below the line, which would be wider than a screen.
    pub fn shown_entry(&self) -> &str {
        match self.entry() {
            None => "-",
            Some(OURS) => OURS,
            Some(_) => "by hand",
        }
    }

    /// Where an entry is that was written by hand, as it stands below the line.
    pub fn place(&self) -> Option<String> {
        self.entry().filter(|entry| *entry != OURS).map(|place| format!("entry: {place}"))
    }

    /// What kind of key there is for it.
    pub fn key_kind(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.kind.as_str())
    }

    /// How old that key is.
    pub fn key_age(&self) -> Option<Duration> {
        self.key.as_ref().map(|key| Duration::from_secs(key.age_seconds))
    }

    /// The same as the table has it, in one unit: with two, a line would be wider than a screen.
    pub fn shown_age(&self) -> String {
        let Some(age) = self.key_age() else { return "-".into() };
        let seconds = age.as_secs();
        match seconds {
            0..60 => format!("{seconds} s"),
            60..3600 => format!("{} min", seconds / 60),
            3600..86_400 => format!("{} h", seconds / 3600),
            _ => format!("{} d", seconds / 86_400),
        }
    }

    /// Whether its key has a passphrase.
    pub fn is_encrypted(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.encrypted)
    }

    /// Whether a host key is pinned.
    pub fn is_pinned(&self) -> bool {
        !self.host_keys.is_empty()
    }

    /// What is not as it must be.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    fn cells(&self) -> Vec<String> {
        let age = self.shown_age();
        vec![
            self.id.clone(),
            self.name.clone(),
            self.port.to_string(),
            self.key_kind().unwrap_or("-").to_owned(),
            age,
            self.shown_entry().to_owned(),
            if self.host_keys.is_empty() { "not pinned".into() } else { "pinned".into() },
        ]
    }
}
