//! `keytool init`: sets up the jump host, once, and writes the configuration file.

use std::path::{Path, PathBuf};

use clap::Args;
use pipeline_core::cancel::Cancel;
use pipeline_core::config::{Config, ConfigError, Onboarding};
use pipeline_core::error::one_line;
use pipeline_core::path::DeviceName;
use pipeline_core::ssh::{HostKey, Target};
use pipeline_core::ssh_config::HostParams;
use program::exit::Exit;
use program::failure::Failure;
use zeroize::Zeroizing;

use super::person::{Asker, EntranceArgs};
use super::{Context, failed, fleet};
use crate::changes::Change;
use crate::key::{KeyType, NewKey};
use crate::known_hosts::Known as Pinned;
use crate::local::{self, LocalError};
use crate::names;
use crate::onboard::batch::{Batch, Case};
use crate::onboard::fingerprints::{Fingerprints, is_fingerprint};
use crate::onboard::row::{Row, Step};
use crate::onboard::trust::Verdict;
use crate::onboard::visit::{Machine, Visitor};
use crate::registry::{Entry as Known, Registry};
use crate::yaml::{self, Wanted};

/// Options of `keytool init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Name or address of the jump host; asked for where it is not known
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Its port; asked for on a terminal [default: 22]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// The login there; asked for where it is not known
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// What the OpenSSH config calls it; asked for on a terminal [default: `jump` of the configuration, else awsbox]
    #[arg(long, value_name = "NAME", value_parser = alias)]
    pub alias: Option<DeviceName>,
    /// The private key for it [default: ~/.ssh/ and the alias]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How to get in.
    #[command(flatten)]
    pub entrance: EntranceArgs,
    /// Trust only the host key with this fingerprint, and ask nobody; may be given more than once
    #[arg(long, value_name = "SHA256:…", value_parser = fingerprint)]
    pub fingerprint: Vec<String>,
    /// Directory on each Pi, for the configuration
    #[arg(long, value_name = "DIR")]
    pub source: Option<String>,
    /// Archive root on this machine, for the configuration
    #[arg(long, value_name = "DIR")]
    pub storage: Option<String>,
    /// The login on the Pis, for the configuration [default: pi]
    #[arg(long, value_name = "NAME")]
    pub pi_user: Option<String>,
    /// What Pis are called, for the configuration [default: raspberry{id}]
    #[arg(long, value_name = "NAME")]
    pub pi_name: Option<String>,
    /// The port on the jump host that the numbers of Pis are added to, for the configuration [default: 5000]
    #[arg(long, value_name = "N")]
    pub base_port: Option<u16>,
    /// Say what would be changed, here and there; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Kind of new keys, this one and those of Pis [default: `key_type` of the configuration, else ed25519]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<KeyType>,
    /// Encrypt the new key with a passphrase, which is asked for. Then only an ssh-agent can use it unattended
    #[arg(long)]
    pub passphrase: bool,
}

/// The jump host as it is to be.
struct Jump {
    alias: DeviceName,
    target: Target,
    key: PathBuf,
    /// Where its entry is; one of the user's own is respected and not touched.
    entry: Known,
}

