//! `local-fleet up`: a fleet for a person to play with.

use std::io::{self, Write};

use local_fleet::{Error, Fleet, field, programs::Programs};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Starts a fleet, fills it, says what to type, and stays until a signal.
pub fn up(pis: u16) -> Result<(), Error> {
    // Before anything starts: a signal must not leave the directory behind.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Error::Signals)?;
    let programs = Programs::find()?;
    let pipeline = programs.path("pipeline")?;
    programs.path("pipeline-agent")?;
    let fleet = Fleet::builder().pis(pis.into()).offline(1).silent(1).start()?;
    field::fill(&fleet)?;
    let logger = fleet.pis().first().map(field::Logger::start).transpose()?;

    let pipeline = format!("{} --config {}", pipeline.display(), fleet.config_file().display());
    let ssh = format!("ssh -F {}", fleet.ssh_config().display());
    let absent = fleet.absent();
    let storage = fleet.storage();
    let text = format!(
        "The fleet is up, in {root}\n\n\
         Pis with photos: raspberry1 to raspberry{pis}; {offline} is offline, {silent} accepts and says nothing.\n\
         A logger appends to temperature.csv on raspberry1. In another terminal:\n\n  \
         {pipeline} init\n  \
         {pipeline} check\n  \
         {pipeline} sync --dry-run\n  \
         {pipeline} sync\n  \
         {ssh} raspberry1\n  \
         (cd {storage} && sha256sum --check --quiet SHA256SUMS/*/*.sha256)\n\n\
         Ctrl-C ends it all and removes the directory.\n",
        root = fleet.root().display(),
        offline = absent[0],
        silent = absent[1],
        storage = storage.display(),
    );
    // Whoever started us may have closed the pipe; the fleet is up all the same.
    io::stdout().write_all(text.as_bytes()).ok();
    signals.forever().next();
    drop(logger);
    fleet.end()
}
