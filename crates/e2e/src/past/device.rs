//! One device of a made past.

use rusqlite::{Connection, Statement, params};

use super::{DAY_NS, GIB, HOUR_NS, MIB, Past};
use crate::random::Random;

/// Of one file: a photo.
const FILE_BYTES: u64 = 3 * MIB;

/// What is the matter with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Away for days, with a card that goes on filling.
    Away,
    /// Its host key has changed.
    Refused,
    /// Answers, and records nothing any more.
    Silent,
    /// Its clock is days off.
    Clock,
    /// Its card can't be written any more.
    ReadOnly,
    /// It records more than its link can carry.
    Slow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reached,
    Offline,
    Broken,
    Refused,
}

impl State {
    /// Its word, and class, reason and hint.
    fn words(self) -> [Option<&'static str>; 4] {
        match self {
            State::Reached => [Some("reached"), None, None, None],
            State::Offline => [
                Some("offline"),
                Some("unreachable"),
                Some("the jump host can't connect to it: connection refused"),
                Some("is the Pi up, and its tunnel? On the Pi: systemctl status ssh-tunnel"),
            ],
            State::Broken => [
                Some("failed"),
                Some("transient"),
                Some("the connection broke while files were received: broken pipe"),
                Some("the next run goes on where this one ended"),
            ],
            State::Refused => [
                Some("failed"),
                Some("host_key"),
                Some("its host key has changed"),
                Some("if its card was replaced: keytool add-pi; else somebody is in between"),
            ],
        }
    }
}

/// One device, as it goes through its past.
pub(super) struct Device {
    number: u32,
    trouble: Trouble,
    random: Random,
    card_bytes: u64,
    /// What it records in an hour.
    hourly_bytes: u64,
    /// What its link can carry in an hour.
    link_bytes: u64,
    /// What is on the card besides.
    base_bytes: u64,
    waiting_bytes: u64,
    /// Hours that it stays as it is.
    hours_left: u64,
    state: State,
    visited_ns: Option<i64>,
    newest_ns: Option<i64>,
    /// When it was last visited.
    seen_free_bytes: u64,
}

/// What a day brought.
#[derive(Clone, Copy, Debug, Default)]
struct Day {
    reached: u64,
    offline: u64,
    failed: u64,
    bytes: u64,
}

