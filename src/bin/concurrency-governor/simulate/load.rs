//! The load of a simulation: when requests arrive, at which gate, for which tenant, and how long they hold a permit.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use concurrency_governor::GateName;

use super::random::RandomNumbers;
use super::rate::{ArrivalRate, ArrivalSchedule, MAX_DURATION, RateError, bounded_seconds};

/// A stream of requests, each for one of the gates.
#[derive(Clone, Debug)]
pub(crate) struct RequestLoad {
    /// When requests arrive.
    pub(crate) schedule: ArrivalSchedule,
    /// The weight of each gate in the choice of a request's gate.
    pub(crate) mix: Vec<(GateName, u32)>,
    /// The tenants, whose rates add up to that of the schedule. Empty if the requests belong to no tenant.
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) services: BTreeMap<GateName, ServiceTime>,
}

impl RequestLoad {
    /// Draws the gate of the next request. Returns `None` if all weights are 0.
    pub(super) fn draw_gate(&self, random: &mut RandomNumbers) -> Option<GateName> {
        let total = self.mix.iter().fold(0_u64, |sum, (_, share)| sum.saturating_add((*share).into()));
        let mut drawn = if total == 0 { return None } else { random.draw_below(total) };
        for (gate, share) in &self.mix {
            match drawn.checked_sub((*share).into()) {
                Some(rest) => drawn = rest,
                None => return Some(*gate),
            }
        }
        None
    }

    /// Draws the tenant of the next request: the index of one of the tenants, with a probability in proportion to its rate.
    ///
    /// The arrivals of the tenants are then independent Poisson processes, each with the rate of its tenant. Draws no number if
    /// there are no tenants.
    pub(super) fn draw_tenant(&self, random: &mut RandomNumbers) -> Option<usize> {
        let last = self.tenants.len().checked_sub(1)?;
        let mut drawn = random.draw_fraction() * Tenant::total_rate(&self.tenants).per_second();
        let is_drawn = |tenant: &Tenant| {
            drawn -= tenant.rate.per_second();
            drawn < 0.0
        };
        // Rounding can leave a rest after the last tenant.
        Some(self.tenants.iter().position(is_drawn).unwrap_or(last))
    }

    /// Returns the distribution of service times at a gate.
    pub(crate) fn service(&self, gate: GateName) -> ServiceTime {
        self.services.get(&gate).copied().unwrap_or_default()
    }
}

/// A tenant with its own arrivals: a key of the simulated gate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) rate: ArrivalRate,
}

impl Tenant {
    /// Returns the rate of all tenants together.
    pub(crate) fn total_rate(tenants: &[Self]) -> ArrivalRate {
        ArrivalRate::sum(tenants.iter().map(|tenant| tenant.rate))
    }
}

/// Parses `NAME=N/s`. The name may have any characters but control characters.
impl FromStr for Tenant {
    type Err = LoadError;

    fn from_str(given: &str) -> Result<Self, LoadError> {
        let (name, rate) = given.rsplit_once('=').ok_or(LoadError::TenantWithoutRate)?;
        let name = name.trim();
        let length = name.chars().count();
        if !(1..=MAX_TENANT_NAME).contains(&length) || name.chars().any(char::is_control) {
            return Err(LoadError::TenantName);
        }
        Ok(Self { name: name.to_owned(), rate: rate.parse()? })
    }
}

/// Writes the form that [`FromStr`] parses.
impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.rate)
    }
}

/// The distribution of the time that a request holds its permit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ServiceTime {
    /// Always the same.
    Constant(Duration),
    /// Uniform between a minimum and a maximum.
    Uniform(Duration, Duration),
    /// Exponential with this mean.
    Exponential(Duration),
    /// Log-normal with this median; the logarithm has this standard deviation.
    LogNormal(Duration, f64),
}

impl ServiceTime {
    pub(super) fn draw(self, random: &mut RandomNumbers) -> Duration {
        match self {
            Self::Constant(time) => time,
            Self::Uniform(min, max) => {
                min.saturating_add(scale(max.saturating_sub(min), random.draw_fraction()))
            }
            Self::Exponential(mean) => scale(mean, random.draw_exponential()),
            Self::LogNormal(median, sigma) => scale(median, (sigma * random.draw_normal()).exp()),
        }
    }

