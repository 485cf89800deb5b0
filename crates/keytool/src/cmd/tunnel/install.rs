//! The texts to where they belong: the key is made on the Pi, then let in by the jump host, then used.

use std::io::ErrorKind;

use pipeline_core::ssh::host_key::lookup_name;
use pipeline_core::ssh::{Credentials, HostKey, SshError, Target, Trust};
use program::exit::Exit;
use program::failure::Failure;
use program::streams::Mark;
use program::words::printable;
use zeroize::Zeroizing;

use super::super::person::Asker;
use super::super::{failed, fleet};
use super::{Job, REVOKED, print, set_aside};
use crate::authorized_keys::{self, Key};
use crate::changes::{Change, ChangeError, Original};
use crate::key;
use crate::local;
use crate::onboard::batch::{Person as _, Question};
use crate::onboard::error::OnboardError;
use crate::onboard::fingerprints::Fingerprints;
use crate::onboard::trust::{Verdict, judge};
use crate::onboard::visit::Entrance;
use crate::registry::Entry;
use crate::rotation;
use crate::shell::Remote;
use crate::tunnel::{
    Admission, Dismissal, Holder, InstallError, Report, Service, Step, Tunnel, admit, dismiss, dismissed, on_pi,
};
use crate::visits::with_identity;

pub(super) fn run(job: &Job<'_>, tunnel: &Tunnel) -> Result<Exit, Failure> {
    let (streams, name) = (&job.context.ui.streams, &job.pi.name);
    let good = |text: String| streams.mark(Mark::Good, &text);
    let bench = job.args.install.then(|| Bench::enter(job)).transpose()?;
    let key = match &bench {
        Some(pi) => {
            let made = pi.step(job, tunnel, Step::Key)?;
            let key = made.key.ok_or_else(|| silent(name.as_str()))?;
            job.not_revoked(&key)?;
            keep(job, &key)?;
            good(format!("{name}: has the tunnel key {}", key.fingerprint()));
            key
        }
        None => {
            let key = job.known_key()?.ok_or_else(|| print::no_key(job))?;
            job.not_revoked(&key)?;
            key
        }
    };
    if job.args.install_jump {
        let (remote, jump) = jump(job)?;
        let admitted = admit(&remote, tunnel, &key, job.args.replace).map_err(|error| of(&jump, &error))?;
        if job.args.key.is_some() {
            keep(job, &key)?;
        }
        let port = job.pi.port;
        good(match admitted {
            Admission::Added => format!("{jump}: lets {name} hold port {port}"),
            Admission::WasThere => format!("{jump}: lets {name} hold port {port}, as before"),
        });
    }
    let Some(pi) = bench else { return Ok(Exit::Done) };
    let report = pi.step(job, tunnel, Step::Unit)?;
    let service = report.service.ok_or_else(|| silent(name.as_str()))?;
    tell(job, tunnel, &key, &report, service)
}

/// Takes the Pi's line out at the jump host.
pub(super) fn revoke(job: &Job<'_>) -> Result<Exit, Failure> {
    let (name, streams) = (&job.pi.name, &job.context.ui.streams);
    let key = job.known_key()?;
    let (remote, jump) = jump(job)?;
    let holder = Holder { device: name.as_str(), port: job.pi.port, key, own: own_keys(job, &jump)? };
    let Dismissal { gone, left } = match job.args.dry_run {
        true => dismissed(&authorized_keys::read(&remote).map_err(failed)?, &holder),
        false => dismiss(&remote, &holder).map_err(failed)?,
    };
    let places = &job.context.places;
    let stamp = rotation::stamp();
    let aside = || {
        // One that is still let in there must be findable by the next run.
        let moved = set_aside(places, name.as_str(), REVOKED, &stamp).filter(|_| left.is_empty());
        let dirs = if moved.is_some() { local::directories(places) } else { Vec::new() };
        Ok::<_, ChangeError>(dirs.into_iter().chain(moved).collect())
    };
    let move_aside = || job.context.editor(job.args.dry_run).perform(aside).map_err(failed);
    if gone.is_empty() && left.is_empty() {
        streams.say(&format!("{jump}: has no tunnel key of {name}"));
    }
    if job.args.dry_run {
        let line =
            (!gone.is_empty()).then(|| format!("remove the tunnel key of {name} from authorized_keys on {jump}"));
        let words: Vec<String> = line.into_iter().chain(move_aside()?).collect();
        if !words.is_empty() {
            job.context.ui.preview(&words, true);
        }
    } else {
        if !gone.is_empty() {
            streams.mark(Mark::Good, &format!("{jump}: lets the tunnel key of {name} in no longer"));
            streams.say("a tunnel that is up goes on until its connection ends: end its sshd there if it must not");
        }
        move_aside()?.iter().for_each(|words| streams.say(words));
    }
    for entry in &left {
        let (key, comment) = (entry.key.fingerprint(), printable(&entry.comment));
        streams.mark(Mark::Bad, &format!("{jump}: still lets {key} in ('{comment}'), which may be {name}'s tunnel"));
        streams.advise(Mark::Bad, "that line serves somebody else as well, and was left: look at it there");
    }
    if holder.key.is_none() {
        let words = format!("the tunnel key of {name} is not known here: only its name and its port were looked for");
        let hint = Some("--key FILE.pub looks for the key itself, whatever its line says".into());
        streams.warning(&Failure { exit: Exit::Done, what: words, hint });
    }
    Ok(if left.is_empty() { Exit::Done } else { Exit::Partial })
}

