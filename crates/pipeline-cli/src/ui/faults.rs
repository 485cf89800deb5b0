//! What is wrong in the storage, for the end of a verification.
//!
//! Guarantees that memory and screen stay small, however much is wrong.

use std::sync::{Arc, Mutex, PoisonError};

use pipeline_core::event::{ArchiveFault, Event, Observer};
use program::words::printable;

use super::wording::fault_word;

/// So many are listed.
const MOST: usize = 100;

/// Passes every event on, and keeps the faults.
pub struct Faults {
    observer: Arc<dyn Observer>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    first: Vec<ArchiveFault>,
    more: u64,
}

impl Faults {
    /// Listens, and lets `observer` hear the same.
    pub fn before(observer: Arc<dyn Observer>) -> Faults {
        Faults { observer, seen: Mutex::default() }
    }

    /// A line for each, as a table: how it differs, where it lies, and which device still has it.
    pub fn lines(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let word = |fault: &ArchiveFault| fault_word(fault.fault);
        let width = seen.first.iter().map(|fault| word(fault).len()).max().unwrap_or(0);
        let line = |fault: &ArchiveFault| {
            let copy = match (&fault.device, &fault.source_path) {
                (Some(device), Some(path)) if fault.on_device => format!("  ({device} still has it: {path})"),
                _ => String::new(),
            };
            printable(&format!("{:width$}  {}{copy}", word(fault), fault.path)).into_owned()
        };
        let mut lines: Vec<String> = seen.first.iter().map(line).collect();
        if seen.more > 0 {
            lines.push(format!("and {} more: -v or --json names them all", seen.more));
        }
        lines
    }
}

impl Observer for Faults {
    fn event(&self, event: &Event) {
        if let Event::ArchiveFault(fault) = event {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.first.len() < MOST {
                seen.first.push(fault.clone());
            } else {
                seen.more += 1;
            }
        }
        self.observer.event(event);
    }
}

#[cfg(test)]
mod tests {
    use pipeline_core::event::Fault;
    use pipeline_core::path::{DeviceName, RelPath};

    use super::*;

    #[test]
    fn a_thousand_faults_fill_no_screen() {
        let faults = Faults::before(Arc::new(()));
        let of = |fault, on_device| {
            Event::ArchiveFault(ArchiveFault {
                fault,
                path: RelPath::new("pi/a\u{202e}").unwrap(),
                reason: "x".into(),
                device: Some(DeviceName::new("pi").unwrap()),
                source_path: Some(RelPath::new("a").unwrap()),
                on_device,
            })
        };
        faults.event(&of(Fault::Unreadable, true));
        (0..1000).for_each(|_| faults.event(&of(Fault::Missing, false)));
        let lines = faults.lines();
        assert_eq!(lines[..2], ["unreadable  pi/a\\u{202e}  (pi still has it: a)", "missing     pi/a\\u{202e}"]);
        assert_eq!((lines.len(), &*lines[100]), (101, "and 901 more: -v or --json names them all"));
    }
}
