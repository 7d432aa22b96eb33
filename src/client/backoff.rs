//! Growing waits with jitter.

use std::time::Duration;

/// Waits that double from a first one up to a longest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The first wait.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
}

impl Schedule {
    /// The wait before try `round + 1`, exact.
    pub(crate) fn wait(&self, round: u32) -> Duration {
        self.first.saturating_mul(1u32.checked_shl(round).unwrap_or(u32::MAX)).min(self.longest)
    }

    /// The same with up to a quarter taken off, so that clients which failed together do not return together.
    /// It comes from a counter and not from chance: equal runs stay equal.
    pub(crate) fn jittered(&self, round: u32, seed: u32) -> Duration {
        // Multiplying by 2^32 / the golden ratio spreads consecutive numbers evenly.
        let spread = seed.wrapping_mul(0x9E37_79B9) >> 24;
        let wait = self.wait(round);
        wait.saturating_sub(wait.saturating_mul(spread) / 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let schedule = Schedule { first: Duration::from_millis(100), longest: Duration::from_secs(2) };
        let waits: Vec<u128> = (0..7).map(|round| schedule.wait(round).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(schedule.wait(u32::MAX), Duration::from_secs(2));
    }

    #[test]
    fn jitter_takes_off_at_most_a_quarter_and_differs() {
        let schedule = Schedule { first: Duration::from_secs(1), longest: Duration::from_secs(1) };
        let waits: Vec<Duration> = (0..8).map(|seed| schedule.jittered(0, seed)).collect();
        assert!(waits.iter().all(|wait| (750..=1000).contains(&wait.as_millis())), "{waits:?}");
        assert!(waits.windows(2).all(|pair| pair[0] != pair[1]), "{waits:?}");
    }
}
