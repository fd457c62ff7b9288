//! Which waits are measured.

/// Looking at the clock twice takes longer than a short wait. So waits are measured out of a budget: a hundred thousand
/// a second, and a thousand at once. As long as it lasts every wait is measured; beyond it one in 64, drawn at random so
/// that no pattern of arrivals is missed, and it stands for those since the last. Both are fewer where a look takes long,
/// as it does where it is a call of the system: so looking takes a hundredth of one processor at most out of the budget,
/// and beyond it less than 2 ns a wait.
#[derive(Debug)]
#[repr(C)] // what every wait changes comes first, for the sake of where it stands in a gate
pub(super) struct Sampler {
    /// How many waits go by before the next that is measured.
    skip: u16,
    /// Fewer than so many are drawn to go by.
    range: u16,
    random: u32,
    is_on: bool,
    budget: u32,
    /// How many nanoseconds fill the budget up by one.
    nanos_each: i64,
    /// When it was last filled up.
    filled: i64,
}

impl Sampler {
    /// One that is on if it is said how many nanoseconds a look at the clock takes.
    pub(super) fn new(look: Option<i64>) -> Self {
        let looks = look.unwrap_or(0).max(QUICK_LOOK);
        let range = i64::from(RANGE).saturating_mul(looks).checked_div(QUICK_LOOK);
        Self {
            is_on: look.is_some(),
            budget: BUDGET,
            nanos_each: looks.saturating_mul(LOOKS),
            filled: i64::MIN,
            skip: 0,
            range: range.and_then(|range| u16::try_from(range).ok()).unwrap_or(u16::MAX),
            random: 0x9e37_79b9,
        }
    }

    /// Whether the next wait is measured: from when, and for how many it stands.
    #[inline]
    pub(super) fn draw(&mut self, clock: impl FnOnce() -> i64) -> Option<(i64, u16)> {
        if self.skips() {
            self.skip();
            return None;
        }
        if !self.is_on {
            self.skip = u16::MAX; // so that this is seldom asked
            return None;
        }
        Some(self.measure(clock()))
    }

    /// Whether the next wait is not measured.
    #[inline]
    pub(super) const fn skips(&self) -> bool {
        self.skip > 0
    }

    #[inline]
    pub(super) const fn skip(&mut self) {
        self.skip = self.skip.saturating_sub(1);
    }

    #[cold]
    #[inline(never)]
    fn measure(&mut self, now: i64) -> (i64, u16) {
        let filling = now.saturating_sub(self.filled).checked_div(self.nanos_each).unwrap_or(0);
        if filling > 0 {
            let filling = u32::try_from(filling).unwrap_or(BUDGET);
            self.budget = self.budget.saturating_add(filling).min(BUDGET);
            self.filled = now;
        }
        if self.budget > 0 {
            self.budget = self.budget.saturating_sub(1);
            return (now, 1);
        }
        // Marsaglia's xorshift: fast, and good enough to be out of step with anything.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let drawn = u64::from(self.random).wrapping_mul(self.range.into()) >> 32; // less than that
        self.skip = u16::try_from(drawn).unwrap_or(0);
        (now, self.skip.saturating_add(1))
    }
}

