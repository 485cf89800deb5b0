//! `pipeline history` over a made past, word for word.

#![allow(clippy::unwrap_used)]

mod support;

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
fn what_can_not_be_listed_is_said() {
    let home = past();
    golden(
        "refused",
        &home,
        &[
            &["history", "visits", "raspbery2"],
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
