//! When requests arrive: a mean rate, and a burst for a part of the time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::random::RandomNumbers;

/// The arrivals of a simulation: a Poisson process with another rate during a burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ArrivalSchedule {
    pub(crate) rate: ArrivalRate,
    pub(crate) burst: Option<RateBurst>,
}

impl ArrivalSchedule {
    /// Draws the time of the arrival that follows `after`.
    ///
    /// The integral of the rate from one arrival to the next is exponential with mean 1. Exactly one random number is drawn for each
    /// arrival, as for a Poisson process with one rate.
    pub(super) fn draw_arrival(&self, after: Duration, random: &mut RandomNumbers) -> Duration {
        let mut area = random.draw_exponential();
        let mut from = after;
        for (end, rate) in self.parts() {
            let length = end.saturating_sub(from);
            let part = length.as_secs_f64() * rate.per_second;
            if area < part {
                return from.saturating_add(bounded_seconds(area / rate.per_second));
            }
            area -= part;
            from = from.max(end);
        }
        from.saturating_add(bounded_seconds(area / self.rate.per_second))
    }

    /// Returns the mean number of arrivals in a run of this length.
    pub(crate) fn mean_arrivals(&self, length: Duration) -> f64 {
        let (mut arrivals, mut from) = (0.0, Duration::ZERO);
        for (end, rate) in self.parts().into_iter().chain([(length, self.rate)]) {
            let end = end.min(length);
            arrivals += end.saturating_sub(from).as_secs_f64() * rate.per_second;
            from = from.max(end);
        }
        arrivals
    }

    /// Returns the parts before the end of the burst, each with its end and its rate. Without a burst they have no length.
    fn parts(&self) -> [(Duration, ArrivalRate); 2] {
        match self.burst {
            Some(RateBurst { rate, from, until }) => [(from, self.rate), (until, rate)],
            None => [(Duration::ZERO, self.rate); 2],
        }
    }
}

/// Writes `8/s`, or `8/s, 40/s from 10s to 20s`.
impl fmt::Display for ArrivalSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rate)?;
        let Some(RateBurst { rate, from, until }) = self.burst else { return Ok(()) };
        let text = humantime::format_duration;
        write!(f, ", {rate} from {} to {}", text(from), text(until))
    }
}

/// The mean number of requests that arrive in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ArrivalRate {
    per_second: f64,
}

impl ArrivalRate {
    /// Returns the sum of rates.
    pub(crate) fn sum(rates: impl Iterator<Item = Self>) -> Self {
        Self { per_second: rates.map(Self::per_second).sum() }
    }

    pub(crate) const fn per_second(self) -> f64 {
        self.per_second
    }
}

impl FromStr for ArrivalRate {
    type Err = RateError;

    fn from_str(given: &str) -> Result<Self, RateError> {
        let (number, unit) = given.split_once('/').ok_or(RateError::Rate)?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(RateError::Rate),
        };
        let number: f64 = number.trim().parse().map_err(|_| RateError::Rate)?;
        let per_second = number / seconds;
        if per_second > 0.0 && per_second <= MAX_PER_SECOND {
            Ok(Self { per_second })
        } else {
            Err(RateError::Rate)
        }
    }
}

impl fmt::Display for ArrivalRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.per_second)
    }
}

/// A part of the time with another rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RateBurst {
    rate: ArrivalRate,
    pub(crate) from: Duration,
    /// The end, which is after `from`.
    pub(crate) until: Duration,
}

/// Parses `40/s@10s..20s`.
impl FromStr for RateBurst {
    type Err = RateError;

    fn from_str(given: &str) -> Result<Self, RateError> {
        let (rate, times) = given.split_once('@').ok_or(RateError::Burst)?;
        let (from, until) = times.split_once("..").ok_or(RateError::Burst)?;
        let time = |given: &str| humantime::parse_duration(given.trim()).map_err(|_| RateError::Burst);
        let burst = Self { rate: rate.parse()?, from: time(from)?, until: time(until)? };
        if burst.from < burst.until { Ok(burst) } else { Err(RateError::EmptyBurst) }
    }
}

