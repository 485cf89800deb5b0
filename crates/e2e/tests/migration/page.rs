//! The commands of `docs/migration.md`, taken from the page and typed on the collector.
//!
//! What the page names and a test can't have (root, systemd, `/etc`, the storage's mount) is replaced: paths by those of the fleet,
//! `sudo` and `systemctl` by scripts that stand for them, the first in `PATH`. Everything else is run as it is written. `pipeline sync` says what it does
//! as JSON, into a file for each run.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use e2e::run;
use local_fleet::Fleet;
use serde_json::Value;

const PAGE: &str = include_str!("../../../../docs/migration.md");

const SUDO: &str = "#!/bin/sh\n\
    while [ \"${1#-}\" != \"$1\" ]; do case $1 in -u) shift 2;; *) shift;; esac; done\n\
    exec \"$@\"\n";

/// `$UNITS` holds a file for each timer that runs, and `round` with the process group while the loop's service does.
const SYSTEMCTL: &str = "#!/bin/sh\n\
    cd \"$UNITS\" || exit 1\n\
    case $* in\n\
    'enable --now '*.timer) touch \"$3\";;\n\
    'disable --now '*.timer) rm \"$3\";;\n\
    'stop copy-to-storage.service') for _ in $(seq 3000); do\n\
        group=$(cat round 2>&1) || exit 0\n\
        if [ -n \"$group\" ]; then kill -TERM \"-$group\" || :; fi; sleep 0.02; done; exit 1;;\n\
    'stop pipeline-sync.service' | daemon-reload) ;;\n\
    *) echo \"not understood: systemctl $*\" >&2; exit 1;;\n\
    esac\n";

const PIPELINE: &str = "#!/bin/sh\n\
    set -e\n\
    if [ \"$1\" != sync ]; then exec \"$PROGRAM\" --config \"$CONFIG\" \"$@\"; fi\n\
    shift\n\
    exec \"$PROGRAM\" --config \"$CONFIG\" sync --json \"$@\" > \"$RUNS/$(ls \"$RUNS\" | wc -l)\"\n";

/// What is left of the page, on the collector of a fleet.
pub struct Page<'a> {
    fleet: &'a Fleet,
    /// Each with the heading above it.
    blocks: VecDeque<(&'a str, String)>,
}

impl<'a> Page<'a> {
    pub fn open(fleet: &'a Fleet) -> Page<'a> {
        for dir in ["bin", "units", "runs", "etc/systemd/system"] {
            fs::create_dir_all(fleet.root().join(dir)).unwrap();
        }
        for (name, script) in [("sudo", SUDO), ("systemctl", SYSTEMCTL), ("pipeline", PIPELINE)] {
            let file = fleet.root().join("bin").join(name);
            fs::write(&file, script).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let (mut heading, mut blocks, mut block) = ("", VecDeque::new(), None::<String>);
        for line in PAGE.lines() {
            match (&mut block, line) {
                (None, "```sh") => block = Some(String::new()),
                (None, line) => heading = line.strip_prefix("## ").unwrap_or(heading),
                (Some(_), "```") => blocks.extend(block.take().map(|block| (heading, block))),
                (Some(block), line) => {
                    block.push_str(line);
                    block.push('\n');
                }
            }
        }
        Page { fleet, blocks }
    }

    /// The next block, which must stand below this heading, with the names of this fleet.
    #[track_caller]
    fn next(&mut self, below: &str) -> String {
        let (heading, block) = self.blocks.pop_front().unwrap();
        assert!(heading.starts_with(below), "{heading}: {block}");
        let root = self.fleet.root().display();
        let [home, storage, state] =
            [self.fleet.home(), self.fleet.storage(), self.fleet.state_dir()].map(|dir| dir.display().to_string());
        [
            ("/etc/", format!("{root}/etc/")),
            ("$(seq 1 99)", "1 2".into()),
            ("$i:/home/pi/", format!("$i:{root}/raspberry$i/home/pi/")),
            ("/home/ohiobeeprojectsvc", home),
            ("ohiobeeprojectsvc", "collector".into()),
            ("/mnt/san/shared/Shared", storage),
            ("/var/lib/pipeline", state),
        ]
        .into_iter()
        .fold(block, |block, (from, to)| block.replace(from, &to))
    }

    /// Saves the next block as a script.
    pub fn save(&mut self, below: &str, name: &str) -> PathBuf {
        let file = self.fleet.root().join(name);
        fs::write(&file, self.next(below)).unwrap();
        file
    }

    /// Types the next block.
    #[track_caller]
    pub fn follow(&mut self, below: &str) {
        let block = self.next(below);
        self.run(&block);
    }

    /// What the timer does.
    #[track_caller]
    pub fn timer_starts_sync(&self) {
        assert!(self.is_on("pipeline-sync.timer"));
        self.run("pipeline sync");
    }

    #[track_caller]
    fn run(&self, block: &str) {
        let program = self.fleet.command("pipeline").unwrap().get_program().to_owned();
        let root = self.fleet.root();
        let mut bash = self.fleet.at_home("bash").unwrap();
        bash.env("PATH", format!("{}/bin:/usr/bin:/bin:/usr/sbin:/sbin", root.display()));
        bash.env("UNITS", root.join("units")).env("RUNS", root.join("runs"));
        bash.env("PROGRAM", program).env("CONFIG", root.join("etc/pipeline/pipeline.yaml"));
        run(bash.args(["-euo", "pipefail", "-c", block])).expect(0);
    }

    pub fn is_on(&self, timer: &str) -> bool {
        self.fleet.root().join("units").join(timer).exists()
    }

    /// What the last run of `pipeline sync` told.
    #[track_caller]
    pub fn last_run(&self) -> Told {
        let last = fs::read_dir(self.fleet.root().join("runs")).unwrap().count() - 1;
        let text = fs::read_to_string(self.fleet.root().join(format!("runs/{last}"))).unwrap();
        Told(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// Asserts that nothing on the page was left out.
    pub fn assert_at_its_end(&self) {
        assert!(self.blocks.is_empty(), "{:?}", self.blocks);
    }
}

/// The events of a run.
pub struct Told(Vec<Value>);

impl Told {
    /// How many bytes of content came over the link.
    pub fn carried_bytes(&self) -> u64 {
        let received = self.0.iter().filter(|event| event["event"] == "bytes_received");
        received.filter_map(|event| event["bytes"].as_u64()).sum()
    }

    /// One of the counts at the end.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        let last = self.0.last().unwrap();
        assert_eq!(last["event"], "run_finished", "{last}");
        last[name].as_u64().unwrap_or_else(|| panic!("no {name}: {last}"))
    }
}
