//! `keytool remove-pi`: what `add-pi` did, undone: there, where the Pi can be reached, and here.

use clap::Args;
use pipeline_core::cancel::Cancel;
use pipeline_core::error::{Class, Classified};
use pipeline_core::ssh::SshError;
use pipeline_core::ssh::host_key::Place;
use program::exit::Exit;
use program::failure::Failure;

use super::fleet::{self, Named};
use super::person::{Asker, EntranceArgs};
use super::{Context, rotate, tunnel, typed_ids};
use crate::authorized_keys::{self, AuthorizedKeysError, Key};
use crate::changes::Change;
use crate::key::{self, KeyError};
use crate::known_hosts;
use crate::local::LocalError;
use crate::onboard::OnboardError;
use crate::onboard::batch::{Batch, Case, Person as _};
use crate::onboard::row::{Problem, Row, Step};
use crate::onboard::trust::Verdict;
use crate::onboard::visit::{Entrance, Machine, Visitor};
use crate::registry::{Entry, Pi, Registry};
use crate::rotation::{self, Removal, Rotation};
use crate::ssh_config::Owned;

/// Options of `keytool remove-pi`.
#[derive(Debug, Args)]
pub struct RemovePiArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// How to get in, where our key is bound to the agent and can't change its own line.
    #[command(flatten)]
    pub entrance: EntranceArgs,
    /// Change this machine only; connect nowhere
    #[arg(long, conflicts_with_all = ["password_stdin", "identity"])]
    pub offline: bool,
    /// Say what would be changed, here and there; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub fn run(context: &Context, args: &RemovePiArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let mut named = Named::of(&registry, &typed_ids(&args.ids)?, Registry::pi)?;
    let targets = named.targets(&registry)?;
    let Named { pis, strays } = named;
    let cancel = Cancel::new();
    let mut cases = Vec::new();
    for (pi, target) in pis.iter().zip(targets) {
        let machine = Machine { name: pi.name.clone(), target, key: pi.key.clone() };
        cases.push(Case::new(Some(pi.id.to_string()), machine));
    }
    let entrance = match args.entrance.password_stdin || args.entrance.identity.is_some() {
        true => {
            let asker = Asker::new(context.ui, &args.entrance, false, "nothing");
            Some(asker.entrance(&registry.onboarding().user, &[])?)
        }
        false => None,
    };
    let signal = fleet::listen(context, &cancel)?;
    let _claims = (!args.dry_run).then(|| rotate::claims(&mut cases));
    if !args.offline {
        // Without a key nobody knows a line there that it could be about; and one that the user chose may have been let in before us.
        let open = cases.iter_mut().zip(&pis).filter(|(case, _)| case.is_open());
        let ours = open.filter(|(_, pi)| pi.key.exists() && !pi.entry.names_own_key());
        there(context, args, &registry, ours.map(|(case, _)| case).collect(), entrance.as_ref(), &cancel);
    }
    let stamp = rotation::stamp();
    let editor = context.editor(args.dry_run);
    for (case, pi) in cases.iter_mut().zip(&pis).filter(|(case, _)| case.is_open()) {
        if cancel.is_set() {
            case.fail(Problem::of(&SshError::Stopped));
            continue;
        }
        if let Entry::HandWritten { file, line, .. } = &pi.entry {
            let place = format!("{}:{line}", context.places.show(file));
            let key = match pi.entry.names_own_key() {
                true => format!(", and so do the key {} and its line there", context.places.show(&pi.key)),
                false => String::new(),
            };
            case.row.notes.push(format!("the entry of your own in {place} stays as it is{key}"));
        }
        let shared = match registry.shares_key(pi) {
            Ok(shared) => shared,
            Err(error) => {
                case.fail(Problem::of(&error));
                continue;
            }
        };
        if let Some(with) = shared.as_ref().filter(|_| !pi.entry.names_own_key() && pi.key.exists()) {
            let key = context.places.show(&pi.key);
            case.row.notes.push(format!("'{with}' is reached with the key {key} too: it stays where it is"));
        }
        // The key may be gone from its place when this is told.
        let is_locked = key::load(&pi.key).is_ok_and(|key| key.is_some_and(|key| key.encrypted));
        let has_tunnel = tunnel::kept_key(&context.places, pi.name.as_str()).exists();
        match editor.perform(|| decide(context, case, pi, shared.is_some(), &stamp)) {
            Ok(words) if words.is_empty() => case.row.notes.push("nothing to do here: nothing of it is there".into()),
            Ok(words) => case.row.notes.extend(words),
            Err(error) => case.fail(Problem::of(&error)),
        }
        if case.is_open() && !matches!(pi.entry, Entry::HandWritten { .. }) {
            match known_hosts::staying(&case.machine.target.host) {
                Ok(places) => case.row.notes.extend(places.iter().map(|place| staying(place, context))),
                Err(error) => case.fail(Problem::of(&error)),
            }
        }
        if has_tunnel {
            let words = "the jump host's line for the key of its tunnel stays";
            case.row.notes.push(format!("{words}: 'keytool tunnel {} --revoke-jump' takes it out", pi.id));
        }
        if case.row.installed == Step::Failed {
            case.row.problem.get_or_insert_with(|| unseen(pi, is_locked));
        }
    }
    let rows: Vec<Row> = cases.into_iter().map(|case| case.row).chain(strays).collect();
    for row in &rows {
        row.notes.iter().for_each(|note| context.ui.streams.say(&format!("{}: {note}", row.host)));
    }
    if args.dry_run {
        context.ui.nothing_was_changed();
    }
    Ok(fleet::conclude(context, &rows, Some(&signal)))
}

