//! Somebody rearranges the archive while a file is on its way into it.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::UNIX_EPOCH;

use e2e::{Running, incompressible, report, run};
use local_fleet::{Fleet, snapshot};

/// Large enough for an event of its own, and for a second on the way.
const LARGE_BYTES: usize = 3 << 20;

#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    let settings = "settle: 0s\nbandwidth: 2MiB/s\ntimeouts: { connect: 60s, idle: 60s }\n";
    let fleet = Fleet::builder().pis(2).tunnels(false).pipeline_config(settings).start().unwrap();
    let pipeline = |args: &[&str]| run(fleet.command("pipeline").unwrap().args(args));
    for number in [1, 2] {
        fleet.write(number, b"day/first.jpg", b"bees\n", UNIX_EPOCH).unwrap();
    }
    pipeline(&["init"]).expect(0);
    pipeline(&["sync"]).expect(0);

    for number in [1, 2] {
        fleet.write(number, b"day/large.jpg", &incompressible(LARGE_BYTES), UNIX_EPOCH).unwrap();
    }
    let offered = fleet.offered().unwrap();
    let mut sync = Running::start(fleet.command("pipeline").unwrap().args(["sync", "--json"]));
    sync.until(|event| event["event"] == "file_started" && event["device"] == "raspberry1");
    let outside = fleet.root().join("outside");
    let there = fleet.storage().join("raspberry1");
    fs::rename(&there, &outside).unwrap();
    symlink(&outside, &there).unwrap();
    let before = snapshot(&outside).unwrap();

    let summary = sync.end().expect(3).summary();
    assert_eq!(report(&summary, "raspberry2")["outcome"], "done", "{summary}");
    let swapped = report(&summary, "raspberry1");
    assert_eq!((&swapped["received"], &swapped["failed"]), (&0.into(), &1.into()), "{swapped}");
    assert_eq!(snapshot(&outside).unwrap(), before, "nothing went through the link");
    let large = b"raspberry1/day/large.jpg".as_slice();
    assert_eq!(fleet.offered().unwrap().get(large), offered.get(large), "the Pi keeps it");

    // With the directory back in its place, the file comes too.
    fs::remove_file(&there).unwrap();
    fs::rename(&outside, &there).unwrap();
    pipeline(&["sync"]).expect(0);
    assert!(fleet.offered().unwrap().is_empty());
    assert_eq!(fleet.archived().unwrap().get(large), offered.get(large));
}
