//! Our own clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in nanoseconds since 1970.
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A moment as people and programs read it: RFC 3339 in UTC, whole seconds.
pub fn rfc3339(ns: i64) -> String {
    // Every i64 of nanoseconds is a moment that it knows, from 1677 to 2262.
    let moment = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default();
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// For serde: a moment as [`rfc3339`].
pub fn moment<S: serde::Serializer>(ns: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*ns))
}

/// For serde: the same, or null.
#[allow(clippy::ref_option)] // what serde hands over
pub fn moment_or_none<S: serde::Serializer>(ns: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match ns {
        Some(ns) => moment(ns, serializer),
        None => serializer.serialize_none(),
    }
}