/// A line of known_hosts that is not ours alone to take out.
fn staying(place: &Place, context: &Context) -> String {
    format!(
        "the host key in {}:{} stays, in a line that is not about it alone: with another key it is taken in only after its name is \
         taken out there by hand",
        context.places.show(&place.file),
        place.line
    )
}

/// Takes our lines out of `authorized_keys`, as far as machines can be reached and let us. What can't be done is noted, and keeps
/// nobody here: a Pi that was lost must be removable too.
fn there(
    context: &Context,
    args: &RemovePiArgs,
    registry: &Registry,
    mut cases: Vec<&mut Case>,
    entrance: Option<&Entrance>,
    cancel: &Cancel,
) {
    let access = fleet::access(context, registry, cancel);
    let batch = Batch {
        visitor: Visitor { access: &access, limit: context.setup.timeouts.idle, cancel },
        jobs: context.setup.jobs,
        // Only what is pinned is removed there, and the copy of a card most of all.
        fleet: &[],
        listed: None,
    };
    batch.each(&mut cases, |case| {
        let removed = remove_line(context, &batch, case, entrance, args.dry_run);
        match removed {
            Ok(Line::Removed) => {
                case.row.installed = Step::Done;
                let done = if args.dry_run { "remove the public key" } else { "removed the public key" };
                case.row.notes.push(format!("{done} from ~/.ssh/authorized_keys there"));
            }
            Ok(Line::Gone) => {
                case.row.installed = Step::Kept;
                let gone =
                    "the public key is out of ~/.ssh/authorized_keys there: a removal that was interrupted did that";
                case.row.notes.push(gone.into());
            }
            Ok(Line::None) => {}
            Ok(Line::Unseen) => case.row.installed = Step::Failed,
            // Half done would be worse than not begun: with the key gone from here nobody could end it.
            Err(error) if must_be_told(&error) => return Err(error),
            Err(error) => {
                let (host, why) = (case.name(), pipeline_core::error::one_line(&error));
                let what = format!("{host}: its line in authorized_keys there was left: {why}");
                context.ui.streams.warning(&Failure { exit: Exit::Done, what, hint: None });
            }
        }
        Ok(())
    });
}

fn must_be_told(error: &OnboardError) -> bool {
    match error {
        OnboardError::LineStays | OnboardError::StillLetIn(_) => true,
        OnboardError::Install(AuthorizedKeysError::Ssh(_)) => error.class() == Class::Interrupted,
        OnboardError::Install(_) | OnboardError::Key(_) => true,
        error => error.class() == Class::Interrupted,
    }
}

