//! A histogram of wait times or hold times, in fixed memory.

use std::fmt;
use std::time::Duration;

/// A histogram of wait times. It has 13 buckets per power of ten, from 1 µs to over an hour, whose bounds are round numbers
/// such as 200 ms, 250 ms and 300 ms.
///
/// A gate records each request that had to wait and was admitted, from the moment it was enqueued to the moment it was
/// admitted. The time until its task runs again is not included. Requests that were admitted at once, cancelled or rejected are
/// not recorded.
///
/// Reading the clock twice takes longer than a short wait. So a gate measures every wait only while fewer than 100 000 requests per second
/// start to wait (and up to 1024 more in a burst). Beyond that it measures one wait in 256 on average, chosen at random. Each of these
/// represents itself and the waits that are skipped after it. The longest wait can then be missed.
///
/// Within the range, a quantile is at most a quarter above the true value, and never above [`max`](Self::max).
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::gate::Histogram;
///
/// let mut waits = Histogram::default();
/// for ms in 1..=100 {
///     waits.record(Duration::from_millis(ms));
/// }
/// let p99 = waits.quantile(99, 100).ok_or("nothing recorded")?;
/// assert!(p99 >= Duration::from_millis(99) && p99 <= Duration::from_millis(100));
/// assert_eq!(waits.mean(), Some(Duration::from_micros(50_500)));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    count: u64,
    /// The sum of all waits in nanoseconds. It saturates after 584 years.
    sum: u64,
    max: u64,
}

impl Histogram {
    /// Adds one wait.
    pub fn record(&mut self, wait: Duration) {
        self.record_many(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX), 1);
    }

    /// Adds several waits of this many nanoseconds each.
    pub(crate) fn record_many(&mut self, nanos: u64, waits: u16) {
        let waits = u64::from(waits);
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count = count.saturating_add(waits);
        }
        self.count = self.count.saturating_add(waits);
        self.sum = self.sum.saturating_add(nanos.saturating_mul(waits));
        self.max = self.max.max(nanos);
    }

    /// Adds everything that `other` recorded, to report several gates as one.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// Returns the number of recorded waits.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns a duration that `numerator / denominator` of the waits did not exceed: `quantile(1, 2)` is the median, and
    /// one wait in a thousand exceeds `quantile(999, 1000)`. A fraction above one counts as one.
    ///
    /// Returns `None` if no wait was recorded or the denominator is 0.
    #[must_use]
    pub fn quantile(&self, numerator: u32, denominator: u32) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let numerator = numerator.min(denominator);
        let product = u128::from(self.count).saturating_mul(numerator.into());
        // Ranks start at 1, so that quantile 0 is the shortest wait.
        let rank = product
            .checked_add(u128::from(denominator).checked_sub(1)?)?
            .checked_div(denominator.into())?
            .max(1);
        let mut seen = 0_u128;
        let contains_rank = |count: &u64| {
            seen = seen.saturating_add((*count).into());
            seen >= rank
        };
        let index = self.counts.iter().position(contains_rank).unwrap_or(LAST);
        Some(Duration::from_nanos(upper_bound(index).min(self.max)))
    }

    /// Returns the exact longest wait, or `None` if no wait was recorded.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }

    /// Returns the mean wait, rounded down to a nanosecond, or `None` if no wait was recorded.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count).map(Duration::from_nanos)
    }

    /// Returns all buckets from the shortest waits to the longest, including empty ones. Every histogram has the same buckets,
    /// so an exporter can declare them once.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.counts.iter().enumerate().map(|(index, count)| Bucket {
            at_least: index
                .checked_sub(1)
                .map_or(Duration::ZERO, |lower| Duration::from_nanos(upper_bound(lower))),
            below: if index < LAST { Duration::from_nanos(upper_bound(index)) } else { Duration::MAX },
            count: *count,
        })
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("mean", &self.mean())
            .field("p50", &self.quantile(1, 2))
            .field("p99", &self.quantile(99, 100))
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

/// One bucket of a [`Histogram`]: the number of waits in `at_least..below`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// The shortest wait of the bucket.
    pub at_least: Duration,
    /// The shortest wait of the next bucket; [`Duration::MAX`] for the last one.
    pub below: Duration,
    /// The number of waits.
    pub count: u64,
}

