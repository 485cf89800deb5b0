//! Spans and shares, as the concerns say them. Pure.

use std::time::Duration;

/// A span in one unit: `40 s`, `90 min`, `26 h`, `3 d`.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// What is in use, in whole percent; never 100 while anything is free. None where nothing is known.
pub(super) fn percent_used(total: Option<u64>, free: Option<u64>) -> Option<u64> {
    let (total, free) = (total.filter(|&total| total > 0)?, free?);
    let used = u128::from(total.saturating_sub(free)) * 100 / u128::from(total);
    u64::try_from(used).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_shares() {
        let seconds = |seconds| span(Duration::from_secs(seconds));
        let said = [0, 119, 120, 7_199, 7_200, 172_799, 172_800, 30 * 86_400].map(seconds);
        assert_eq!(said, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d", "30 d"]);
        assert_eq!(percent_used(Some(1000), Some(1)), Some(99));
        assert_eq!(percent_used(Some(1000), Some(0)), Some(100));
        assert_eq!(percent_used(Some(u64::MAX), Some(0)), Some(100));
        assert_eq!(percent_used(Some(10), Some(20)), Some(0));
        assert_eq!((percent_used(Some(0), Some(0)), percent_used(None, Some(1))), (None, None));
    }
}
