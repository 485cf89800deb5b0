//! Looking back: `pipeline explain` says why a file is as it is, and `pipeline export` hands on what was received.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use e2e::scene::{Scene, noise};
use e2e::schema::assert_described;
use e2e::{Ended, run};
use local_fleet::Fleet;
use serde_json::Value;

/// Asserts that a paragraph has all these words, wherever its lines are broken.
#[track_caller]
fn says(ended: &Ended, words: &[&str]) {
    let text = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in words {
        assert!(text.contains(words), "{words:?}: {ended}");
    }
}

#[test]
fn each_file_has_its_explanation() {
    let config =
        "layout: \"{source_name}/{path}\"\nexclude: [\"*.tmp\"]\nversions: { replace: [\"*.db\"] }\nsettle: 1h\n";
    let scene = Scene::new(Fleet::builder().pis(2).offline(1).pipeline_config(config));
    let (storage, source) = (scene.fleet.storage(), scene.fleet.pi(1).source());
    let explain = |args: &[&str]| scene.pipeline(&[&["explain"], args].concat()).expect(0);
    let answer = |args: &[&str]| -> Value {
        let told: Value = serde_json::from_str(&explain(&[args, &["--json"]].concat()).stdout).unwrap();
        assert_described("explain", &told);
        assert_eq!((&told["schema"], told["explanations"].as_array().unwrap().len()), (&1.into(), 1), "{told}");
        told["explanations"][0].clone()
    };
    let never = explain(&["raspberry1"]);
    says(&never, &["No visit to raspberry1 is known"]);

    for (path, content) in
        [("day/a.jpg", "one"), ("hive.csv", "of 1"), ("log.txt", "line 1\n"), ("state.db", "old"), ("x.tmp", "")]
    {
        scene.write(1, path, content.as_bytes());
    }
    scene.write(2, "hive.csv", b"of 2");
    // A terminal would be told to turn the line.
    scene.write(1, "photo\u{202e}gpj.exe", b"turned");
    std::os::unix::fs::symlink("day", source.join("link")).unwrap();
    scene.fleet.write(1, b"young.jpg", b"still written", SystemTime::now()).unwrap();
    scene.pipeline(&["sync", "raspberry1", "raspberry3"]).expect(0);
    scene.pipeline(&["sync", "raspberry2"]).expect(0);

    // However it is asked for: where it is stored, as the Pi has it, and below its directory.
    let stored = storage.join("beephotos/day/a.jpg");
    let on_pi = source.join("day/a.jpg");
    let first = explain(&[stored.to_str().unwrap()]);
    says(
        &first,
        &[
            "day/a.jpg of raspberry1 was received at 2",
            " in run 1 and is stored as ",
            ": 3 bytes, SHA-256 7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed. Row ",
            "A file of that size lies there now",
            "It left raspberry1 at 2",
        ],
    );
    for args in [
        &["raspberry1", "day/a.jpg"][..],
        &["raspberry1", on_pi.to_str().unwrap()],
        &["beephotos/day//a.jpg"],
        &["day/a.jpg"],
    ] {
        assert_eq!(explain(args).stdout, first.stdout);
    }
    // As it was printed, whatever was in it.
    let turned = explain(&["raspberry1", "photo\u{202e}gpj.exe"]);
    says(&turned, &["photo\\u{202e}gpj.exe of raspberry1 was received at 2"]);
    assert_eq!(explain(&["raspberry1", "photo\\u{202e}gpj.exe"]).stdout, turned.stdout);
    let mut from_there = scene.command();
    let from_there = run(from_there.args(["explain", "a.jpg"]).current_dir(storage.join("beephotos/day"))).expect(0);
    assert_eq!(from_there.stdout, first.stdout);

    says(
        &explain(&["raspberry2", "hive.csv"]),
        &["hive~raspberry2.csv", "because hive.csv of raspberry1 has the place beephotos/hive.csv: both are whole"],
    );
    says(
        &explain(&["raspberry1", "x.tmp"]),
        &["neither received nor removed: the glob '*.tmp' of `exclude` leaves it out"],
    );
    says(
        &explain(&["raspberry1", "gone.jpg"]),
        &["No visit has seen gone.jpg of raspberry1", "raspberry1 last answered at 2"],
    );
    says(
        &explain(&["raspberry1", "young.jpg"]),
        &["has not been received: the last visit left it for later: changed a moment ago", "Nothing need be done"],
    );
    says(
        &explain(&["raspberry1", "link"]),
        &["has not been received: the last visit left it alone", "Only regular files"],
    );
    says(&explain(&["raspberry1", "link/a.jpg"]), &["the last visit left the directory link alone"]);
    let root = storage.to_str().unwrap();
    for (args, words) in [
        (&["raspberry1", "day"][..], "day' is a directory that 1 file came from"),
        (&["beephotos/day"], "day' is a directory that 1 file came from"),
        (&["day/"], "'day/' is a directory that 1 file came from"),
        (&[root], "' is the storage itself"),
        (&["raspbery1"], "no device is called so either: did you mean 'raspberry1'"),
        (&["nobody"], "no device is called so either. For a file"),
        (&["raspberry1", "*.jpg"], "`pipeline history files raspberry1 --path '*.jpg'` lists"),
        (&["day/*.jpg"], "`pipeline history files --path 'day/*.jpg'` lists"),
    ] {
        let told = scene.pipeline(&[&["explain"], args].concat()).expect(2).stderr;
        assert!(told.contains(words), "{args:?}: {told}");
    }
    says(
        &explain(&["raspberry3"]),
        &["raspberry3 has never answered yet. It has been offline since 2", "What to do: "],
    );
    says(&explain(&["raspberry1"]), &["The newest data from ", "left young.jpg for later: changed", "left link alone"]);
    scene.pipeline(&["explain", "raspberry9", "a"]).expect(2);
    scene.pipeline(&["explain", "/etc/passwd"]).expect(2);
    scene.pipeline(&["explain", "raspberry1", "/etc/passwd"]).expect(2);

    // Other content, a longer one, and one of which only the newest is wanted; and nothing may leave.
    for (path, content) in [("day/a.jpg", "two"), ("log.txt", "line 1\nline 2\n"), ("state.db", "new")] {
        scene.write(1, path, content.as_bytes());
    }
    fs::remove_file(source.join("young.jpg")).unwrap();
    scene.pipeline(&["sync", "--no-delete"]).expect(0);
    let versions = answer(&["raspberry1", "day/a.jpg"]);
    assert_eq!(
        (&versions["outcome"], &versions["on_device"]["because"]["why"]),
        (&"stored".into(), &"not_asked".into())
    );
    assert_eq!(versions["earlier"][0]["kept"], "version", "{versions}");
    assert_eq!(answer(&["raspberry1", "log.txt"])["earlier"][0]["kept"], "beginning");
    assert_eq!(answer(&["raspberry1", "state.db"])["earlier"][0]["kept"], "dropped");
    let version = versions["earlier"][0]["archive_path"].as_str().unwrap();
    let by_version = answer(&[storage.join(version).to_str().unwrap()]);
    assert_eq!((&by_version["path"], &by_version["earlier"]), (&versions["path"], &versions["earlier"]));

    let because = |after: &str| {
        let text = fs::read_to_string(scene.fleet.config_file()).unwrap();
        let kept: String =
            text.lines().filter(|line| !line.starts_with("delete:")).map(|line| format!("{line}\n")).collect();
        fs::write(scene.fleet.config_file(), format!("{kept}delete: {{ after: {after} }}\n")).unwrap();
        answer(&["raspberry1", "day/a.jpg"])["on_device"]["because"]["why"].clone()
    };
    assert_eq!(because("never"), "never");
    assert_eq!(because("3d"), "until");
    assert_eq!(because("0s"), "not_asked");
    scene.pipeline(&["hold", "--reason", "the card is copied"]).expect(0);
    says(&explain(&["raspberry1", "day/a.jpg"]), &["it is due, and removals are on hold", "the card is copied"]);
    scene.pipeline(&["release"]).expect(0);

    // Somebody has it open.
    let open = fs::File::options().append(true).open(source.join("day/a.jpg")).unwrap();
    scene.sync().expect(0);
    assert_eq!(because("0s"), "left");
    drop(open);
    scene.sync().expect(0);
    assert_eq!(answer(&["raspberry1", "day/a.jpg"])["on_device"]["is"], "gone");

    // What the storage has lost is said, and that nobody can look.
    fs::remove_file(&stored).unwrap();
    says(&explain(&["raspberry1", "day/a.jpg"]), &["But nothing lies there now: run `pipeline verify`"]);
    fs::rename(storage.join(".pipeline"), storage.join(".away")).unwrap();
    says(&explain(&["raspberry1", "day/a.jpg"]), &["Whether it lies there now can't be seen: "]);
}