/// Writes the form that [`FromStr`] parses.
impl fmt::Display for RateBurst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration;
        write!(f, "{}@{}..{}", self.rate, text(self.from), text(self.until))
    }
}

/// Converts seconds to a pause or a service time, at most [`MAX_DURATION`].
pub(super) fn bounded_seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(MAX_DURATION).min(MAX_DURATION)
}

/// The text is not a rate or not a burst. The caller puts the flag and its value in front.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RateError {
    #[error(
        "not a rate (allowed: more than 0 and at most {MAX_PER_SECOND} a second, such as 200/s, 0.5/s or 30/min)"
    )]
    Rate,
    #[error("not a burst (allowed: RATE@FROM..TO, such as 40/s@10s..20s)")]
    Burst,
    #[error("the burst ends before it begins (allowed: RATE@FROM..TO, such as 40/s@10s..20s)")]
    EmptyBurst,
}

/// The largest rate that can be simulated in reasonable time.
const MAX_PER_SECOND: f64 = 1_000_000.0;

/// The longest pause and service time. Without it, a single draw could outlast a day of simulated time.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind of mistake has its own error.
    #[test]
    fn invalid_texts_are_rejected_with_their_reason() {
        for text in ["", "5", "5/", "0/s", "-1/s", "NaN/s", "inf/s", "1e9/s", "5/day"] {
            assert_eq!(text.parse::<ArrivalRate>(), Err(RateError::Rate), "{text}");
        }
        for (text, error) in [
            ("40/s", RateError::Burst),
            ("40/s@10s", RateError::Burst),
            ("40/s@10s..soon", RateError::Burst),
            ("40@10s..20s", RateError::Rate),
            ("40/s@20s..20s", RateError::EmptyBurst),
        ] {
            assert_eq!(text.parse::<RateBurst>(), Err(error), "{text}");
        }
        assert_eq!("40/s@10s..1m".parse::<RateBurst>().unwrap().to_string(), "40/s@10s..1m");
    }

    /// The arrivals before, in and after a burst have the rate of their part of the time.
    #[test]
    fn a_burst_has_its_own_rate() {
        let schedule = ArrivalSchedule {
            rate: "10/s".parse().unwrap(),
            burst: Some("100/s@100s..200s".parse().unwrap()),
        };
        let mut random = RandomNumbers::from_seed(1);
        let (mut at, mut counts) = (Duration::ZERO, [0_i32; 3]);
        loop {
            let next = schedule.draw_arrival(at, &mut random);
            assert!(next >= at);
            at = next;
            let Some(count) = counts.get_mut(usize::try_from(at.as_secs() / 100).unwrap()) else { break };
            *count += 1;
        }
        for (count, mean) in counts.into_iter().zip([1000, 10_000, 1000]) {
            assert!((count - mean).abs() < mean / 10, "{counts:?}");
        }
        let mean = schedule.mean_arrivals(Duration::from_secs(150));
        assert!((mean - 6000.0).abs() < 1e-6, "{mean}");
        let mean = schedule.mean_arrivals(Duration::from_secs(300));
        assert!((mean - 12_000.0).abs() < 1e-6, "{mean}");
    }

    /// Without a burst, the pauses are exponential with the mean of the rate.
    #[test]
    fn pauses_without_a_burst_are_exponential() {
        let schedule = ArrivalSchedule { rate: "4/s".parse().unwrap(), burst: None };
        let (mut random, mut same) = (RandomNumbers::from_seed(2), RandomNumbers::from_seed(2));
        let after = Duration::from_secs(7);
        for _ in 0..100 {
            let pause = schedule.draw_arrival(after, &mut random).saturating_sub(after);
            assert_eq!(pause, bounded_seconds(same.draw_exponential() / 4.0));
        }
        let mean = schedule.mean_arrivals(Duration::from_secs(10));
        assert!((mean - 40.0).abs() < 1e-9, "{mean}");
    }
}
