//! Panics: said to be a bug, in the form of every other error, without a backtrace.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::run::Tell;

static PANICKED: AtomicBool = AtomicBool::new(false);

/// From now on a panic, in any thread, is told and remembered.
pub fn watch(program: &'static str, tell: &'static (impl Tell + Sync)) {
    std::panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::SeqCst);
        tell.error(&describe(program, info));
    }));
}

/// Whether some thread panicked, even if the others went on without it.
pub fn happened() -> bool {
    PANICKED.load(Ordering::SeqCst)
}

fn describe(program: &str, info: &PanicHookInfo<'_>) -> Failure {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref().map(String::as_str));
    let message = text.unwrap_or("no message");
    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    Failure {
        exit: Exit::Unexpected,
        what: format!("this is a bug in {program} {version}: {message}{place}"),
        hint: Some("please report this line and the command; no file is lost, and the next run carries on".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_panic_is_said_to_be_a_bug() {
        let told = Arc::new(Mutex::new(None));
        let hear = told.clone();
        // The hook is the process's: other tests keep theirs for all but this thread.
        let before = Arc::new(std::panic::take_hook());
        let others = before.clone();
        let me = std::thread::current().id();
        std::panic::set_hook(Box::new(move |info| match std::thread::current().id() == me {
            true => *hear.lock().unwrap() = Some(describe("pipeline", info)),
            false => others(info),
        }));
        assert!(std::panic::catch_unwind(|| panic!("the {} broke", "wheel")).is_err());
        std::panic::set_hook(Box::new(move |info| before(info)));
        let failure = told.lock().unwrap().take().unwrap();
        assert_eq!(failure.exit, Exit::Unexpected);
        let begin = format!("this is a bug in pipeline {}: the wheel broke (", env!("CARGO_PKG_VERSION"));
        assert!(failure.what.starts_with(&begin), "{}", failure.what);
        assert!(failure.what.contains("bug.rs:"), "{}", failure.what);
    }
}
