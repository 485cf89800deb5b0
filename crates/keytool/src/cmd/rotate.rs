//! `keytool rotate`: new keys in the place of old ones. The new one is let in and tried before the old one is shut out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use pipeline_core::cancel::Cancel;
use pipeline_core::ssh::SshError;
use program::exit::Exit;
use program::failure::Failure;

use super::fleet::{self, Named};
use super::person::{Asker, EntranceArgs};
use super::{Context, typed_ids};
use crate::authorized_keys::{self, Entry, Key};
use crate::changes::{Change, Editor};
use crate::key::{self, KeyError, KeyType, NewKey};
use crate::local::LocalError;
use crate::onboard::OnboardError;
use crate::onboard::batch::{Batch, Case, own_entry};
use crate::onboard::row::{Problem, Row, Step};
use crate::onboard::trust::Verdict;
use crate::onboard::visit::{Entrance, Machine, Visitor};
use crate::registry::{Pi, Registry};
use crate::rotation::{self, Claim, Rotation, Stage};
use crate::ui::Ui;

/// Options of `keytool rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// How to get in, where the old key may not change its own line.
    #[command(flatten)]
    pub entrance: EntranceArgs,
    /// Say what would be changed, here and there; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Kind of new keys [default: `key_type` of the configuration, else ed25519]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<KeyType>,
}

pub fn run(context: &Context, args: &RotateArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let mut named = Named::of(&registry, &typed_ids(&args.ids)?, Registry::known)?;
    let targets = named.targets(&registry)?;
    let Named { pis, strays } = named;
    let rotations: Rotations = pis.iter().map(|pi| (pi.name.to_string(), Rotation::of(&pi.key))).collect();
    let mut cases = Vec::new();
    for (pi, target) in pis.iter().zip(targets) {
        let machine = Machine { name: pi.name.clone(), target, key: pi.key.clone() };
        let mut case = Case::new(Some(pi.id.to_string()), machine);
        if let Err(problem) = is_ours(context, &registry, pi) {
            case.fail(problem);
        }
        cases.push(case);
    }
    if args.dry_run {
        preview(context, &cases, &rotations);
        let rows: Vec<Row> = cases.into_iter().map(|case| case.row).chain(strays).collect();
        return Ok(fleet::conclude(context, &rows, None));
    }
    let mut claims = claims(&mut cases);
    let cancel = Cancel::new();
    let here = Here { ui: context.ui, editor: context.editor(false), rotations: &rotations, cancel: &cancel };
    let resumed: BTreeSet<&String> =
        rotations.iter().filter(|(_, rotation)| rotation.stage() != Stage::Offer).map(|(name, _)| name).collect();
    // Of a swap that was interrupted one half is left.
    here.each(&mut cases, |rotation, _| match rotation.stage() {
        Stage::Swap => Ok(rotation.swap(&context.places)),
        Stage::Offer | Stage::Retire => Ok(Vec::new()),
    });
    let access = fleet::access(context, &registry, &cancel);
    let batch = Batch {
        visitor: Visitor { access: &access, limit: context.setup.timeouts.idle, cancel: &cancel },
        jobs: context.setup.jobs,
        // Only what is pinned is rotated, and a copied card needs its new key most.
        fleet: &[],
        listed: None,
    };
    get_in(context, args, &batch, &mut cases)?;

    // From here on something is written.
    let signal = fleet::listen(context, &cancel)?;
    let kind = args.kind.unwrap_or_else(|| KeyType::of_config(&registry.onboarding().key_type));
    here.each(&mut cases, |rotation, name| match rotation.stage() {
        Stage::Offer => {
            let making = NewKey { kind, comment: format!("pipeline {name}"), passphrase: None };
            Ok(key::ensure(&rotation.new, &making, &context.places)?)
        }
        Stage::Swap | Stage::Retire => Ok(Vec::new()),
    });
    for case in cases.iter().filter(|case| case.is_open()) {
        // Nobody else can have it: he would have been kept from the old one.
        claims.entry(case.name().to_owned()).or_default().extend(&rotations[case.name()].new);
    }
    batch.each(&mut cases, |case| {
        context.ui.step(&format!("{}: have the new key let in, and try it", case.name()));
        offer(&batch, case, &rotations[case.name()])
    });
    here.each(&mut cases, |rotation, _| Ok(rotation.swap(&context.places)));
    let connector = fleet::connector(context, &cancel)?;
    batch.each(&mut cases, |case| batch.test(case, &connector, None));
    batch.each(&mut cases, |case| {
        context.ui.step(&format!("{}: shut the old key out", case.name()));
        retire(&batch, case, &rotations[case.name()])
    });
    let stamp = rotation::stamp();
    let asides: BTreeMap<&String, PathBuf> =
        rotations.iter().map(|(name, rotation)| (name, rotation.aside(&stamp))).collect();
    here.each(&mut cases, |rotation, _| {
        Ok(rotation::set_aside(&rotation.old, &rotation.aside(&stamp), &context.places))
    });

    let rows: Vec<Row> = cases.into_iter().map(|case| case.row).chain(strays).collect();
    for row in rows.iter().filter(|row| row.problem.is_none()) {
        let rotation = &rotations[row.host.as_str()];
        let fingerprint = key::load(&rotation.key).ok().flatten().map(|key| key.fingerprint()).unwrap_or_default();
        let old = context.places.show(&asides[&row.host]);
        let finished = if resumed.contains(&row.host) { "an interrupted rotation was finished: " } else { "" };
        context.ui.streams.say(&format!("{}: {finished}new key {fingerprint}; the old one lies at {old}", row.host));
    }
    Ok(fleet::conclude(context, &rows, Some(&signal)))
}