    /// Returns the mean in seconds.
    pub(crate) fn mean_seconds(self) -> f64 {
        match self {
            Self::Constant(time) | Self::Exponential(time) => time.as_secs_f64(),
            Self::Uniform(min, max) => f64::midpoint(min.as_secs_f64(), max.as_secs_f64()),
            Self::LogNormal(median, sigma) => median.as_secs_f64() * (sigma * sigma / 2.0).exp(),
        }
    }
}

impl Default for ServiceTime {
    fn default() -> Self {
        Self::Exponential(Duration::from_millis(10))
    }
}

/// Parses `20ms`, `exp(20ms)`, `uniform(5ms, 50ms)` or `lognormal(20ms, 0.8)`.
impl FromStr for ServiceTime {
    type Err = LoadError;

    fn from_str(given: &str) -> Result<Self, LoadError> {
        let Some((name, rest)) = given.split_once('(') else {
            return Ok(Self::Constant(parse_duration(given)?));
        };
        let arguments = rest.strip_suffix(')').ok_or(LoadError::ServiceTime)?;
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        match (name.trim(), &arguments[..]) {
            ("exp", [mean]) => Ok(Self::Exponential(parse_duration(mean)?)),
            ("uniform", [min, max]) => {
                let (min, max) = (parse_duration(min)?, parse_duration(max)?);
                if min <= max { Ok(Self::Uniform(min, max)) } else { Err(LoadError::MinAboveMax) }
            }
            ("lognormal", [median, sigma]) => {
                let sigma: f64 = sigma.parse().map_err(|_| LoadError::Sigma)?;
                let median = parse_duration(median)?;
                if (0.0..=5.0).contains(&sigma) {
                    Ok(Self::LogNormal(median, sigma))
                } else {
                    Err(LoadError::Sigma)
                }
            }
            _ => Err(LoadError::ServiceTime),
        }
    }
}

/// Writes the form that [`FromStr`] parses.
impl fmt::Display for ServiceTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration;
        match self {
            Self::Constant(time) => write!(f, "{}", text(*time)),
            Self::Uniform(min, max) => write!(f, "uniform({}, {})", text(*min), text(*max)),
            Self::Exponential(mean) => write!(f, "exp({})", text(*mean)),
            Self::LogNormal(median, sigma) => write!(f, "lognormal({}, {sigma})", text(*median)),
        }
    }
}

fn parse_duration(given: &str) -> Result<Duration, LoadError> {
    let given = given.trim();
    let duration =
        humantime::parse_duration(given).map_err(|_| LoadError::Duration { given: given.to_owned() })?;
    if duration <= MAX_DURATION { Ok(duration) } else { Err(LoadError::TooLong) }
}

fn scale(duration: Duration, factor: f64) -> Duration {
    bounded_seconds(duration.as_secs_f64() * factor)
}

/// The text is not a tenant or not a service time. The caller puts the flag and its value in front.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Rate(#[from] RateError),
    #[error("the value has no `=` (allowed: NAME=N/s, such as a=900/s,b=10/s)")]
    TenantWithoutRate,
    #[error(
        "the name of a tenant is wrong (allowed: 1 to {MAX_TENANT_NAME} characters, no control characters)"
    )]
    TenantName,
    #[error("not a service time (allowed: 20ms, exp(20ms), uniform(5ms, 50ms) or lognormal(20ms, 0.8))")]
    ServiceTime,
    #[error("{given:?} is not a duration (allowed: such as 250us, 20ms or 1m 30s)")]
    Duration { given: String },
    #[error("the duration is longer than an hour (allowed: up to 1h)")]
    TooLong,
    #[error("the first duration is longer than the second (allowed: the minimum, then the maximum)")]
    MinAboveMax,
    #[error("the second argument is not a spread (allowed: 0 to 5, such as 0.8)")]
    Sigma,
}

