//! What arrives, how often, and how long it takes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use concurrency_governor::GateName;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp, LogNormal, Uniform};

/// A stream of requests, each to one of the gates.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) rate: Rate,
    /// Of so many requests in all, so many go to this gate.
    pub(crate) mix: Vec<(GateName, u32)>,
    pub(crate) services: BTreeMap<GateName, Service>,
}

impl Load {
    /// How long it is until the next request: requests come by themselves, not in step.
    pub(super) fn pause(&self, random: &mut ChaCha8Rng) -> Duration {
        let Ok(pauses) = Exp::new(self.rate.each_second) else { return Duration::MAX };
        seconds(pauses.sample(random))
    }

    /// Which gate the next request goes to.
    pub(super) fn gate(&self, random: &mut ChaCha8Rng) -> Option<GateName> {
        let all = self.mix.iter().fold(0_u64, |sum, (_, share)| sum.saturating_add((*share).into()));
        let mut drawn = if all == 0 { return None } else { random.random_range(0..all) };
        for (gate, share) in &self.mix {
            match drawn.checked_sub((*share).into()) {
                Some(rest) => drawn = rest,
                None => return Some(*gate),
            }
        }
        None
    }

    /// How long a request to a gate is at work.
    pub(crate) fn service(&self, gate: GateName) -> Service {
        self.services.get(&gate).copied().unwrap_or_default()
    }
}

/// How many requests come, on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    each_second: f64,
}

impl Rate {
    pub(crate) const fn each_second(self) -> f64 {
        self.each_second
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self { each_second: 100.0 }
    }
}

impl FromStr for Rate {
    type Err = LoadError;

    fn from_str(given: &str) -> Result<Self, LoadError> {
        let (number, unit) = given.split_once('/').ok_or(LoadError::Rate)?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(LoadError::Rate),
        };
        let number: f64 = number.trim().parse().map_err(|_| LoadError::Rate)?;
        let each_second = number / seconds;
        if each_second > 0.0 && each_second <= MOST_EACH_SECOND {
            Ok(Self { each_second })
        } else {
            Err(LoadError::Rate)
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.each_second)
    }
}

/// How long a request is at work once it is admitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Service {
    /// Always as long.
    Constant(Duration),
    /// Anything in between, as likely.
    Uniform(Duration, Duration),
    /// Mostly short and sometimes long, with this mean.
    Exponential(Duration),
    /// Mostly about the median, and sometimes very long: the logarithm varies by so much.
    LogNormal(Duration, f64),
}

impl Service {
    pub(super) fn draw(self, random: &mut ChaCha8Rng) -> Duration {
        match self {
            Self::Constant(always) => always,
            Self::Uniform(least, most) => {
                Uniform::new_inclusive(least, most).map_or(least, |between| between.sample(random))
            }
            Self::Exponential(mean) => {
                let unit = rand_distr::Exp1.sample(random);
                scaled(mean, unit)
            }
            Self::LogNormal(median, sigma) => {
                LogNormal::new(0.0, sigma).map_or(median, |factors| scaled(median, factors.sample(random)))
            }
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::Exponential(Duration::from_millis(10))
    }
}

/// `20ms`, `exp(20ms)`, `uniform(5ms, 50ms)` or `lognormal(20ms, 0.8)`.
impl FromStr for Service {
    type Err = LoadError;

