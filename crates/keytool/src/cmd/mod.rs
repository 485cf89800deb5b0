//! Commands: one file for each, arguments to work to an outcome. What all of them need is here.

use std::path::{Path, PathBuf};

use clap::Parser;
use pipeline_core::config::{Setup, Surroundings};
use pipeline_core::error::Classified;
use pipeline_core::ssh_config::SshConfig;
use program::environment::Environment;
use program::exit::Exit;
use program::failure::Failure;
use program::run::run;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::changes::Editor;
use crate::cli::{Cli, Command};
use crate::places::Places;
use crate::registry::{Id, Registry, ids};
use crate::ui::Ui;

pub mod add_pi;
pub mod check;
pub mod fingerprint;
mod fleet;
pub mod grant;
pub mod init;
pub mod inventory;
pub mod list;
mod manual;
pub mod person;
pub mod remove_pi;
pub mod revoke;
pub mod rotate;
pub mod ssh_config;
pub mod tunnel;

/// The whole program, from arguments to exit code. Usage errors end it in here, with 2.
pub fn main() -> Exit {
    leave_no_core();
    let environment = Environment::read();
    let cli = Cli::parse();
    // It lives as long as the program, and the panic hook needs it for as long.
    let ui: &'static Ui = Box::leak(Box::new(Ui::new(&cli.global, &environment)));
    let work = || {
        // It needs no configuration, not even a good one.
        if let Command::Manual(args) = &cli.command {
            return manual::run(args);
        }
        let context = Context::new(ui, &environment, cli.global.config.as_deref(), cli.command.writes_config())?;
        match cli.command {
            Command::Init(args) => init::run(&context, &args),
            Command::AddPi(args) => add_pi::run(&context, &args),
            Command::List(args) => list::run(&context, &args),
            Command::Fingerprint(args) => fingerprint::run(&context, &args),
            Command::Check(args) => check::run(&context, &args),
            Command::Rotate(args) => rotate::run(&context, &args),
            Command::RemovePi(args) => remove_pi::run(&context, &args),
            Command::SshConfig(args) => ssh_config::run(&context, &args),
            Command::Tunnel(args) => tunnel::run(&context, &args),
            Command::Grant(args) => grant::give(&context, &args),
            Command::Grants(args) => grant::list(&context, &args),
            Command::Revoke(args) => revoke::run(&context, &args),
            Command::Inventory(args) => inventory::run(&context, &args),
            Command::Manual(args) => manual::run(&args),
        }
    };
    run("keytool", ui, work).exit
}

/// Passwords that are typed must reach no core file, whatever ends us. A system that refuses goes on as before.
fn leave_no_core() {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit }).ok();
}

/// What every command may need.
pub struct Context {
    /// Where things are said and asked.
    pub ui: &'static Ui,
    /// Home, user and variables.
    pub surroundings: Surroundings,
    /// The configuration file; where there is none yet, the one to write.
    pub config_file: PathBuf,
    /// What the file says of us, or what holds without one.
    pub setup: Setup,
    /// Where things lie.
    pub places: Places,
}

impl Context {
    /// A file that was named must be there, unless the command `writes` it. Where none was named and none lies in the usual
    /// places, the defaults hold.
    fn new(ui: &'static Ui, environment: &Environment, given: Option<&Path>, writes: bool) -> Result<Context, Failure> {
        let surroundings = environment.surroundings();
        let found = environment.find_config(given).ok();
        let setup = match &found {
            Some(file) if !writes || file.exists() => {
                Setup::load(file, &surroundings).map_err(|error| Failure::of(&error))?
            }
            _ => Setup::without_file(&surroundings),
        };
        let places = Places::new(&surroundings, &setup);
        let config_file = found.unwrap_or_else(|| environment.user_config());
        Ok(Context { ui, surroundings, config_file, setup, places })
    }

    /// The OpenSSH config as it is now, with our entries.
    pub fn ssh_config(&self) -> Result<SshConfig, Failure> {
        Ok(self.registry()?.ssh_config().clone())
    }

    /// The Pis as they are now.
    pub fn registry(&self) -> Result<Registry, Failure> {
        let ssh_config = SshConfig::load_if_there(&self.setup.ssh_config, &self.surroundings);
        let ssh_config = ssh_config.map_err(|error| Failure::of(&error))?;
        Registry::new(&self.setup.onboarding, &self.places, ssh_config).map_err(|error| Failure::of(&error))
    }

    /// Makes changes to local files, or tells them.
    pub fn editor(&self, dry_run: bool) -> Editor {
        Editor::new(self.places.clone(), dry_run)
    }
}

/// The numbers that were typed.
fn typed_ids(texts: &[String]) -> Result<Vec<Id>, Failure> {
    // What was typed is wrong, not what is configured.
    ids(texts).map_err(|error| Failure { exit: Exit::Usage, ..Failure::of(&error) })
}

/// An error of any room as the end of a command.
// By value, so that it goes into `map_err` as it is.
#[allow(clippy::needless_pass_by_value)]
fn failed(error: impl Classified + 'static) -> Failure {
    Failure::of(&error)
}
