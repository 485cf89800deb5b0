//! The texts, for somebody who puts them there by hand.

use program::exit::Exit;
use program::failure::Failure;

use super::super::failed;
use super::{Job, Text};
use crate::tunnel::{Tunnel, authorization_form, sshd_snippet};

pub(super) fn run(job: &Job<'_>, tunnel: &Tunnel) -> Result<Exit, Failure> {
    let say = |text: &str| job.context.ui.streams.out.output.line(text.trim_end());
    let key = job.known_key()?;
    let jump_line = match &key {
        Some(key) => tunnel.authorization(key.clone()).map_err(failed)?.to_string(),
        None => authorization_form(job.pi.name.as_str(), job.pi.port),
    };
    // An account that holds tunnels and nothing else can be shut up altogether.
    let account = job.args.jump_user.as_deref();
    let snippet = sshd_snippet(account).map_err(failed)?;
    match job.args.only {
        Some(Text::Pi) => say(&tunnel.script(job.args.replace)),
        Some(Text::Unit) => say(&tunnel.unit()),
        Some(Text::Jump) if key.is_none() => return Err(no_key(job)),
        Some(Text::Jump) => say(&jump_line),
        Some(Text::Sshd) => say(&snippet),
        None => {
            let (name, id) = (&job.pi.name, job.pi.id);
            let user = tunnel.jump_user();
            say(&format!("### On {name}: run this as root (alone: keytool tunnel {id} --only pi)\n"));
            say(&tunnel.script(job.args.replace));
            say(&format!("\n### On the jump host: a line for ~{user}/.ssh/authorized_keys\n"));
            say(&jump_line);
            say("\n### On the jump host, once\n");
            say(&snippet);
        }
    }
    Ok(Exit::Done)
}

/// What is missing for the jump host's line.
pub(super) fn no_key(job: &Job<'_>) -> Failure {
    let (name, id) = (&job.pi.name, job.pi.id);
    Failure {
        exit: Exit::Config,
        what: format!("the tunnel key of {name} is not known here"),
        hint: Some(format!(
            "'keytool tunnel {id} --install --via pi@…' makes it on the Pi; where its script was run by hand, save the line that it \
             printed and give --key FILE.pub"
        )),
    }
}