pub fn run(context: &Context, args: &InitArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let jump = jump(context, args, &registry)?;
    let wanted = wanted(args, registry.onboarding(), &jump);
    refuse(&wanted, context)?;
    let file = context.config_file.clone();
    let config = || yaml::ensure(&file, &wanted, &context.surroundings, &context.places);
    let making = |passphrase| NewKey {
        kind: args.kind.unwrap_or_else(|| KeyType::of_config(&registry.onboarding().key_type)),
        comment: format!("pipeline {}", jump.alias),
        passphrase,
    };
    // A tunnel's end taken for the jump host: every Pi's traffic would go through one of them.
    let pis = fleet::known_pis(&registry);
    // What can't be written is told before anything is asked.
    let unasked = context.editor(true);
    unasked.perform(config).map_err(failed)?;
    unasked.perform(|| decide(context, &jump, &making(None), &[], &pis)).map_err(failed)?;

    let cancel = Cancel::new();
    let access = fleet::access(context, &registry, &cancel);
    let listed = (!args.fingerprint.is_empty()).then(|| Fingerprints::of_one(jump.alias.as_str(), &args.fingerprint));
    let batch = Batch {
        visitor: Visitor { access: &access, limit: context.setup.timeouts.idle, cancel: &cancel },
        jobs: 1,
        fleet: &pis,
        listed: listed.as_ref(),
    };
    let machine = Machine { name: jump.alias.clone(), target: jump.target.clone(), key: jump.key.clone() };
    let mut cases = [Case::new(None, machine)];
    batch.look(&mut cases);
    let making = making(passphrase(context, args)?);
    let decide = |keys: Vec<HostKey>| {
        let (jump, making, pis) = (&jump, &making, &pis);
        move || decide(context, jump, making, &keys, pis)
    };
    let editor = context.editor(args.dry_run);
    let say = |words: &str| context.ui.streams.say(words);
    let known = |case: &Case| (jump.key.exists(), matches!(case.verdict, Some(Verdict::Pinned(_))));
    if args.dry_run {
        return preview(context, &cases, &jump, decide(Vec::new()), config);
    }
    let asker = Asker::new(context.ui, &args.entrance, true, "--fingerprint SHA256:…");
    // Nobody has vouched for the machine yet: it gets no password before.
    batch.confirm(&mut cases, &asker)?;
    fleet::tell_locked(context, &cases, |case| !case.has_own_login());
    batch.enter(&mut cases, &asker, |case| !case.has_own_login())?;
    // From here on something is written.
    let signal = fleet::listen(context, &cancel)?;
    let [case] = &mut cases;
    if case.is_open() {
        let (has_key, is_pinned) = known(case);
        (case.row.key, case.row.host_key) = (Step::made(has_key), Step::made(is_pinned));
        case.row.config = Step::made(jump.entry != Known::None);
        editor.perform(decide(case.accepted().to_vec())).map_err(failed)?.iter().for_each(|words| say(words));
        batch.each(&mut cases, |case| batch.install(case, None));
        let connector = fleet::connector(context, &cancel)?;
        batch.each(&mut cases, |case| batch.test(case, &connector, None));
    }
    let rows: Vec<Row> = cases.into_iter().map(|case| case.row).collect();
    if rows.iter().all(|row| row.problem.is_none()) {
        editor.perform(config).map_err(failed)?.iter().for_each(|words| say(words));
    }
    show(context, &rows, &jump);
    Ok(fleet::conclude(context, &rows, Some(&signal)))
}