/// Keeps other keytools from the keys until the end. Keeps those out that another one has.
pub(super) fn claims(cases: &mut [Case]) -> BTreeMap<String, Claim> {
    let mut claims = BTreeMap::new();
    let mut ours = BTreeSet::new();
    for case in cases.iter_mut().filter(|case| case.is_open()) {
        // One that two of these machines share is not kept from ourselves.
        if !case.machine.key.canonicalize().is_ok_and(|key| ours.insert(key)) {
            continue;
        }
        match Claim::take(&case.machine.key) {
            Some(claim) => {
                claims.insert(case.name().to_owned(), claim);
            }
            None => case.fail(Problem::of(&OnboardError::Claimed(case.machine.key.clone()))),
        }
    }
    claims
}

/// By alias.
type Rotations = BTreeMap<String, Rotation>;

/// Changes to files of this machine, for one Pi after the other: all of them need the lock.
struct Here<'a> {
    ui: &'a Ui,
    editor: Editor,
    rotations: &'a Rotations,
    cancel: &'a Cancel,
}

impl Here<'_> {
    /// Makes what `decide` says for every Pi that nothing keeps out. A failure keeps it out.
    fn each(&self, cases: &mut [Case], decide: impl Fn(&Rotation, &str) -> Result<Vec<Change>, LocalError>) {
        for case in cases.iter_mut().filter(|case| case.is_open()) {
            let rotation = &self.rotations[case.name()];
            if self.cancel.is_set() {
                case.fail(Problem::of(&SshError::Stopped));
                continue;
            }
            match self.editor.perform(|| decide(rotation, case.name())) {
                Ok(done) => done.iter().for_each(|words| self.ui.step(words)),
                Err(error) => case.fail(Problem::of(&error)),
            }
        }
    }
}

/// Logs in to all of them, with a login that may change `authorized_keys`.
fn get_in(context: &Context, args: &RotateArgs, batch: &Batch<'_>, cases: &mut [Case]) -> Result<(), Failure> {
    for case in cases.iter_mut().filter(|case| case.is_open()) {
        if let Err(problem) = has_key(case) {
            case.fail(problem);
        }
    }
    batch.look(cases);
    batch.each(cases, |case| match case.verdict {
        Some(Verdict::Pinned(_)) => Ok(()),
        _ => Err(OnboardError::NotPinned(case.name().to_owned())),
    });
    let asker = Asker::new(context.ui, &args.entrance, false, "nothing");
    batch.enter(cases, &asker, |case| !case.may_run_commands())
}

