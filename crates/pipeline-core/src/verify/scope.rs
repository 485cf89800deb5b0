//! How much of the storage is read: all of it, a sample, or a share that goes on where the last one ended. Pure.
//!
//! Guarantees that a sample holds exactly as many places as were asked for while the catalog stands still, each with the same
//! chance, and that a round of N shares is complete after N runs, whatever arrives in between.

use std::str::FromStr;

use crate::catalog::Round;

/// What opening a file costs, in bytes that could be read meanwhile: a share of a million small files takes its time, too.
const FILE_COST_BYTES: u64 = 4096;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every file that the catalog knows.
    All,
    /// Some of them, drawn at random.
    Sample(Sample),
    /// A part of a round that reads every file once.
    Share(Share),
}

/// A number of files, or a part of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// So many.
    Files(u64),
    /// So many in a hundred, rounded up.
    Percent(u8),
}

/// One of so many parts of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    parts: u32,
}

/// A text that is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not a share.
    #[error("a share is a part of a round, such as 1/30")]
    Share,
    /// Not a sample.
    #[error("a sample is a number of files such as 500, or a part such as 5%")]
    Sample,
}

impl FromStr for Share {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Share, ScopeError> {
        let parts = text.strip_prefix("1/").filter(|parts| parts.bytes().all(|byte| byte.is_ascii_digit()));
        let parts = parts.and_then(|parts| parts.parse().ok()).filter(|&parts| parts > 0);
        parts.map(|parts| Share { parts }).ok_or(ScopeError::Share)
    }
}

impl FromStr for Sample {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Sample, ScopeError> {
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u64 = number.and_then(|digits| digits.parse().ok()).filter(|&n| n > 0).ok_or(ScopeError::Sample)?;
        match (percent, u8::try_from(number)) {
            (false, _) => Ok(Sample::Files(number)),
            (true, Ok(percent @ 1..=100)) => Ok(Sample::Percent(percent)),
            (true, _) => Err(ScopeError::Sample),
        }
    }
}

impl Sample {
    /// How many files of so many.
    pub(super) fn of(self, files: u64) -> u64 {
        match self {
            Sample::Files(wanted) => wanted.min(files),
            Sample::Percent(percent) => files.saturating_mul(u64::from(percent)).div_ceil(100),
        }
    }
}

/// Draws a sample from a list of known length as it comes by: Knuth, The Art of Computer Programming, vol. 2, 3.4.2, algorithm S.
pub(super) struct Draw {
    wanted: u64,
    to_come: u64,
    state: u64,
}

impl Draw {
    pub(super) fn new(wanted: u64, of: u64, seed: u64) -> Draw {
        Draw { wanted, to_come: of, state: seed }
    }

    /// Whether the next one is in the sample. Those that the list has gained since are not.
    pub(super) fn takes_next(&mut self) -> bool {
        let takes = self.to_come > 0 && self.below(self.to_come) < self.wanted;
        self.to_come = self.to_come.saturating_sub(1);
        self.wanted -= u64::from(takes);
        takes
    }

    /// A number below `end`. SplitMix64 (Steele, Lea, Flood 2014); what is uneven in it is one part in 2^64 / `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let product = u128::from(z ^ (z >> 31)) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or_default()
    }
}

/// What is left of a run's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// None in the last run of a round: it reads what is left.
    cost_bytes: Option<u64>,
}

impl Budget {
    /// Begins the next run of a round, of which so much is left. A run that was stopped counts: what it left undone falls to the
    /// others. With another number of parts, that many runs begin from here.
    pub(super) fn begin(round: &mut Round, share: Share, (files, bytes): (u64, u64), now_ns: i64) -> Budget {
        round.begun_ns.get_or_insert(now_ns);
        let parts = u64::from(share.parts);
        if round.parts != parts {
            (round.parts, round.runs) = (parts, 0);
        }
        let runs_left = parts.saturating_sub(round.runs).max(1);
        round.runs = round.runs.saturating_add(1).min(parts);
        Budget { cost_bytes: (runs_left > 1).then(|| cost(files, bytes).div_ceil(runs_left)) }
    }

    /// About how many bytes will be read; none where that is all that is left.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.cost_bytes
    }

    /// Whether one more file may be read.
    pub(super) fn is_open(&self) -> bool {
        self.cost_bytes != Some(0)
    }

    /// A file was read.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.cost_bytes = self.cost_bytes.map(|left| left.saturating_sub(cost(1, bytes)));
    }
}

fn cost(files: u64, bytes: u64) -> u64 {
    files.saturating_mul(FILE_COST_BYTES).saturating_add(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn shares_and_samples_as_people_write_them() {
        assert_eq!("1/30".parse(), Ok(Share { parts: 30 }));
        for bad in ["", "1", "1/0", "2/30", "1/", "1/-3", "1/+3", "1/4294967296", "0.1"] {
            assert_eq!(bad.parse::<Share>(), Err(ScopeError::Share), "{bad}");
        }
        assert_eq!("500".parse(), Ok(Sample::Files(500)));
        assert_eq!("5%".parse(), Ok(Sample::Percent(5)));
        for bad in ["", "0", "0%", "101%", "300%", "-1", "+1", "%", "1.5%", "99999999999999999999"] {
            assert_eq!(bad.parse::<Sample>(), Err(ScopeError::Sample), "{bad}");
        }
        let of = |sample: Sample| [0, 1, 150].map(|files| sample.of(files));
        assert_eq!((of(Sample::Files(7)), of(Sample::Percent(5))), ([0, 1, 7], [0, 1, 8]));
    }

    #[test]
    fn a_sample_has_its_size_and_every_place_its_chance() {
        let mut drawn = [0_u32; 20];
        for seed in 0..2000 {
            let mut draw = Draw::new(5, 20, seed);
            let sample: Vec<usize> = (0..20).filter(|_| draw.takes_next()).collect();
            assert_eq!(sample.len(), 5);
            assert!(!draw.takes_next(), "what came since is not in it");
            sample.into_iter().for_each(|place| drawn[place] += 1);
        }
        // 500 is expected, and 20 the standard deviation.
        assert!(drawn.iter().all(|times| (400..600).contains(times)), "{drawn:?}");
        assert!((0..9).all(|_| Draw::new(9, 9, 1).takes_next()));
    }

    #[test]
    fn a_round_is_complete_after_its_runs_whatever_arrives_meanwhile() {
        let share: Share = "1/7".parse().unwrap();
        let mut round = Round::default();
        let mut left: Vec<u64> = (0..100).map(|size| size * 1000).collect();
        let mut runs = 0;
        while !left.is_empty() {
            let mut budget = Budget::begin(&mut round, share, (left.len() as u64, left.iter().sum()), 1);
            let before = left.len();
            while budget.is_open()
                && let Some(bytes) = left.pop()
            {
                budget.spend(bytes);
            }
            assert!(left.len() < before);
            runs += 1;
            if runs == 4 {
                left.splice(0..0, [1_000_000, 0, 2_000_000]);
            }
        }
        assert_eq!((runs, round.runs, round.parts), (7, 7, 7));
        // A run too many reads what is left; another number of parts begins to count from here.
        assert_eq!(Budget::begin(&mut round, share, (5, 5), 1).bytes(), None);
        let half = Budget::begin(&mut round, "1/2".parse().unwrap(), (2, 100), 1);
        assert_eq!((half.bytes(), round.runs, round.parts), (Some(4096 + 50), 1, 2));
    }
}
