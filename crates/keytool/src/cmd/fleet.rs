//! What commands that connect have in common: the way to a machine, and what is told of many.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pipeline_core::cancel::Cancel;
use pipeline_core::config::AgentMode;
use pipeline_core::event::{Event, Observer};
use pipeline_core::ssh::access::{self, Access};
use pipeline_core::ssh::host_key;
use pipeline_core::ssh::{Connector, Options, Target};
use pipeline_core::ssh_config::HostParams;
use program::environment;
use program::exit::Exit;
use program::failure::Failure;
use program::run::Tell as _;
use program::signals::{self, Received};
use program::streams::Streams;
use program::words::printable;

use super::{Context, failed};
use crate::known_hosts::Known;
use crate::onboard::batch::Case;
use crate::onboard::row::{Problem, Row, outcomes};
use crate::registry::{Entry, Id, Pi, Registry, RegistryError};

/// What the first signal makes us do.
const FAREWELL: &str = "stopping: what is being changed is finished first (once more to stop at once)";

/// Makes connections on a person's word.
pub fn access(context: &Context, registry: &Registry, cancel: &Cancel) -> Access {
    let options = access::Options { timeouts: context.setup.timeouts, cancel: cancel.clone() };
    Access::new(registry.ssh_config().clone(), options)
}

/// Where `pipeline` looks for agents, too.
pub fn agent_dirs(context: &Context) -> Vec<PathBuf> {
    environment::agent_dirs(context.setup.config.as_ref().and_then(|config| config.agent_dir.as_deref()))
}

/// Makes connections as `pipeline` does, by the OpenSSH config as it is now.
pub fn connector(context: &Context, cancel: &Cancel) -> Result<Connector, Failure> {
    let agent = context.setup.config.as_ref().map_or(AgentMode::Auto, |config| config.agent);
    let options = Options {
        timeouts: context.setup.timeouts,
        jobs: context.setup.jobs,
        agent,
        agent_dirs: agent_dirs(context),
        cancel: cancel.clone(),
    };
    Ok(Connector::new(context.ssh_config()?, options))
}

/// The Pis that were named.
#[derive(Debug)]
pub struct Named {
    /// Those that there are.
    pub pis: Vec<Pi>,
    /// A row with its problem for each number that leads to none: it keeps no other.
    pub strays: Vec<Row>,
}

impl Named {
    /// All that there are.
    pub fn all(registry: &Registry) -> Named {
        let (pis, misfits) = registry.all();
        Named { pis, strays: misfits.iter().map(|(id, error)| stray(registry, *id, error)).collect() }
    }

    /// Those with these numbers that `find` finds. Fails where it finds none of them.
    pub fn of(
        registry: &Registry,
        ids: &[Id],
        find: impl Fn(&Registry, Id) -> Result<Pi, RegistryError>,
    ) -> Result<Named, Failure> {
        let mut named = Named { pis: Vec::new(), strays: Vec::new() };
        let mut first = None;
        for &id in ids {
            match find(registry, id) {
                Ok(pi) => named.pis.push(pi),
                Err(error) => {
                    named.strays.push(stray(registry, id, &error));
                    first.get_or_insert(error);
                }
            }
        }
        match first {
            Some(error) if named.pis.is_empty() => Err(failed(error)),
            _ => Ok(named),
        }
    }

    /// Those that have an entry: the others are strays from then on.
    pub fn with_entry(mut self, registry: &Registry) -> Named {
        let (pis, unknown): (Vec<Pi>, Vec<Pi>) = self.pis.into_iter().partition(|pi| pi.entry != Entry::None);
        self.strays.extend(unknown.iter().map(|pi| self::unknown(registry, pi)));
        Named { pis, strays: self.strays }
    }

    /// The way to each that has one; who has none is a stray from then on. Fails where none has one.
    pub fn targets(&mut self, registry: &Registry) -> Result<Vec<Target>, Failure> {
        let mut targets = Vec::new();
        let mut first = None;
        self.pis.retain(|pi| match target(registry, pi) {
            Ok(target) => {
                targets.push(target);
                true
            }
            Err(error) => {
                self.strays.push(stray(registry, pi.id, &error));
                first.get_or_insert(error);
                false
            }
        });
        match first {
            Some(error) if targets.is_empty() => Err(failed(error)),
            _ => Ok(targets),
        }
    }
}

/// The row of a Pi that was named and has no entry.
pub fn unknown(registry: &Registry, pi: &Pi) -> Row {
    stray(registry, pi.id, &RegistryError::Unknown { name: pi.name.clone() })
}

