//! The promise as one property, on the real engine and the real agent, joined by a socket instead of SSH.
//!
//! Users of two devices that share one layout write, append, edit, rename and delete files, and set times back; runs are made, some
//! break off at a random byte or are stopped, and while they work the users go on; now and then the catalog is lost. After every step: what a user last wrote is on the
//! device or in the archive, byte for byte; what left a device stays in the archive for ever, where the catalog says; every row of the
//! catalog is true; and no archive path ever holds a torn copy.

#![allow(clippy::unwrap_used, missing_docs)]

mod catalog;
mod world;

use pipeline_core::event::{Outcome, PlannedAction};
use proptest::prelude::*;

use world::{NAMES, World};

/// What a user does with one file of one device.
#[derive(Clone, Debug)]
struct Change {
    device: usize,
    name: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// As a careful program does: complete before it has its name.
    Write {
        seed: u8,
        bytes: usize,
    },
    /// What the other device has as well, to the byte.
    Copy {
        seed: u8,
    },
    Append {
        seed: u8,
        bytes: usize,
    },
    /// In place, same size, mtime put back: only ctime tells.
    Rewrite {
        seed: u8,
    },
    /// A few bytes somewhere, in place.
    Edit {
        seed: u8,
        at: usize,
    },
    /// To half its size.
    Truncate,
    /// Over the file of another name.
    Rename {
        to: usize,
    },
    Delete,
}

/// What disturbs a run.
#[derive(Clone, Debug, Default)]
struct Disturbance {
    /// The link of each device breaks after so many bytes.
    breaks_after: Option<usize>,
    /// The run is stopped at this event.
    stops_at: Option<usize>,
    /// A user does something at this event.
    meanwhile: Option<(usize, Change)>,
}

#[derive(Clone, Debug)]
enum Step {
    Change(Change),
    Run {
        delete: bool,
        disturbance: Disturbance,
    },
    /// All files in the storage are nobody's then.
    LoseCatalog,
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = || prop_oneof![Just(0usize), 1usize..2000, 60_000usize..700_000, Just(1_300_000)];
    let kind = prop_oneof![
        5 => (any::<u8>(), bytes()).prop_map(|(seed, bytes)| Kind::Write { seed, bytes }),
        1 => (0u8..3).prop_map(|seed| Kind::Copy { seed }),
        3 => (any::<u8>(), bytes()).prop_map(|(seed, bytes)| Kind::Append { seed, bytes }),
        2 => any::<u8>().prop_map(|seed| Kind::Rewrite { seed }),
        3 => (any::<u8>(), any::<usize>()).prop_map(|(seed, at)| Kind::Edit { seed, at }),
        1 => Just(Kind::Truncate),
        1 => (0..NAMES.len()).prop_map(|to| Kind::Rename { to }),
        1 => Just(Kind::Delete),
    ];
    // The second device less often, so that one file has a history.
    let device = prop_oneof![3 => Just(0usize), 1 => Just(1)];
    (device, 0..NAMES.len(), kind).prop_map(|(device, name, kind)| Change { device, name, kind })
}

fn step() -> impl Strategy<Value = Step> {
    let breaks = prop_oneof![3 => Just(None), 2 => (0usize..1_500_000).prop_map(Some)];
    let stops = prop_oneof![5 => Just(None), 1 => (1usize..20).prop_map(Some)];
    let meanwhile = prop::option::of((0usize..16, change()));
    let disturbance = (breaks, stops, meanwhile).prop_map(|(breaks_after, stops_at, meanwhile)| Disturbance {
        breaks_after,
        stops_at,
        meanwhile,
    });
    prop_oneof![
        30 => change().prop_map(Step::Change),
        20 => (any::<bool>(), disturbance).prop_map(|(delete, disturbance)| Step::Run { delete, disturbance }),
        1 => Just(Step::LoseCatalog),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_ever_offered_is_on_the_device_or_in_the_archive(steps in prop::collection::vec(step(), 1..25)) {
        let world = World::new();
        for step in &steps {
            match step {
                Step::Change(change) => world.apply(change),
                Step::Run { delete, disturbance } => drop(world.run(*delete, disturbance)),
                Step::LoseCatalog => world.lose_catalog(),
            }
            world.check()?;
        }
        // Whatever happened before: an undisturbed run comes to its end, and takes everything along.
        let outcomes = world.run(true, &Disturbance::default());
        prop_assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done), "{outcomes:?}");
        world.check()?;
        world.check_manifests()?;
        world.check_nothing_is_left()?;
    }
}

/// What is here already, what has changed and what clashes is said before anything is done, in the words of what is done then.
#[test]
fn a_dry_run_says_what_is_known_without_reading() {
    use PlannedAction::{AdoptAndRemove, ReceiveAndRemove, UpdateAndRemove};
    const EARLIER: &str = "the storage holds other or earlier content of it";
    const SAME_SIZE: &str = "the storage holds a file of this size: received only if it differs";
    let world = World::new();
    let write = |device, name, bytes| {
        world.apply(&Change { device, name, kind: Kind::Write { seed: 3, bytes } });
    };
    write(0, 0, 1000);
    assert_eq!(world.run(false, &Disturbance::default()), [Outcome::Done, Outcome::Done]);
    write(0, 0, 1001);
    world.store_by_hand(1, 3, 1000);
    write(0, 1, 1000);
    world.store_by_hand(2, 5, 900);
    write(0, 2, 1000);
    write(0, 3, 1000);
    write(1, 0, 70);
    let before = world.snapshot();
    let told = |what: &str, action, why: Option<&str>| (what.to_owned(), action, why.map(str::to_owned));
    let expected = [
        told("a", UpdateAndRemove, Some(EARLIER)),
        told("b.csv", AdoptAndRemove, Some(SAME_SIZE)),
        told("day 1/x.jpg", UpdateAndRemove, Some(EARLIER)),
        told("day 1/y.jpg", ReceiveAndRemove, None),
    ];
    assert_eq!(world.plan(0), expected);
    assert_eq!(world.plan(1), [told("a", ReceiveAndRemove, Some("another file has its place: as data/a~pj"))]);
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.run(true, &Disturbance::default()), [Outcome::Done, Outcome::Done]);
    world.check().unwrap();
    world.check_nothing_is_left().unwrap();
}