/// So many waits are measured at once.
const BUDGET: u32 = 1024;
/// And one more each time in which the clock could be looked at so often: that is 10 µs, or more where a look takes long.
const LOOKS: i64 = 200;
/// Up to so many nanoseconds a look is quick.
const QUICK_LOOK: i64 = 50;
/// Where it is, fewer than so many waits go by, so that one in 64 is measured.
const RANGE: u16 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const NANOS_EACH: i64 = QUICK_LOOK * LOOKS;

    fn measured(by: &mut Sampler, waits: u32, gap: i64) -> (u32, u32) {
        let samples: Vec<u16> = (1..=i64::from(waits))
            .filter_map(|nth| by.draw(|| nth.saturating_mul(gap)).map(|(_, sample)| sample))
            .collect();
        (u32::try_from(samples.len()).unwrap(), samples.iter().map(|sample| u32::from(*sample)).sum())
    }

    /// As long as the budget lasts each wait is measured and stands for itself.
    #[test]
    fn slow_waits_are_all_measured() {
        assert_eq!(measured(&mut Sampler::new(Some(0)), 100_000, NANOS_EACH), (100_000, 100_000));
        assert_eq!(measured(&mut Sampler::new(Some(0)), BUDGET, 0), (BUDGET, BUDGET));
    }

    /// Beyond it about one in 64 is, and all together stand for as many as there were.
    #[test]
    fn fast_waits_are_sampled() {
        let (samples, stand_for) = measured(&mut Sampler::new(Some(0)), 1_000_000, 0);
        assert!((14_500..18_500).contains(&samples), "{samples}");
        assert!((999_873..1_000_128).contains(&stand_for), "{stand_for}");
    }

    /// At twice the pace that the budget is made for half of them are measured each for itself, however it fills up.
    #[test]
    fn budget_fills_up_between_waits() {
        let (samples, stand_for) = measured(&mut Sampler::new(Some(0)), 100_000, NANOS_EACH / 2);
        assert!((50_000..55_000).contains(&samples), "{samples}");
        assert!((99_800..100_200).contains(&stand_for), "{stand_for}");
    }

    /// Where a look takes twenty times as long, a twentieth of the waits are measured, each for itself or beyond the budget.
    #[test]
    fn slow_clocks_are_looked_at_less() {
        let slow = || Sampler::new(Some(20 * QUICK_LOOK));
        assert_eq!(measured(&mut slow(), 100_000, 20 * NANOS_EACH), (100_000, 100_000));
        let (samples, _) = measured(&mut slow(), 100_000, 10 * NANOS_EACH);
        assert!((48_000..55_000).contains(&samples), "{samples}");
        let (samples, stand_for) = measured(&mut slow(), 10_000_000, 0);
        assert!((7_500..10_000).contains(&samples), "{samples}");
        assert!((9_997_440..10_002_560).contains(&stand_for), "{stand_for}");
    }

    /// However long a look takes, or if it seems to take none, waits are counted.
    #[test]
    fn clocks_may_be_of_any_speed() {
        for look in [i64::MIN, 0, 1_000_000_000, i64::MAX] {
            let (samples, stand_for) = measured(&mut Sampler::new(Some(look)), 1_000_000, 0);
            assert!((BUDGET..18_500).contains(&samples), "{look}: {samples}");
            assert!((930_000..1_070_000).contains(&stand_for), "{look}: {stand_for}");
        }
    }

    /// Whoever looks first whether a wait is measured, and skips it if not, comes to the same; and mostly skips.
    #[test]
    fn skipping_is_drawing() {
        let (mut drawn, mut skipped) = (Sampler::new(Some(0)), Sampler::new(Some(0)));
        let mut skips = 0;
        for _ in 0..100_000 {
            let sample = drawn.draw(|| 0);
            if skipped.skips() {
                skipped.skip();
                skips += 1;
                assert_eq!(sample, None);
            } else {
                assert_eq!(skipped.draw(|| 0), sample);
            }
        }
        assert!(skips > 90_000, "{skips}");
    }

    /// How many go by between two that are measured is as often few as many.
    #[test]
    fn gaps_are_even() {
        let mut sampler = Sampler::new(Some(0));
        measured(&mut sampler, BUDGET, 0);
        let draw = |_| sampler.draw(|| 0).map(|(_, gap)| usize::from(gap));
        let gaps: Vec<usize> = (0..1_000_000).filter_map(draw).collect();
        let longest = *gaps.iter().max().unwrap();
        let mut times = [0_usize; 8];
        for gap in &gaps {
            times[(gap - 1) * 8 / longest] += 1;
        }
        let even = gaps.len() / 8;
        assert!(times.iter().all(|times| (even * 9 / 10..even * 11 / 10).contains(times)), "{times:?}");
    }

    /// After a rush each wait is measured again.
    #[test]
    fn budget_fills_up() {
        let mut sampler = Sampler::new(Some(0));
        measured(&mut sampler, 100_000, 0);
        let late = || 60 * 1_000_000_000;
        while sampler.draw(late).is_none_or(|(_, sample)| sample > 1) {}
        for _ in 1..BUDGET {
            assert_eq!(sampler.draw(late), Some((late(), 1)));
        }
    }

    /// Switched off, it asks no clock.
    #[test]
    fn measures_nothing_when_off() {
        let mut sampler = Sampler::new(None);
        assert!((0..100).all(|_| sampler.draw(|| unreachable!()).is_none()));
    }
}
