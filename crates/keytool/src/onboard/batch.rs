//! Many machines: look at all of them, ask about each, write once, install and test all of them.
//!
//! What only waits for machines is done for many at once; what a person answers, one after the other.

use std::borrow::BorrowMut;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use pipeline_core::config::DeviceSettings;
use pipeline_core::event::{Event, Observer};
use pipeline_core::fleet::Device;
use pipeline_core::remote::{Connect, Intent};
use pipeline_core::ssh::deploy::Agents;
use pipeline_core::ssh::{Connector, HostKey, SshError};
use program::failure::Failure;

use super::error::OnboardError;
use super::fingerprints::Fingerprints;
use super::row::{Problem, Row, Step};
use super::trust::{self, Verdict};
use super::visit::{Entrance, Login, Machine, Visitor};
use crate::authorized_keys::{self, AuthorizedKeys, Entry, Key};
use crate::bound_agent;
use crate::facts::Facts;
use crate::key;
use crate::known_hosts::Known;
use crate::shell::Remote;

/// What a person is to say yes or no to.
#[derive(Debug)]
pub struct Question<'a> {
    /// Which machine.
    pub host: &'a str,
    /// The host keys that a yes is about.
    pub keys: &'a [HostKey],
    /// Whether they are on a list of fingerprints, so that only the box is in question.
    pub listed: bool,
    /// What it says of itself.
    pub facts: Option<&'a Facts>,
    /// What speaks against it, one line each.
    pub doubts: &'a [String],
}

/// A machine that nobody has vouched for yet.
#[derive(Debug)]
pub struct Stranger<'a> {
    /// Which machine.
    pub host: &'a str,
    /// The host key that it shows.
    pub key: &'a HostKey,
    /// What speaks against it, one line each.
    pub doubts: &'a [String],
}

/// Who answers.
pub trait Person {
    /// How to get into machines that do not let our own key in. Asked once for all of a batch that have the same login; the names are
    /// those of these machines.
    fn entrance(&self, user: &str, hosts: &[&str]) -> Result<Entrance, Failure>;

    /// Shows host keys that nobody has vouched for, before anything is sent to whoever has them.
    fn warn(&self, hosts: &[Stranger<'_>]);

    /// Fails where nobody can say whether this machine is the right one.
    fn can_confirm(&self, host: &str) -> Result<(), Failure>;

    /// Whether it is the right machine.
    fn confirms(&self, question: &Question<'_>) -> Result<bool, Failure>;
}

/// One machine on its way in.
pub struct Case {
    /// The machine.
    pub machine: Machine,
    /// What became of it so far.
    pub row: Row,
    /// The host keys that it shows.
    pub shown: Vec<HostKey>,
    /// What is to be made of them.
    pub verdict: Option<Verdict>,
    /// What speaks against it, one line each.
    doubts: Vec<String>,
    /// Whether a person has said yes to it.
    confirmed: bool,
    login: Option<Login>,
}

/// What holds for all machines of a batch.
pub struct Batch<'a> {
    /// Looks at machines.
    pub visitor: Visitor<'a>,
    /// How many at once.
    pub jobs: usize,
    /// The names of the machines of the fleet in known_hosts, for the sign of a cloned card.
    pub fleet: &'a [Known],
    /// Host keys that somebody wrote down.
    pub listed: Option<&'a Fingerprints>,
}

/// What a key is bound to.
pub struct Restrict<'a> {
    /// The one directory that it gives access to.
    pub source: &'a Path,
    /// The agents that it may be bound to.
    pub agents: &'a Agents,
}

impl Case {
    /// Of a machine that was not looked at yet.
    pub fn new(id: Option<String>, machine: Machine) -> Case {
        let row = Row::new(id, machine.name.as_str());
        Case { machine, row, shown: Vec::new(), verdict: None, doubts: Vec::new(), confirmed: false, login: None }
    }

    /// Its alias.
    pub fn name(&self) -> &str {
        self.machine.name.as_str()
    }

    /// Whether nothing keeps it out yet.
    pub fn is_open(&self) -> bool {
        self.row.problem.is_none()
    }

    /// Keeps it out.
    pub fn fail(&mut self, problem: Problem) {
        self.row.problem = Some(problem);
    }

    /// The host keys that are to be pinned.
    pub fn accepted(&self) -> &[HostKey] {
        self.verdict.as_ref().map_or(&[], Verdict::keys)
    }

    /// As a visit would find it.
    pub fn device(&self, settings: DeviceSettings) -> Device {
        Device { name: self.machine.name.clone(), settings }
    }

    /// Whether a login that may run commands is there.
    pub fn may_run_commands(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.facts.is_some())
    }

    /// A login that may run commands.
    pub fn shell(&self) -> Result<&Remote, OnboardError> {
        let login = self.login.as_ref().filter(|login| login.facts.is_some());
        login.map(|login| &login.remote).ok_or(OnboardError::Bound)
    }

