//! `keytool remove-pi`: what `add-pi` did, undone: there, where the Pi can be reached, and here.

use clap::Args;
use pipeline_core::cancel::Cancel;
use pipeline_core::error::{Class, Classified};
use pipeline_core::ssh::SshError;
use program::exit::Exit;
use program::failure::Failure;

use super::fleet::{self, Named};
use super::person::{Asker, EntranceArgs};
use super::{Context, typed_ids};
use crate::authorized_keys::{self, AuthorizedKeysError};
use crate::changes::Change;
use crate::known_hosts;
use crate::local::LocalError;
use crate::onboard::OnboardError;
use crate::onboard::batch::{Batch, Case, Person as _, own_entry};
use crate::onboard::row::{Problem, Row, Step};
use crate::onboard::trust::Verdict;
use crate::onboard::visit::{Entrance, Machine, Visitor};
use crate::registry::{Entry, Pi, Registry};
use crate::rotation;
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
    let Named { pis, strays } = Named::of(&registry, &typed_ids(&args.ids)?, Registry::pi)?;
    let cancel = Cancel::new();
    let mut cases = Vec::new();
    for pi in &pis {
        let target = fleet::target(&registry, pi)?;
        let machine = Machine { name: pi.name.clone(), target, key: pi.key.clone() };
        cases.push(Case::new(Some(pi.id.to_string()), machine));
    }
    let entrance = match args.entrance.password_stdin || args.entrance.identity.is_some() {
        true => {
            let user = &registry.onboarding().user;
            let asker = Asker { ui: context.ui, given: &args.entrance, user, yes: false, instead: "nothing" };
            Some(asker.entrance(&[])?)
        }
        false => None,
    };
    let signal = fleet::listen(context, &cancel)?;
    if !args.offline {
        // Without a key there is no line there that it could be about; and one that the user chose may have been let in before us.
        let ours = cases.iter_mut().zip(&pis).filter(|(_, pi)| pi.key.exists() && !pi.entry.names_own_key());
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
        match editor.perform(|| decide(context, case, pi, &stamp)) {
            Ok(words) if words.is_empty() => case.row.notes.push("nothing to do here: nothing of it is there".into()),
            Ok(words) => case.row.notes.extend(words),
            Err(error) => case.fail(Problem::of(&error)),
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
        fleet: &[],
        listed: None,
    };
    batch.each(&mut cases, |case| {
        let removed = remove_line(&batch, case, entrance, args.dry_run);
        let left = |why: String| format!("its line in authorized_keys there was left: {why}");
        match removed {
            Ok(Line::Removed) => {
                case.row.installed = Step::Done;
                let done = if args.dry_run { "remove the public key" } else { "removed the public key" };
                case.row.notes.push(format!("{done} from ~/.ssh/authorized_keys there"));
            }
            Ok(Line::None) => {}
            Ok(Line::Bound) => {
                let why = "the key is bound to the agent; --password-stdin or --identity gets in another way";
                case.row.notes.push(left(why.into()));
            }
            // Half done would be worse than not begun: with the key gone from here nobody could end it.
            Err(error) if must_be_told(&error) => return Err(error),
            Err(error) => case.row.notes.push(left(pipeline_core::error::one_line(&error))),
        }
        Ok(())
    });
}

fn must_be_told(error: &OnboardError) -> bool {
    error.class() == Class::Interrupted
        || matches!(error, OnboardError::Install(error) if !matches!(error, AuthorizedKeysError::Ssh(_)))
}

/// What became of our line.
enum Line {
    Removed,
    None,
    Bound,
}

fn remove_line(
    batch: &Batch<'_>,
    case: &Case,
    entrance: Option<&Entrance>,
    dry_run: bool,
) -> Result<Line, OnboardError> {
    let shown = batch.visitor.shown(&case.machine)?;
    let verdict = batch.visitor.judge(&case.machine, &shown, &[], None)?;
    let own_login = batch.visitor.with_own_key(&case.machine, &verdict)?;
    let login = match (own_login, entrance, &verdict) {
        (Some(login), ..) if login.facts.is_some() => login,
        // Nobody but the pinned machine is sent anything.
        (_, Some(entrance), Verdict::Pinned(_)) => batch.visitor.enter(&case.machine, &verdict, entrance)?,
        (Some(_), ..) => return Ok(Line::Bound),
        (None, ..) => return Ok(Line::None),
    };
    let own = own_entry(&case.machine.key)?.key;
    if dry_run {
        return Ok(Line::Removed);
    }
    let removed = authorized_keys::edit(&login.remote, |keys| keys.without(|entry| entry.key == own))?;
    Ok(if removed { Line::Removed } else { Line::None })
}

/// Entry, pinned host keys and key pair.
fn decide(context: &Context, case: &Case, pi: &Pi, stamp: &str) -> Result<Vec<Change>, LocalError> {
    let places = &context.places;
    let mut changes = Vec::new();
    let mut owned = Owned::load(places)?;
    owned.remove(pi.name.as_str());
    changes.extend(owned.change(places));
    if !matches!(pi.entry, Entry::HandWritten { .. }) {
        changes.extend(known_hosts::forget(&case.machine.target.host, places)?);
    }
    // A name that only one Pi can have; a key that an entry of the user's own names is his.
    if !pi.entry.names_own_key() {
        let aside = rotation::aside(&pi.key, &rotation::with(&pi.key, ".removed-"), stamp);
        changes.extend(rotation::set_aside(&pi.key, &aside, places));
    }
    Ok(changes)
}