    fn from_str(given: &str) -> Result<Self, LoadError> {
        let Some((kind, rest)) = given.split_once('(') else { return Ok(Self::Constant(duration(given)?)) };
        let arguments = rest.strip_suffix(')').ok_or(LoadError::Service)?;
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        match (kind.trim(), &arguments[..]) {
            ("exp", [mean]) => Ok(Self::Exponential(duration(mean)?)),
            ("uniform", [least, most]) => {
                let (least, most) = (duration(least)?, duration(most)?);
                if least <= most { Ok(Self::Uniform(least, most)) } else { Err(LoadError::Order) }
            }
            ("lognormal", [median, sigma]) => {
                let sigma: f64 = sigma.parse().map_err(|_| LoadError::Sigma)?;
                let median = duration(median)?;
                if (0.0..=5.0).contains(&sigma) {
                    Ok(Self::LogNormal(median, sigma))
                } else {
                    Err(LoadError::Sigma)
                }
            }
            _ => Err(LoadError::Service),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration;
        match self {
            Self::Constant(always) => write!(f, "{}", text(*always)),
            Self::Uniform(least, most) => write!(f, "uniform({}, {})", text(*least), text(*most)),
            Self::Exponential(mean) => write!(f, "exp({})", text(*mean)),
            Self::LogNormal(median, sigma) => write!(f, "lognormal({}, {sigma})", text(*median)),
        }
    }
}

fn duration(given: &str) -> Result<Duration, LoadError> {
    let duration = humantime::parse_duration(given.trim());
    let duration = duration.map_err(|_| LoadError::Duration { given: given.trim().to_owned() })?;
    if duration <= LONGEST { Ok(duration) } else { Err(LoadError::TooLong) }
}

fn scaled(duration: Duration, factor: f64) -> Duration {
    seconds(duration.as_secs_f64() * factor)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
}

/// Why a text is no part of a load; which flag it was given to stands before it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(
        "it is no rate (allowed: more than 0 and at most {MOST_EACH_SECOND} a second, such as 200/s, 0.5/s, 30/min)"
    )]
    Rate,
    #[error("it is no time at work (allowed: 20ms, exp(20ms), uniform(5ms, 50ms), lognormal(20ms, 0.8))")]
    Service,
    #[error("{given:?} is no duration (allowed: such as 250us, 20ms, 1m 30s)")]
    Duration { given: String },
    #[error("it is longer than an hour (allowed: up to 1h)")]
    TooLong,
    #[error("the first duration is above the second (allowed: the least, then the most)")]
    Order,
    #[error("the second argument is no spread (allowed: 0 to 5, such as 0.8)")]
    Sigma,
}

/// What a simulation can follow in reasonable time.
const MOST_EACH_SECOND: f64 = 1_000_000.0;

/// Nothing takes longer: a day of virtual time is not to hang on one request.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    /// What is printed can be given again.
    #[test]
    fn texts_of_services_are_read_as_they_are_written() {
        for text in ["20ms", "exp(20ms)", "uniform(5ms, 50ms)", "lognormal(20ms, 0.8)"] {
            let service: Service = text.parse().unwrap();
            assert_eq!(service.to_string(), text);
        }
    }

    /// Each mistake is named.
    #[test]
    fn wrong_texts_are_refused_by_reason() {
        for (text, error) in [
            ("exp", LoadError::Duration { given: "exp".to_owned() }),
            ("exp()", LoadError::Duration { given: String::new() }),
            ("exp(1ms", LoadError::Service),
            ("exp(1ms, 2ms)", LoadError::Service),
            ("uniform(2ms, 1ms)", LoadError::Order),
            ("lognormal(1ms, -1)", LoadError::Sigma),
            ("lognormal(1ms, NaN)", LoadError::Sigma),
            ("2h", LoadError::TooLong),
        ] {
            assert_eq!(text.parse::<Service>(), Err(error), "{text}");
        }
        for text in ["", "5", "5/", "0/s", "-1/s", "NaN/s", "inf/s", "1e9/s", "5/day"] {
            assert_eq!(text.parse::<Rate>(), Err(LoadError::Rate), "{text}");
        }
    }

    /// Means are what they say, to a few percent of 20 000 draws; the same seed draws the same.
    #[test]
    fn draws_have_the_mean_they_say() {
        for (text, mean) in
            [("20ms", 20.0), ("exp(20ms)", 20.0), ("uniform(10ms, 30ms)", 20.0), ("lognormal(20ms, 0)", 20.0)]
        {
            let service: Service = text.parse().unwrap();
            let draw = |seed| {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                (0..20_000).map(|_| service.draw(&mut random).as_secs_f64() * 1e3).sum::<f64>() / 20_000.0
            };
            assert!((draw(1) - mean).abs() < mean * 0.05, "{text}: {}", draw(1));
            assert!((draw(1) - draw(1)).abs() < f64::EPSILON, "{text}");
        }
    }
}
