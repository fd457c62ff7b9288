//! The load of a simulation: when requests arrive, at which gate, for which tenant, and how long they hold a permit.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use concurrency_governor::GateName;

use super::random::RandomNumbers;

/// A stream of requests, each for one of the gates.
#[derive(Clone, Debug)]
pub(crate) struct RequestLoad {
    pub(crate) rate: ArrivalRate,
    /// The weight of each gate in the choice of a request's gate.
    pub(crate) mix: Vec<(GateName, u32)>,
    /// The tenants, whose rates add up to `rate`. Empty if the requests belong to no tenant.
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) services: BTreeMap<GateName, ServiceTime>,
}

impl RequestLoad {
    /// Draws the time until the next request. Arrivals form a Poisson process, so these times are exponential.
    pub(super) fn draw_pause(&self, random: &mut RandomNumbers) -> Duration {
        bounded_seconds(random.draw_exponential() / self.rate.per_second)
    }

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
        let mut drawn = random.draw_fraction() * ArrivalRate::sum(&self.tenants).per_second;
        let is_drawn = |tenant: &Tenant| {
            drawn -= tenant.rate.per_second;
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

/// The mean number of requests that arrive in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ArrivalRate {
    per_second: f64,
}

impl ArrivalRate {
    /// Returns the rate of all tenants together.
    pub(crate) fn sum(tenants: &[Tenant]) -> Self {
        Self { per_second: tenants.iter().map(|tenant| tenant.rate.per_second).sum() }
    }

    pub(crate) const fn per_second(self) -> f64 {
        self.per_second
    }
}

impl FromStr for ArrivalRate {
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
        let per_second = number / seconds;
        if per_second > 0.0 && per_second <= MAX_PER_SECOND {
            Ok(Self { per_second })
        } else {
            Err(LoadError::Rate)
        }
    }
}

impl fmt::Display for ArrivalRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.per_second)
    }
}

/// A tenant with its own arrivals: a key of the simulated gate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) rate: ArrivalRate,
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

fn bounded_seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(MAX_DURATION).min(MAX_DURATION)
}

/// The text is not a rate or not a service time. The caller puts the flag and its value in front.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(
        "not a rate (allowed: more than 0 and at most {MAX_PER_SECOND} a second, such as 200/s, 0.5/s or 30/min)"
    )]
    Rate,
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

/// The largest rate that can be simulated in reasonable time.
const MAX_PER_SECOND: f64 = 1_000_000.0;

/// The longest name of a tenant, in characters: a name is a cell of the report.
const MAX_TENANT_NAME: usize = 40;

/// The longest pause and service time. Without it, a single draw could outlast a day of simulated time.
const MAX_DURATION: Duration = Duration::from_secs(3600);

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
            ("a=", LoadError::Rate),
            ("a=0/s", LoadError::Rate),
        ] {
            assert_eq!(text.parse::<Tenant>(), Err(error), "{text}");
        }
        for text in ["", "5", "5/", "0/s", "-1/s", "NaN/s", "inf/s", "1e9/s", "5/day"] {
            assert_eq!(text.parse::<ArrivalRate>(), Err(LoadError::Rate), "{text}");
        }
    }

    /// The mean of 20 000 draws is within 5 % of the mean of the distribution, and the same seed draws the same.
    #[test]
    fn draws_have_the_mean_of_their_distribution() {
        for (text, mean) in
            [("20ms", 20.0), ("exp(20ms)", 20.0), ("uniform(10ms, 30ms)", 20.0), ("lognormal(20ms, 0)", 20.0)]
        {
            let service: ServiceTime = text.parse().unwrap();
            let mean_of_draws = |seed| {
                let mut random = RandomNumbers::from_seed(seed);
                (0..20_000).map(|_| service.draw(&mut random).as_secs_f64() * 1e3).sum::<f64>() / 20_000.0
            };
            assert!((mean_of_draws(1) - mean).abs() < mean * 0.05, "{text}: {}", mean_of_draws(1));
            assert!((mean_of_draws(1) - mean_of_draws(1)).abs() < f64::EPSILON, "{text}");
        }
    }

    /// A tenant is drawn with a probability in proportion to its rate. Without tenants, no random number is used up, so that runs
    /// without tenants stay as they were.
    #[test]
    fn tenants_are_drawn_by_their_rates() {
        let tenants: Vec<Tenant> = ["a=900/s", "b=90/s", "c=10/s"].map(|text| text.parse().unwrap()).into();
        assert_eq!(tenants[0].to_string(), "a=900/s");
        let load = |tenants: Vec<Tenant>| RequestLoad {
            rate: ArrivalRate::sum(&tenants),
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
