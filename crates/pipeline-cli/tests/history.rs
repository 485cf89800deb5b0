//! `pipeline history` over a made past, word for word.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::fd::OwnedFd;

use rusqlite::{Connection, params};
use support::Home;

const MINUTE_NS: i64 = 60_000_000_000;
/// 2026-11-20T23:00:00Z
const BEGIN_NS: i64 = 1_795_215_600_000_000_000;

/// Two devices and an hour of runs, a minute apart: files at first, nothing for long, one that was killed, one that was stopped.
fn past() -> Home {
    let home = Home::new();
    home.good_config();
    assert!(home.run(&["init"]).status.success());
    let conn = Connection::open(home.path("state/catalog.db")).unwrap();
    for (id, device) in [(1, "raspberry10"), (2, "raspberry2")] {
        let sql = "INSERT INTO source (id, device, path, visited_ns, succeeded_ns, newest_ns) VALUES (?1, ?2, x'2f64', ?3, ?3, ?4)";
        conn.execute(sql, params![id, device, at(59), at(0)]).unwrap();
    }
    for run in 1..=60 {
        let (received, offline, failed, deferred) = match run {
            1 => (3, 0, 0, 0),
            50 => (0, 1, 0, 2),
            60 => (0, 0, 1, 0),
            _ => (0, 0, 0, 0),
        };
        let sql = "INSERT INTO run (id, started_ns, finished_ns, program, devices, done, offline, failed, received, received_bytes,
                       adopted, adopted_bytes, removed, removed_bytes, deferred, versions, clashes, failures, held, on_hold)
                   VALUES (?1, ?2, ?3, '0.1.0', 2, ?4, ?5, ?6, ?7, ?8, 0, 0, ?7, ?8, ?9, 0, 0, ?6, 0, 0)";
        let (start, done) = (at(run - 1), 2 - offline - failed);
        conn.execute(
            sql,
            params![run, start, start + 4_500_000_000, done, offline, failed, received, received * 4096, deferred],
        )
        .unwrap();
    }
    let empty = "devices = NULL, done = NULL, received = NULL";
    conn.execute(&format!("UPDATE run SET finished_ns = NULL, {empty} WHERE id = 40"), []).unwrap();
    let stop = "the storage is full";
    conn.execute("UPDATE run SET stopped_by = ?1, class = 'storage' WHERE id = 60", [stop]).unwrap();
    let sql = "INSERT INTO file (source, path, size, mtime_ns, ctime_ns, dev, ino, clock_offset_ns, sha256, archive_path, kept,
                   received_ns, removed_ns, run) VALUES (?1, ?2, 4096, ?3, 1, 2, 3, 0, zeroblob(32), ?4, ?5, ?3, ?6, 1)";
    let files = [
        (1, "2026-11-20/bee\t1.jpg", "raspberry10/2026-11-20/bee\t1.jpg", "whole", Some(at(0))),
        (2, "log.csv", "raspberry2/log.csv", "prefix", Some(at(0))),
        (2, "notes.txt", ".pipeline/versions/raspberry2/notes.txt~1", "whole", None),
    ];
    for (source, path, stored, kept, removed) in files {
        conn.execute(sql, params![source, path.as_bytes(), at(0), stored.as_bytes(), kept, removed]).unwrap();
    }
    let sql =
        "INSERT INTO day (source, day, reached, offline, failed, received, received_bytes, removed, first_ns, last_ns)
               VALUES (?1, 20777 + ?2, ?3, ?4, ?5, ?6, ?6 * 4096, ?6, ?7, ?7)";
    for (source, day, reached, offline, failed, received) in
        [(1, 0, 59, 0, 1, 1), (2, 0, 59, 1, 0, 2), (2, 1, 1, 0, 0, 0)]
    {
        conn.execute(sql, params![source, day, reached, offline, failed, received, at(60 * day)]).unwrap();
    }
    let sql = "INSERT INTO spell (source, state, class, reason, hint, began_ns, last_ns, visits, others)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let (reached, offline, failed) = ("reached", "offline", "failed");
    for (source, state, class, reason, from, to, others) in [
        (1, reached, None, None, 0, 58, 3),
        (1, failed, Some("storage"), Some(stop), 59, 59, 0),
        (2, reached, None, None, 0, 48, 0),
        (2, offline, Some("unreachable"), Some("no tunnel"), 49, 49, 0),
        (2, reached, None, None, 50, 60, 0),
    ] {
        let hint = class.map(|_| "see there");
        conn.execute(sql, params![source, state, class, reason, hint, at(from), at(to), to - from + 1, others])
            .unwrap();
    }
    home
}

fn at(minute: i64) -> i64 {
    BEGIN_NS + minute * MINUTE_NS
}

fn golden(name: &str, home: &Home, commands: &[&[&str]]) {
    let seen: Vec<String> =
        commands.iter().map(|args| format!("$ pipeline {}\n{}", args.join(" "), home.seen(&home.run(args)))).collect();
    insta::assert_snapshot!(name, seen.join("\n"));
}

