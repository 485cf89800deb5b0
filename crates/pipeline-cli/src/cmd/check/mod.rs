//! `pipeline check`: is everything ready for a run? A line with a tick or a cross for each thing, first those of this machine, then the
//! devices. Changes nothing, here or there.

mod local;

use pipeline_core::cancel::Cancel;
use pipeline_core::check::{self, DeviceCheck};
use pipeline_core::event::Outcome;
use pipeline_core::fleet::Device;
use pipeline_core::ssh::deploy::Agents;
use program::environment;
use program::exit::Exit;
use program::failure::Failure;
use program::streams::Mark;
use program::words::{count, duration};

use local::Keys;

use super::Context;
use crate::cli::CheckArgs;
use crate::ui::Ui;
use crate::ui::wording::readings;

pub fn run(context: &Context, args: &CheckArgs) -> Result<Exit, Failure> {
    let ui = context.ui;
    let (file, config) = match context.config() {
        Ok(found) => found,
        Err(failure) => return Ok(cross(ui, &failure)),
    };
    let ssh_config = match context.ssh_config(&config) {
        Ok(ssh_config) => ssh_config,
        Err(failure) => return Ok(cross(ui, &failure)),
    };
    let devices = match context.fleet(&config, &ssh_config).and_then(|fleet| context.devices(&fleet, &args.hosts)) {
        Ok(devices) => devices,
        Err(failure) => return Ok(cross(ui, &failure)),
    };
    ui.mark(Mark::Good, &format!("configuration {}: {}", file.display(), count(devices.len() as u64, "device")));
    ui.mark(Mark::Good, &format!("OpenSSH config {}", ssh_config.file().display()));
    ssh_config.notes().iter().for_each(|note| ui.say(&format!("  note: {note}")));
    let keys = Keys::of(&devices, &ssh_config);
    let agents = Agents::new(environment::agent_dirs(config.agent_dir.as_deref()));
    let exit = keys.show(ui).worse(local::storage(ui, &config)).worse(local::agents(ui, &config, &agents));
    local::hold(ui, &config);

    let (usable, unusable): (Vec<Device>, Vec<Device>) =
        devices.into_iter().partition(|device| !keys.unusable.contains(&device.name));
    let observer = ui.check_listener(usable.len());
    let cancel = Cancel::new();
    let signal = context.listen(&cancel, &observer)?;
    let connector = context.connector(&config, ssh_config, &cancel);
    let report = check::run(&usable, &connector, config.jobs, &*observer, &cancel);
    let width = report.devices.iter().map(|device| device.device.as_str().len()).max().unwrap_or(0);
    report.devices.iter().for_each(|device| show(ui, device, width));
    if !unusable.is_empty() {
        ui.say(&format!("{} not asked: see above", count(unusable.len() as u64, "device")));
    }
    let outcomes = report.devices.iter().map(|device| (&device.outcome, 0));
    Ok(exit.worse(Exit::of_visits(outcomes, None, signal.exit())))
}

/// A thing of this machine that is not as it must be.
fn cross(ui: &Ui, failure: &Failure) -> Exit {
    ui.mark(Mark::Bad, &failure.what);
    if let Some(hint) = &failure.hint {
        ui.advise(Mark::Bad, hint);
    }
    failure.exit
}

fn show(ui: &Ui, check: &DeviceCheck, width: usize) {
    let name = &check.device;
    let time = duration(check.elapsed);
    let (mark, words, hint) = match &check.outcome {
        Outcome::Done => {
            let readings = check.readings.map(|r| readings(r.clock_offset_ms, r.total_bytes, r.free_bytes));
            let without = check.without_agent.as_ref();
            let reason = without.map(|without| format!(", without the agent: {}", without.reason)).unwrap_or_default();
            let hint = without.map_or(&None, |without| &without.hint);
            (Mark::Good, format!("ready in {time}: {}{reason}", readings.unwrap_or_default()), hint)
        }
        Outcome::Offline { reason, hint } => (Mark::Away, format!("offline: {reason}"), hint),
        Outcome::Failed { reason, hint, .. } => (Mark::Bad, format!("failed: {reason}"), hint),
        Outcome::Stopped => (Mark::Away, "not asked: stopped".to_owned(), &None),
    };
    ui.mark(mark, &format!("{name:width$}  {words}"));
    if let Some(hint) = hint {
        ui.advise(mark, hint);
    }
}