/// Whether the reference implementation of BagIt takes a bag; none where it isn't there.
fn bagit_takes(bag: &Path) -> Option<bool> {
    // Where `make test` puts it; else it may be installed.
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bagit");
    let python = |args: &[&str]| Command::new("python3").args(args).env("PYTHONPATH", &fetched).output().ok();
    python(&["-c", "import bagit"]).filter(|output| output.status.success())?;
    let output = python(&["-m", "bagit", "--validate", bag.to_str()?])?;
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Some(output.status.success())
}

#[test]
fn what_was_received_is_handed_on() {
    let scene = Scene::new(Fleet::builder().pis(2).pipeline_config("settle: 0s\n"));
    let out = tempfile::tempdir().unwrap();
    let at = |name: &str| out.path().join(name);
    let export = |args: &[&str]| scene.pipeline(&[&["export"], args].concat());
    let bag = |name: &str, args: &[&str]| export(&[&["bag", "--output", at(name).to_str().unwrap()], args].concat());
    bag("nothing", &[]).expect(2);

    let photo = noise(300_000, 1);
    scene.write(1, "day 1/a.jpg", &photo);
    scene.write(1, "log.txt", b"line 1\n");
    scene.write(1, "100%25 = all\nof it ", b"awkward");
    scene.fleet.write(1, b"\xff\xfe.jpg", b"no text", SystemTime::UNIX_EPOCH).unwrap();
    // As long as a name can be: what stands for it in a bag would be three times as long.
    let longest = [&[0xe9; 251][..], b".jpg"].concat();
    scene.fleet.write(1, &longest, b"latin 1", SystemTime::UNIX_EPOCH).unwrap();
    let deep = [vec!["d".repeat(240); 5].join("/").as_str(), "deep.txt"].join("/");
    scene.write(1, &deep, b"deep");
    scene.write(2, "b.jpg", b"another Pi");
    scene.sync().expect(0);
    let between = run(Command::new("date").args(["--utc", "+%FT%T.%NZ"])).expect(0).stdout;
    scene.write(1, "day 1/a.jpg", b"other content");
    scene.write(1, "log.txt", b"line 1\nline 2\n");
    scene.sync().expect(0);

    // A manifest is one that `sha256sum` takes; nothing is overwritten, and nothing is written into the storage.
    let list = at("list.sha256");
    let list = list.to_str().unwrap();
    export(&["manifest", "raspberry1", "-o", list]).expect(0);
    export(&["manifest", "-o", list]).expect(2);
    export(&["manifest", "-o", scene.fleet.storage().join("raspberry1/list").to_str().unwrap()]).expect(2);
    assert_eq!(fs::read(list).unwrap().iter().filter(|&&byte| byte == b'\n').count(), 7);
    let check = run(Command::new("sha256sum").args(["--check", "--quiet", list]).current_dir(scene.fleet.storage()));
    assert_eq!(check.expect(0).stdout, "");

    let made = bag("bag", &["raspberry1", "--info", "Contact-Name: Ada Lovelace"]).expect(0);
    says(&made, &["7 files", "of 1 device"]);
    let read = |name: &str| fs::read_to_string(at("bag").join(name)).unwrap();
    assert_eq!(fs::read(at("bag/data/raspberry1/day 1/a.jpg")).unwrap(), b"other content");
    assert_eq!(fs::read(at("bag/data/raspberry1/100=2525 =3D all=0Aof it=20")).unwrap(), b"awkward");
    assert_eq!(fs::read(at("bag/data/raspberry1/=FF=FE.jpg")).unwrap(), b"no text");
    let bytes = 300_000 + 13 + 14 + 7 + 7 + 7 + 4;
    let about = read("bag-info.txt");
    assert!(
        about.contains("Contact-Name: Ada Lovelace\n") && about.contains(&format!("\nPayload-Oxum: {bytes}.7\n")),
        "{about}"
    );
    assert!(about.contains("\nExternal-Identifier: raspberry1\n"), "{about}");
    let called = format!(",raspberry1,{},{}.jpg,7,", scene.fleet.pi(1).source().display(), "\\xe9".repeat(251));
    let files = read("files.csv");
    let row = files.lines().find(|row| row.contains(&called)).unwrap_or_else(|| panic!("{called}: {files}"));
    let name = row.split(',').next().unwrap();
    assert!(name.starts_with("data/raspberry1/=E9=E9") && name.ends_with(".jpg") && name.contains("=~"), "{name}");
    assert_eq!(fs::read(at("bag").join(name)).unwrap(), b"latin 1");
    let row = files.lines().find(|row| row.contains(&format!(",{deep},4,"))).unwrap_or_else(|| panic!("{files}"));
    assert!(row.starts_with("data/raspberry1/=~") && row.contains("/deep.txt,raspberry1,"), "{row}");
    assert_eq!(fs::read(at("bag").join(row.split(',').next().unwrap())).unwrap(), b"deep");
    let check =
        run(Command::new("sha256sum").args(["--check", "--quiet", "manifest-sha256.txt"]).current_dir(at("bag")));
    check.expect(0);
    match bagit_takes(&at("bag")) {
        None => eprintln!("skipped: the reference bagit.py, which `make test` fetches"),
        Some(takes) => {
            assert!(takes);
            // It would notice.
            fs::write(at("bag/data/raspberry1/log.txt"), b"line 1\nline 3\n").unwrap();
            assert_eq!(bagit_takes(&at("bag")), Some(false));
        }
    }
    bag("bag", &["raspberry1"]).expect(2);
    let refused = bag("other", &["--info", "Payload-Oxum: 0.0"]).expect(2);
    assert!(refused.stderr.contains("Payload-Oxum is written without being asked for"), "{refused}");

    // As it was at a time, though it has grown and changed since.
    bag("then", &["--until", between.trim(), "raspberry1"]).expect(0);
    assert_eq!(fs::read(at("then/data/raspberry1/log.txt")).unwrap(), b"line 1\n");
    let versions = fs::read_dir(at("then/data/earlier-versions/raspberry1/day 1")).unwrap();
    let versions: Vec<_> = versions.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert_eq!(versions, [photo]);
    assert_ne!(bagit_takes(&at("then")), Some(false));

    // Part of it, by time; and what has rotted is found before anybody gets it.
    bag("early", &["--until", "2000-01-01"]).expect(2);
    bag("recent", &["--since", "1h", "raspberry2"]).expect(0);
    assert!(at("recent/data/raspberry2/b.jpg").exists());
    fs::write(scene.fleet.storage().join("raspberry2/b.jpg"), b"an0ther Pi").unwrap();
    bag("rotten", &[]).expect(6);
    let left: Vec<_> = fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");

    // Tables.
    let table = export(&["csv"]).expect(0);
    assert_eq!(table.stdout.lines().count(), 1 + 9, "{table}");
    assert!(
        table.stdout.contains(",version") || table.stdout.contains(".pipeline/versions/raspberry1/day 1/a.jpg~"),
        "{table}"
    );
    let effort = export(&["effort", "raspberry1"]).expect(0);
    assert!(effort.stdout.starts_with("deviceID,start,end,reason\nraspberry1,20"), "{effort}");
    export(&["effort", "raspberry7"]).expect(2);
}
