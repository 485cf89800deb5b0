//! A few threads for work that waits for the disk.
//!
//! A journaling file system commits what several threads wait for at the same time in one go, and a server answers many
//! questions in the time of one: waiting in parallel is what makes small files fast.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::archive::store::lock;

/// Threads for one batch of one device.
const MAX_THREADS: usize = 8;

/// Calls `work` for each item, in any order. Stops at the first error and returns it.
pub(super) fn each<T: Sync, E: Send>(items: &[T], work: impl Fn(&T) -> Result<(), E> + Sync) -> Result<(), E> {
    if items.len() <= 1 {
        return items.iter().try_for_each(work);
    }
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                lock(&failure).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..items.len().min(MAX_THREADS) {
            // Where no thread can be had, this one does the work.
            std::thread::Builder::new().name("archive".into()).spawn_scoped(scope, run).ok();
        }
        run();
    });
    failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn every_item_once() {
        let items: Vec<AtomicUsize> = (0..1000).map(AtomicUsize::new).collect();
        let done = each(&items, |item| {
            item.fetch_add(1000, Ordering::Relaxed);
            Ok::<(), ()>(())
        });
        assert_eq!(done, Ok(()));
        assert!(items.iter().enumerate().all(|(n, item)| item.load(Ordering::Relaxed) == n + 1000));
    }

    #[test]
    fn several_wait_at_once() {
        let both = Barrier::new(2);
        let done = each(&[1, 2], |_| {
            both.wait();
            Ok::<(), ()>(())
        });
        assert_eq!(done, Ok(()));
    }

    #[test]
    fn the_first_error_ends_it() {
        assert_eq!(each(&[1, 2, 3], |n| if *n == 2 { Err(*n) } else { Ok(()) }), Err(2));
        assert_eq!(each(&[7], |n| Err::<(), i32>(*n)), Err(7));
    }
}
