//! Exports the growth of a gate's or a pool's own wait histogram to a recorder, which accepts single values only.

use std::time::Duration;

use metrics::{SharedString, histogram};

use crate::gate::{Bucket, Histogram};

/// Records the waits of `now` that `before` does not contain.
pub(super) fn record_new(name: &'static str, gate: &SharedString, before: &Histogram, now: &Histogram) {
    let histogram = histogram!(name, "gate" => gate.clone());
    for (seconds, count) in new_samples(before, now) {
        histogram.record_many(seconds, count);
    }
}

/// Returns the waits of `now` that `before` does not contain, as `(seconds, count)` per bucket.
///
/// Each wait is reported as the middle of its bucket, which is at most an eighth off, from 1 µs to about 4000 s.
///
/// A recorder stores samples one by one, so their number is bounded. At most [`MAX_SAMPLES`] new waits are reported
/// exactly. Above that, the counts are scaled down to about [`MAX_SAMPLES`]: quantiles stay right and the count does
/// not. Each bucket that has grown keeps at least one sample.
fn new_samples(before: &Histogram, now: &Histogram) -> impl Iterator<Item = (f64, usize)> {
    let total = now.count().saturating_sub(before.count());
    now.buckets().zip(before.buckets()).filter_map(move |(bucket, before)| {
        let count = bucket.count.saturating_sub(before.count);
        (count > 0).then(|| (representative_seconds(&bucket), scaled_count(count, total)))
    })
}

/// The largest number of new waits that is recorded without scaling.
const MAX_SAMPLES: u64 = 10_000;

fn scaled_count(count: u64, total: u64) -> usize {
    if total <= MAX_SAMPLES {
        return usize::try_from(count).unwrap_or(usize::MAX);
    }
    let scaled = u128::from(count).saturating_mul(MAX_SAMPLES.into()).checked_div(total.into()).unwrap_or(0);
    usize::try_from(scaled).unwrap_or(usize::MAX).max(1)
}

/// Returns the middle of the bucket, or the lower bound of the last bucket, which has no upper bound.
fn representative_seconds(bucket: &Bucket) -> f64 {
    if bucket.below == Duration::MAX {
        return bucket.at_least.as_secs_f64();
    }
    let half_width = bucket.below.saturating_sub(bucket.at_least).checked_div(2).unwrap_or_default();
    bucket.at_least.saturating_add(half_width).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(before: &Histogram, now: &Histogram) -> Vec<(f64, usize)> {
        new_samples(before, now).collect()
    }

    /// Only new waits are reported, once each, within an eighth of their duration.
    #[test]
    fn each_new_wait_is_reported_once() {
        let mut now = Histogram::default();
        now.record(Duration::from_millis(3));
        let before = now.clone();
        assert_eq!(samples(&before, &now), []);

        for _ in 0..5 {
            now.record(Duration::from_millis(700));
        }
        now.record(Duration::from_secs(50));
        let samples = samples(&before, &now);
        let [(short, 5), (long, 1)] = samples[..] else { panic!("{samples:?}") };
        assert!((short - 0.7).abs() <= 0.7 / 8.0, "{short}");
        assert!((long - 50.0).abs() <= 50.0 / 8.0, "{long}");
    }

    /// A wait in the last bucket is reported as the lower bound of that bucket, which is finite.
    #[test]
    fn a_wait_in_the_last_bucket_is_reported_as_a_finite_number() {
        let mut now = Histogram::default();
        now.record(Duration::MAX);
        let samples = samples(&Histogram::default(), &now);
        let [(seconds, 1)] = samples[..] else { panic!("{samples:?}") };
        assert!((3600.0..5000.0).contains(&seconds), "{seconds}");
    }

    /// However many waits there are, the number of samples is bounded, and the proportions of the buckets are kept.
    #[test]
    fn many_waits_are_scaled_down_in_proportion() {
        let mut now = Histogram::default();
        for _ in 0..900_000 {
            now.record(Duration::from_millis(1));
        }
        for _ in 0..100_000 {
            now.record(Duration::from_secs(1));
        }
        now.record(Duration::from_secs(100));
        let samples = samples(&Histogram::default(), &now);
        let [(_, nine_tenths), (_, one_tenth), (_, 1)] = samples[..] else { panic!("{samples:?}") };
        assert!((8990..=9000).contains(&nine_tenths) && (990..=1000).contains(&one_tenth), "{samples:?}");
    }
}