/// A key that serves elsewhere, or may, must not change under whoever uses it there.
fn is_ours(context: &Context, registry: &Registry, pi: &Pi) -> Result<(), Problem> {
    let (key, own) = (pi.key.clone(), context.places.key(pi.name.as_str()));
    if pi.entry.names_own_key() && key != own {
        return Err(Problem::of(&OnboardError::ChosenByHand { key, own }));
    }
    match registry.shares_key(pi).map_err(|error| Problem::of(&error))? {
        Some(with) => Err(Problem::of(&OnboardError::Shared { key, with })),
        None => Ok(()),
    }
}

fn has_key(case: &Case) -> Result<(), Problem> {
    match key::load(&case.machine.key) {
        Ok(Some(key)) if key.encrypted => Err(Problem::of(&OnboardError::Encrypted(key.path))),
        Ok(Some(key)) if !key.is_private() => Err(Problem::of(&KeyError::Open { path: key.path })),
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Problem::of(&OnboardError::NoKey(case.machine.key.clone()))),
        Err(error) => Err(Problem::of(&error)),
    }
}

/// Has the new key let in, with what the old one may do, and tries it. After a failure the old one is let in as before.
fn offer(batch: &Batch<'_>, case: &mut Case, rotation: &Rotation) -> Result<(), OnboardError> {
    let new = match rotation.stage() {
        Stage::Offer => {
            let (old, new) = (own_entry(&rotation.key)?, own_entry(&rotation.new)?);
            authorized_keys::edit(case.shell()?, |keys| {
                let options = keys.entry(&old.key).map(|entry| entry.options).unwrap_or_default();
                keys.ensure(&Entry { options, ..new.clone() })
            })?;
            case.row.installed = Step::Done;
            &rotation.new
        }
        // Whoever put it in its place has tried it; that may be long ago.
        Stage::Swap | Stage::Retire => &rotation.key,
    };
    let verdict = case.verdict.as_ref().ok_or_else(|| OnboardError::NotPinned(case.name().to_owned()))?;
    batch.visitor.try_key(&case.machine, verdict, &Entrance::Key(new.clone()))
}

/// Shuts the old key out, which must not be the one in use, and tries it: another file than the one we know may let it in. After a
/// failure the new one is let in, and the next rotation shuts the old one out.
fn retire(batch: &Batch<'_>, case: &Case, rotation: &Rotation) -> Result<(), OnboardError> {
    let Some(old) = rotation.retired()? else { return Ok(()) };
    let old = Key::parse(&old.to_openssh().unwrap_or_default())
        .map(|(key, _)| key)
        .ok_or_else(|| OnboardError::NoKey(rotation.old.clone()))?;
    if own_entry(&rotation.key)?.key == old {
        return Err(OnboardError::InUse(rotation.old.clone()));
    }
    authorized_keys::edit(case.shell()?, |keys| keys.without(|entry| entry.key == old))?;
    if !rotation.old.exists() {
        return Ok(());
    }
    let verdict = case.verdict.as_ref().ok_or_else(|| OnboardError::NotPinned(case.name().to_owned()))?;
    match batch.visitor.try_key(&case.machine, verdict, &Entrance::Key(rotation.old.clone())) {
        Ok(()) => Err(OnboardError::StillLetIn(rotation.old.clone())),
        Err(OnboardError::Ssh(SshError::Auth { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}

fn preview(context: &Context, cases: &[Case], rotations: &Rotations) {
    let say = |words: &str| context.ui.streams.say(words);
    for name in cases.iter().filter(|case| case.is_open()).map(Case::name) {
        let rotation = &rotations[name];
        let show = |path: &std::path::Path| context.places.show(path);
        if rotation.stage() == Stage::Offer {
            say(&format!("make key {}", show(&rotation.new)));
            say(&format!("append its public half to authorized_keys on {name}, and try it"));
            say(&format!("put {} in the place of {}", show(&rotation.new), show(&rotation.key)));
        }
        say(&format!("remove the old key from authorized_keys on {name}, and set it aside here"));
    }
    context.ui.nothing_was_changed();
}
