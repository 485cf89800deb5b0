//! The part of `keytool add-pi` that goes there: host key, public key, login.

use pipeline_core::cancel::Cancel;
use pipeline_core::config::DeviceSettings;
use pipeline_core::error::{Class, Classified};
use pipeline_core::remote::{Connect, Intent};
use pipeline_core::ssh::Connector;
use pipeline_core::ssh::deploy::Agents;
use program::exit::Exit;
use program::failure::Failure;

use super::{AddPiArgs, Making};
use crate::changes::Change;
use crate::cmd::fleet::{self, Named};
use crate::cmd::person::Asker;
use crate::cmd::{Context, failed};
use crate::key;
use crate::known_hosts::Known;
use crate::local::{self, LocalError};
use crate::onboard::batch::{Batch, Case, Restrict};
use crate::onboard::fingerprints::Fingerprints;
use crate::onboard::row::{Problem, Row, Step};
use crate::onboard::trust::Verdict;
use crate::onboard::visit::{Machine, Visitor};
use crate::registry::{Entry, Pi, Registry};

/// Takes Pis in. `making` is what new keys are to be like.
pub fn run(
    context: &Context,
    args: &AddPiArgs,
    registry: &Registry,
    named: &mut Named,
    making: &Making,
) -> Result<Exit, Failure> {
    fleet::require_jump(registry)?;
    let targets = named.targets(registry)?;
    let (named, pis) = (&*named, &named.pis);
    let listed = args.fingerprints.as_deref().map(Fingerprints::load).transpose().map_err(failed)?;
    let known = fleet::known_names(registry);
    let cancel = Cancel::new();
    let access = fleet::access(context, registry, &cancel);
    let agents = Agents::new(fleet::agent_dirs(context));
    let restrict = args.restrict.as_deref().map(|source| Restrict { source, agents: &agents });
    let batch = Batch {
        visitor: Visitor { access: &access, limit: context.setup.timeouts.idle, cancel: &cancel },
        jobs: context.setup.jobs,
        fleet: &known,
        listed: listed.as_ref(),
    };
    let mut cases = Vec::new();
    for (pi, target) in pis.iter().zip(targets) {
        let mut case =
            Case::new(Some(pi.id.to_string()), Machine { name: pi.name.clone(), target, key: pi.key.clone() });
        if let Err(error) = key::load(&pi.key) {
            case.row.key = Step::Failed;
            case.fail(Problem::of(&error));
        }
        cases.push(case);
    }
    pis.iter().for_each(|pi| context.ui.step(&format!("{}: fetch the host keys at port {}", pi.name, pi.port)));
    batch.look(&mut cases);
    if args.restrict.is_some() {
        probe_bound(context, args, &batch, &mut cases, &cancel)?;
    }
    let local = Local { context, registry, fleet: &known, making };
    // What can't be written here keeps its Pi out now, before anything secret is sent to it.
    let planned = local.write(pis, &mut cases, true)?;
    if args.dry_run {
        return preview(context, args, named, &mut cases, planned);
    }
    // Whoever is kept out from here on was only planned for.
    cases.iter_mut().for_each(|case| case.row.unplan());
    let asker = Asker::new(context.ui, &args.entrance, args.yes, "--fingerprints FILE");
    fleet::tell_locked(context, &cases, |case| needs_entrance(case, args));
    batch.enter(&mut cases, &asker, |case| needs_entrance(case, args))?;
    batch.confirm(&mut cases, &asker)?;
    // From here on something is written.
    let signal = fleet::listen(context, &cancel)?;
    local.write(pis, &mut cases, false)?.iter().for_each(|words| context.ui.step(words));
    let connector = fleet::connector(context, &cancel)?;
    batch.each(&mut cases, |case| {
        context.ui.step(&format!("{}: install the public key", case.name()));
        batch.install(case, restrict.as_ref())
    });
    batch.each(&mut cases, |case| {
        context.ui.step(&format!("{}: log in by the written entries", case.name()));
        batch.test(case, &connector, settings(context, args, case))
    });
    let rows: Vec<Row> = cases.into_iter().map(|case| case.row).chain(named.strays.iter().cloned()).collect();
    show(context, &rows);
    Ok(fleet::conclude(context, &rows, Some(&signal)))
}

/// Whether our own key does not do for what is to be done.
fn needs_entrance(case: &Case, args: &AddPiArgs) -> bool {
    let is_bound = case.row.installed == Step::Kept;
    !case.has_own_login() || (args.restrict.is_some() && !case.may_run_commands() && !is_bound)
}

