//! What a gate's histogram has gained, for a recorder that takes single values.

use crate::gate::{Bucket, Histogram};

/// The waits in `now` that were not in `before` yet: so many of so many seconds, each the middle of its bucket and so at
/// most an eighth from the true one.
///
/// A recorder takes waits one by one, so of more than [`MOST`] the histogram keeps its shape and not its number: each bucket
/// gets its share, and at least one.
pub(super) fn since(before: &Histogram, now: &Histogram) -> impl Iterator<Item = (f64, usize)> {
    let gained = now.count().saturating_sub(before.count());
    now.buckets().zip(before.buckets()).filter_map(move |(bucket, before)| {
        let count = bucket.count.saturating_sub(before.count);
        (count > 0).then(|| (middle(&bucket), share(count, gained)))
    })
}

/// Of so many waits between two looks at the gate, each is recorded.
const MOST: u64 = 10_000;

fn share(count: u64, of: u64) -> usize {
    if of <= MOST {
        return usize::try_from(count).unwrap_or(usize::MAX);
    }
    let share = u128::from(count).saturating_mul(MOST.into()).checked_div(of.into()).unwrap_or(0);
    usize::try_from(share).unwrap_or(usize::MAX).max(1)
}

/// Of the last bucket, which has no end, its beginning.
fn middle(bucket: &Bucket) -> f64 {
    let half = bucket.below.saturating_sub(bucket.at_least).checked_div(2).unwrap_or_default();
    let end = bucket.below == std::time::Duration::MAX;
    if end { bucket.at_least } else { bucket.at_least.saturating_add(half) }.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn recorded(before: &Histogram, now: &Histogram) -> Vec<(f64, usize)> {
        since(before, now).collect()
    }

    /// Only what is new, once, within an eighth; nothing if nothing is.
    #[test]
    fn what_was_gained_is_told_once() {
        let mut now = Histogram::default();
        now.record(Duration::from_millis(3));
        let before = now.clone();
        assert_eq!(recorded(&before, &now), []);

        for _ in 0..5 {
            now.record(Duration::from_millis(700));
        }
        now.record(Duration::from_secs(50));
        let gained = recorded(&before, &now);
        let [(short, 5), (long, 1)] = gained[..] else { panic!("{gained:?}") };
        assert!((short - 0.7).abs() <= 0.7 / 8.0, "{short}");
        assert!((long - 50.0).abs() <= 50.0 / 8.0, "{long}");
    }

    /// The longest waits are told as what they are at least.
    #[test]
    fn what_has_no_end_is_finite() {
        let mut now = Histogram::default();
        now.record(Duration::MAX);
        let gained = recorded(&Histogram::default(), &now);
        let [(seconds, 1)] = gained[..] else { panic!("{gained:?}") };
        assert!((3600.0..5000.0).contains(&seconds), "{seconds}");
    }

    /// However many wait, what is recorded is bounded, and has the shape of the whole.
    #[test]
    fn many_waits_keep_their_shape() {
        let mut now = Histogram::default();
        for _ in 0..900_000 {
            now.record(Duration::from_millis(1));
        }
        for _ in 0..100_000 {
            now.record(Duration::from_secs(1));
        }
        now.record(Duration::from_secs(100));
        let gained = recorded(&Histogram::default(), &now);
        let [(_, most), (_, tenth), (_, 1)] = gained[..] else { panic!("{gained:?}") };
        assert!((8990..=9000).contains(&most) && (990..=1000).contains(&tenth), "{gained:?}");
    }
}
