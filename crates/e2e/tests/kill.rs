//! `kill -9` at any instant: of `pipeline`, of a Pi's sshd session, of the jump host's, and before chosen system calls.
//!
//! After each kill every file that was ever offered must be complete on its Pi or complete in the archive, and at the end a
//! last run must finish everything. The kills are counted by where they hit, so that a test whose kills hit nothing fails.

// A test that fails shows what it printed: the seed, and what the kills had hit.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use e2e::ledger::{Ledger, Look, Stage, agents};
use e2e::random::Random;
use e2e::run;
use e2e::strace::{killing_args, under_strace};
use local_fleet::{Builder, Fleet, field};

/// What the instants and contents of every test here come from.
const SEED: u64 = 20_261_121;

/// A fleet with its ledger: new files before each run, a look after each kill.
struct Story {
    fleet: Fleet,
    ledger: Ledger,
    random: Random,
    rounds: usize,
    /// In every so many rounds there is a large file too.
    large_every: usize,
    /// The look before, with what was offered since.
    before: Look,
    hits: Hits,
}

/// How many kills left work at which stage that was not there before.
#[derive(Debug, Default)]
struct Hits {
    nothing_begun: usize,
    staged: usize,
    placed: usize,
    catalogued: usize,
    removed: usize,
    noted: usize,
}

impl Story {
    fn begin(fleet: Builder, seed: u64) -> Story {
        println!("seed {seed}");
        let fleet = fleet.tunnels(false).start().unwrap();
        run(fleet.command("pipeline").unwrap().arg("init")).expect(0);
        let (ledger, random) = (Ledger::default(), Random::new(seed));
        Story { fleet, ledger, random, rounds: 0, large_every: 4, before: Look::default(), hits: Hits::default() }
    }

    /// New files on every Pi: `small` of up to 20 kB, one of them empty, and in some rounds a large one somewhere.
    fn offer(&mut self, small: usize) {
        self.rounds += 1;
        let round = self.rounds;
        let names = field::awkward_names();
        for pi in 1..=self.fleet.pis().len() {
            for number in 0..small {
                let bytes = if number == 0 { 0 } else { self.random.below(20_000) };
                let name = &names[self.random.below(names.len())];
                let dir = format!("day {}/{round}/{number}/", round / 7);
                let content = self.random.content(bytes);
                let path = self.ledger.offer(&self.fleet, pi, &[dir.as_bytes(), name].concat(), &content);
                self.before.files.insert(path, Stage::Offered);
            }
        }
        if (round - 1).is_multiple_of(self.large_every) {
            let pi = 1 + self.random.below(self.fleet.pis().len());
            let bytes = (5 << 20) + self.random.below(15 << 20);
            let content = self.random.content(bytes);
            let path = self.ledger.offer(&self.fleet, pi, format!("film {round}.h264").as_bytes(), &content);
            self.before.files.insert(path, Stage::Offered);
        }
    }