impl Device {
    pub(super) fn new(number: u32, past: &Past, now_ns: i64) -> Device {
        let trouble = match number {
            3 => Trouble::Away,
            5 => Trouble::Refused,
            7 => Trouble::Silent,
            9 => Trouble::Clock,
            11 => Trouble::ReadOnly,
            13 => Trouble::Slow,
            _ => Trouble::None,
        };
        let mut random = Random::new(u64::from(number) + 1);
        let mut below = |end: u64| random.bits() % end;
        let card_bytes = [58 * GIB, 58 * GIB, 29 * GIB, 117 * GIB][number as usize % 4];
        let base_bytes = (4 + below(9)) * GIB;
        let hourly_bytes = match trouble {
            // Its card is all but full by now; by day it records more, by night less.
            Trouble::Away => (card_bytes - base_bytes) * 24 / 13 / (24 * 93 / 10),
            _ => (40 + below(400)) * MIB,
        };
        Device {
            number,
            trouble,
            card_bytes,
            hourly_bytes,
            link_bytes: if trouble == Trouble::Slow { hourly_bytes * 56 / 100 } else { 2 * GIB },
            base_bytes,
            waiting_bytes: 0,
            hours_left: 24 + below(24 * 30),
            random,
            state: State::Reached,
            visited_ns: Some(past.begin_ns(now_ns)),
            newest_ns: None,
            seen_free_bytes: card_bytes - base_bytes,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.bits() % end
    }

    /// What the next hours bring, `left` of which there are.
    fn turn(&mut self, left: i64) {
        let lasting = match self.trouble {
            Trouble::Away if left <= 9 * 24 => Some(State::Offline),
            Trouble::Refused if left <= 2 * 24 => Some(State::Refused),
            _ => None,
        };
        if let Some(state) = lasting {
            self.state = state;
        } else if self.hours_left == 0 {
            let shaky = u64::from(self.number) % 7;
            let fails = self.below(12) == 0;
            (self.state, self.hours_left) = match self.state {
                State::Reached if fails => (State::Broken, 1 + self.below(5)),
                State::Reached => (State::Offline, 1 + self.below(6 + shaky * 9) * (1 + self.below(3))),
                _ => (State::Reached, 30 + self.below(24 * (12 + 8 * (7 - shaky)))),
            };
        }
        self.hours_left = self.hours_left.saturating_sub(1);
    }

    pub(super) fn write(
        &mut self,
        conn: &Connection,
        past: &Past,
        now_ns: i64,
        stored: &mut [u64],
    ) -> rusqlite::Result<()> {
        let name = format!("raspberry{}", self.number);
        conn.execute("INSERT INTO source (device, path) VALUES (?1, CAST('/home/pi/beephotos' AS BLOB))", [&name])?;
        let source = conn.last_insert_rowid();
        let mut spells = conn.prepare(
            "INSERT INTO spell (source, state, class, reason, hint, began_ns, last_ns, visits) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let mut days = conn.prepare(
            "INSERT INTO day (source, day, reached, offline, failed, received, received_bytes, added_bytes, removed, removed_bytes, first_ns,
                 last_ns)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?6, ?7, ?8, ?9)",
        )?;
        let mut readings = conn.prepare(
            "INSERT INTO reading (source, at_ns, total_bytes, free_bytes, total_files, free_files, data_bytes, data_files, waiting_bytes,
                 waiting_files, kept_bytes, kept_files, clock_offset_ns, temperature_mdeg, throttled, uptime_s, load_milli,
                 memory_total_bytes, memory_available_bytes, read_only, sd_errors, agent)
             VALUES (?1, ?2, ?3, ?4, 3800000, 3600000, ?5, ?6, ?5, ?6, 0, 0, ?7, ?8, 0, 86400, 210, 967000000, 610000000, ?9, 0, '0.1.0')",
        )?;
        let visits = u64::from(past.runs_per_day / 24).max(1);
        let hours = i64::from(past.days) * 24;
        let every = i64::from(24 / past.readings_per_day.clamp(1, 24));
        let (mut day, mut today) = (None, Day::default());
        let mut spell: Option<(State, i64)> = None;
        for hour in 0..hours {
            let at = past.begin_ns(now_ns) + hour * HOUR_NS;
            let before = self.state;
            self.turn(hours - hour);
            if spell.is_none_or(|(state, _)| state != self.state) {
                close(&mut spells, source, spell.replace((self.state, at)), at - HOUR_NS / 60, visits)?;
            }
            let brought = self.hour(hours - hour, at);
            let number = i32::try_from(at.div_euclid(DAY_NS)).unwrap_or(0);
            if day.is_some_and(|day| day != number) {
                write_day(&mut days, source, day.unwrap_or(0), &today)?;
                today = Day::default();
            }
            day = Some(number);
            today.bytes += brought;
            match self.state {
                State::Reached => today.reached += visits,
                State::Offline => today.offline += visits,
                State::Broken | State::Refused => today.failed += visits,
            }
            if let Some(stored) = stored.get_mut(usize::try_from(hour / 24).unwrap_or(0)) {
                *stored += brought;
            }
            if self.state == State::Reached && (hour % every == 0 || before != self.state) {
                self.read(&mut readings, source, at)?;
            }
        }
        close(&mut spells, source, spell, now_ns - HOUR_NS / 60, visits)?;
        if let Some(day) = day {
            write_day(&mut days, source, day, &today)?;
        }
        let sql = "UPDATE source SET visited_ns = ?2, succeeded_ns = ?3, newest_ns = ?4, clock_offset_ns = ?5, total_bytes = ?6,
                       free_bytes = ?7, unreachable = ?8 WHERE id = ?1";
        conn.execute(
            sql,
            params![
                source,
                self.visited_ns,
                self.visited_ns,
                self.newest_ns,
                self.clock_offset_ns(),
                self.card_bytes.cast_signed(),
                self.seen_free_bytes.cast_signed(),
                self.state == State::Offline,
            ],
        )?;
        Ok(())
    }

    /// Records, and is emptied if it can be reached. Returns what was received.
    fn hour(&mut self, left: i64, at: i64) -> u64 {
        let records = match self.trouble {
            Trouble::Silent => left > 5 * 24,
            Trouble::ReadOnly => left > 30,
            _ => true,
        };
        // Bees fly by day.
        let by_day = if (6..20).contains(&at.div_euclid(HOUR_NS).rem_euclid(24)) { 3 } else { 1 };
        if records {
            let recorded = self.hourly_bytes / 4 * by_day + self.below(8 * MIB);
            self.waiting_bytes = (self.waiting_bytes + recorded).min(self.card_bytes - self.base_bytes);
        }
        if self.state != State::Reached {
            return 0;
        }
        self.visited_ns = Some(at);
        let brought = self.waiting_bytes.min(self.link_bytes);
        self.waiting_bytes -= brought;
        self.seen_free_bytes = self.card_bytes - self.base_bytes - self.waiting_bytes;
        if brought > 0 {
            self.newest_ns = Some(at);
        }
        brought
    }

    fn clock_offset_ns(&self) -> i64 {
        if self.trouble == Trouble::Clock { -3 * DAY_NS } else { 40_000_000 }
    }

    fn read(&mut self, statement: &mut Statement<'_>, source: i64, at: i64) -> rusqlite::Result<()> {
        // As a visit finds it: with what has come since the one before.
        let waits = self.waiting_bytes + self.hourly_bytes / 8 + self.below(self.hourly_bytes / 2);
        let free = self.card_bytes.saturating_sub(self.base_bytes + waits);
        let values = params![
            source,
            at,
            self.card_bytes.cast_signed(),
            free.cast_signed(),
            waits.cast_signed(),
            (waits / FILE_BYTES).cast_signed(),
            self.clock_offset_ns(),
            38_000 + self.below(22_000).cast_signed(),
            self.trouble == Trouble::ReadOnly,
        ];
        statement.execute(values).map(drop)
    }
}

fn close(
    statement: &mut Statement<'_>,
    source: i64,
    spell: Option<(State, i64)>,
    last: i64,
    visits: u64,
) -> rusqlite::Result<()> {
    let Some((state, began)) = spell else { return Ok(()) };
    let [word, class, reason, hint] = state.words();
    let visits = visits * ((last - began) / HOUR_NS + 1).unsigned_abs();
    statement.execute(params![source, word, class, reason, hint, began, last, visits.cast_signed()]).map(drop)
}

fn write_day(statement: &mut Statement<'_>, source: i64, day: i32, sums: &Day) -> rusqlite::Result<()> {
    let files = sums.bytes.div_ceil(FILE_BYTES);
    let (first, last) = (i64::from(day) * DAY_NS, (i64::from(day) + 1) * DAY_NS - HOUR_NS / 60);
    let counts = [sums.reached, sums.offline, sums.failed, files, sums.bytes].map(u64::cast_signed);
    let [reached, offline, failed, files, bytes] = counts;
    statement.execute(params![source, day, reached, offline, failed, files, bytes, first, last]).map(drop)
}
