//! Made histories, and what a person computes of them by hand.

use super::*;

const GB: u64 = 1_000_000_000;
/// A card of 100 GB, whose readings are told by what is in use.
const CARD: u64 = 100 * GB;
const TODAY: i64 = 20_000;

fn hours(hours: u64) -> Option<Duration> {
    Some(Duration::from_secs(hours * 3600))
}

/// Hours from the beginning of the first of 2000 days; used; waiting.
fn at(hour: i64, used: u64, waiting: Option<u64>) -> Sample {
    let at_ns = TODAY * DAY_NS + hour * HOUR_NS;
    Sample { at_ns, total_bytes: CARD, free_bytes: CARD - used, waiting_bytes: waiting }
}

fn look(now_hour: i64, samples: &[Sample], received: &[Received], first_day: Option<i64>, drained: bool) -> Forecast {
    forecast(&History {
        now_ns: TODAY * DAY_NS + now_hour * HOUR_NS,
        samples,
        received,
        first_day: first_day.map(|day| i32::try_from(TODAY + day).unwrap_or(0)),
        drained,
    })
}

fn each_day(days: std::ops::Range<i32>, bytes: u64) -> Vec<Received> {
    days.map(|day| Received { day: 20_000 + day, bytes }).collect()
}

#[test]
fn steady_growth() {
    // 1 GB an hour, 40 h long: 24 GB a day. 60 GB are left: 60 h.
    let samples: Vec<_> = (0..=40).map(|hour| at(hour, hour.unsigned_abs() * GB, None)).collect();
    let found = look(40, &samples, &[], None, true);
    assert_eq!((found.growth_bytes_per_day, found.full_in), (Some(24 * 1_000_000_000), hours(60)));
    // The same within one day: 12 h, 12 GB in use, 88 h to go.
    let found = look(12, &samples[..13], &[], None, true);
    assert_eq!((found.growth_bytes_per_day, found.full_in), (Some(24 * 1_000_000_000), hours(88)));
    // One odd day of seven, as when somebody copied something there and took it away again, does not count.
    let week = |day: i64| if day == 3 { 90 * GB } else { day.unsigned_abs() * 2 * GB };
    let samples: Vec<_> = (0..7).map(|day| at(day * 24, week(day), None)).collect();
    let found = look(6 * 24, &samples, &[], None, true);
    assert_eq!((found.growth_bytes_per_day, found.full_in), (Some(2_000_000_000), hours(44 * 24)));
}

#[test]
fn a_saw_that_is_drained_each_night_grows_by_its_trend_alone() {
    // Six hours apart: 5, 6, 7, 8 GB, and the night takes them away again. Each day averages the same.
    let tooth = |hour: i64| (5 + hour.rem_euclid(24).unsigned_abs() / 6) * GB;
    let samples: Vec<_> = (0..=30).map(|step| step * 6).map(|hour| at(hour, tooth(hour), Some(0))).collect();
    let received = each_day(0..8, 4 * GB);
    let found = look(180, &samples, &received, Some(-10), true);
    assert_eq!((found.growth_bytes_per_day, found.full_in), (Some(0), None));
    // Each night leaves 500 MB: the last reading has 7 GB of teeth and 3.75 GB besides, and 89.25 GB last 178.5 days.
    let samples: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(step, s)| Sample { free_bytes: s.free_bytes - step as u64 * GB / 8, ..*s })
        .collect();
    let found = look(180, &samples, &received, Some(-10), true);
    assert_eq!(found.growth_bytes_per_day, Some(500_000_000));
    assert_eq!(found.full_in, hours(178 * 24 + 12));
}

#[test]
fn what_is_recorded_is_what_was_received_and_what_waits() {
    // First visited on day 0, when 50 GB came at once: those were recorded before. Then 2 GB a day, none of it on day 3, all the more
    // on day 4. Ten days and a half after: 10 x 2 GB received, 1 GB waits.
    let mut received = each_day(0..1, 50 * GB);
    received.extend(each_day(1..3, 2 * GB));
    received.extend(each_day(4..5, 4 * GB));
    received.extend(each_day(5..11, 2 * GB));
    let now = 11 * 24 + 12;
    let samples = [at(now, 10 * GB, Some(GB))];
    let found = look(now, &samples, &received, Some(0), true);
    assert_eq!((found.recorded_bytes_per_day, found.growth_bytes_per_day), (Some(2_000_000_000), None));
    // What waited already when the days began does not count: 5 GB of the 21 were there on the evening of day 0.
    let samples = [at(20, 10 * GB, Some(5 * GB)), samples[0]];
    let found = look(now, &samples, &received, Some(0), true);
    assert_eq!(found.recorded_bytes_per_day, Some(16 * GB * 2 / 21));
    // Only two weeks count: days 7 to 20, the last of them half over, 1 GB each.
    let received = [each_day(0..7, 9 * GB), each_day(7..21, GB)].concat();
    let found = look(20 * 24 + 12, &[at(20 * 24 + 12, GB, None)], &received, Some(-100), true);
    assert_eq!(found.recorded_bytes_per_day, Some(14 * GB * 2 / 27));
}

