//! Two devices whose layout gives their files one place in the storage: both are kept, under names that stay.

use std::collections::BTreeMap;
use std::fs;

use e2e::scene::{Scene, noise};
use e2e::truth::assert_all_true;
use e2e::{Ended, carried_bytes};
use local_fleet::Fleet;

use crate::count;

/// The files of the storage, by their path below `beephotos/`.
fn stored(scene: &Scene) -> BTreeMap<String, Vec<u8>> {
    let files = scene.archived().into_keys().map(|path| {
        let content = fs::read(scene.fleet.storage().join(str::from_utf8(&path).unwrap())).unwrap();
        (str::from_utf8(&path).unwrap().strip_prefix("beephotos/").unwrap().to_owned(), content)
    });
    files.collect()
}

/// Path on the device and place in the storage of each clash that was told.
fn told(sync: &Ended) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let clashes = sync.events_of("file_clashed").into_iter();
    clashes.map(|event| (text(&event["path"]), text(&event["archive_path"]))).collect()
}

#[test]
fn two_devices_with_one_place_are_both_kept_under_names_that_stay() {
    let layout = "layout: \"{source_name}/{path}\"\nsettle: 0s\ndelete: { after: 0s }\n";
    let scene = Scene::new(Fleet::builder().pis(2).pipeline_config(layout));
    let sync = |host: &str| scene.pipeline(&["sync", host, "--json"]).expect(0);
    let (one, two) = (noise(4000, 1), noise(4000, 2));
    scene.write(1, "day 1/hive.csv", &one);
    scene.write(1, "same.jpg", b"the same on both");
    scene.write(1, "Makefile", b"one");
    scene.write(2, "day 1/hive.csv", &two);
    scene.write(2, "same.jpg", b"the same on both");
    scene.write(2, "Makefile", b"two");
    scene.write(2, "alone.jpg", b"nobody else");
    assert_eq!(told(&sync("raspberry1")), []);
    let second = sync("raspberry2");
    let mut clashes = told(&second);
    clashes.sort();
    let place = |path: &str, place: &str| (path.to_owned(), format!("beephotos/{place}"));
    assert_eq!(
        clashes,
        [
            place("Makefile", "Makefile~raspberry2"),
            place("day 1/hive.csv", "day 1/hive~raspberry2.csv"),
            place("same.jpg", "same~raspberry2.jpg"),
        ]
    );
    assert_eq!(count(&second, "clashes"), 3, "{second}");
    let mut expected: BTreeMap<_, _> = [
        ("day 1/hive.csv", one.clone()),
        ("day 1/hive~raspberry2.csv", two.clone()),
        ("same.jpg", b"the same on both".to_vec()),
        ("same~raspberry2.jpg", b"the same on both".to_vec()),
        ("Makefile", b"one".to_vec()),
        ("Makefile~raspberry2", b"two".to_vec()),
        ("alone.jpg", b"nobody else".to_vec()),
    ]
    .map(|(path, content)| (path.to_owned(), content))
    .into();
    assert_eq!(stored(&scene), expected);
    assert_all_true(&scene.fleet);
    assert_eq!(scene.offered().len(), 0);

    // Both come again, now the second first: one has grown, one is as it was, one has other content.
    let grown = [&two[..], b"more"].concat();
    scene.write(2, "day 1/hive.csv", &grown);
    scene.write(2, "same.jpg", b"the same on both");
    scene.write(2, "Makefile", b"another");
    let again = sync("raspberry2");
    assert_eq!((carried_bytes(&again), count(&again, "versions"), count(&again, "adopted")), (4 + 7, 1, 1), "{again}");
    expected.insert("day 1/hive~raspberry2.csv".to_owned(), grown.clone());
    expected.insert("Makefile~raspberry2".to_owned(), b"another".to_vec());
    assert_eq!(stored(&scene), expected);
    let version = again.events_of("file_versioned").pop().unwrap()["version"].as_str().unwrap().to_owned();
    assert!(version.starts_with(".pipeline/versions/beephotos/Makefile~raspberry2~"), "{version}");
    assert_eq!(fs::read(scene.fleet.storage().join(version)).unwrap(), b"two");
    assert_all_true(&scene.fleet);

    // A third file whose own place has the name of a clash, and a catalog that was lost in between: the names stay.
    fs::remove_file(scene.fleet.state_dir().join("catalog.db")).unwrap();
    scene.pipeline(&["catalog", "rebuild"]).expect(0);
    scene.write(1, "same~raspberry2.jpg", b"called so");
    scene.write(1, "day 1/hive.csv", &one);
    scene.write(2, "day 1/hive.csv", &grown);
    let clashes = told(&sync("raspberry1"));
    assert_eq!(clashes, [place("same~raspberry2.jpg", "same~raspberry2~raspberry1.jpg")]);
    assert_eq!(carried_bytes(&sync("raspberry2")), 0);
    expected.insert("same~raspberry2~raspberry1.jpg".to_owned(), b"called so".to_vec());
    assert_eq!(stored(&scene), expected);
    assert_eq!(scene.offered().len(), 0);
    assert_all_true(&scene.fleet);
}
