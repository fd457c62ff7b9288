//! Random numbers for a simulation. A seed gives the same numbers in every run.

use std::f64::consts::TAU;

/// The generator `SplitMix64`. Its numbers need not be secret, and a simulation draws few enough of them.
#[derive(Clone, Debug)]
pub(super) struct RandomNumbers(u64);

impl RandomNumbers {
    pub(super) const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws a generator whose numbers are independent of those that follow here.
    pub(super) fn split(&mut self) -> Self {
        Self(self.draw())
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Draws a whole number below `bound`, which is not 0. The bias is less than `bound / 2^64`.
    pub(super) fn draw_below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.draw()).saturating_mul(bound.into());
        u64::try_from(product >> 64).unwrap_or(u64::MAX)
    }

    /// Draws a number that is at least 0 and less than 1.
    pub(super) fn draw_fraction(&mut self) -> f64 {
        const STEP: f64 = 1.0 / 9_007_199_254_740_992.0; // 2^-53
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let bits = (self.draw() >> 11) as f64;
        bits * STEP
    }

    /// Draws from the exponential distribution with mean 1.
    pub(super) fn draw_exponential(&mut self) -> f64 {
        -(1.0 - self.draw_fraction()).ln() // the logarithm of a number above 0
    }

    /// Draws from the normal distribution with mean 0 and standard deviation 1, by the Box-Muller transform.
    pub(super) fn draw_normal(&mut self) -> f64 {
        let radius = (2.0 * self.draw_exponential()).sqrt();
        radius * (TAU * self.draw_fraction()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of the published generator.
    #[test]
    fn numbers_are_those_of_splitmix64() {
        let mut random = RandomNumbers::from_seed(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([(); 3].map(|()| random.draw()), expected);
    }

    /// Each distribution has its mean, its variance and its range.
    #[test]
    fn distributions_have_their_moments() {
        type Draw = fn(&mut RandomNumbers) -> f64;
        let distributions: [(&str, Draw, f64, f64); 3] = [
            ("fraction", RandomNumbers::draw_fraction, 0.5, 1.0 / 12.0),
            ("exponential", RandomNumbers::draw_exponential, 1.0, 1.0),
            ("normal", RandomNumbers::draw_normal, 0.0, 1.0),
        ];
        for (name, draw, mean, variance) in distributions {
            let mut random = RandomNumbers::from_seed(7);
            let draws: Vec<f64> = (0..100_000).map(|_| draw(&mut random)).collect();
            let mean_of = |value: fn(f64, f64) -> f64| {
                draws.iter().map(|drawn| value(*drawn, mean)).sum::<f64>() / 100_000.0
            };
            assert!((mean_of(|drawn, _| drawn) - mean).abs() < 0.02, "{name}");
            assert!((mean_of(|drawn, mean| (drawn - mean).powi(2)) - variance).abs() < 0.03, "{name}");
            assert!(draws.iter().all(|drawn| drawn.is_finite()), "{name}");
        }
        let mut random = RandomNumbers::from_seed(0);
        let mut counts = [0_u32; 3];
        for _ in 0..30_000 {
            let drawn = usize::try_from(random.draw_below(3)).unwrap();
            counts[drawn] = counts[drawn].saturating_add(1);
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_eq!(random.draw_below(1), 0);
    }
}
