//! Signals: SIGINT, SIGTERM and SIGHUP ask the run to stop; patience is bounded.
//!
//! Guarantees: the first signal sets [`Cancel`] and nothing else; [`PATIENCE`] later, or at a second signal, the program is
//! gone whatever its threads do. That is safe at any instant, because any run can be killed and simply run again. A signal
//! that was ignored when the program began stays ignored (`nohup`, jobs in the background of a script). Before anybody listens, a
//! signal ends the program as if we were not here; [`Withheld`] has it wait for what must be put right first.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeline_core::cancel::Cancel;
use pipeline_core::event::{Event, Observer};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{SigId, flag, low_level};

use crate::exit::Exit;

/// How long a run may take to end cleanly. A person, and `make test`, expect it within five seconds.
const PATIENCE: Duration = Duration::from_millis(4500);

/// Tells which signal came.
#[derive(Clone, Debug, Default)]
pub struct Received(Arc<AtomicI32>);

impl Received {
    /// The exit code of the first signal that came, if any.
    pub fn exit(&self) -> Option<Exit> {
        exit_of(self.0.load(Ordering::SeqCst))
    }
}

fn exit_of(signal: i32) -> Option<Exit> {
    match signal {
        SIGHUP => Some(Exit::HungUp),
        SIGINT => Some(Exit::Interrupted),
        SIGTERM => Some(Exit::Terminated),
        _ => None,
    }
}

/// Begins to listen, in a thread of its own that ends with the program. `farewell` is what is told of the first signal.
pub fn listen(cancel: Cancel, farewell: &'static str, observer: Arc<dyn Observer>) -> io::Result<Received> {
    let mut signals = Signals::new(wanted())?;
    LISTENING.store(true, Ordering::SeqCst);
    default_no_more();
    let received = Received::default();
    let first = received.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if first.0.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                leave(signal);
            }
            cancel.set();
            watch(signal);
            tell(farewell, observer.clone());
        }
    })?;
    Ok(received)
}

/// Those that were not ignored when the program began.
fn wanted() -> Vec<i32> {
    let ignored = ignored_signals();
    [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0).collect()
}

/// Whether signals are somebody's business.
static LISTENING: AtomicBool = AtomicBool::new(false);

/// What stands for the system's own action. Once a signal had a handler of ours, the system never gets it back.
static DEFAULT: Mutex<Vec<SigId>> = Mutex::new(Vec::new());

fn default_no_more() {
    let ids = std::mem::take(&mut *DEFAULT.lock().unwrap_or_else(|e| e.into_inner()));
    ids.into_iter().for_each(|id| _ = low_level::unregister(id));
}

/// As long as it lives, no signal ends the program: one that comes does so when this is dropped. For the time in which something
/// is not as others must find it, such as a terminal that shows nothing.
#[derive(Debug)]
pub struct Withheld {
    came: Arc<AtomicUsize>,
    ids: Vec<SigId>,
    wake: UnixStream,
}

impl Withheld {
    /// From now on.
    pub fn new() -> io::Result<Withheld> {
        let (wake, sender) = UnixStream::pair()?;
        let mut withheld = Withheld { came: Arc::default(), ids: Vec::new(), wake };
        for signal in wanted() {
            // The number first: whoever is woken finds it.
            withheld.ids.push(flag::register_usize(signal, withheld.came.clone(), signal.unsigned_abs() as usize)?);
            withheld.ids.push(low_level::pipe::register(signal, sender.try_clone()?)?);
        }
        default_no_more();
        Ok(withheld)
    }

    /// Whether one came.
    pub fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst) != 0
    }
}

/// Can be read once a signal came.
impl AsFd for Withheld {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        let is_ours = !LISTENING.load(Ordering::SeqCst);
        if is_ours {
            let always = Arc::new(AtomicBool::new(true));
            let default = |signal| flag::register_conditional_default(signal, always.clone()).ok();
            // Before ours go: in between a signal would be lost.
            DEFAULT.lock().unwrap_or_else(|e| e.into_inner()).extend(wanted().into_iter().filter_map(default));
        }
        self.ids.drain(..).for_each(|id| _ = low_level::unregister(id));
        let came = i32::try_from(self.came.load(Ordering::SeqCst)).unwrap_or_default();
        if is_ours && came != 0 {
            // It ends the program; where it does not, `leave` does.
            low_level::emulate_default_handler(came).ok();
            leave(came);
        }
    }
}

fn watch(signal: i32) {
    let watchdog = move || {
        std::thread::sleep(PATIENCE);
        leave(signal);
    };
    if std::thread::Builder::new().name("patience".into()).spawn(watchdog).is_err() {
        leave(signal);
    }
}

/// From a thread of its own: whoever listens may be stuck, and a second signal must be heard nevertheless.
fn tell(farewell: &'static str, observer: Arc<dyn Observer>) {
    let telling = move || observer.event(&Event::Noted { device: None, message: farewell.into() });
    // Without a thread it goes untold.
    std::thread::Builder::new().name("farewell".into()).spawn(telling).ok();
}

/// Without the handlers of `exit`: they would tear down libraries that other threads still use.
fn leave(signal: i32) -> ! {
    let exit = exit_of(signal).unwrap_or(Exit::Unexpected);
    low_level::exit(exit.code().into())
}

/// The signals this process was started with as ignored, one bit each from signal 1; none where that can't be told.
fn ignored_signals() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| ignored_in(&status))
}

fn ignored_in(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_told_from_the_status_page() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        let ignored = ignored_in(status);
        assert_ne!(ignored & (1 << (SIGHUP - 1)), 0);
        assert_eq!(ignored & (1 << (SIGINT - 1)), 0);
        assert_eq!(ignored_in("nothing of the kind"), 0);
    }

    #[test]
    fn each_signal_has_its_exit_code() {
        assert_eq!([SIGHUP, SIGINT, SIGTERM].map(|s| exit_of(s).map(Exit::code)), [Some(129), Some(130), Some(143)]);
        assert_eq!(Received::default().exit(), None);
    }
}