/// The row of a number that leads to no Pi.
fn stray(registry: &Registry, id: Id, error: &RegistryError) -> Row {
    let mut row = Row::new(Some(id.to_string()), &registry.called(id));
    row.problem = Some(Problem::of(error));
    row
}

/// The way to a Pi: as an entry of the user's own says, else as ours says or is going to say.
fn target(registry: &Registry, pi: &Pi) -> Result<Target, RegistryError> {
    let host = registry.host(pi)?;
    let config = registry.ssh_config();
    let via = match pi.entry {
        Entry::HandWritten { .. } => {
            let mut route = config.route(pi.name.as_str())?;
            route.pop();
            route
        }
        Entry::Ours | Entry::None => config.route(&registry.onboarding().jump)?,
    };
    Ok(Target { host, via })
}

/// The jump host must have an entry before anything behind it can be reached.
pub fn require_jump(registry: &Registry) -> Result<(), Failure> {
    let jump = &registry.onboarding().jump;
    if registry.entry(jump) != Entry::None {
        return Ok(());
    }
    Err(Failure {
        exit: Exit::Config,
        what: format!("the jump host '{jump}' has no entry in the OpenSSH config"),
        hint: Some("'keytool init' sets it up".into()),
    })
}

/// The names under which known_hosts may have the machines of the fleet.
pub fn known_names(registry: &Registry) -> Vec<Known> {
    let mut names = known_pis(registry);
    for hop in registry.ssh_config().route(&registry.onboarding().jump).unwrap_or_default() {
        names.push(known(&hop, host_key::lookup_name(&hop)));
    }
    names
}

/// The same without the jump host: it may be set up under a second name.
pub fn known_pis(registry: &Registry) -> Vec<Known> {
    let mut names = Vec::new();
    for pi in registry.all().0 {
        // One whose entry says nothing that can be used is no reason to keep others out.
        let Ok(host) = registry.host(&pi) else { continue };
        names.push(known(&host, host_key::lookup_name(&host)));
        // As somebody may have accepted it by hand, and as it was before somebody wrote an entry of his own.
        names.push(known(&host, format!("[localhost]:{}", pi.port)));
        names.push(known(&host, pi.name.to_string()));
    }
    let onboarding = registry.onboarding();
    names.push(Known::Numbered { pattern: onboarding.name.clone(), last: u16::MAX - onboarding.base_port });
    names
}

fn known(host: &HostParams, name: String) -> Known {
    Known::Machine { host: host.alias.clone(), name, files: host_key::known_hosts_files(host) }
}

/// Begins to listen to signals: the first one sets `cancel`. Before that, while a person is asked, a signal ends the program at
/// once.
pub fn listen(context: &Context, cancel: &Cancel) -> Result<Received, Failure> {
    signals::listen(cancel.clone(), FAREWELL, Arc::new(Farewell(&context.ui.streams)))
        .map_err(|error| Failure::because(Exit::Unexpected, "can't listen to signals", &error))
}