/// The buckets begin at these durations, in nanoseconds, except the first one, which begins at 0.
///
/// The first bucket holds waits below 1 µs, which is less than the time to resume a task. The last one holds waits of
/// 4000 s and more.
const STARTS: [u64; BUCKETS - 1] = {
    /// The starts in the first power of ten. Each is at most a quarter above the one before, which bounds the error of a
    /// quantile. The usual bounds of exporters, 1, 2.5, 5 and 6, are among them.
    const FIRST: [u64; 13] =
        [1_000, 1_250, 1_500, 1_750, 2_000, 2_500, 3_000, 3_500, 4_000, 5_000, 6_000, 7_000, 8_000];
    let (mut starts, mut index, mut power_of_ten) = ([0; BUCKETS - 1], 0_usize, 1_u64);
    while index < starts.len() {
        starts[index] = FIRST[index % FIRST.len()].saturating_mul(power_of_ten);
        index = index.saturating_add(1);
        if index % FIRST.len() == 0 {
            power_of_ten = power_of_ten.saturating_mul(10);
        }
    }
    starts
};
/// The bucket below 1 µs, 13 buckets for each of nine powers of ten, and nine buckets that start at 1000 s to 4000 s.
const BUCKETS: usize = 1 + 9 * 13 + 9;
const LAST: usize = BUCKETS - 1;

/// Returns the index of the bucket of a wait.
fn bucket(nanos: u64) -> usize {
    STARTS.partition_point(|start| *start <= nanos)
}

/// Returns the upper bound of a bucket in nanoseconds, exclusive.
fn upper_bound(index: usize) -> u64 {
    STARTS.get(index).copied().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The buckets have no gap and no overlap, and each wait is counted in the bucket that contains it.
    #[test]
    fn buckets_cover_all_waits() {
        let empty = Histogram::default();
        let edges: Vec<_> = empty.buckets().collect();
        assert_eq!(edges.len(), BUCKETS);
        assert_eq!((edges[0].at_least, edges[LAST].below), (Duration::ZERO, Duration::MAX));
        assert!(
            edges[1].at_least == Duration::from_micros(1) && edges[LAST].at_least > Duration::from_secs(3600)
        );
        for pair in edges.windows(2) {
            assert_eq!(pair[0].below, pair[1].at_least);
        }
        for edge in &edges[1..LAST] {
            assert!(edge.below <= edge.at_least + edge.at_least / 4, "at most a quarter wide: {edge:?}");
        }
        for edge in &edges {
            for wait in [edge.at_least, edge.below.saturating_sub(Duration::from_nanos(1))] {
                let mut waits = Histogram::default();
                waits.record(wait);
                let hit = waits.buckets().find(|bucket| bucket.count == 1).unwrap();
                assert_eq!((hit.at_least, hit.below), (edge.at_least, edge.below), "{wait:?}");
            }
        }
    }

    /// A quantile is not below the true value and, inside the range, at most a quarter above it.
    #[test]
    fn quantiles_are_within_a_quarter() {
        let mut waits = Histogram::default();
        for micros in 1_u64..=10_000 {
            waits.record(Duration::from_micros(micros * 3));
        }
        for thousandths in 1..=1000_u32 {
            let exact = Duration::from_micros(u64::from(thousandths) * 10 * 3);
            let given = waits.quantile(thousandths, 1000).unwrap();
            assert!(given >= exact && given <= exact + exact / 4, "{thousandths}: {given:?} for {exact:?}");
        }
        assert_eq!(waits.quantile(1, 1), waits.max());
        assert_eq!(waits.quantile(7, 5), waits.max(), "a fraction above one counts as one");
        assert!(waits.quantile(0, 1).unwrap() >= Duration::from_micros(3));
        assert_eq!(waits.quantile(1, 0), None);
    }

    /// An empty histogram has no quantile, maximum or mean, rather than zero.
    #[test]
    fn empty_is_not_zero() {
        let empty = Histogram::default();
        assert_eq!((empty.quantile(1, 2), empty.max(), empty.mean()), (None, None, None));
        let mut zero = Histogram::default();
        zero.record(Duration::ZERO);
        assert_eq!((zero.quantile(1, 2), zero.mean()), (Some(Duration::ZERO), Some(Duration::ZERO)));
    }

    /// Merging two histograms gives the same as recording everything in one, and the counts saturate.
    #[test]
    fn merge_adds_and_saturates() {
        let (mut left, mut right, mut both) =
            (Histogram::default(), Histogram::default(), Histogram::default());
        for (at, wait) in [1, 7, 1 << 20, u64::MAX].map(Duration::from_nanos).into_iter().enumerate() {
            if at % 2 == 0 {
                left.record(wait);
            } else {
                right.record(wait);
            }
            both.record(wait);
        }
        left.merge(&right);
        assert_eq!(left, both);
        left.record(Duration::MAX);
        assert_eq!(left.max(), Some(Duration::from_nanos(u64::MAX)));
        assert_eq!(left.count(), 5);
        assert_eq!(left.quantile(1, 1), left.max(), "from the last bucket, which has no end");
    }
}
