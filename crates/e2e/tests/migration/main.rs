//! From the rsync loop to the pipeline, back for a while, and forward again, by the commands of `docs/migration.md`.
//!
//! The loop is the real one: bash and rsync over a hand-written OpenSSH config, serving all the time until the page stops it. What
//! holds: no byte that the loop has brought crosses the link a second time, none that `pipeline` has brought does, no file is lost, and
//! each lies where the page says.

#![allow(clippy::unwrap_used)]

mod page;
mod rsync_loop;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use e2e::moments::{position_in, until};
use e2e::run;
use e2e::scene::{Scene, noise};
use e2e::truth::{assert_all_true, rows};
use local_fleet::{Fleet, account};

use page::Page;
use rsync_loop::Loop;

/// The fleet that somebody has set up by hand: a key and an entry for each Pi, host keys accepted one by one.
fn set_up_by_hand() -> Scene {
    let fleet = Fleet::builder().pis(2).ids(&[1, 2]).passwords("bees", "honey").start().unwrap();
    let ssh = fleet.home().join(".ssh");
    fs::create_dir_all(&ssh).unwrap();
    let at_home = |program: &str, args: &[&str]| {
        run(fleet.at_home(program).unwrap().args(args)).expect(0);
    };
    let key = |name: &str| {
        at_home("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-f", ssh.join(name).to_str().unwrap()]);
        fs::read_to_string(ssh.join(format!("{name}.pub"))).unwrap()
    };
    let authorized = fleet.jump().home().join(".ssh/authorized_keys");
    let tunnels = fs::read_to_string(&authorized).unwrap();
    account::authorize(&fleet.jump().home(), &(tunnels + &key("bugtrack"))).unwrap();
    let mut config = format!(
        "# the jump host\nhost awsbox\n hostname 127.0.0.1\n port {}\n identityfile ~/.ssh/bugtrack\n user {}\n\n",
        fleet.jump().port(),
        account::JUMP_USER
    );
    for pi in fleet.pis() {
        account::authorize(&pi.home(), &key(pi.name())).unwrap();
        let (name, port) = (pi.name(), pi.port());
        config += &format!(
            "host {name}\n hostname localhost\n user pi\n port {port}\n identityfile ~/.ssh/{name}\n proxyjump awsbox\n\n"
        );
    }
    fs::write(ssh.join("config"), config + "host *\n hashknownhosts yes\n").unwrap();
    let yes = "StrictHostKeyChecking=accept-new";
    at_home("ssh", &["-o", yes, "-o", "BatchMode=yes", "awsbox", "true"]);
    for pi in fleet.pis() {
        at_home("ssh", &["-o", yes, "-o", "BatchMode=yes", pi.name(), "true"]);
    }
    Scene { fleet }
}

/// The fleet, and what must be in the storage in the end, by path.
struct Taken<'a> {
    scene: &'a Scene,
    expected: BTreeMap<String, Vec<u8>>,
    seed: u64,
}

