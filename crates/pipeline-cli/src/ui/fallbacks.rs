//! Which devices a run served without the agent, for the end of its report.
//!
//! Guarantees that devices with the same reason stand together, with the advice once, however many they are.

use std::sync::{Arc, Mutex, PoisonError};

use pipeline_core::event::{Event, Observer};
use program::words::printable;

/// Passes every event on, and keeps those that the report needs.
pub struct Fallbacks {
    observer: Arc<dyn Observer>,
    seen: Mutex<Vec<Fallback>>,
}

struct Fallback {
    device: String,
    reason: String,
    hint: Option<String>,
}

impl Fallbacks {
    /// Listens, and lets `observer` hear the same.
    pub fn before(observer: Arc<dyn Observer>) -> Fallbacks {
        Fallbacks { observer, seen: Mutex::default() }
    }

    /// A line for each reason, and one for its hint.
    pub fn lines(&self) -> Vec<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.sort_by(|one, other| (&one.reason, &one.device).cmp(&(&other.reason, &other.device)));
        // A visit that broke off is made again.
        seen.dedup_by(|one, other| one.device == other.device && one.reason == other.reason);
        let mut lines = Vec::new();
        for group in seen.chunk_by(|one, other| one.reason == other.reason) {
            let devices: Vec<&str> = group.iter().map(|fallback| fallback.device.as_str()).collect();
            let Fallback { reason, hint, .. } = &group[0];
            lines.push(format!("{} without the agent: {}", devices.join(", "), printable(reason)));
            lines.extend(hint.as_ref().map(|hint| format!("  hint: {}", printable(hint))));
        }
        lines
    }
}

impl Observer for Fallbacks {
    fn event(&self, event: &Event) {
        if let Event::FellBack { device, reason, hint, .. } = event {
            let fallback = Fallback { device: device.to_string(), reason: reason.clone(), hint: hint.clone() };
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(fallback);
        }
        self.observer.event(event);
    }
}

#[cfg(test)]
mod tests {
    use pipeline_core::path::DeviceName;

    use super::*;

    #[test]
    fn devices_with_the_same_reason_stand_together() {
        let fallbacks = Fallbacks::before(Arc::new(()));
        for (device, reason) in [("c", "never"), ("b", "noexec\x1b[2J"), ("a", "never"), ("c", "never")] {
            fallbacks.event(&Event::FellBack {
                device: DeviceName::new(device).unwrap(),
                reason: reason.into(),
                hint: (reason == "never").then(|| "write auto".into()),
                caveats: vec![],
            });
        }
        let expected = ["a, c without the agent: never", "  hint: write auto", "b without the agent: noexec\\x1b[2J"];
        assert_eq!(fallbacks.lines(), expected);
    }
}