/// What is known of the jump host, what was given, and what has to be asked.
fn jump(context: &Context, args: &InitArgs, registry: &Registry) -> Result<Jump, Failure> {
    let name = &registry.onboarding().jump;
    let pi_name = args.pi_name.as_ref().unwrap_or(&registry.onboarding().name);
    let decided = registry.entry(name) != Known::None;
    let alias = match &args.alias {
        Some(alias) => alias.clone(),
        None if !decided && context.ui.asks() => {
            let read = |text: &str| {
                names::alias(text, pi_name).map_err(|error| error.to_string())?;
                alias(text)
            };
            context.ui.ask_for("What the OpenSSH config is to call the jump host", name, "--alias", read)?
        }
        None => DeviceName::new(name.clone()).map_err(|_| Failure {
            exit: Exit::Config,
            what: format!("'{name}' can't be the alias of a host"),
            hint: Some("set jump under onboarding in the configuration, or give --alias".into()),
        })?,
    };
    names::alias(alias.as_str(), pi_name).map_err(failed)?;
    let may_lie_at = |key: &Path, host: &HostParams| {
        let others = [&host.user_known_hosts_files[..], std::slice::from_ref(&context.config_file)].concat();
        names::key(key, pi_name, &others, &context.places).map_err(failed)
    };
    let entry = registry.entry(alias.as_str());
    let mut via = registry.ssh_config().route(alias.as_str()).map_err(failed)?;
    let Some(mut host) = via.pop() else { return Err(nowhere(&alias)) };
    if let Known::HandWritten { file, line, .. } = &entry {
        let place = format!("{}:{line}", context.places.show(file));
        context.ui.streams.say(&format!("{alias} has an entry of your own in {place}, which stays as it is"));
        let given = [args.host.is_some(), args.port.is_some(), args.user.is_some(), args.key.is_some()];
        if given.contains(&true) {
            return Err(Failure {
                exit: Exit::Usage,
                what: format!(
                    "--host, --port, --user and --key do not go together with the entry of {alias} in {place}"
                ),
                hint: Some("change that entry by hand, or choose another name with --alias".into()),
            });
        }
        if host.default_identities {
            return Err(Failure {
                exit: Exit::Config,
                what: format!("the entry of {alias} in {place} names no key"),
                hint: Some(format!(
                    "add 'IdentityFile {}' to it",
                    context.places.show(&context.places.key(alias.as_str()))
                )),
            });
        }
    } else {
        let is_new = entry == Known::None;
        let own_key = || match is_new {
            true => None,
            false => host.identity_files.first().filter(|_| !host.default_identities).cloned(),
        };
        let key = args.key.clone().or_else(own_key).unwrap_or_else(|| context.places.key(alias.as_str()));
        let key = std::path::absolute(&key).unwrap_or(key);
        may_lie_at(&key, &host)?;
        let ask = |question: &str, known: &str, option: &str| match is_new {
            true => context.ui.ask(question, (!known.is_empty()).then_some(known), option),
            false => Ok(known.to_owned()),
        };
        host.hostname = match &args.host {
            Some(hostname) => hostname.clone(),
            None => ask("Name or address of the jump host", if is_new { "" } else { &host.hostname }, "--host")?,
        };
        host.port = match args.port {
            Some(port) => port,
            None if is_new && context.ui.asks() => {
                context.ui.ask_for("Its port", &host.port.to_string(), "--port", port)?
            }
            None => host.port,
        };
        host.user = match &args.user {
            Some(user) => user.clone(),
            None => ask("The login there", &host.user, "--user")?,
        };
        host.identity_files = vec![key];
        (host.default_identities, host.identities_only) = (false, true);
    }
    let key = host.identity_files.first().cloned().ok_or_else(|| nowhere(&alias))?;
    may_lie_at(&key, &host)?;
    Ok(Jump { alias, target: Target { host, via }, key, entry })
}

fn nowhere(alias: &DeviceName) -> Failure {
    Failure { exit: Exit::Config, what: format!("the OpenSSH config leads nowhere for {alias}"), hint: None }
}

/// What the configuration file is to say.
fn wanted(args: &InitArgs, onboarding: &Onboarding, jump: &Jump) -> Wanted {
    let onboarding = Onboarding {
        jump: jump.alias.to_string(),
        name: args.pi_name.clone().unwrap_or_else(|| onboarding.name.clone()),
        user: args.pi_user.clone().unwrap_or_else(|| onboarding.user.clone()),
        base_port: args.base_port.unwrap_or(onboarding.base_port),
        key_type: args.kind.map_or_else(|| onboarding.key_type.clone(), |kind| kind.name().to_owned()),
    };
    Wanted { onboarding, source: args.source.clone(), storage: args.storage.clone() }
}

/// A value that was given and can't be is told by the option that gave it: there need not be a file yet.
fn refuse(wanted: &Wanted, context: &Context) -> Result<(), Failure> {
    let Err(ConfigError::Value { key, problem, allowed, .. }) = yaml::judge(wanted, &context.surroundings) else {
        return Ok(());
    };
    let option = match key.as_str() {
        "onboarding.name" => "--pi-name",
        "onboarding.user" => "--pi-user",
        "onboarding.base_port" => "--base-port",
        "source" => "--source",
        "storage" => "--storage",
        // Whatever else there is comes from the file, which is read later.
        _ => return Ok(()),
    };
    Err(Failure { exit: Exit::Usage, what: format!("{option}: {problem}"), hint: Some(allowed) })
}