    fn pipeline(&self) -> Command {
        let mut pipeline = self.fleet.command("pipeline").unwrap();
        pipeline.args(["sync", "-q"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        pipeline
    }

    /// Asserts the promise after a kill, and counts what the kill hit.
    fn look(&mut self) {
        let look = self.ledger.look(&self.fleet);
        let reached = |stage| look.files.iter().any(|(path, &now)| now == stage && self.before.files[path] < stage);
        let staged = look.staged.difference(&self.before.staged).next().is_some();
        let hits = &mut self.hits;
        hits.staged += usize::from(staged);
        hits.placed += usize::from(reached(Stage::Placed));
        hits.catalogued += usize::from(reached(Stage::Catalogued));
        hits.removed += usize::from(reached(Stage::Removed));
        hits.noted += usize::from(reached(Stage::Noted));
        hits.nothing_begun += usize::from(!staged && look.files == self.before.files);
        self.before = look;
    }

    /// A run that nobody disturbs finishes everything. Returns how long its work took.
    fn finish(&mut self) -> Duration {
        let summary = run(self.fleet.command("pipeline").unwrap().args(["sync", "--json"])).expect(0).summary();
        self.before = self.ledger.expect_finished(&self.fleet);
        Duration::from_millis(summary["elapsed_ms"].as_u64().unwrap())
    }

    /// How long the work of a run takes that has a large file to receive, and no agent to upload.
    fn span(&mut self) -> Duration {
        self.offer(5);
        self.finish();
        self.rounds = self.rounds.next_multiple_of(self.large_every);
        self.offer(5);
        self.finish()
    }

    /// The last run; every byte is read again, and nothing of ours is left on the Pis but one agent.
    fn end(mut self) -> Hits {
        self.ledger.forget_sums();
        self.finish();
        for pi in 1..=self.fleet.pis().len() {
            assert_eq!(agents(&self.fleet, pi).len(), 1, "{:?}", agents(&self.fleet, pi));
        }
        println!("{:?}", self.hits);
        self.hits
    }
}

#[test]
fn pipeline_at_a_hundred_instants() {
    let mut story = Story::begin(Fleet::builder().pis(3).pipeline_config("bandwidth: 20MiB/s\n"), SEED);
    let span = story.span();
    let mut kills = 0;
    for attempt in 1.. {
        assert!(attempt <= 300, "only {kills} kills came before the end of their runs of about {span:?}");
        story.offer(5);
        if attempt % 10 == 0 {
            // Then the kill may hit the upload of the agent too.
            fs::remove_dir_all(story.fleet.pi(1).home().join(".cache")).ok();
        }
        let delay = story.random.instant(span);
        let mut pipeline = story.pipeline().spawn().unwrap();
        thread::sleep(delay);
        pipeline.kill().unwrap();
        if pipeline.wait().unwrap().signal() == Some(9) {
            kills += 1;
            story.look();
        }
        if kills == 100 {
            break;
        }
        if attempt % 15 == 0 {
            story.finish();
        }
    }
    let hits = story.end();
    assert!(hits.staged >= 5 && hits.removed + hits.noted >= 5 && hits.nothing_begun <= 80, "{hits:?}");
}

#[test]
fn sessions_of_a_pi_at_twenty_instants() {
    let story = Story::begin(Fleet::builder().pis(2).pipeline_config("bandwidth: 20MiB/s\n"), SEED + 1);
    let hits = sessions_at_twenty_instants(story, |fleet, random| fleet.pi(1 + random.below(2)).kill_sessions());
    assert!(hits.noted >= 2 && hits.nothing_begun <= 18, "{hits:?}");
}

#[test]
fn sessions_of_the_jump_host_at_twenty_instants() {
    let story = Story::begin(Fleet::builder().pis(2).pipeline_config("bandwidth: 20MiB/s\n"), SEED + 2);
    let hits = sessions_at_twenty_instants(story, |fleet, _| fleet.jump().kill_sessions());
    assert!(hits.noted >= 2 && hits.nothing_begun <= 18, "{hits:?}");
}

/// `kill` says how many processes it has killed; `pipeline` itself must come to an end in order.
fn sessions_at_twenty_instants(mut story: Story, kill: impl Fn(&Fleet, &mut Random) -> usize) -> Hits {
    story.large_every = 1;
    let span = story.span();
    let mut kills = 0;
    for attempt in 1.. {
        assert!(attempt <= 100, "only {kills} kills met a session in runs of about {span:?}");
        story.offer(5);
        let mut pipeline = story.pipeline().spawn().unwrap();
        // A second kill in the same run may meet what has been connected anew.
        for _ in 0..2 {
            thread::sleep(story.random.instant(span));
            if pipeline.try_wait().unwrap().is_none() && kill(&story.fleet, &mut story.random) > 0 {
                kills += 1;
            }
        }
        let status = pipeline.wait().unwrap();
        // Done, partly failed, or none reachable: never unexpected, and never the storage's fault.
        assert!(matches!(status.code(), Some(0 | 3 | 4)), "{status}");
        story.look();
        if kills >= 20 {
            break;
        }
    }
    story.end()
}

/// System calls of the collector, whether they are those on the catalog's log alone, and which ones of a thread.
const CALLS: [(&str, bool, &[u32]); 6] = [
    ("fsync", false, &[1, 2, 3, 4, 6]),
    ("mkdirat", false, &[1, 2, 3]),
    ("renameat2", false, &[1, 2, 5]),
    ("ftruncate", false, &[1]),
    ("pwrite64", true, &[1, 2, 3, 5, 8]),
    ("fsync", true, &[1, 2, 3]),
];

#[test]
fn pipeline_and_agent_before_chosen_system_calls() {
    // What strace is to do with a session's program lies in a file, where there is one.
    let force = "ForceCommand if [ -s $HOME/strace ]; then exec strace $(cat $HOME/strace) -- /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"; \
                 else exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"; fi\n";
    let mut story = Story::begin(Fleet::builder().pi_config(force), SEED + 3);
    story.offer(5);
    story.finish();
    let log = story.fleet.state_dir().join("catalog.db-wal");
    for (call, on_log, counts) in CALLS {
        let mut kills = 0;
        for &count in counts {
            story.offer(5);
            let args = killing_args(call, on_log.then_some(log.as_path()), count);
            let status = under_strace(&story.pipeline(), args).status().unwrap();
            kills += usize::from(status.signal() == Some(9));
            story.look();
        }
        assert!(kills >= counts.len().min(2), "{call} on the log: {on_log}, {counts:?}: only {kills} kills");
        story.finish();
    }
    let catalogued = story.hits.catalogued;
    for count in [1, 2, 5] {
        story.offer(5);
        let strace = story.fleet.pi(1).home().join("strace");
        fs::write(&strace, killing_args("unlinkat", None, count).join(" ")).unwrap();
        // The device broke off, which is told.
        run(&mut story.pipeline()).expect(3);
        story.look();
        fs::remove_file(strace).unwrap();
    }
    assert!(story.hits.catalogued >= catalogued + 3, "an agent was killed, and every file was gone: {:?}", story.hits);
    story.finish();
    let hits = story.end();
    assert!(hits.staged >= 3 && hits.placed >= 3 && hits.removed >= 1, "{hits:?}");
}
