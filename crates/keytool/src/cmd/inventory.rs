//! `keytool inventory`: the Pis for Ansible.
//!
//! Ansible runs an inventory program with `--list`, or with `--host NAME`, and reads JSON. It logs in by `ssh NAME`, so that the
//! entries of the OpenSSH config hold for it too, and there is little to say of each host.

use clap::Args;
use program::exit::Exit;
use program::failure::Failure;
use serde_json::{Map, Value, json};

use super::{Context, failed};
use crate::registry::{Entry, Pi, Registry, RegistryError};

/// Options of `keytool inventory`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ansible wants a program: put '#!/bin/sh' and 'exec keytool inventory \"$@\"' into an executable file \
                        and give it to 'ansible -i'."
)]
pub struct InventoryArgs {
    /// All Pis, in the groups 'pis' and 'jump', with their variables
    #[arg(long, conflicts_with = "host", required_unless_present = "host")]
    pub list: bool,
    /// The variables of one host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
}

pub fn run(context: &Context, args: &InventoryArgs) -> Result<Exit, Failure> {
    let registry = context.registry()?;
    let (all, misfits) = registry.all();
    misfits.into_iter().for_each(|(_, error)| context.ui.streams.warning(&failed(error)));
    let pis: Vec<Pi> = all.into_iter().filter(|pi| pi.entry != Entry::None).collect();
    let value = match &args.host {
        Some(name) => pis
            .iter()
            .find(|pi| pi.name.as_str() == name)
            .map_or(Ok(json!({})), |pi| variables(pi, &registry, context).map_err(failed))?,
        None => list(&pis, &registry, context),
    };
    context.ui.json(&value)?;
    Ok(Exit::Done)
}

/// Whoever can't be reached by its entry is not in it, and keeps no other out.
fn list(pis: &[Pi], registry: &Registry, context: &Context) -> Value {
    let (mut hosts, mut names) = (Map::new(), Vec::new());
    for pi in pis {
        match variables(pi, registry, context) {
            Ok(variables) => {
                names.push(pi.name.as_str());
                hosts.insert(pi.name.to_string(), variables);
            }
            Err(error) => context.ui.streams.warning(&failed(error)),
        }
    }
    let jump = Some(&registry.onboarding().jump).filter(|jump| registry.entry(jump) != Entry::None);
    json!({
        "_meta": { "hostvars": hosts },
        "all": { "children": ["pis", "jump"] },
        "pis": { "hosts": names },
        "jump": { "hosts": jump.into_iter().collect::<Vec<_>>() },
    })
}

fn variables(pi: &Pi, registry: &Registry, context: &Context) -> Result<Value, RegistryError> {
    let mut variables = json!({ "pipeline_id": pi.id.to_string(), "pipeline_port": registry.port_now(pi)? });
    // Ansible's ssh reads the usual file by itself.
    if context.places.ssh_config != context.places.ssh_dir.join("config") {
        variables["ansible_ssh_common_args"] = json!(format!("-F {}", context.places.ssh_config.display()));
    }
    Ok(variables)
}