/// What may have let us in at the jump host just now: without it nobody could undo a mistake.
fn own_keys(job: &Job<'_>, jump: &str) -> Result<Vec<Key>, Failure> {
    let host = job.registry.ssh_config().resolve(jump).map_err(failed)?;
    // One that can't be read has let nobody in.
    let pairs = host.identity_files.iter().filter_map(|file| key::load(file).ok().flatten());
    Ok(pairs.filter_map(|pair| Key::parse(&pair.line())).map(|(key, _)| key).collect())
}

fn tell(job: &Job<'_>, tunnel: &Tunnel, key: &Key, report: &Report, service: Service) -> Result<Exit, Failure> {
    let (streams, name, id) = (&job.context.ui.streams, &job.pi.name, job.pi.id);
    let user = tunnel.jump_user();
    let refused = match &report.login {
        Some(Err(why)) => Some(why),
        _ => None,
    };
    if let Some(why) = refused {
        streams.mark(Mark::Bad, &format!("{name}: the jump host does not let its tunnel key in: {why}"));
        streams.advise(
            Mark::Bad,
            &format!("'keytool tunnel {id} --install-jump' lets it in; or append this line to ~{user}/.ssh/authorized_keys there"),
        );
        let line = tunnel.authorization(key.clone()).map_err(failed)?;
        streams.out.output.line(&line.to_string());
    }
    match service {
        Service::Enabled | Service::Started | Service::Restarted => {
            streams.mark(Mark::Good, &format!("{name}: ssh-tunnel.service is installed, and tries until it is let in"));
            if refused.is_none() {
                streams.say(&format!("next: keytool add-pi {id}"));
            }
        }
        Service::Kept => {
            streams.mark(Mark::Bad, &format!("{name}: the tunnel that runs there was left as it is"));
            streams.advise(Mark::Bad, "it may be the only way to the Pi; run this again once the new key is let in");
        }
    }
    Ok(if refused.is_some() { Exit::Partial } else { Exit::Done })
}

type Secret = Zeroizing<String>;

/// A Pi on the network that it is on now.
struct Bench {
    remote: Remote,
    user: String,
    password: Option<Secret>,
}

impl Bench {
    /// Makes sure that it is the right box, and logs in. Its host key is pinned from then on.
    fn enter(job: &Job<'_>) -> Result<Bench, Failure> {
        let name = job.pi.name.to_string();
        let target = job.bench_target()?;
        let shown = job.visits.access().host_keys(&target, &()).map_err(failed)?;
        let keys = accepted(job, &target, &shown)?;
        // What can't be pinned is told before anything secret is sent.
        pin(job, &target, &keys, true)?;
        let user = target.host.user.clone();
        let given = &job.args.entrance;
        let by_asking = || job.enter(&target, &keys, job.asker().entrance(&user, &[&name])?);
        let (remote, password) = match given.password_stdin || given.identity.is_some() {
            true => by_asking()?,
            // Whatever key it lets in; a fresh card knows none.
            false => match job.log_in(&target, &keys, &Credentials::Config) {
                Ok(remote) => (remote, None),
                Err(SshError::Auth { .. }) => by_asking()?,
                Err(error) => return Err(failed(error)),
            },
        };
        pin(job, &target, &keys, false)?;
        Ok(Bench { remote, user, password })
    }

    fn step(&self, job: &Job<'_>, tunnel: &Tunnel, step: Step) -> Result<Report, Failure> {
        let name = job.pi.name.as_str();
        let run = |password| on_pi(&self.remote, tunnel, step, job.args.replace, password);
        let ran = match run(self.password.as_ref()) {
            Err(InstallError::SudoPassword) if job.context.ui.asks() => {
                let question = format!("Password of {} on {name}, for sudo", self.user);
                run(Some(&job.context.ui.secret(&question, "--password-stdin")?))
            }
            ran => ran,
        };
        ran.map_err(|error| of(name, &error))
    }
}