    /// Whether nobody can see if our own key is let in already: it has a passphrase, and no ssh-agent holds it.
    pub fn is_locked(&self) -> bool {
        let is_pinned = matches!(self.verdict, Some(Verdict::Pinned(_)));
        is_pinned && !self.has_own_login() && is_encrypted(&self.machine.key)
    }

    /// Whether our own key is let in already.
    pub fn has_own_login(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.own_key)
    }
}

impl Batch<'_> {
    /// Looks at the host keys of all machines, judges them, and tries our own keys where they are pinned. Sends no secret.
    pub fn look(&self, cases: &mut [Case]) {
        self.each(cases, |case| {
            case.shown = self.visitor.shown(&case.machine)?;
            Ok(())
        });
        let batch: Vec<(String, Vec<HostKey>)> =
            cases.iter().map(|case| (case.name().to_owned(), case.shown.clone())).collect();
        self.each(cases, |case| {
            let verdict = self.visitor.judge(&case.machine, &case.shown, self.fleet, self.listed)?;
            // Of two with one key, the one that is pinned is the one that is known.
            if !matches!(verdict, Verdict::Pinned(_)) {
                trust::twin(case.name(), &case.shown, &batch)?;
                case.doubts = trust::doubts(&case.machine.target.host, &case.shown)?;
            }
            case.login = self.visitor.with_own_key(&case.machine, &verdict)?;
            case.verdict = Some(verdict);
            Ok(())
        });
        for case in cases.iter_mut().filter(|case| !case.is_open() && !case.shown.is_empty()) {
            case.row.host_key = Step::Failed;
        }
    }

    /// Gets into those that `needs` names. Fails only where nobody answers; nothing was written until then. Host keys that nobody
    /// has vouched for are shown before; where nobody could say yes to one of them afterwards, none is sent a password.
    pub fn enter(
        &self,
        cases: &mut [Case],
        person: &dyn Person,
        needs: impl Fn(&Case) -> bool + Sync,
    ) -> Result<(), Failure> {
        let mut locked: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for case in cases.iter().filter(|case| case.is_open() && needs(case)) {
            locked.entry(&case.machine.target.host.user).or_default().push(case.name());
        }
        if locked.is_empty() {
            return Ok(());
        }
        let unconfirmed = cases.iter().filter(|case| case.is_open() && !case.confirmed);
        let unknown: Vec<Stranger<'_>> = unconfirmed
            .filter_map(|case| match &case.verdict {
                Some(Verdict::Unknown(key)) => Some(Stranger { host: case.name(), key, doubts: &case.doubts }),
                _ => None,
            })
            .collect();
        if let [first, ..] = &unknown[..] {
            person.can_confirm(first.host)?;
            person.warn(&unknown);
        }
        // The password of one login is nothing for another.
        let mut entrances = BTreeMap::new();
        for (user, hosts) in locked {
            entrances.insert(user.to_owned(), person.entrance(user, &hosts)?);
        }
        self.each(cases, |case| {
            if needs(case)
                && let Some(verdict) = &case.verdict
                && let Some(entrance) = entrances.get(&case.machine.target.host.user)
            {
                // Until it is in.
                case.row.login = Step::Failed;
                case.login = Some(self.visitor.enter(&case.machine, verdict, entrance)?);
                case.row.login = Step::Skipped;
            }
            Ok(())
        });
        Ok(())
    }

    /// Asks about each machine that is not pinned yet. The same holds.
    pub fn confirm(&self, cases: &mut [Case], person: &dyn Person) -> Result<(), Failure> {
        for case in cases.iter_mut().filter(|case| case.is_open()) {
            let (keys, listed) = match &case.verdict {
                Some(verdict @ Verdict::Listed(_)) => (verdict.keys(), true),
                Some(verdict @ Verdict::Unknown(_)) => (verdict.keys(), false),
                Some(Verdict::Pinned(_)) | None => continue,
            };
            let facts = case.login.as_ref().and_then(|login| login.facts.as_ref());
            if !person.confirms(&Question { host: case.name(), keys, listed, facts, doubts: &case.doubts })? {
                case.fail(Problem::of(&OnboardError::Declined));
                case.row.host_key = Step::Failed;
            }
            case.confirmed = true;
        }
        Ok(())
    }

    /// Puts our public key where it is to be let in. `restrict` binds it to the agent for one directory.
    pub fn install(&self, case: &mut Case, restrict: Option<&Restrict<'_>>) -> Result<(), OnboardError> {
        if case.row.installed == Step::Kept {
            return Ok(());
        }
        let mut installed = install_one(case, restrict);
        if let (Ok(_), Some(_)) = (&installed, restrict)
            && let Err(error) = self.runs_nothing(case)
        {
            installed = Err(error);
        }
        case.row.installed = match &installed {
            Ok(true) => Step::Done,
            Ok(false) => Step::Kept,
            Err(_) => Step::Failed,
        };
        installed.map(|_| ())
    }

    /// Makes sure that our key is bound: another line than the one that binds it may let it in, in another file.
    fn runs_nothing(&self, case: &Case) -> Result<(), OnboardError> {
        let verdict = case.verdict.as_ref().ok_or_else(|| OnboardError::NotPinned(case.name().to_owned()))?;
        match self.visitor.enter(&case.machine, verdict, &Entrance::Key(case.machine.key.clone())) {
            Ok(login) if login.facts.is_some() => Err(OnboardError::Unbound),
            // The test that follows says why a key is not let in at all.
            Ok(_) | Err(OnboardError::Ssh(SshError::Auth { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether our key is let in, by the written config alone; and where settings are known, whether a visit could begin.
    pub fn test(
        &self,
        case: &mut Case,
        connector: &Connector,
        settings: Option<DeviceSettings>,
    ) -> Result<(), OnboardError> {
        let tested = match test_one(case, connector, settings) {
            // Nobody is there to unlock it, and it may be in an ssh-agent when it is needed.
            Err(OnboardError::Ssh(SshError::Auth { .. })) if is_encrypted(&case.machine.key) => {
                case.row
                    .notes
                    .push("the login was not tried: the key has a passphrase, and no ssh-agent holds it".into());
                return Ok(());
            }
            Err(OnboardError::Ssh(error @ SshError::Auth { .. })) => Err(OnboardError::NotLetIn(error)),
            tested => tested,
        };
        case.row.login = if tested.is_ok() { Step::Done } else { Step::Failed };
        case.row.notes.extend(tested?);
        Ok(())
    }

    /// Does something to every machine that nothing keeps out, many at once. An error keeps a machine out.
    pub fn each<C: BorrowMut<Case> + Send>(
        &self,
        cases: &mut [C],
        work: impl Fn(&mut Case) -> Result<(), OnboardError> + Sync,
    ) {
        let open: Vec<&mut Case> = cases.iter_mut().map(BorrowMut::borrow_mut).filter(|case| case.is_open()).collect();
        let workers = self.jobs.clamp(1, open.len().max(1));
        let queue = Mutex::new(open.into_iter());
        let next = || queue.lock().unwrap_or_else(|e| e.into_inner()).next();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(case) = next() {
                        if let Err(error) = work(case) {
                            case.fail(Problem::of(&error));
                        }
                    }
                });
            }
        });
    }
}