impl Taken<'_> {
    /// A file on a Pi that nobody has received; returns its size.
    fn recorded(&mut self, pi: usize, path: &str, bytes: usize) -> u64 {
        self.seed += 1;
        let content = noise(bytes, self.seed);
        self.scene.write(pi, path, &content);
        self.expected.insert(format!("beephotos/{path}"), content);
        bytes as u64
    }

    /// A file that the loop has stored is still on its Pi, as when it was killed before it could remove it.
    fn not_removed(&self, pi: usize, path: &str) {
        let stored = self.in_storage(&format!("beephotos/{path}"));
        let modified = fs::metadata(&stored).unwrap().modified().unwrap();
        self.scene.fleet.write(pi, path.as_bytes(), &fs::read(stored).unwrap(), modified).unwrap();
    }

    fn in_storage(&self, path: &str) -> PathBuf {
        self.scene.fleet.storage().join(path)
    }

    fn wait_until_the_loop_has_taken_all(&self) {
        until("the loop has emptied the Pis", || self.scene.offered().is_empty().then_some(()));
    }

    #[track_caller]
    fn assert_whole(&self) {
        for (path, content) in &self.expected {
            let found = fs::read(self.in_storage(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(found == *content, "{path}: {} bytes, expected {}", found.len(), content.len());
        }
    }

    /// On real Pis the source is the same directory everywhere.
    fn name_the_sources(&self, config: &Path) {
        let sources = self.scene.fleet.pis().iter();
        let sources = sources.map(|pi| format!("  {}: {{ source: {} }}\n", pi.name(), pi.source().display()));
        let text = fs::read_to_string(config).unwrap();
        fs::write(config, format!("{text}devices:\n{}", sources.collect::<String>())).unwrap();
    }

    /// The loop is copying a film, and its Pi has just fallen silent.
    fn hangs_in_the_middle_of(&self, film: &str) {
        let pi = self.scene.fleet.pi(2);
        let file = pi.source().join(film);
        let bytes = fs::metadata(&file).unwrap().len();
        let position = || pi.pids_of("rsync").into_iter().find_map(|pid| position_in(pid, &file));
        until("rsync reads the film", || position().filter(|&at| at > 0));
        pi.stop();
        let at = position();
        assert!(at.is_some_and(|at| at < bytes), "frozen at {at:?} of {bytes}");
    }
}

#[test]
fn the_page_is_followed_from_the_loop_to_the_pipeline_back_and_forward() {
    let scene = set_up_by_hand();
    let mut taken = Taken { scene: &scene, expected: BTreeMap::new(), seed: 0 };
    let mut page = Page::open(&scene.fleet);
    let script = page.save("", "copy-to-storage.sh");
    let timer = scene.fleet.root().join("units/copy-to-storage.timer");
    fs::write(&timer, "").unwrap();
    let rsync_loop = Loop::default();
    thread::scope(|scope| {
        let _end = rsync_loop.end();
        scope.spawn(|| rsync_loop.serve(&scene.fleet, &script));
        for pi in 1..=2 {
            for photo in 0..10 {
                taken.recorded(pi, &format!("2026-11-21/pi{pi}-{photo}.jpg"), 20_000);
            }
        }
        taken.wait_until_the_loop_has_taken_all();

        // Beside the loop: it goes on, and nothing is received.
        page.follow("1. Install");
        taken.name_the_sources(&scene.fleet.root().join("etc/pipeline/pipeline.yaml"));
        page.follow("2. A dry run");
        assert!(page.last_run().count("removed") == 0 && rows(&scene.fleet).is_empty());
        taken.recorded(1, "2026-11-22/beside.jpg", 30_000);
        taken.wait_until_the_loop_has_taken_all();

        // It hangs, as it does, and is stopped.
        let mut missing = taken.recorded(2, "film.h264", 24 << 20);
        taken.hangs_in_the_middle_of("film.h264");
        page.follow("3. Stop the loop");
        let rounds = rsync_loop.rounds();
        scene.fleet.pi(2).cont();
        assert!(!page.is_on("copy-to-storage.timer"));

        // As the loop leaves things: copied and not removed, not copied, and half copied.
        for (pi, photo) in [(1, 3), (1, 4), (2, 5)] {
            taken.not_removed(pi, &format!("2026-11-21/pi{pi}-{photo}.jpg"));
        }
        missing += taken.recorded(1, "2026-11-22/new.jpg", 40_000);
        let left_by_rsync = taken.in_storage("beephotos/2026-11-22/.new.jpg.x7Qa2c");
        fs::write(&left_by_rsync, noise(3000, 99)).unwrap();
        let before = scene.offered();
        assert_eq!(before.len(), 3 + 2);

        page.follow("4. Take over");
        let told = page.last_run();
        assert_eq!((told.carried_bytes(), told.count("adopted"), told.count("adopted_bytes")), (missing, 3, 60_000));
        assert_eq!((told.count("removed"), told.count("versions"), told.count("clashes")), (0, 0, 0));
        assert_eq!(scene.offered(), before);
        taken.assert_whole();
        page.follow("4. Take over");
        let told = page.last_run();
        assert_eq!((told.carried_bytes(), told.count("adopted"), told.count("removed")), (0, 0, 5));
        assert!(scene.offered().is_empty());
        assert_all_true(&scene.fleet);

        page.follow("5. Switch the timer");
        let bytes = taken.recorded(2, "2026-11-22/by the timer.jpg", 50_000);
        page.timer_starts_sync();
        assert_eq!((page.last_run().carried_bytes(), scene.offered().len()), (bytes, 0));
        page.follow("Is all well?");
        assert_eq!(rsync_loop.rounds(), rounds);

        // Back for a while.
        page.follow("Going back");
        assert!(page.is_on("copy-to-storage.timer") && !page.is_on("pipeline-sync.timer"));
        taken.recorded(1, "2026-11-23/by the loop.jpg", 60_000);
        taken.wait_until_the_loop_has_taken_all();
        page.follow("Going back");
        taken.not_removed(1, "2026-11-23/by the loop.jpg");
        let bytes = taken.recorded(2, "2026-11-23/after the loop.jpg", 70_000);
        page.follow("Going back");
        let told = page.last_run();
        assert_eq!((told.carried_bytes(), told.count("adopted"), told.count("adopted_bytes")), (bytes, 1, 60_000));
        assert!(page.is_on("pipeline-sync.timer") && scene.offered().is_empty());
        taken.assert_whole();
        assert_all_true(&scene.fleet);

        // The other layout: what is there stays, what is new has a directory of its Pi.
        let content = noise(80_000, 100);
        scene.write(1, "2026-11-24/own.jpg", &content);
        page.follow("Later");
        assert_eq!((page.last_run().carried_bytes(), scene.offered().len()), (80_000, 0));
        assert!(fs::read(taken.in_storage("raspberry1/2026-11-24/own.jpg")).unwrap() == content);
        taken.assert_whole();
        assert_all_true(&scene.fleet);
        assert!(fs::read(left_by_rsync).unwrap() == noise(3000, 99));
        page.assert_at_its_end();
    });
}
