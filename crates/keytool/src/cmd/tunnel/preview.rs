//! What `--install` and `--install-jump` would change. Changes nothing, and sends no secret: what only a login on the Pi could tell is
//! said as what may have to be done.

use program::exit::Exit;
use program::failure::Failure;

use super::super::{failed, fleet};
use super::Job;
use super::install::{jump, of, verdict};
use crate::authorized_keys;
use crate::local;
use crate::onboard::trust::Verdict;
use crate::tunnel::{Admission, Tunnel, admitted};

pub(super) fn run(job: &Job<'_>, tunnel: &Tunnel) -> Result<Exit, Failure> {
    let (context, name) = (job.context, &job.pi.name);
    let mut words = Vec::new();
    if job.args.install {
        let target = job.bench_target()?;
        let shown = job.visits.access().host_keys(&target, &()).map_err(failed)?;
        let verdict = verdict(job, &target, &shown)?;
        if let Verdict::Unknown(key) = &verdict {
            context.ui.streams.say(&format!("{name} shows {key}"));
        }
        if let Verdict::Unknown(_) | Verdict::Listed(_) = verdict {
            let (fleet, places) = (fleet::known_names(&job.registry), &context.places);
            let pin = || local::pin(&target.host, verdict.keys(), &fleet, places);
            words.extend(context.editor(true).perform(pin).map_err(failed)?);
        }
        words.push(format!("make a tunnel key on {name}, as root, unless it has one"));
        let file = job.key_file();
        if !file.exists() {
            words.push(format!("write public key {}", context.places.show(&file)));
        }
    }
    if job.args.install_jump {
        let known = job.known_key()?;
        // A Pi that is set up anew may have another one by then.
        let admission = match (&known, job.args.install) {
            (None, false) => return Err(super::print::no_key(job)),
            (None, true) => Admission::Added,
            (Some(key), _) => {
                job.not_revoked(key)?;
                let (remote, jump) = jump(job)?;
                let keys = authorized_keys::read(&remote).map_err(failed)?;
                admitted(&keys, tunnel, key, job.args.replace).map_err(|error| of(&jump, &error))?
            }
        };
        if admission == Admission::Added {
            let (user, jump) = (tunnel.jump_user(), job.jump_alias()?);
            let port = job.pi.port;
            words.push(format!(
                "let {name} hold port {port}, by a line for its tunnel key in ~{user}/.ssh/authorized_keys on {jump}"
            ));
        }
    }
    if job.args.install {
        words.push(format!("install ssh-tunnel.service on {name} as root, as far as it is not there, and start it"));
    }
    context.ui.preview(&words, true);
    Ok(Exit::Done)
}