/// A key that runs no commands may be bound already as it is to be: then there is nothing to install.
fn probe_bound(
    context: &Context,
    args: &AddPiArgs,
    batch: &Batch<'_>,
    cases: &mut [Case],
    cancel: &Cancel,
) -> Result<(), Failure> {
    let connector: Connector = fleet::connector(context, cancel)?;
    batch.each(cases, |case| {
        if case.has_own_login()
            && !case.may_run_commands()
            && let Some(settings) = settings(context, args, case)
            && connector.connect(&case.device(settings), &(), Intent::Look).is_ok()
        {
            case.row.installed = Step::Kept;
        }
        Ok(())
    });
    Ok(())
}

/// How a visit would be; none where the configuration does not say it yet.
fn settings(context: &Context, args: &AddPiArgs, case: &Case) -> Option<DeviceSettings> {
    let settings = context.setup.config.as_ref()?.device(&case.machine.name);
    let source = args.restrict.clone().unwrap_or_else(|| settings.source.clone());
    Some(DeviceSettings { source, ..settings })
}

/// What is written down on this machine.
struct Local<'a> {
    context: &'a Context,
    registry: &'a Registry,
    fleet: &'a [Known],
    making: &'a Making,
}

impl Local<'_> {
    /// Pin, key and entry of each Pi that nothing keeps out; in a dry run only tells them. One that can't have them keeps no other,
    /// unless the reason is one for all, as a full disk is.
    fn write(&self, pis: &[Pi], cases: &mut [Case], dry_run: bool) -> Result<Vec<String>, Failure> {
        let editor = self.context.editor(dry_run);
        let mut all: Vec<String> = Vec::new();
        for (case, pi) in cases.iter_mut().zip(pis).filter(|(case, _)| case.is_open()) {
            let pinned = matches!(case.verdict, Some(Verdict::Pinned(_)));
            let has_key = key::load(&pi.key).is_ok_and(|key| key.is_some());
            match editor.perform(|| self.of(pi, case)) {
                // The directories and the line that includes the entries are there for all.
                Ok(words) => words.into_iter().for_each(|words| {
                    if !all.contains(&words) {
                        all.push(words);
                    }
                }),
                Err(error) if matches!(error.class(), Class::Config | Class::HostKey) => {
                    case.fail(Problem::of(&error));
                    continue;
                }
                Err(error) => return Err(failed(error)),
            }
            let step = |is_there: bool| if dry_run && !is_there { Step::Planned } else { Step::made(is_there) };
            (case.row.key, case.row.host_key) = (step(has_key), step(pinned));
            case.row.config = step(pi.entry != Entry::None);
        }
        Ok(all)
    }

    /// Decided under the lock, all of it: two of us at once must not both pin a key, nor one pin what the other's Pi has.
    fn of(&self, pi: &Pi, case: &Case) -> Result<Vec<Change>, LocalError> {
        let places = &self.context.places;
        let new = if matches!(case.verdict, Some(Verdict::Pinned(_))) { &[] } else { case.accepted() };
        let mut changes = local::pin(&case.machine.target.host, new, self.fleet, places)?;
        let (kind, passphrase) = (self.making.kind, self.making.passphrase.as_ref());
        let entry = local::pis(std::slice::from_ref(pi), self.registry.onboarding(), kind, passphrase, places)?;
        // The directories are in both.
        changes.extend(entry.into_iter().filter(|change| !change.is_dir()));
        Ok(changes)
    }
}

/// Tells everything that would be changed, and changes nothing.
fn preview(
    context: &Context,
    args: &AddPiArgs,
    named: &Named,
    cases: &mut [Case],
    mut words: Vec<String>,
) -> Result<Exit, Failure> {
    for case in cases.iter() {
        if let Some(Verdict::Unknown(key)) = &case.verdict {
            context.ui.streams.say(&format!("{} shows {key}", case.name()));
        }
    }
    for case in cases.iter_mut().filter(|case| case.is_open() && needs_entrance(case, args)) {
        case.row.installed = Step::Planned;
        let host = &case.machine.target.host;
        words.push(match &args.restrict {
            None => format!("append the public key to ~{}/.ssh/authorized_keys on {}", host.user, case.name()),
            Some(source) => format!(
                "put the agent on {}, and bind the key in ~{}/.ssh/authorized_keys to it for {}",
                case.name(),
                host.user,
                source.display()
            ),
        });
    }
    let rows: Vec<Row> = cases.iter().map(|case| case.row.clone()).chain(named.strays.iter().cloned()).collect();
    context.ui.preview(&words, rows.iter().all(|row| row.problem.is_none()));
    show(context, &rows);
    Ok(fleet::conclude(context, &rows, None))
}

fn show(context: &Context, rows: &[Row]) {
    let cells = |row: &Row| [&[row.id.clone().unwrap_or_default(), row.host.clone()], &row.steps()[..]].concat();
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    context.ui.table(&[&["id", "host"], &Row::STEPS[..]].concat(), &cells);
    for row in rows {
        row.notes.iter().for_each(|note| context.ui.streams.say(&format!("{}: {note}", row.host)));
    }
}
