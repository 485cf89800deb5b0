//! `local-fleet demo`: the main job on a real fleet, told in plain words, each claim checked.

use std::process::{Command, ExitCode};
use std::time::Instant;

use local_fleet::programs::Programs;
use local_fleet::{Error, Fleet, field, snapshot};

use crate::narrator::{Failure, Narrator};

const PIS: usize = 4;

/// Tells the story. The fleet is gone when this returns, however it ends.
pub fn demo() -> ExitCode {
    let mut narrator = match Narrator::new() {
        Ok(narrator) => narrator,
        Err(cause) => return crate::complain(&Error::Signals(cause), None),
    };
    let result = tell(&mut narrator);
    // A Ctrl-C also ends the commands that run at that moment, which then look as if they had failed.
    if let Some(signal) = narrator.stopped_by() {
        narrator.say("\nStopped. The fleet is gone.");
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX));
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Fleet(error)) => crate::complain(&error, error.hint()),
        Err(failure) => crate::complain(&failure, None),
    }
}

fn tell(narrator: &mut Narrator) -> Result<(), Failure> {
    let start = Instant::now();
    // Said now rather than in the middle of the story.
    let programs = Programs::find()?;
    programs.path("pipeline").and(programs.path("pipeline-agent"))?;

    narrator.chapter("A fleet");
    let fleet = Fleet::builder().pis(PIS).offline(1).silent(1).start()?;
    let pipeline = |args: &[&str]| -> Result<Command, Failure> {
        let mut command = fleet.command("pipeline")?;
        command.args(args);
        Ok(command)
    };
    let on = |host: &str, line: &str| -> Result<Command, Failure> {
        let mut command = fleet.ssh(host)?;
        command.arg(line);
        Ok(command)
    };
    field::fill(&fleet)?;
    let logger = field::Logger::start(fleet.pi(1))?;
    let csv = b"raspberry1/temperature.csv".to_vec();
    let offered = || -> Result<_, Failure> {
        let mut offered = fleet.offered()?;
        let csv = offered.remove(&csv);
        Ok((offered, csv))
    };
    let (before, _) = offered()?;
    let bytes: u64 = before.values().map(|facts| facts.bytes).sum();
    narrator.say(&format!(
        "In {root} there are now a jump host, awsbox, and {PIS} Raspberry Pis that hold real reverse tunnels to it.\n\
         {offline} is offline; {silent} accepts connections and says nothing.\n\
         The Pis hold {count} files, {megabytes:.1} MB: photos by day, and on raspberry{PIS} names that break scripts.\n\
         On raspberry1 a logger is appending to temperature.csv at this moment.",
        root = fleet.root().display(),
        offline = fleet.absent()[0],
        silent = fleet.absent()[1],
        count = before.len(),
        megabytes = bytes as f64 / 1e6,
    ));
    narrator.run(&mut on("raspberry1", "cd ~/beephotos && du -sh * && tail -n 2 temperature.csv")?)?;
    narrator.run(&mut on("raspberry4", "ls --escape ~/beephotos/odd*")?)?;

    narrator.chapter("The storage becomes an archive");
    narrator.say("Without its marker, nothing would be copied or deleted: an unmounted share looks like an empty one.");
    narrator.run(&mut pipeline(&["init"])?)?;

    narrator.chapter("Is everything ready?");
    narrator.say("A Pi that is away is no failure: it will be visited when it is back.");
    narrator.run(&mut pipeline(&["check"])?)?;

    narrator.chapter("What would happen");
    narrator.run(&mut pipeline(&["sync", "--dry-run"])?)?;
    narrator.say("");
    let untouched = offered()?.0 == before && fleet.archived()?.is_empty();
    narrator.fact(untouched, "Nothing has changed, on the Pis or in the storage.")?;

    narrator.chapter("Pull, verify, delete");
    narrator.say(
        "A file leaves its Pi once its SHA-256 is the same on both sides, it is synced to disk and it is in the catalog,\n\
         and only if the Pi then finds it unchanged and in nobody's hands.",
    );
    narrator.run(&mut pipeline(&["sync"])?)?;
    narrator.say("");
    let archived = fleet.archived()?;
    narrator.fact(archived == before, &format!("All {} files are in the storage, byte for byte.", before.len()))?;
    let (left, log) = offered()?;
    narrator.fact(left.is_empty(), "Each of them is gone from its Pi.")?;
    narrator.fact(log.is_some(), "The file that is being written has stayed.")?;

    narrator.chapter("Once more, as the timer would");
    narrator.run(&mut pipeline(&["sync"])?)?;
    narrator.say("");
    narrator.fact(fleet.archived()? == before, "There was nothing left to do, and nothing was done twice.")?;

    narrator.chapter("See for yourself");
    narrator.run(&mut on("raspberry1", "find ~/beephotos -type f")?)?;
    narrator.run(&mut on("raspberry4", "find ~/beephotos -type f | wc -l")?)?;
    let in_storage = |line: &str| format!("cd {} && {line}", fleet.storage().display());
    narrator.run_line(&in_storage("du -sh raspberry* && ls raspberry1/*/* && ls SHA256SUMS/*"))?;
    narrator.run_line(&in_storage("sha256sum --check --quiet SHA256SUMS/*/*.sha256"))?;
    let lines = Command::new("sh").arg("-c").arg(in_storage("cat SHA256SUMS/*/*.sha256 | wc -l")).output();
    let lines = lines.map(|output| output.stdout).unwrap_or_default();
    narrator.say("");
    narrator.fact(
        String::from_utf8_lossy(&lines).trim() == before.len().to_string(),
        &format!("sha256sum has found all {} files as the manifests say.", before.len()),
    )?;
    let on_pi = snapshot(&fleet.pi(1).source())?;
    let written = std::fs::read_to_string(logger.path()).unwrap_or_default();
    narrator.fact(
        on_pi.len() == 1 && written.starts_with(field::CSV_HEADER) && written.ends_with('\n'),
        &format!("The logger is still at it: {} lines so far, none lost.", written.lines().count() - 1),
    )?;

    drop(logger);
    let root = fleet.root().to_owned();
    fleet.end()?;
    narrator.say("");
    narrator.fact(!root.exists(), "Every process of the fleet has ended, and its directory is gone.")?;
    narrator.say(&format!(
        "\nThat took {:.0} s. `make fleet` keeps such a fleet up for you to play with.",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}