#[test]
fn the_past_word_for_word() {
    let home = past();
    golden(
        "tables",
        &home,
        &[
            &["history"],
            &["history", "runs", "--all", "--last", "3"],
            &["history", "runs", "raspberry10"],
            &["history", "runs", "raspberry10", "--since", "2026-11-20 23:30"],
            &["history", "--since", "2026-11-20 23:30", "--until", "2026-11-20 23:40"],
            &["history", "devices"],
            &["history", "devices", "raspberry10", "--since", "2026-11-21"],
            &["history", "visits", "raspberry2", "--last", "2"],
            &["history", "visits", "raspberry10"],
            &["history", "files", "--last", "2"],
            &["history", "files", "raspberry[1-10]", "--path", "*.jpg"],
        ],
    );
    golden(
        "rows",
        &home,
        &[
            &["history", "runs", "--json", "--last", "2"],
            &["history", "runs", "--csv", "--last", "1"],
            &["history", "runs", "raspberry2", "--json"],
            &["history", "devices", "--json"],
            &["history", "devices", "raspberry2", "--csv"],
            &["history", "visits", "raspberry2", "--json"],
            &["history", "visits", "raspberry10", "--csv"],
            &["history", "files", "--json", "--path", "!*.jpg", "--path", "log.csv"],
            &["history", "files", "--csv"],
        ],
    );
    let every = home.run(&["history", "runs", "--json"]);
    assert_eq!(String::from_utf8_lossy(&every.stdout).lines().count(), 60);
}

#[test]
fn a_table_fits_its_terminal() {
    let home = past();
    let lists = [
        &["history"][..],
        &["history", "runs", "--all", "--last", "2"],
        &["history", "devices"],
        &["history", "visits"],
        &["history", "files"],
    ];
    let narrow = |args: &[&str]| {
        let output = home.command(args).env("COLUMNS", "80").output().unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let widest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= 80, "{widest}");
        format!("$ pipeline {}\n{}", args.join(" "), home.seen(&output))
    };
    insta::assert_snapshot!("narrow", lists.map(narrow).join("\n"));
}

#[test]
fn where_no_time_was_named_none_is_spoken_of() {
    let home = Home::new();
    home.good_config();
    assert!(home.run(&["init"]).status.success());
    golden(
        "nothing",
        &home,
        &[
            &["history"],
            &["history", "--since", "1d"],
            &["history", "devices"],
            &["history", "visits", "--until", "2026-11-01"],
            &["history", "files"],
            &["history", "files", "--path", "*.jpg"],
            &["export", "bag", "-o", "bag"],
            &["export", "bag", "-o", "bag", "--since", "1d"],
        ],
    );
}

#[test]
fn whoever_looks_back_needs_no_openssh_config() {
    let home = past();
    home.config("hosts: ['raspberry[2-99]', raspberry1]\nsource: /d\nstorage: ~/storage\nstate_dir: ~/state\n");
    std::fs::remove_dir_all(home.path(".ssh")).unwrap();
    for args in [&["history", "devices"][..], &["export", "csv"], &["export", "effort"], &["explain", "raspberry10"]] {
        let output = home.run(args);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", home.seen(&output));
    }
    let report = home.run(&["report", "-o", "page.html", "--since", "2026-11-20"]);
    insta::assert_snapshot!("without_ssh_config", home.seen(&report));
    let page = std::fs::read_to_string(home.path("page.html")).unwrap();
    let fleet = page.split("The fleet now").nth(1).and_then(|rest| rest.split("</section>").next()).unwrap();
    let names: Vec<&str> =
        fleet.split("<th scope=\"row\">").skip(1).map(|row| row.split('<').next().unwrap()).collect();
    assert_eq!(names, ["raspberry10", "raspberry2", "raspberry1"], "the worst first, and last who was never visited");
    assert!(!fleet.contains("Retired"), "{fleet}");
}

#[test]
fn rows_that_nobody_reads_to_the_end_are_no_error_and_those_of_a_full_disk_are() {
    let home = past();
    // More than a buffer holds, so that it is noticed in the middle.
    let lists = [
        &["history", "runs", "--csv"][..],
        &["history", "runs", "--json"],
        &["history", "files", "--csv"],
        &["export", "csv"],
        &["export", "manifest"],
    ];
    for args in lists {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let left = home.command(args).stdout(OwnedFd::from(writer)).output().unwrap();
        assert_eq!((left.status.code(), left.stderr.len()), (Some(0), 0), "{args:?}: {}", home.seen(&left));
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let full = home.command(args).stdout(full).output().unwrap();
        assert_eq!(full.status.code(), Some(5), "{args:?}: {}", home.seen(&full));
    }
}

#[test]
fn what_can_not_be_listed_is_said() {
    let home = past();
    golden(
        "refused",
        &home,
        &[
            &["history", "visits", "raspbery2"],
            &["history", "runs", "raspbery2"],
            &["history", "files", "--path", "a{"],
            &["history", "--since", "yesterday"],
            &["history", "--since", "1d", "--until", "2d"],
            &["history", "files", "--since", "2020-01-01", "--until", "2020-12-31"],
        ],
    );
    let conn = Connection::open(home.path("state/catalog.db")).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    golden("newer", &home, &[&["history"]]);
}
