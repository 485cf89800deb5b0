//! The storage's line.

use pipeline_core::inspect::{StorageState, StorageView};
use program::words::{bytes, printable};

use super::columns::{full_in, growth};
use super::style;

/// Where it is, whether it can be used, how much room there is, and for how long.
pub(super) fn line(storage: &StorageView, colors: bool) -> String {
    let worst = storage.concerns.iter().map(|concern| concern.severity).max();
    let state = match &storage.state {
        StorageState::Ready => None,
        // Why is among the reasons.
        StorageState::Unusable { .. } => Some("it can't be used".to_owned()),
        StorageState::Hung => Some("it does not answer".to_owned()),
    };
    let room = storage.free_bytes.zip(storage.total_bytes).map(|(free, total)| {
        let used = total.saturating_sub(free);
        #[allow(clippy::cast_precision_loss)] // a percentage
        let percent = if total == 0 { 0.0 } else { (used as f64 / total as f64 * 100.0).floor() };
        format!("{} of {} free, {percent} % used", bytes(free), bytes(total))
    });
    let rate = storage.growth_bytes_per_day.map(|rate| format!("{} a day", growth(rate)));
    let left = storage.full_in.map(|left| match full_in(left).as_str() {
        "now" => "full".to_owned(),
        left => format!("full in {left}"),
    });
    let parts: Vec<String> = [state, room, rate, left].into_iter().flatten().collect();
    let name = style(worst, colors).apply_to(printable(&storage.path).into_owned()).to_string();
    format!("storage {name}: {}", if parts.is_empty() { "ready".to_owned() } else { parts.join(", ") })
}