/// Whether there was anything to do.
fn install_one(case: &Case, restrict: Option<&Restrict<'_>>) -> Result<bool, OnboardError> {
    let Some(login) = &case.login else { return Err(OnboardError::Bound) };
    let Some(restrict) = restrict else {
        if login.own_key {
            return Ok(false);
        }
        let entry = own_entry(&case.machine.key)?;
        return Ok(authorized_keys::edit(&login.remote, |keys| keys.ensure(&entry))?);
    };
    if login.facts.is_none() {
        return Err(OnboardError::Bound);
    }
    let entry = own_entry(&case.machine.key)?;
    let entry = bound_agent::entry(entry.key, &entry.comment, restrict.source).ok_or(OnboardError::Source)?;
    if !bound_agent::has_source(&login.remote, restrict.source)? {
        return Err(OnboardError::NoSource(restrict.source.to_owned()));
    }
    // The line comes last: until then nothing is bound to an agent that is not there.
    let is_new = bound_agent::put(restrict.agents, &login.remote, &case.machine.name)?;
    let bind = |keys: &AuthorizedKeys| match keys.entry(&entry.key) {
        Some(old) => keys.set(&entry.clone().bounded_as(&old)),
        None => keys.set(&entry),
    };
    Ok(authorized_keys::edit(&login.remote, bind)? || is_new)
}

fn is_encrypted(private: &Path) -> bool {
    key::load(private).is_ok_and(|key| key.is_some_and(|key| key.encrypted))
}

/// The line for our own key.
pub fn own_entry(private: &Path) -> Result<Entry, OnboardError> {
    let key = key::load(private)?.ok_or_else(|| OnboardError::NoKey(private.to_owned()))?;
    let line = key.line();
    let (key, comment) = Key::parse(&line).ok_or_else(|| OnboardError::NoKey(private.to_owned()))?;
    Ok(Entry::plain(key, &comment))
}

/// What there is to say of it.
fn test_one(
    case: &Case,
    connector: &Connector,
    settings: Option<DeviceSettings>,
) -> Result<Option<String>, OnboardError> {
    connector.reach(&case.machine.name, &())?;
    let Some(settings) = settings else { return Ok(None) };
    let fallback = Fallback::default();
    connector.connect(&case.device(settings), &fallback, Intent::Change).map_err(OnboardError::Visit)?;
    Ok(fallback.0.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// Hears why a machine is served without the agent.
#[derive(Default)]
struct Fallback(Mutex<Option<String>>);

impl Observer for Fallback {
    fn event(&self, event: &Event) {
        if let Event::FellBack { reason, .. } = event {
            let note = format!("served without the agent: {reason}");
            *self.0.lock().unwrap_or_else(|e| e.into_inner()) = Some(note);
        }
    }
}
