//! Chooses how hard to compress, so that a run ends in time.

use std::time::Duration;

/// Levels of Zstandard, the best first, and how many bytes of a blob each packs in a second. The
/// figures are half of what was measured with an image of programs and libraries (`docs/cost.md`).
const LEVELS: [(i32, u64); 4] = [(19, 4_400_000), (12, 14_000_000), (6, 48_000_000), (1, u64::MAX)];

/// The best level that packs `bytes` within `time`, or else the fastest level.
///
/// A caller that asks before each chunk ends in time even on a slow machine, by going on with a
/// faster level.
pub fn level(bytes: u64, time: Duration) -> i32 {
    let seconds = time.as_secs();
    let is_enough = |(_, speed): &&(i32, u64)| speed.saturating_mul(seconds) >= bytes;
    LEVELS.iter().find(is_enough).unwrap_or(&LEVELS[LEVELS.len() - 1]).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_blob_is_packed_within_a_run() {
        let run = Duration::from_mins(13);
        assert_eq!(level(tufline_chunks::LARGEST_BLOB, run), 19);
        assert_eq!(level(tufline_chunks::LARGEST_BLOB, run / 8), 12);
        assert_eq!(level(u64::MAX, Duration::MAX), 19, "who has time takes it");
        assert_eq!(level(1, Duration::ZERO), 1);
        assert_eq!(level(0, Duration::ZERO), 19, "nothing is left");
    }

    proptest! {
        /// A machine that is `slower` times slower than the measured one still ends in time, as
        /// long as the fastest level does.
        #[test]
        fn the_time_is_kept(blob in 1_u64..=tufline_chunks::LARGEST_BLOB, slower in 1.0_f64..8.0) {
            let (limit, fastest) = (780.0, 140_000_000.0);
            let (mut left, mut spent) = (blob, 0.0_f64);
            while left > 0 {
                let time = Duration::from_secs_f64((limit - spent).max(0.0));
                let level = level(left, time);
                let (_, speed) = LEVELS.iter().find(|(other, _)| *other == level).unwrap();
                let piece = left.min(4 << 20);
                spent += piece as f64 * slower / (*speed as f64).min(fastest);
                left -= piece;
            }
            prop_assert!(spent <= limit + 30.0, "{spent}");
        }
    }
}
