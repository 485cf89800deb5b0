//! How a device is asked for a file of which something may be here already: the cheapest way first.
//!
//! Pure: knows sizes alone. Each ask either brings the whole content, proven by the device's own digest, or says that it can't, and
//! then the next one follows; the last is the whole file, which always can. A digest that disagrees leads there at once, because
//! what is wrong may be what lies here.

use crate::delta;

/// What the asks for one file are chosen by, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Here {
    /// The size of the file on the device.
    pub size: u64,
    /// What an earlier transfer left of it.
    pub part: Option<u64>,
    /// What lies at its place in the archive.
    pub held: Option<u64>,
    /// Whether the device computes deltas.
    pub can_delta: bool,
}

/// One way to ask for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What follows the part, if the file begins with it.
    AfterPart,
    /// What follows the archived content, if the file begins with it; nothing, if it is the same.
    AfterHeld,
    /// How it differs from the archived content.
    Delta,
    /// All of it.
    Whole,
}

/// Why an ask did not bring the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// The device says that the file begins otherwise, or that a delta does not pay.
    Differs,
    /// What came is not what the device says it read, or what is here is not what it was taken for.
    Disagrees,
}

impl Here {
    /// The first ask.
    pub fn first(&self) -> Ask {
        self.asks()[0]
    }

    /// The ask after one that did not bring the file; none after [`Ask::Whole`].
    pub fn next(&self, ask: Ask, setback: Setback) -> Option<Ask> {
        match (ask, setback) {
            (Ask::Whole, _) => None,
            (_, Setback::Disagrees) => Some(Ask::Whole),
            (_, Setback::Differs) => self.asks().into_iter().skip_while(|&a| a != ask).nth(1),
        }
    }

    /// All asks in their order. What is here in full length saves most. A short part saves less than a delta against the archived
    /// file, but is there where the delta does not pay.
    fn asks(&self) -> Vec<Ask> {
        let part = self.part.filter(|&bytes| bytes > 0 && bytes <= self.size);
        // Nothing at all is worth an ask only where the file holds as much: then it is there already.
        let held = self.held.filter(|&bytes| bytes <= self.size && (bytes > 0 || self.size == 0));
        let large = |bytes| bytes >= delta::MIN_BYTES;
        let part_is_longer = part > self.held;
        let mut asks = Vec::with_capacity(4);
        if part_is_longer {
            asks.push(Ask::AfterPart);
        }
        asks.extend(held.map(|_| Ask::AfterHeld));
        if self.can_delta && large(self.size) && self.held.is_some_and(large) {
            asks.push(Ask::Delta);
        }
        if part.is_some() && !part_is_longer {
            asks.push(Ask::AfterPart);
        }
        asks.push(Ask::Whole);
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::Ask::{AfterHeld, AfterPart, Delta, Whole};
    use super::*;

    /// All asks that follow one another while the device says that nothing matches.
    fn course(here: Here) -> Vec<Ask> {
        let next = |ask: &Ask| here.next(*ask, Setback::Differs);
        std::iter::successors(Some(here.first()), next).collect()
    }

    #[test]
    fn the_cheapest_ask_comes_first_and_the_whole_file_last() {
        const K: u64 = 1 << 10;
        /// What, size on the device, part, archived, asks.
        type Case = (&'static str, u64, Option<u64>, Option<u64>, &'static [Ask]);
        let table: [Case; 15] = [
            ("new", 500 * K, None, None, &[Whole]),
            ("broke off", 5000 * K, Some(2000 * K), None, &[AfterPart, Whole]),
            ("broke off at its very end", 5000 * K, Some(5000 * K), None, &[AfterPart, Whole]),
            ("broke off, and is shorter now", 1000 * K, Some(2000 * K), None, &[Whole]),
            ("same size", 500 * K, None, Some(500 * K), &[AfterHeld, Delta, Whole]),
            ("grown", 500 * K, None, Some(400 * K), &[AfterHeld, Delta, Whole]),
            ("grown, and small", 500, None, Some(400), &[AfterHeld, Whole]),
            ("grown from little", 500 * K, None, Some(63 * K), &[AfterHeld, Whole]),
            ("shrunk", 400 * K, None, Some(500 * K), &[Delta, Whole]),
            ("shrunk to little", 4 * K, None, Some(500 * K), &[Whole]),
            ("grown, and broke off", 5000 * K, Some(2000 * K), Some(1000 * K), &[AfterPart, AfterHeld, Delta, Whole]),
            (
                "edited, and broke off early",
                5000 * K,
                Some(1000 * K),
                Some(4999 * K),
                &[AfterHeld, Delta, AfterPart, Whole],
            ),
            ("shrunk, and broke off", 2000 * K, Some(1000 * K), Some(5000 * K), &[Delta, AfterPart, Whole]),
            ("was empty", 500, None, Some(0), &[Whole]),
            ("is empty, as before", 0, None, Some(0), &[AfterHeld, Whole]),
        ];
        for (what, size, part, held, asks) in table {
            assert_eq!(course(Here { size, part, held, can_delta: true }), asks, "{what}");
            let without: Vec<Ask> = asks.iter().copied().filter(|&ask| ask != Delta).collect();
            assert_eq!(course(Here { size, part, held, can_delta: false }), without, "{what}, without delta");
        }
    }

    #[test]
    fn after_a_digest_that_disagrees_comes_the_whole_file_once() {
        let here = Here { size: 5 << 20, part: Some(2 << 20), held: Some(1 << 20), can_delta: true };
        for ask in [AfterPart, AfterHeld, Delta] {
            assert_eq!(here.next(ask, Setback::Disagrees), Some(Whole));
        }
        assert_eq!(here.next(Whole, Setback::Disagrees), None);
        assert_eq!(here.next(Whole, Setback::Differs), None);
    }
}
