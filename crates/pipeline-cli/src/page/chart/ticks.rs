//! Where an axis has its marks, and what they say. Pure.

use jiff::ToSpan as _;
use jiff::civil::{Date, date};

/// A day of UTC, counted from 1970-01-01.
pub fn date_of(day: i32) -> Date {
    date(1970, 1, 1).saturating_add(day.days())
}

fn day_of(date: Date) -> i32 {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.until(date).map_or(0, |span| span.get_days())
}

/// Marks from `first` to `last`, at most `most`: the first days of months, or days where that is all there are.
pub fn dates(first: i32, last: i32, most: usize) -> Vec<(i32, String)> {
    let most = most.max(1);
    let span = usize::try_from(last - first).unwrap_or(0) + 1;
    if span <= 70 {
        let step = [1, 2, 7, 14, 28, 70].into_iter().find(|step| span.div_ceil(*step) <= most).unwrap_or(70);
        let days = (first..=last).step_by(step);
        return days.map(|day| (day, date_of(day).strftime("%-d %b").to_string())).collect();
    }
    let begin = date_of(first).first_of_month();
    let months =
        (0..).map(|month: i32| begin.saturating_add(month.months())).take_while(|month| day_of(*month) <= last);
    let months: Vec<Date> = months.filter(|month| day_of(*month) >= first).collect();
    // Counted through the years, so that each January is among every 12th.
    let is_marked =
        |month: &&Date, step: i32| (i32::from(month.year()) * 12 + i32::from(month.month()) - 1) % step == 0;
    let steps = [1, 2, 3, 6, 12, 24, 60, 120, 600];
    let step = steps.into_iter().find(|step| months.iter().filter(|month| is_marked(month, *step)).count() <= most);
    let marked = months.iter().filter(|month| is_marked(month, step.unwrap_or(i32::MAX)));
    marked
        .map(|month| {
            let words = if month.month() == 1 { "%Y" } else { "%b" };
            (day_of(*month), month.strftime(words).to_string())
        })
        .collect()
}

/// Marks from 0 to `highest` or a little less, at most five above 0.
pub fn sizes(highest: f64) -> Vec<(f64, String)> {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    const STEPS: [f64; 12] = [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 250.0, 500.0];
    let mut value = highest.max(1.0);
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let step = STEPS.into_iter().find(|step| (value / step).floor() <= 5.0).unwrap_or(500.0);
    let scale = 1024_f64.powi(i32::try_from(unit).unwrap_or(0));
    let marks = (0..).map(|mark| f64::from(mark) * step).take_while(|mark| *mark <= value);
    marks
        .map(|mark| {
            (mark * scale, if mark == 0.0 { "0".to_owned() } else { format!("{} {}", round(mark), UNITS[unit]) })
        })
        .collect()
}

/// One decimal at most, and none where it is 0.
fn round(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<T>(marks: Vec<(T, String)>) -> Vec<String> {
        marks.into_iter().map(|(_, words)| words).collect()
    }

    #[test]
    fn a_year_has_its_months() {
        let first = day_of(date(2025, 11, 22));
        let marks = dates(first, first + 365, 12);
        assert_eq!(marks.first(), Some(&(day_of(date(2025, 12, 1)), "Dec".to_owned())));
        assert_eq!(marks[1].1, "2026");
        assert_eq!(marks.last(), Some(&(day_of(date(2026, 11, 1)), "Nov".to_owned())));
        assert_eq!(words(dates(first, first + 365, 4)), ["2026", "Apr", "Jul", "Oct"]);
    }

    #[test]
    fn a_few_days_have_their_dates() {
        let first = day_of(date(2026, 2, 26));
        assert_eq!(words(dates(first, first, 6)), ["26 Feb"]);
        assert_eq!(words(dates(first, first + 3, 6)), ["26 Feb", "27 Feb", "28 Feb", "1 Mar"]);
        assert_eq!(words(dates(first, first + 20, 4)), ["26 Feb", "5 Mar", "12 Mar"]);
    }

    #[test]
    fn there_are_never_too_many_marks() {
        for span in (0..2000).step_by(23) {
            for most in 1..14 {
                assert!(dates(20_000, 20_000 + span, most).len() <= most, "{span} {most}");
            }
        }
        for power in 0..63_i32 {
            let highest = 2_f64.powi(power) * 1.3;
            let marks = sizes(highest);
            assert!((2..=6).contains(&marks.len()) && marks.iter().all(|(mark, _)| *mark <= highest), "{marks:?}");
        }
    }

    #[test]
    fn sizes_are_round() {
        let tib = 1024_f64.powi(4);
        assert_eq!(words(sizes(1.3 * tib)), ["0", "0.5 TiB", "1 TiB"]);
        assert_eq!(words(sizes(37.0 * tib)), ["0", "10 TiB", "20 TiB", "30 TiB"]);
    }
}
