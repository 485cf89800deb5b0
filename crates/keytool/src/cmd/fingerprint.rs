//! `keytool fingerprint`: what to compare, in OpenSSH's form.

use clap::Args;
use pipeline_core::cancel::Cancel;
use pipeline_core::error::Class;
use pipeline_core::path::DeviceName;
use program::exit::Exit;
use program::failure::Failure;
use ssh_key::PublicKey;

use super::fleet::{self, Named};
use super::{Context, typed_ids};
use crate::key;
use crate::known_hosts;
use crate::onboard::row::{Problem, Row};
use crate::registry::{Pi, Registry};

/// Options of `keytool fingerprint`.
#[derive(Debug, Args)]
pub struct FingerprintArgs {
    /// Numbers of Pis: 31, 1-50 or 31,34
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// Say what this machine knows; do not ask the Pis
    #[arg(long)]
    pub offline: bool,
    /// Draw the pictures that `ssh-keygen -lv` draws
    #[arg(long)]
    pub randomart: bool,
}

pub fn run(context: &Context, args: &FingerprintArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let mut named = Named::of(&registry, &typed_ids(&args.ids)?, Registry::known)?;
    let targets = named.targets(&registry)?;
    let Named { pis, strays } = named;
    let cancel = Cancel::new();
    let signal = fleet::listen(context, &cancel)?;
    let access = fleet::access(context, &registry, &cancel);
    let mut asked: Vec<_> =
        pis.iter().zip(targets).map(|(pi, target)| (target, None, Row::new(None, pi.name.as_str()))).collect();
    if !args.offline {
        fleet::each(&mut asked, context.setup.jobs, |(target, shown, row)| match access.host_keys(target, &()) {
            Ok(keys) => *shown = Some(keys),
            Err(error) => row.problem = Some(Problem::of(&error)),
        });
    }
    let mut rows = Vec::new();
    for (pi, (target, shown, mut row)) in pis.iter().zip(asked) {
        own_key(context, args, pi, &mut row);
        let pinned = match known_hosts::pinned(&target.host) {
            Ok(pinned) => pinned,
            Err(error) => {
                row.problem = Some(Problem::of(&error));
                rows.push(row);
                continue;
            }
        };
        for key in &pinned {
            let word = match &shown {
                Some(shown) if shown.contains(key) => "pinned, and shown now",
                _ => "pinned",
            };
            say(context, args, &pi.name, "host", word, &key.openssh());
        }
        if pinned.is_empty() {
            context.ui.answer(&format!("{} host none: no host key is pinned", pi.name));
        }
        for key in shown.iter().flatten().filter(|key| !pinned.contains(key)) {
            say(context, args, &pi.name, "host", "shown now, not pinned", &key.openssh());
        }
        // One kind may be pinned and another not; none in common is another machine, or one that was set up anew.
        let differs = shown.is_some_and(|shown| !pinned.is_empty() && !shown.iter().any(|key| pinned.contains(key)));
        if differs {
            // What remove-pi leaves would keep it out all the same.
            let staying = known_hosts::staying(&target.host).unwrap_or_default();
            let places: Vec<String> =
                staying.iter().map(|place| format!("{}:{}", context.places.show(&place.file), place.line)).collect();
            let by_hand = match places.is_empty() {
                true => String::new(),
                false => format!("take its name out of {} by hand, and ", places.join(" and ")),
            };
            row.problem = Some(Problem {
                class: Class::HostKey,
                what: format!("{} shows none of the host keys that are pinned for it", pi.name),
                hint: Some(format!(
                    "either it was set up anew or another machine answers in its place; once you know, {by_hand}'keytool remove-pi {0}' \
                     and 'keytool add-pi {0}' take it in again",
                    pi.id
                )),
            });
        }
        rows.push(row);
    }
    rows.extend(strays);
    Ok(fleet::conclude(context, &rows, Some(&signal)))
}

fn own_key(context: &Context, args: &FingerprintArgs, pi: &Pi, row: &mut Row) {
    match key::load(&pi.key) {
        Ok(Some(key)) => say(context, args, &pi.name, "key", "", &key.line()),
        Ok(None) => {
            context.ui.answer(&format!("{} key none: {} is not there", pi.name, context.places.show(&pi.key)));
        }
        Err(error) => row.problem = Some(Problem::of(&error)),
    }
}

/// One line in OpenSSH's form, and the picture.
fn say(context: &Context, args: &FingerprintArgs, name: &DeviceName, what: &str, remark: &str, line: &str) {
    let Ok(public) = PublicKey::from_openssh(line) else { return };
    let remark = if remark.is_empty() { String::new() } else { format!(", {remark}") };
    let (fingerprint, kind) = (key::fingerprint(&public), key::kind(&public));
    context.ui.answer(&format!("{name} {what} {fingerprint} ({kind}{remark})"));
    if args.randomart {
        context.ui.answer(&key::randomart(&public));
    }
}