#[test]
fn of_a_device_that_is_away_what_it_recorded_since_is_taken_off() {
    // 2 GB a day for ten days, and 4 GB free at the last reading, at the end of the tenth day.
    let received = each_day(1..11, 2 * GB);
    let samples = [at(11 * 24, 96 * GB, Some(0))];
    let after = |days: i64| look((11 + days) * 24, &samples, &received, Some(0), false);
    assert_eq!(after(0).full_in, hours(48));
    assert_eq!(after(1).full_in, hours(24));
    assert_eq!(after(2).full_in, hours(0));
    assert_eq!(after(30).full_in, hours(0));
    assert_eq!((after(30).recorded_bytes_per_day, after(30).growth_bytes_per_day), (Some(2 * GB), Some(2_000_000_000)));
    // Where nothing leaves, and more comes than was received of late, the trend counts: 12 GB a day.
    let samples = [at(11 * 24 - 12, 84 * GB, None), at(11 * 24 - 6, 87 * GB, None), at(11 * 24, 90 * GB, None)];
    let found = look(11 * 24, &samples, &received, Some(0), false);
    assert_eq!((found.growth_bytes_per_day, found.full_in), (Some(12_000_000_000), hours(20)));
}

#[test]
fn without_a_history_nothing_is_said_but_what_is_plain() {
    assert_eq!(look(0, &[], &[], None, false), Forecast::default());
    assert_eq!(look(0, &[at(0, 5 * GB, None)], &[], Some(0), false), Forecast::default());
    assert_eq!(look(0, &[at(0, CARD, None)], &[], Some(0), true).full_in, hours(0));
    // Five hours may be one tooth.
    let samples: Vec<_> = (0..=5).map(|hour| at(hour, hour.unsigned_abs() * GB, None)).collect();
    assert_eq!(look(5, &samples, &[], Some(0), true), Forecast::default());
    // A first day is no rate: what it brought was recorded before.
    assert_eq!(look(30, &[], &each_day(0..2, GB), Some(0), false).recorded_bytes_per_day, None);
}

#[test]
fn a_card_that_empties_is_never_full() {
    let samples: Vec<_> = (0..=48).map(|hour| at(hour, (90 - hour.unsigned_abs()) * GB, None)).collect();
    let found = look(48, &samples, &[], None, true);
    assert_eq!((found.growth_bytes_per_day, found.full_in), (Some(-24_000_000_000), None));
    // So slowly that nobody need think of it: 1 MB a day.
    let samples: Vec<_> = (0..=6).map(|day| at(day * 24, 10 * GB + day.unsigned_abs() * 1_000_000, None)).collect();
    let found = look(144, &samples, &[], None, true);
    assert_eq!((found.growth_bytes_per_day, found.full_in), (Some(1_000_000), None));
}

#[test]
fn readings_that_a_wrong_clock_made_do_not_count() {
    let mut samples: Vec<_> = (0..=40).map(|hour| at(hour, hour.unsigned_abs() * GB, None)).collect();
    let right = look(40, &samples, &[], None, true);
    // From the future, twice the same, and one that says to be later than those after it.
    samples.insert(20, at(25, 99 * GB, None));
    samples.insert(30, samples[29]);
    samples.push(at(9_000, 99 * GB, None));
    assert_eq!(look(40, &samples, &[], None, true), right);
    assert_eq!(right.full_in, hours(60));
}

#[test]
fn a_larger_card_begins_anew() {
    let mut samples: Vec<_> = (0..=40).map(|hour| at(hour, hour.unsigned_abs() * GB, None)).collect();
    let larger = |hour: i64, used: u64| {
        let Sample { at_ns, .. } = at(hour, 0, None);
        Sample { at_ns, total_bytes: 2 * CARD, free_bytes: 2 * CARD - used, waiting_bytes: None }
    };
    samples.push(larger(41, GB));
    assert_eq!(look(41, &samples, &[], None, true), Forecast::default());
    // From 41 to 51: 0.5 GB an hour, 6 GB in use, and 194 GB left.
    samples.extend((42..=51).map(|hour| larger(hour, GB + (hour.unsigned_abs() - 41) * GB / 2)));
    let found = look(51, &samples, &[], None, true);
    assert_eq!((found.growth_bytes_per_day, found.full_in), (Some(12_000_000_000), hours(388)));
    // A file system that says a little less of itself is the same.
    let shrunk =
        |s: &Sample| Sample { total_bytes: s.total_bytes - CARD / 200, free_bytes: s.free_bytes - CARD / 200, ..*s };
    let mut samples: Vec<_> = (0..=40).map(|hour| at(hour, hour.unsigned_abs() * GB, None)).collect();
    samples.iter_mut().take(20).for_each(|s| *s = shrunk(s));
    assert_eq!(look(40, &samples, &[], None, true).full_in, hours(60));
}
