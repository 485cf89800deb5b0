//! A run's view of the hold: looked at before each list of removals, and once seen it stands until the run ends.

use std::path::Path;
use std::sync::OnceLock;

use super::{Hold, Standing, read};
use crate::event::{Event, Observer};

/// Proof that no hold stood a moment ago. Comes out of [`Watch::look`] alone.
#[derive(Debug)]
pub struct NotHeld(());

/// Looks for a run, and tells it once.
pub struct Watch<'a> {
    state_dir: &'a Path,
    observer: &'a dyn Observer,
    held: OnceLock<Hold>,
}

impl<'a> Watch<'a> {
    /// Looks for the first time, and tells what stands.
    pub fn begin(state_dir: &'a Path, observer: &'a dyn Observer) -> Watch<'a> {
        let watch = Watch { state_dir, observer, held: OnceLock::new() };
        match read(state_dir) {
            Standing::Free => {}
            Standing::Held(hold) => watch.note(hold),
            Standing::Over(hold) => observer.event(&Event::HoldEnded(hold)),
        }
        watch
    }

    /// Looks again. None from the first hold that was seen to the end of the run: what is not removed is left to the next.
    ///
    /// RACE: a hold that is placed after this look does not stop what is then asked for.
    pub fn look(&self) -> Option<NotHeld> {
        if self.held.get().is_none()
            && let Standing::Held(hold) = read(self.state_dir)
        {
            self.note(hold);
        }
        self.held.get().is_none().then_some(NotHeld(()))
    }

    /// The hold that this run has seen.
    pub fn held(&self) -> Option<&Hold> {
        self.held.get()
    }

    fn note(&self, hold: Hold) {
        if self.held.set(hold.clone()).is_ok() {
            self.observer.event(&Event::DeletionsHeld(hold));
        }
    }
}
