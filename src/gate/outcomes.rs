//! Samples of the outcomes of work: exact counts and some latencies, in one shard per thread. Finishing an attempt takes no lock.

use std::fmt;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::clock::{self, NEVER};
use super::counters::{self, SHARDS};
use crate::feedback::{Outcome, OutcomeCounts};

/// Samples the outcomes of one gate, and of the gates within it.
///
/// The threads that complete work write into shards; one [`OutcomeReader`] empties them. Each value is complete in itself, so `Relaxed` is
/// enough for every access.
pub(crate) struct OutcomeSampler {
    /// One shard per shard number, and the shared shard last.
    shards: Box<[OutcomeShard]>,
    /// The sampler of the nearest gate above this one that has one: an attempt at this gate is also an attempt there.
    parent: Option<Arc<OutcomeSampler>>,
}

/// When an attempt began, or that it is not sampled. An instant of the clock, or [`NEVER`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptStart(i64);

/// What the threads of one shard number have recorded.
#[repr(align(128))] // no two shards share a cache line, or a pair of lines that the CPU prefetches together
struct OutcomeShard {
    /// The number of attempts to skip before the next sampled one.
    skip: AtomicU32,
    /// The number of attempts to skip after a sampled one. Set by the reader, and doubled when the latencies are full.
    stride: AtomicU32,
    /// The most permits that were in use when a sampled attempt began; set to 0 by the reader.
    peak: AtomicU32,
    /// The number of latencies that were written since the last read.
    written: AtomicU32,
    /// The number of outcomes, by [`index_of`].
    counts: [AtomicU64; 3],
    /// The last latencies, each as nanoseconds plus 1. A slot with 0 is empty.
    latencies: [AtomicU64; SHARD_SAMPLES],
}

/// The number of latencies that a shard keeps until they are read. The samples are read about four times per window, so a program with one
/// thread gets up to [`Window::MAX_SAMPLES`](crate::feedback::Window::MAX_SAMPLES) latencies per window.
const SHARD_SAMPLES: usize = 64;

impl AttemptStart {
    /// The attempt is not sampled.
    pub(super) const UNSAMPLED: Self = Self(NEVER);
}

impl OutcomeSampler {
    pub(super) fn new(parent: Option<Arc<Self>>) -> Self {
        Self { shards: (0..=SHARDS).map(|_| OutcomeShard::new()).collect(), parent }
    }

    /// Starts an attempt. `in_use` returns the number of permits in use; it is called only if the attempt is sampled.
    #[inline]
    pub(super) fn begin(&self, in_use: impl FnOnce() -> u32) -> AttemptStart {
        let shard = self.shard();
        // In the shared shard, threads may decrement at the same time: then one sample more or less is taken.
        if let Some(left) = shard.skip.load(Ordering::Relaxed).checked_sub(1) {
            shard.skip.store(left, Ordering::Relaxed);
            return AttemptStart::UNSAMPLED;
        }
        shard.begin_sampled(in_use)
    }

    /// Records the outcome of an attempt, also at the gates above.
    pub(super) fn finish(&self, start: AttemptStart, outcome: Outcome) {
        let number = counters::shard_number();
        let writer = Writer::of_shard(number);
        self.levels().for_each(|sampler| sampler.shards[number].count(writer, outcome));
        if start.0 != NEVER && outcome == Outcome::Success {
            self.finish_sampled(start, number, writer);
        }
    }

    #[cold]
    fn finish_sampled(&self, start: AttemptStart, number: usize, writer: Writer) {
        let latency = clock::now().saturating_sub(start.0);
        self.levels().for_each(|sampler| sampler.shards[number].write(writer, latency));
    }

    /// Returns the sampler, and those of the gates above.
    #[inline]
    fn levels(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |sampler| sampler.parent.as_deref())
    }

    #[inline]
    fn shard(&self) -> &OutcomeShard {
        // `shard_number` is at most SHARDS, which is the index of the shared shard.
        &self.shards[counters::shard_number()]
    }
}

impl fmt::Debug for OutcomeSampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutcomeSampler").finish_non_exhaustive()
    }
}

/// The threads that write into a shard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// One thread, which needs no read-modify-write operations.
    One,
    /// Several threads: the shared shard.
    Several,
}

