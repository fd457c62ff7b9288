//! Which waits are measured.
//!
//! Reading the clock twice takes longer than a short wait. A token bucket limits how many waits are measured: 100 000 per second, with a
//! burst of 1024. While it has tokens, every wait is measured. Beyond that, one wait in 256 on average is measured. The choice is random,
//! so that it follows no pattern of the arrivals. Each measured wait represents itself and the waits that are skipped after it.

/// Chooses the waits of one gate that are measured.
#[derive(Debug)]
pub(crate) struct WaitSampler {
    is_enabled: bool,
    /// The number of waits to skip before the next measured one.
    skip: u16,
    tokens: u32,
    /// The instant up to which tokens were added.
    refilled: i64,
    /// The state of the random number generator.
    random: u32,
}

impl WaitSampler {
    pub(crate) const fn new(is_enabled: bool) -> Self {
        Self { is_enabled, skip: 0, tokens: MAX_TOKENS, refilled: i64::MIN, random: 0x9e37_79b9 }
    }

    /// Decides whether the next wait is measured. If it is, returns the instant of the clock, and the number of waits that this one
    /// represents.
    #[inline]
    pub(crate) fn sample(&mut self, clock: impl FnOnce() -> i64) -> Option<(i64, u16)> {
        if !self.is_enabled {
            return None;
        }
        if let Some(left) = self.skip.checked_sub(1) {
            self.skip = left;
            return None;
        }
        Some(self.measure(clock()))
    }

    #[cold]
    #[inline(never)]
    fn measure(&mut self, now: i64) -> (i64, u16) {
        // Refill the bucket. The remainder of the time counts for the next token, unless the bucket is full.
        let refill = now.saturating_sub(self.refilled) / NANOS_PER_TOKEN;
        if refill > 0 {
            let tokens = u32::try_from(refill).unwrap_or(MAX_TOKENS);
            self.tokens = self.tokens.saturating_add(tokens).min(MAX_TOKENS);
            let used = refill.saturating_mul(NANOS_PER_TOKEN);
            self.refilled = if self.tokens < MAX_TOKENS { self.refilled.saturating_add(used) } else { now };
        }
        if let Some(left) = self.tokens.checked_sub(1) {
            self.tokens = left;
            return (now, 1);
        }
        // Marsaglia's xorshift: fast, and independent of any pattern of arrivals.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let drawn = u64::from(self.random).wrapping_mul(SKIP_RANGE.into()) >> 32; // uniform below SKIP_RANGE
        self.skip = u16::try_from(drawn).unwrap_or(0);
        (now, self.skip.saturating_add(1))
    }
}

const MAX_TOKENS: u32 = 1024;
const NANOS_PER_TOKEN: i64 = 10_000;
/// Without tokens, fewer waits than this are skipped at a time; on average one in 256 is measured.
const SKIP_RANGE: u16 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of measured waits, and of the waits that they represent.
    fn measured(sampler: &mut WaitSampler, waits: u32, gap: i64) -> (u32, u32) {
        let weights: Vec<u16> = (1..=i64::from(waits))
            .filter_map(|number| sampler.sample(|| number.saturating_mul(gap)).map(|(_, weight)| weight))
            .collect();
        (u32::try_from(weights.len()).unwrap(), weights.iter().map(|weight| u32::from(*weight)).sum())
    }

    /// At a rate below the refill every wait is measured, and a burst up to the size of the bucket, too.
    #[test]
    fn slow_arrivals_are_all_measured() {
        assert_eq!(measured(&mut WaitSampler::new(true), 100_000, NANOS_PER_TOKEN), (100_000, 100_000));
        assert_eq!(measured(&mut WaitSampler::new(true), MAX_TOKENS, 0), (MAX_TOKENS, MAX_TOKENS));
    }

    /// Without tokens about one wait in 256 is measured, and the samples represent all waits.
    #[test]
    fn fast_arrivals_are_sampled() {
        let (samples, represented) = measured(&mut WaitSampler::new(true), 1_000_000, 0);
        assert!((4_500..5_400).contains(&samples), "{samples}");
        assert!((999_489..1_000_512).contains(&represented), "{represented}");
    }

    /// At nine tenths of the refill rate every wait is measured, although each gap is a fraction of a token.
    #[test]
    fn fractions_of_tokens_add_up() {
        assert_eq!(
            measured(&mut WaitSampler::new(true), 100_000, NANOS_PER_TOKEN / 9 * 10),
            (100_000, 100_000)
        );
    }

    /// At twice the refill rate half of the waits use a token.
    #[test]
    fn tokens_are_refilled_between_waits() {
        let (samples, represented) = measured(&mut WaitSampler::new(true), 100_000, NANOS_PER_TOKEN / 2);
        assert!((50_000..53_000).contains(&samples), "{samples}");
        assert!((99_400..100_600).contains(&represented), "{represented}");
    }

    /// The gaps between samples are uniformly distributed.
    #[test]
    fn gaps_are_uniform() {
        let mut sampler = WaitSampler::new(true);
        measured(&mut sampler, MAX_TOKENS, 0);
        let gap = |_| sampler.sample(|| 0).map(|(_, gap)| usize::from(gap));
        let gaps: Vec<usize> = (0..4_000_000).filter_map(gap).collect();
        let longest = *gaps.iter().max().unwrap();
        let mut counts = [0_usize; 8];
        for gap in &gaps {
            counts[(gap - 1) * 8 / longest] += 1;
        }
        let even = gaps.len() / 8;
        assert!(counts.iter().all(|count| (even * 9 / 10..even * 11 / 10).contains(count)), "{counts:?}");
    }

    /// After a burst the bucket fills up again.
    #[test]
    fn every_wait_is_measured_again_after_a_burst() {
        let mut sampler = WaitSampler::new(true);
        measured(&mut sampler, 100_000, 0);
        let later = || 60 * 1_000_000_000;
        while sampler.sample(later).is_none_or(|(_, sample)| sample > 1) {}
        for _ in 1..MAX_TOKENS {
            assert_eq!(sampler.sample(later), Some((later(), 1)));
        }
    }

    /// A sampler that is disabled reads no clock.
    #[test]
    fn a_disabled_sampler_reads_no_clock() {
        let mut sampler = WaitSampler::new(false);
        assert!((0..100).all(|_| sampler.sample(|| unreachable!()).is_none()));
    }
}