/// The longest name of a tenant, in characters: a name is a cell of the report.
const MAX_TENANT_NAME: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of a service time can be parsed again.
    #[test]
    fn service_times_are_parsed_as_they_are_displayed() {
        for text in ["20ms", "exp(20ms)", "uniform(5ms, 50ms)", "lognormal(20ms, 0.8)"] {
            let service: ServiceTime = text.parse().unwrap();
            assert_eq!(service.to_string(), text);
        }
    }

    /// Each kind of mistake has its own error.
    #[test]
    fn invalid_texts_are_rejected_with_their_reason() {
        for (text, error) in [
            ("exp", LoadError::Duration { given: "exp".to_owned() }),
            ("exp()", LoadError::Duration { given: String::new() }),
            ("exp(1ms", LoadError::ServiceTime),
            ("exp(1ms, 2ms)", LoadError::ServiceTime),
            ("uniform(2ms, 1ms)", LoadError::MinAboveMax),
            ("lognormal(1ms, -1)", LoadError::Sigma),
            ("lognormal(1ms, NaN)", LoadError::Sigma),
            ("2h", LoadError::TooLong),
        ] {
            assert_eq!(text.parse::<ServiceTime>(), Err(error), "{text}");
        }
        for (text, error) in [
            ("a", LoadError::TenantWithoutRate),
            ("=5/s", LoadError::TenantName),
            (" =5/s", LoadError::TenantName),
            ("a\nb=5/s", LoadError::TenantName),
            (&*format!("{:a<41}=5/s", ""), LoadError::TenantName),
            ("a=", LoadError::Rate(RateError::Rate)),
            ("a=0/s", LoadError::Rate(RateError::Rate)),
        ] {
            assert_eq!(text.parse::<Tenant>(), Err(error), "{text}");
        }
    }

    /// The mean of 20 000 draws is within 5 % of the mean of the distribution, and the same seed draws the same.
    #[test]
    fn draws_have_the_mean_of_their_distribution() {
        for (text, mean) in [
            ("20ms", 20.0),
            ("exp(20ms)", 20.0),
            ("uniform(10ms, 30ms)", 20.0),
            ("lognormal(20ms, 0)", 20.0),
            ("lognormal(20ms, 0.8)", 27.54),
        ] {
            let service: ServiceTime = text.parse().unwrap();
            assert!((service.mean_seconds() * 1e3 - mean).abs() < 0.01, "{text}");
            let mean_of_draws = |seed| {
                let mut random = RandomNumbers::from_seed(seed);
                (0..20_000).map(|_| service.draw(&mut random).as_secs_f64() * 1e3).sum::<f64>() / 20_000.0
            };
            assert!((mean_of_draws(1) - mean).abs() < mean * 0.05, "{text}: {}", mean_of_draws(1));
            assert!((mean_of_draws(1) - mean_of_draws(1)).abs() < f64::EPSILON, "{text}");
        }
    }

    /// A tenant is drawn with a probability in proportion to its rate. Without tenants, no random number is drawn, so that the results of
    /// runs without tenants do not depend on this function.
    #[test]
    fn tenants_are_drawn_by_their_rates() {
        let tenants: Vec<Tenant> = ["a=900/s", "b=90/s", "c=10/s"].map(|text| text.parse().unwrap()).into();
        assert_eq!(tenants[0].to_string(), "a=900/s");
        let load = |tenants: Vec<Tenant>| RequestLoad {
            schedule: ArrivalSchedule { rate: Tenant::total_rate(&tenants), burst: None },
            mix: Vec::new(),
            tenants,
            services: BTreeMap::new(),
        };
        let mut random = RandomNumbers::from_seed(3);
        assert_eq!(load(Vec::new()).draw_tenant(&mut random), None);
        assert_eq!(random.draw_below(u64::MAX), RandomNumbers::from_seed(3).draw_below(u64::MAX));
        let load = load(tenants);
        let mut counts = [0_u32; 3];
        for _ in 0..100_000 {
            let drawn = load.draw_tenant(&mut random).unwrap();
            counts[drawn] = counts[drawn].saturating_add(1);
        }
        assert!((89_500..90_500).contains(&counts[0]), "{counts:?}");
        assert!((8_700..9_300).contains(&counts[1]), "{counts:?}");
        assert!((900..1_100).contains(&counts[2]), "{counts:?}");
    }
}