fn passphrase(context: &Context, args: &InitArgs) -> Result<Option<Zeroizing<String>>, Failure> {
    match args.passphrase && !args.dry_run {
        true => context.ui.new_secret("Passphrase of the new key", "no --passphrase").map(Some),
        false => Ok(None),
    }
}

/// Key, pinned host key and entry of the jump host.
fn decide(
    context: &Context,
    jump: &Jump,
    making: &NewKey,
    keys: &[HostKey],
    pis: &[Pinned],
) -> Result<Vec<Change>, LocalError> {
    let host = &jump.target.host;
    let wanted = local::Jump {
        alias: jump.alias.clone(),
        hostname: host.hostname.clone(),
        port: host.port,
        user: host.user.clone(),
        key: jump.key.clone(),
    };
    let mut changes = local::pin(host, keys, pis, &context.places)?;
    // The directories are in both.
    let entry = local::jump(&wanted, &jump.entry, making, &context.places)?;
    changes.extend(entry.into_iter().filter(|change| !change.is_dir()));
    Ok(changes)
}

/// Tells everything that would be changed, and changes nothing.
fn preview(
    context: &Context,
    cases: &[Case],
    jump: &Jump,
    local: impl Fn() -> Result<Vec<Change>, LocalError>,
    config: impl Fn() -> Result<Vec<Change>, yaml::YamlError>,
) -> Result<Exit, Failure> {
    let editor = context.editor(true);
    let mut words = editor.perform(local).map_err(failed)?;
    words.extend(editor.perform(config).map_err(failed)?);
    for case in cases.iter().filter(|case| case.is_open()) {
        if let Some(verdict @ (Verdict::Unknown(_) | Verdict::Listed(_))) = &case.verdict {
            words.extend(verdict.keys().iter().map(|key| format!("pin {key}, which {} shows", jump.alias)));
        }
        if !case.has_own_login() {
            let user = &jump.target.host.user;
            words.push(format!("append the public key to ~{user}/.ssh/authorized_keys on {}", jump.alias));
        }
    }
    let rows: Vec<Row> = cases.iter().map(|case| case.row.clone()).collect();
    context.ui.preview(&words, rows.iter().all(|row| row.problem.is_none()));
    Ok(fleet::conclude(context, &rows, None))
}

fn show(context: &Context, rows: &[Row], jump: &Jump) {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| [std::slice::from_ref(&row.host), &row.steps()].concat()).collect();
    context.ui.table(&[&["host"], &Row::STEPS[..]].concat(), &cells);
    for row in rows {
        row.notes.iter().for_each(|note| context.ui.streams.say(&format!("{}: {note}", row.host)));
    }
    if rows.iter().all(|row| row.problem.is_none()) {
        let next = "'keytool tunnel 31' gives the first Pi its tunnel, 'keytool add-pi 31' takes it in";
        // Nothing behind it is reached with a key that nobody unlocks.
        context.ui.streams.say(&match rows.iter().all(|row| row.login == Step::Done) {
            true => format!("{} is ready: {next}", jump.alias),
            false => format!(
                "{} is set up, and can be used once an ssh-agent holds its key: 'ssh-add {}'; then {next}",
                jump.alias,
                context.places.show(&jump.key)
            ),
        });
        if let Err(error) = Config::load(&context.config_file, &context.surroundings) {
            context.ui.streams.say(&format!("for 'pipeline sync' there is more to write: {}", one_line(&error)));
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("'{text}' is not a port: ports are numbers from 1 to {}", u16::MAX))
}

fn alias(text: &str) -> Result<DeviceName, String> {
    DeviceName::new(text.to_owned()).map_err(|error| error.to_string())
}

pub fn fingerprint(text: &str) -> Result<String, String> {
    is_fingerprint(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "give a fingerprint like SHA256:…, 43 characters".into())
}