impl Job<'_> {
    /// The Pi as `--via` reaches it, with the name that its host key is pinned by.
    pub(super) fn bench_target(&self) -> Result<Target, Failure> {
        let missing = || Failure { exit: Exit::Usage, what: "--install needs --via".into(), hint: None };
        let via = self.args.via.as_ref().ok_or_else(missing)?;
        let mut target = self.visits.access().target(&via.host).map_err(failed)?;
        let has_entry = self.registry.entry(&via.host) != Entry::None;
        let host = &mut target.host;
        match &via.user {
            Some(user) => host.user.clone_from(user),
            None if has_entry => {}
            None => host.user.clone_from(&self.registry.onboarding().user),
        }
        host.port = via.port.unwrap_or(host.port);
        host.alias = self.pi.name.to_string();
        // What known_hosts calls the Pi behind its tunnel, and where.
        let pi = self.registry.host(&self.pi).map_err(failed)?;
        host.host_key_alias = Some(lookup_name(&pi));
        host.user_known_hosts_files = pi.user_known_hosts_files;
        host.global_known_hosts_files = pi.global_known_hosts_files;
        Ok(target)
    }

    fn log_in(&self, target: &Target, keys: &[HostKey], credentials: &Credentials) -> Result<Remote, SshError> {
        let connection = self.visits.access().log_in(target, Trust::Exactly(keys), credentials, &())?;
        Ok(self.visits.remote(connection))
    }

    /// Logs in as somebody said; the password besides, where there is one, for `sudo`.
    fn enter(
        &self,
        target: &Target,
        keys: &[HostKey],
        entrance: Entrance,
    ) -> Result<(Remote, Option<Secret>), Failure> {
        match entrance {
            Entrance::Key(identity) => {
                let target = with_identity(target, &identity);
                Ok((self.log_in(&target, keys, &Credentials::Config).map_err(failed)?, None))
            }
            Entrance::Password(credentials) => {
                let remote = self.log_in(target, keys, &credentials).map_err(failed)?;
                let Credentials::Password(password) = credentials else { return Ok((remote, None)) };
                Ok((remote, Some(password)))
            }
        }
    }

    fn asker(&self) -> Asker<'_> {
        Asker::new(self.context.ui, &self.args.entrance, true, "--fingerprint SHA256:…")
    }
}

/// What is to be made of the host keys that it shows.
pub(super) fn verdict(job: &Job<'_>, target: &Target, shown: &[HostKey]) -> Result<Verdict, Failure> {
    let given = &job.args.fingerprint;
    let listed = (!given.is_empty()).then(|| Fingerprints::of_one(job.pi.name.as_str(), given));
    judge(&target.host, shown, &fleet::known_names(&job.registry), listed.as_ref()).map_err(failed)
}

/// The host keys that the Pi may have: those that are pinned, given, or confirmed by whoever sits beside it.
fn accepted(job: &Job<'_>, target: &Target, shown: &[HostKey]) -> Result<Vec<HostKey>, Failure> {
    let name = job.pi.name.as_str();
    let verdict = verdict(job, target, shown)?;
    let keys = verdict.keys().to_vec();
    if let Verdict::Unknown(_) = verdict {
        let question = Question { host: name, keys: &keys, listed: false, facts: None, doubts: &[] };
        if !job.asker().confirms(&question)? {
            return Err(Failure { what: format!("{name}: not confirmed"), ..failed(OnboardError::Declined) });
        }
    }
    Ok(keys)
}

/// Whoever was beside the Pi has vouched for its key: nobody need ask again when it is behind its tunnel.
fn pin(job: &Job<'_>, target: &Target, keys: &[HostKey], dry_run: bool) -> Result<(), Failure> {
    let (fleet, places) = (fleet::known_names(&job.registry), &job.context.places);
    let editor = job.context.editor(dry_run);
    let done = editor.perform(|| local::pin(&target.host, keys, &fleet, places)).map_err(failed)?;
    done.iter().filter(|_| !dry_run).for_each(|words| job.context.ui.streams.say(words));
    Ok(())
}

/// Keeps the public half here, for the jump host's line.
fn keep(job: &Job<'_>, key: &Key) -> Result<(), Failure> {
    let (file, places) = (job.key_file(), &job.context.places);
    let content = format!("{key} tunnel of {}\n", job.pi.name);
    let decide = || {
        let mut changes = local::directories(places);
        let words = format!("write public key {}", places.show(&file));
        changes.extend(Change::replace(Original::read(&file)?, 0o644, content.clone().into_bytes(), words));
        Ok::<_, ChangeError>(changes)
    };
    job.context.editor(false).perform(decide).map_err(failed)?.iter().for_each(|words| job.context.ui.step(words));
    Ok(())
}

/// A login to the account on the jump host that holds the tunnels, and the jump host's alias.
pub(super) fn jump(job: &Job<'_>) -> Result<(Remote, String), Failure> {
    let alias = job.jump_alias()?.to_owned();
    let mut target = job.visits.access().target(&alias).map_err(failed)?;
    target.host.user = job.jump_user(&target.host.user);
    Ok((job.visits.log_in(&target).map_err(failed)?, alias))
}

pub(super) fn of(host: &str, error: &InstallError) -> Failure {
    let failure = Failure::of(error);
    Failure { what: format!("{host}: {}", failure.what), ..failure }
}

fn silent(name: &str) -> Failure {
    let cause = std::io::Error::from(ErrorKind::InvalidData);
    let failure =
        Failure::because(Exit::Unexpected, &format!("{name}: the script on the Pi did not say what it did"), &cause);
    Failure { hint: Some("see whether the login's shell prints something of its own".into()), ..failure }
}