struct Farewell(&'static Streams);

impl Observer for Farewell {
    fn event(&self, event: &Event) {
        if let Event::Noted { message, .. } = event {
            self.0.err.output.line(message);
        }
    }
}

/// Tells, before a password is asked for, which keys are in the way of seeing that none is needed.
pub fn tell_locked(context: &Context, cases: &[Case], needs: impl Fn(&Case) -> bool) {
    for case in cases.iter().filter(|case| case.is_open() && case.is_locked() && needs(case)) {
        let key = context.places.show(&case.machine.key);
        let words = format!(
            "{}: whether its key is let in already can't be seen: it has a passphrase, and no ssh-agent holds it ('ssh-add {key}' \
             before this, and it can)",
            case.name()
        );
        context.ui.streams.err.output.line(&printable(&words));
    }
}

/// Tells what kept machines out, and what the command comes to. What kept several of them out, as a jump host does, is told once.
pub fn conclude(context: &Context, rows: &[Row], signal: Option<&Received>) -> Exit {
    for (row, what) in problems(rows) {
        let hint = row.problem.as_ref().and_then(|problem| problem.hint.clone());
        context.ui.error(&Failure { exit: Exit::Partial, what, hint });
    }
    exit(rows, signal)
}

/// Each problem with the first row that has it, and its words: with the name of the machine, where they are about one alone and do
/// not say which.
fn problems(rows: &[Row]) -> Vec<(&Row, String)> {
    let mut found: Vec<(&Row, &str, usize)> = Vec::new();
    for (row, problem) in rows.iter().filter_map(|row| Some((row, row.problem.as_ref()?))) {
        match found.iter_mut().find(|(_, what, _)| *what == problem.what) {
            Some((_, _, count)) => *count += 1,
            None => found.push((row, &problem.what, 1)),
        }
    }
    let words = |row: &Row, what: &str, count| match count == 1 && !names(what, &row.host) {
        true => format!("{}: {what}", row.host),
        false => what.to_owned(),
    };
    found.into_iter().map(|(row, what, count)| (row, words(row, what, count))).collect()
}

/// Whether words are about this machine, and not about one whose name only begins or ends alike.
fn names(words: &str, host: &str) -> bool {
    let of_a_name = |c: char| c.is_alphanumeric() || "._-".contains(c);
    words.split(|c| !of_a_name(c)).any(|word| word.trim_end_matches('.') == host)
}

/// What the command comes to. A machine that was named and is away was not served: other than in a sync, that is no success.
pub fn exit(rows: &[Row], signal: Option<&Received>) -> Exit {
    let outcomes = outcomes(rows);
    let exit = Exit::of_visits(outcomes.iter().map(|outcome| (outcome, 0)), None, signal.and_then(Received::exit));
    if exit == Exit::Done && rows.iter().any(|row| row.problem.is_some()) { Exit::Partial } else { exit }
}

/// Does something to each, at most `jobs` at once.
pub fn each<T: Send>(items: &mut [T], jobs: usize, work: impl Fn(&mut T) + Sync) {
    let workers = jobs.clamp(1, items.len().max(1));
    let queue = Mutex::new(items.iter_mut());
    let next = || queue.lock().unwrap_or_else(|e| e.into_inner()).next();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use pipeline_core::error::Class;

    use super::*;
    use crate::registry::tests::registry;

    #[test]
    fn a_machine_is_known_by_what_its_entry_says() {
        let config = "Host awsbox\n HostName jump\nHost raspberry5\n HostName localhost\n Port 77\n HostKeyAlias bee5\n \
                      UserKnownHostsFile /k/of_5\nHost raspberry6\n HostName 10.0.0.6\n";
        let (_home, registry) = registry("raspberry{id}", 5000, config);
        let found: Vec<(String, String, Vec<std::path::PathBuf>)> = known_names(&registry)
            .into_iter()
            .filter_map(|known| match known {
                Known::Machine { host, name, files } => Some((host, name, files)),
                Known::Numbered { .. } => None,
            })
            .collect();
        let names: Vec<(&str, &str)> = found.iter().map(|(host, name, _)| (host.as_str(), name.as_str())).collect();
        let five = ("raspberry5", "bee5");
        assert!(names.contains(&five) && names.contains(&("raspberry5", "[localhost]:77")), "{names:?}");
        assert!(names.contains(&("raspberry6", "10.0.0.6")) && names.contains(&("awsbox", "jump")), "{names:?}");
        assert!(names.contains(&("raspberry31", "raspberry31")), "{names:?}");
        let (_, _, of_5) = found.iter().find(|(_, name, _)| name == five.1).unwrap();
        assert_eq!(of_5[0], std::path::Path::new("/k/of_5"));
    }

    #[test]
    fn a_problem_names_its_machine_and_is_told_once() {
        let row = |host: &str, what: Option<&str>| {
            let problem = what.map(|what| Problem { class: Class::Unreachable, what: what.into(), hint: None });
            Row { problem, ..Row::new(None, host) }
        };
        let rows = [
            row("pi1", Some("no tunnel at 5001")),
            row("pi2", Some("jump host is down")),
            row("pi3", None),
            row("pi4", Some("jump host is down")),
            row("pi5", Some("host 'pi5' does not let us in")),
            row("pi6", Some("its key is that of pi61, at pi-6.pi6")),
        ];
        let told: Vec<String> = problems(&rows).into_iter().map(|(_, words)| words).collect();
        let of_6 = "pi6: its key is that of pi61, at pi-6.pi6";
        assert_eq!(told, ["pi1: no tunnel at 5001", "jump host is down", "host 'pi5' does not let us in", of_6]);
    }

    #[test]
    fn the_exit_code_tells_of_each_machine() {
        let row = |class: Option<Class>| {
            let problem = class.map(|class| Problem { class, what: "x".into(), hint: None });
            Row { problem, ..Row::new(None, "pi") }
        };
        let (done, away, bad) = (None, Some(Class::Unreachable), Some(Class::HostKey));
        let table = [
            (vec![done, done], Exit::Done),
            (vec![done, away], Exit::Partial),
            (vec![away, away], Exit::Unreachable),
            (vec![away, bad], Exit::Partial),
            (vec![], Exit::Done),
        ];
        for (classes, code) in table {
            let rows: Vec<Row> = classes.iter().copied().map(row).collect();
            assert_eq!(exit(&rows, None), code, "{classes:?}");
        }
    }
}
