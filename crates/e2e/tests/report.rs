//! The page of `pipeline report`, as a browser shows it.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::browser::Browser;
use e2e::mounts::{Disk, among_own_mounts};
use e2e::past::{Past, home};
use e2e::run;
use local_fleet::programs::Programs;
use rusqlite::Connection;

const PAST: Past = Past { devices: 14, days: 400, readings_per_day: 2, runs_per_day: 24 };

/// Elements that reach beyond their panel or the screen, but for those in a box that scrolls by itself.
const PROTRUDING: &str = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right
    > (e.parentElement.closest('section, .tile') ?? document.body).getBoundingClientRect().right + 1).map(e => e.outerHTML.slice(0, 200))";

/// A name as long as many are. Broken in two, `raspberry10` would read as another device.
const WHOLE_NAME: &str = "raspberry-north-hive";

/// Names of devices that take more than one line, but for the longest one, in the table of the fleet.
const BROKEN: &str = "[...document.querySelectorAll('.fleet tbody th')].map(e => { const r = document.createRange();
    r.selectNodeContents(e.firstChild); return [e.firstChild.textContent, r.getClientRects().length]; })
    .filter(([name, lines]) => lines !== 1 && name.length < 63)";

/// Pictures that can be seen, and of them those that nobody has a name for.
const PICTURES: &str = "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width > 0)";

fn pipeline(config: &Path) -> Command {
    let program = Programs::find().and_then(|programs| programs.path("pipeline")).unwrap();
    let mut command = Command::new(program);
    command.arg("--config").arg(config).env("TZ", "Europe/London").env("NO_COLOR", "1");
    command
}

/// Gives a device that needs a person as many words without a space as a Pi may say, and another one the longest name.
fn say_at_length(catalog: &Path) {
    let catalog = Connection::open(catalog).unwrap();
    let long = "x".repeat(400);
    let newest = "SELECT max(id) FROM spell WHERE class = 'host_key' GROUP BY source LIMIT 1";
    let said = catalog.execute(&format!("UPDATE spell SET reason = ?1 WHERE id = ({newest})"), [&long]).unwrap();
    let name = |device: &str, name: &str| {
        catalog.execute("UPDATE source SET device = ?2 WHERE device = ?1", [device, name]).unwrap()
    };
    let named = (name("raspberry2", &long[..63]), name("raspberry4", WHOLE_NAME));
    assert_eq!((said, named), (1, (1, 1)));
}

#[test]
fn a_disk_that_has_no_room_has_one_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let config = home(dir.path(), &Past { devices: 2, days: 3, readings_per_day: 1, runs_per_day: 4 });
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    among_own_mounts(|| {
        let disk = Disk::mount(&out, 1 << 20);
        let filler = disk.fill();
        let refused = |args: &[&str]| {
            let told = run(pipeline(&config).args(args).current_dir(&out)).expect(5);
            assert!(told.stderr.contains("hint: make room there, or see why it is read-only"), "{told}");
            let left: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(left, [filler.as_path()], "{told}");
        };
        refused(&["report", "--output", "page.html"]);
        refused(&["export", "effort", "--output", "effort.csv"]);
        disk.set_read_only(true);
        refused(&["report", "--output", "page.html"]);
        refused(&["export", "csv", "--output", "list.csv"]);
        disk.set_read_only(false);
        fs::remove_file(&filler).unwrap();
        run(pipeline(&config).args(["report", "--output", "page.html"]).current_dir(&out)).expect(0);
    });
}

#[test]
fn a_browser_shows_the_page_whole_at_a_desk_and_on_a_phone() {
    let dir = tempfile::tempdir().unwrap();
    let config = home(dir.path(), &PAST);
    say_at_length(&dir.path().join("state/catalog.db"));
    let page = dir.path().join("fleet.html");
    run(pipeline(&config).args(["hold", "--reason", "<b>moving</b> the storage"])).expect(0);
    let said = run(pipeline(&config).arg("report").arg("--output").arg(&page)).expect(0);
    assert_eq!(said.stdout, format!("wrote {}\n", page.display()));
    // Once more over the one that is there, and as a stream: but for the time, the same.
    run(pipeline(&config).arg("report").arg("-o").arg(&page)).expect(0);
    let streamed = run(pipeline(&config).args(["report", "-q", "-o", "-"])).expect(0).stdout;
    assert!(streamed.starts_with("<!DOCTYPE html>") && streamed.ends_with("</html>\n"));
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains("&lt;b&gt;moving&lt;/b&gt;") && !text.contains("<script") && !text.contains("<b>"), "{text}");
    let last_week = run(pipeline(&config).args(["report", "--since", "7d", "-o", "-"])).expect(0).stdout;
    assert!(last_week.len() < text.len() / 2, "a year is {} bytes, a week {}", text.len(), last_week.len());
    for since in ["yesteryear", "9999-01-01"] {
        run(pipeline(&config).args(["report", "--since", since])).expect(2);
    }
    run(pipeline(&config).arg("report").arg("-o").arg(dir.path().join("nowhere/page.html"))).expect(78);
    let catalog = dir.path().join("state/catalog.db");
    let notes = dir.path().join("notes");
    fs::write(&notes, "mine").unwrap();
    for other in [&catalog, &notes] {
        run(pipeline(&config).arg("report").arg("-o").arg(other)).expect(2);
    }
    assert!(fs::read(&catalog).unwrap().starts_with(b"SQLite") && fs::read(&notes).unwrap() == b"mine");

    let strays: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!strays.iter().any(|name| name.to_string_lossy().contains("partial")), "{strays:?}");

    let Some(mut browser) = Browser::start() else {
        eprintln!("skipped: no Chromium is installed, so nobody has looked at the page");
        return;
    };
    for (screen, dark) in [((1280, 900), false), ((390, 844), false), ((390, 844), true)] {
        browser.load(&page, screen, dark);
        assert_eq!(browser.complaints(), [""; 0], "{screen:?}");
        // The icon stands in the page, so nothing else was asked for.
        let others: Vec<String> = browser.requests().into_iter().filter(|url| !url.starts_with("data:")).collect();
        assert_eq!(others, [format!("file://{}", page.display())], "{screen:?}");
        let width = browser.evaluate("document.documentElement.scrollWidth");
        assert_eq!(width, screen.0, "the page must not be wider than its screen");
        assert_eq!(browser.evaluate(PROTRUDING), serde_json::json!([]), "{screen:?}");
        assert_eq!(browser.evaluate(BROKEN), serde_json::json!([]), "{screen:?}");
        let pictures = browser.evaluate(&format!("{PICTURES}.length"));
        // One for each card, the days, the calendar, the transfers, the storage; of those in two sizes only one.
        assert_eq!(pictures, PAST.devices + 4, "{screen:?}");
        let mute = browser.evaluate(&format!("{PICTURES}.filter(e => !e.getAttribute('aria-label')).length"));
        assert_eq!(mute, 0, "a screen reader must have something to say of each picture");
        let smallest = "Math.min(...[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height).filter(h => h > 0))";
        let height = browser.evaluate(smallest).as_f64().unwrap_or(0.0);
        assert!(height > 9.0, "words of {height} pixels can't be read at {screen:?}");
        let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground == "rgb(246, 248, 250)", !dark, "{ground}");
    }
    let sections = browser.evaluate("[...document.querySelectorAll('section h2')].map(e => e.textContent)");
    let expected = serde_json::json!([
        "Needs a person",
        "The fleet now",
        "Disk use of each card",
        "Received a day",
        "Outages",
        "Transfers by device",
        "Failures and their reasons",
        "Storage growth",
    ]);
    assert_eq!(sections, expected);
}