/// Our key was refused: somebody may have bound it to another place, or taken it out, which an interrupted one of us may have done.
fn unseen(pi: &Pi, is_locked: bool) -> Problem {
    let name = &pi.name;
    let why = match is_locked {
        true => "the key has a passphrase, and no ssh-agent holds it".to_owned(),
        false => format!("{name} does not let our key in"),
    };
    Problem {
        class: Class::Config,
        what: format!("{why}, so nobody could see whether authorized_keys on {name} still has a line for it"),
        hint: Some(format!(
            "look there for a line that ends with 'pipeline {name}'; next time, --password-stdin or --identity gets in"
        )),
    }
}

/// What became of our lines.
enum Line {
    Removed,
    /// One of us has removed them, who did not come to his end.
    Gone,
    None,
    /// Nobody could look.
    Unseen,
}

fn remove_line(
    context: &Context,
    batch: &Batch<'_>,
    case: &Case,
    entrance: Option<&Entrance>,
    dry_run: bool,
) -> Result<Line, OnboardError> {
    let shown = batch.visitor.shown(&case.machine)?;
    let verdict = batch.visitor.judge(&case.machine, &shown, &[], None)?;
    let own_login = batch.visitor.with_own_key(&case.machine, &verdict)?;
    let keys = Rotation::of(&case.machine.key).generations()?;
    let removal = Removal::of(&case.machine.key);
    let login = match (own_login, entrance, &verdict) {
        (Some(login), ..) if login.facts.is_some() => login,
        // Nobody but the pinned machine is sent anything.
        (_, Some(entrance), Verdict::Pinned(_)) => batch.visitor.enter(&case.machine, &verdict, entrance)?,
        (Some(_), ..) => return Err(OnboardError::LineStays),
        (None, _, Verdict::Pinned(_)) if keys.first().is_some_and(|key| removal.has_begun(key)) => {
            return Ok(Line::Gone);
        }
        (None, _, Verdict::Pinned(_)) => return Ok(Line::Unseen),
        // What is not pinned was never let do anything, or its pin went after its line.
        (None, ..) => return Ok(Line::None),
    };
    let own: Vec<Key> = keys.iter().filter_map(|public| Some(Key::parse(&public.to_openssh().ok()?)?.0)).collect();
    if dry_run {
        let found = authorized_keys::read(&login.remote)?.entries().iter().any(|entry| own.contains(&entry.key));
        return Ok(if found { Line::Removed } else { Line::None });
    }
    let (editor, places) = (context.editor(false), &context.places);
    if login.own_key {
        editor.perform(|| Ok(removal.begin(&keys, places)?.into_iter().collect())).map_err(KeyError::Change)?;
    }
    let removed = match authorized_keys::edit(&login.remote, |keys| keys.without(|entry| own.contains(&entry.key))) {
        Ok(removed) => removed,
        // Whether it came through is not known.
        Err(error @ AuthorizedKeysError::Ssh(_)) => return Err(error.into()),
        Err(error) => {
            editor.perform(|| Ok(removal.end(places).into_iter().collect())).map_err(KeyError::Change)?;
            return Err(error.into());
        }
    };
    // sshd may look into more files than that one.
    match batch.visitor.with_own_key(&case.machine, &verdict)? {
        Some(_) => Err(OnboardError::StillLetIn(case.machine.key.clone())),
        None if removed => Ok(Line::Removed),
        None => Ok(Line::None),
    }
}

/// Entry, pinned host keys and key pair.
fn decide(context: &Context, case: &Case, pi: &Pi, shared: bool, stamp: &str) -> Result<Vec<Change>, LocalError> {
    let places = &context.places;
    let mut changes = Vec::new();
    let mut owned = Owned::load(places)?;
    owned.remove(pi.name.as_str());
    changes.extend(owned.change(places));
    if !matches!(pi.entry, Entry::HandWritten { .. }) {
        changes.extend(known_hosts::forget(&case.machine.target.host, places)?);
    }
    // A name that only one Pi can have; a key that an entry of the user's own names is his.
    if !pi.entry.names_own_key() && !shared {
        changes.extend(Rotation::of(&pi.key).set_all_aside(stamp, places));
    }
    changes.extend(tunnel::set_aside(places, pi.name.as_str(), "removed", stamp));
    // Until here it is what tells a removal that was interrupted.
    changes.extend(Removal::of(&pi.key).end(places));
    Ok(changes)
}
