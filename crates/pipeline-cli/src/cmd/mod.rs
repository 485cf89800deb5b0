//! Commands: one file for each, arguments to one call into the core to an exit code. What all of them need is here.

use std::cell::OnceCell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use pipeline_core::cancel::Cancel;
use pipeline_core::config::{Config, Surroundings};
use pipeline_core::event::Observer;
use pipeline_core::fleet::{self, Device};
use pipeline_core::ssh::{Connector, Options};
use pipeline_core::ssh_config::SshConfig;
use program::environment::{self, Environment};
use program::exit::Exit;
use program::failure::Failure;
use program::run::run;
use program::signals::{self, Received};

use crate::cli::{CatalogArgs, CatalogCommand, Cli, Command};
use crate::monitors::Monitors;
use crate::ui::Ui;

mod catalog;
mod check;
mod explain;
mod export;
mod history;
mod hold;
mod init;
mod inspect;
mod manual;
mod report;
mod selection;
mod sync;
mod verify;

/// The whole program, from arguments to exit code. Usage errors end it in here, with 2.
pub fn main() -> Exit {
    let environment = Environment::read();
    let cli = Cli::parse();
    // Staged files stay open until they are synced, a thousand for each device.
    pipeline_core::descriptors::raise_limit();
    // It lives as long as the program, and the panic hook needs it for as long.
    let ui: &'static Ui = Box::leak(Box::new(Ui::new(&cli.global, &environment)));
    let context = Context {
        ui,
        surroundings: environment.surroundings(),
        environment,
        config: cli.global.config,
        monitors: OnceCell::new(),
    };
    let command = || match cli.command {
        Command::Init(_) => init::run(&context),
        Command::Check(args) => check::run(&context, &args),
        Command::Sync(args) => sync::run(&context, &args),
        Command::Inspect(args) => inspect::run(&context, &args),
        Command::Verify(args) => verify::run(&context, &args),
        Command::Explain(args) => explain::run(&context, &args),
        Command::Export(args) => export::run(&context, &args.command),
        Command::History(args) => history::run(&context, &args),
        Command::Hold(args) => hold::hold(&context, &args),
        Command::Release(_) => hold::release(&context),
        Command::Report(args) => report::run(&context, &args),
        Command::Catalog(CatalogArgs { command: CatalogCommand::Rebuild(args) }) => catalog::rebuild(&context, &args),
        Command::Manual(args) => manual::run(&args),
    };
    let ended = run("pipeline", ui, command);
    // Last of all, so that they hear the exit code that the caller sees, whatever led to it.
    if let Some(monitors) = context.monitors.get() {
        monitors.tell(ended.exit, ended.failure.as_ref(), ui);
    }
    ended.exit
}

/// Why a table could not be written: the stream's own error, by whose kind a reader that left and a full disk are known.
fn write_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// What the first signal makes us do.
const FAREWELL: &str = "stopping: the files in hand are finished or dropped (once more to stop at once)";

/// What every command may need.
struct Context {
    ui: &'static Ui,
    environment: Environment,
    surroundings: Surroundings,
    /// `--config`.
    config: Option<PathBuf>,
    /// Set by a command whose end they are to hear of.
    monitors: OnceCell<Arc<Monitors>>,
}

impl Context {
    /// The configuration, and the file it is from.
    fn config(&self) -> Result<(PathBuf, Config), Failure> {
        let file = self.environment.find_config(self.config.as_deref())?;
        let config = Config::load(&file, &self.surroundings).map_err(|error| Failure::of(&error))?;
        Ok((file, config))
    }

    fn ssh_config(&self, config: &Config) -> Result<SshConfig, Failure> {
        SshConfig::load(&config.ssh_config, &self.surroundings).map_err(|error| Failure::of(&error))
    }

    /// Every device of the configuration.
    fn fleet(&self, config: &Config, ssh_config: &SshConfig) -> Result<Vec<Device>, Failure> {
        fleet::resolve(config, ssh_config).map_err(|error| Failure::of(&error))
    }

    /// The devices that the command line names; all where it names none.
    fn devices(&self, fleet: &[Device], hosts: &[String]) -> Result<Vec<Device>, Failure> {
        // What was typed is wrong, not what is configured.
        fleet::select(fleet, hosts).map_err(|error| Failure { exit: Exit::Usage, ..Failure::of(&error) })
    }

    fn connector(&self, config: &Config, ssh_config: SshConfig, cancel: &Cancel) -> Connector {
        let options = Options {
            timeouts: config.timeouts,
            jobs: config.jobs,
            agent: config.agent,
            agent_dirs: environment::agent_dirs(config.agent_dir.as_deref()),
            cancel: cancel.clone(),
        };
        Connector::new(ssh_config, options)
    }

    /// Begins to listen to signals: the first one sets `cancel`.
    fn listen(&self, cancel: &Cancel, observer: &Arc<dyn Observer>) -> Result<Received, Failure> {
        signals::listen(cancel.clone(), FAREWELL, observer.clone())
            .map_err(|error| Failure::because(Exit::Unexpected, "can't listen to signals", &error))
    }
}