impl Writer {
    #[inline]
    fn of_shard(number: usize) -> Self {
        if number == SHARDS { Self::Several } else { Self::One }
    }
}

impl OutcomeShard {
    #[cold]
    fn begin_sampled(&self, in_use: impl FnOnce() -> u32) -> AttemptStart {
        self.skip.store(self.stride.load(Ordering::Relaxed), Ordering::Relaxed);
        self.peak.fetch_max(in_use(), Ordering::Relaxed);
        AttemptStart(clock::now())
    }

    #[inline]
    fn count(&self, writer: Writer, outcome: Outcome) {
        let count = &self.counts[index_of(outcome)];
        match writer {
            Writer::One => count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed),
            Writer::Several => {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes a latency in nanoseconds.
    fn write(&self, writer: Writer, latency: i64) {
        let written = match writer {
            Writer::One => {
                let written = self.written.load(Ordering::Relaxed);
                self.written.store(written.wrapping_add(1), Ordering::Relaxed);
                written
            }
            Writer::Several => self.written.fetch_add(1, Ordering::Relaxed),
        };
        // Overwrites the oldest latency if the reader is late.
        let nanos = u64::try_from(latency).unwrap_or(0).saturating_add(1);
        let slot = written as usize % SHARD_SAMPLES;
        self.latencies[slot].store(nanos, Ordering::Relaxed);
        if slot == SHARD_SAMPLES - 1 {
            // The shard became full before it was read, as at the start of a burst. From now on, half as many attempts are sampled.
            let stride = self.stride.load(Ordering::Relaxed);
            self.stride.store(stride.saturating_mul(2).saturating_add(1), Ordering::Relaxed);
        }
    }

    fn new() -> Self {
        Self {
            skip: AtomicU32::new(0),
            stride: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            written: AtomicU32::new(0),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            latencies: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// Reads the samples of one gate. There is one reader per sampler.
#[derive(Debug)]
pub(crate) struct OutcomeReader {
    sampler: Arc<OutcomeSampler>,
    /// The counts of each shard as they were read last.
    seen: Vec<[u64; 3]>,
}

impl OutcomeReader {
    pub(super) fn new(sampler: Arc<OutcomeSampler>) -> Self {
        let seen = vec![[0; 3]; sampler.shards.len()];
        Self { sampler, seen }
    }

    /// Returns the number of outcomes since the last call, and the most permits that were in use when a sampled attempt began. Calls `add`
    /// with each latency that was sampled since. Also sets the stride of each shard from the number of its attempts.
    pub(crate) fn read(&mut self, mut add: impl FnMut(Duration)) -> (OutcomeCounts, u32) {
        let (mut sum, mut peak) = ([0_u64; 3], 0);
        for (shard, seen) in self.sampler.shards.iter().zip(&mut self.seen) {
            let counts = [0, 1, 2].map(|index: usize| shard.counts[index].load(Ordering::Relaxed));
            let mut attempts = 0_u64;
            for ((sum, now), before) in sum.iter_mut().zip(counts).zip(*seen) {
                let more = now.wrapping_sub(before);
                *sum = sum.wrapping_add(more);
                attempts = attempts.wrapping_add(more);
            }
            peak = peak.max(shard.peak.swap(0, Ordering::Relaxed));
            // A writer increments `written` before it stores the latency. If this read falls between the two, the latency is returned
            // together with a later one.
            if shard.written.swap(0, Ordering::Relaxed) != 0 {
                for slot in &shard.latencies {
                    // Most slots are empty if there is little to do: a load is cheaper than a swap.
                    if slot.load(Ordering::Relaxed) != 0 {
                        let nanos = slot.swap(0, Ordering::Relaxed).saturating_sub(1);
                        add(Duration::from_nanos(nanos));
                    }
                }
            }
            *seen = counts;

            // With this stride, as many attempts as since the last read fill the shard once. A `skip` that a burst has
            // left is shortened to the new stride.
            let stride = attempts.checked_div(SHARD_SAMPLES as u64).unwrap_or(0);
            let stride = u32::try_from(stride).unwrap_or(u32::MAX);
            shard.stride.store(stride, Ordering::Relaxed);
            if shard.skip.load(Ordering::Relaxed) > stride {
                shard.skip.store(stride, Ordering::Relaxed);
            }
        }
        let [successes, overloads, ignored] = sum;
        (OutcomeCounts { successes, overloads, ignored }, peak)
    }
}

/// Returns the index of the count of an outcome.
const fn index_of(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Success => 0,
        Outcome::Overload => 1,
        Outcome::Ignore => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn reader() -> (Arc<OutcomeSampler>, OutcomeReader) {
        let sampler = Arc::new(OutcomeSampler::new(None));
        (Arc::clone(&sampler), OutcomeReader::new(sampler))
    }

    fn read(reader: &mut OutcomeReader) -> (OutcomeCounts, u32, Vec<Duration>) {
        let mut latencies = Vec::new();
        let (counts, peak) = reader.read(|latency| latencies.push(latency));
        (counts, peak, latencies)
    }

    /// No count is lost, however many threads complete work while the samples are read.
    #[test]
    fn no_outcome_is_lost() {
        const THREADS: u64 = 40;
        const ATTEMPTS: u64 = if cfg!(miri) { 20 } else { 2000 };
        let (sampler, mut reader) = reader();
        let mut sum = OutcomeCounts::default();
        let mut add = |reader: &mut OutcomeReader| {
            let counts = read(reader).0;
            sum.successes += counts.successes;
            sum.overloads += counts.overloads;
            sum.ignored += counts.ignored;
        };
        thread::scope(|scope| {
            let work = || {
                for attempt in 0..ATTEMPTS {
                    let start = sampler.begin(|| 1);
                    let outcome = [Outcome::Success, Outcome::Overload, Outcome::Ignore];
                    sampler.finish(start, outcome[(attempt % 4).min(2) as usize]);
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                add(&mut reader);
            }
        });
        add(&mut reader);
        let quarter = THREADS * ATTEMPTS / 4;
        let expected = OutcomeCounts { successes: quarter, overloads: quarter, ignored: 2 * quarter };
        assert_eq!(sum, expected);
    }

    /// All of the first attempts are sampled. The stride then follows the load: about 64 samples per read, and every attempt when there are
    /// few. The peak is that of the sampled attempts since the last read.
    #[test]
    fn sampling_follows_the_number_of_attempts() {
        let (sampler, mut reader) = reader();
        let complete = |attempts: u32| {
            (0..attempts).for_each(|attempt| sampler.finish(sampler.begin(|| attempt), Outcome::Success));
        };
        complete(40);
        let (counts, peak, latencies) = read(&mut reader);
        assert_eq!((counts.successes, peak, latencies.len()), (40, 39, 40));

        complete(6400); // more than fit: the newest are kept
        assert_eq!(read(&mut reader).2.len(), SHARD_SAMPLES);
        complete(6400);
        let count = read(&mut reader).2.len();
        assert!((60..=SHARD_SAMPLES).contains(&count), "{count} of 6400 attempts are sampled");

        read(&mut reader);
        complete(1);
        let (counts, _, latencies) = read(&mut reader);
        assert_eq!((counts.successes, latencies.len()), (1, 1), "the gap of a busy time goes on");
        assert_eq!(read(&mut reader), (OutcomeCounts::default(), 0, Vec::new()));
    }

    /// Latencies are those of successes alone, and an attempt within a gate counts at the gates above.
    #[test]
    fn an_attempt_counts_at_the_gates_above() {
        let (parent, mut above) = reader();
        let sampler = Arc::new(OutcomeSampler::new(Some(parent)));
        let mut own = OutcomeReader::new(Arc::clone(&sampler));
        sampler.finish(sampler.begin(|| 3), Outcome::Overload);
        sampler.finish(AttemptStart::UNSAMPLED, Outcome::Success);
        sampler.finish(sampler.begin(|| 2), Outcome::Success);
        let counts = OutcomeCounts { successes: 2, overloads: 1, ignored: 0 };
        let (seen, peak, latencies) = read(&mut own);
        assert_eq!((seen, peak, latencies.len()), (counts, 3, 1));
        let (seen, _, latencies) = read(&mut above);
        assert_eq!((seen, latencies.len()), (counts, 1));
    }
}
