//! The description of a plant, and its text.

use std::str::FromStr;
use std::time::Duration;

use super::report::as_float;
use super::standard::STANDARD_PLANTS;
use crate::plan::debug_as_display::impl_debug_as_display;

/// A server and its clients.
///
/// It parses from a text: items with commas between them, or the name of a [standard plant](super::STANDARD_PLANTS) and then items.
/// `workers`, `service` and `rate` with `@20s` at their end take effect at that instant.
///
/// | item | meaning | default |
/// |---|---|---|
/// | `workers 10` | each worker serves one request at a time; the others queue at the server | 10 |
/// | `service exp 10ms`, `service fixed 10ms`, `service lognormal 1 10ms` | the time of a unit of work: exponential, constant, log-normal; the duration is the mean | `exp 10ms` |
/// | `shared 0.01` | all requests share the workers, and each one above their number slows all by this fraction | not shared |
/// | `front 20ms` | a time in front of the workers that depends on no load | none |
/// | `most 30` | the server refuses requests above this number, and says that it is overloaded | no bound |
/// | `errors 0.2` | this fraction fails at once because of its content | 0 |
/// | `rate 2000/s` | requests per second of all clients together, a Poisson process | 1000 |
/// | `clients 9` | the number of clients, each with a gate of its own and an equal part of the load | 1 |
/// | `wait 50ms` | how long a request waits at its gate before it is rejected | 50 ms |
/// | `retries 3` | how often a request that its gate has rejected is made again, after about 100 ms | 0 |
///
/// ```
/// use concurrency_governor::testing::plant::Plant;
///
/// let plant: Plant = "overload, workers 20 @30s".parse()?;
/// assert_eq!(plant.to_string(), "workers 10, workers 20 @30s, service exp 10ms, rate 2000/s");
/// assert_eq!(plant.capacity(std::time::Duration::from_secs(40)), 2000.0);
/// # Ok::<(), concurrency_governor::testing::plant::PlantError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plant {
    pub(super) workers: Schedule<u32>,
    pub(super) service: Schedule<ServiceSpread>,
    pub(super) shared: Option<f64>,
    pub(super) front: Duration,
    pub(super) most: u32,
    pub(super) errors: f64,
    pub(super) rate: Schedule<f64>,
    pub(super) clients: u32,
    pub(super) wait: Duration,
    pub(super) retries: u32,
    /// The items as they were given, one for each setting and instant.
    items: Vec<PlantItem>,
}

/// How long a unit of work takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ServiceSpread {
    Exponential(Duration),
    Fixed(Duration),
    /// With the standard deviation of the logarithm.
    LogNormal(f64, Duration),
}

impl ServiceSpread {
    pub(super) fn mean(self) -> Duration {
        match self {
            Self::Exponential(mean) | Self::Fixed(mean) | Self::LogNormal(_, mean) => mean,
        }
    }
}

/// A value that changes at some instants: each instant with the value from then on, in the order of time. The first instant is 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schedule<T>(Vec<(Duration, T)>);

impl<T: Copy> Schedule<T> {
    fn new(value: T) -> Self {
        Self(vec![(Duration::ZERO, value)])
    }

    fn set(&mut self, from: Duration, value: T) {
        self.0.retain(|(at, _)| *at != from);
        self.0.push((from, value));
        self.0.sort_by_key(|(at, _)| *at);
    }

    pub(super) fn at(&self, now: Duration) -> T {
        let index = self.0.partition_point(|(from, _)| *from <= now).saturating_sub(1);
        self.0[index].1 // a schedule is never empty
    }
}

/// One item of the text.
#[derive(Clone, Debug, PartialEq)]
struct PlantItem {
    name: String,
    value: String,
    from: Option<String>,
}

impl Default for Plant {
    fn default() -> Self {
        Self {
            workers: Schedule::new(10),
            service: Schedule::new(ServiceSpread::Exponential(Duration::from_millis(10))),
            shared: None,
            front: Duration::ZERO,
            most: u32::MAX,
            errors: 0.0,
            rate: Schedule::new(1000.0),
            clients: 1,
            wait: Duration::from_millis(50),
            retries: 0,
            items: Vec::new(),
        }
    }
}

impl Plant {
    /// Returns how many requests per second the server completes at most.
    #[must_use]
    pub fn capacity(&self, at: Duration) -> f64 {
        f64::from(self.workers.at(at)) / self.service.at(at).mean().as_secs_f64()
    }

    /// Returns the lowest limit of one client with which the server completes as many requests as it can, on average: the number of its
    /// workers and of the requests on the way to them, divided by the number of clients.
    #[must_use]
    pub fn optimum(&self, at: Duration) -> f64 {
        let in_server = self.service.at(at).mean().saturating_add(self.front).as_secs_f64();
        self.capacity(at) * in_server / f64::from(self.clients)
    }

    /// Returns the mean time that a request takes in the server if it does not wait there.
    #[must_use]
    pub fn unloaded_latency(&self, at: Duration) -> Duration {
        self.service.at(at).mean().saturating_add(self.front)
    }

    /// Returns the fraction of requests that fail because of their content.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        self.errors
    }

    /// Returns how many requests per second arrive, of all clients together.
    #[must_use]
    pub fn rate(&self, at: Duration) -> f64 {
        self.rate.at(at)
    }

    /// Returns the highest number of requests per second that arrive.
    #[must_use]
    pub fn peak_rate(&self) -> f64 {
        self.rate.0.iter().fold(0.0, |peak, (_, rate)| rate.max(peak))
    }

    fn apply(&mut self, item: &str) -> Result<(), PlantError> {
        let fault = || PlantError { given: item.to_owned() };
        let (setting, from) = match item.split_once('@') {
            Some((setting, from)) => (setting.trim(), Some(from.trim())),
            None => (item, None),
        };
        let at = from.map_or(Some(Duration::ZERO), parse_duration).ok_or_else(fault)?;
        let (name, value) = setting.split_once(' ').ok_or_else(fault)?;
        let value = value.trim();
        let parsed = match name {
            "workers" => parse_positive(value).map(|workers| self.workers.set(at, workers)),
            "service" => parse_service(value).map(|service| self.service.set(at, service)),
            "rate" => parse_rate(value).map(|rate| self.rate.set(at, rate)),
            _ if from.is_some() => None,
            "shared" => parse_fraction(value).map(|slowdown| self.shared = Some(slowdown)),
            "front" => parse_duration(value).map(|front| self.front = front),
            "most" => parse_positive(value).map(|most| self.most = most),
            "errors" => parse_fraction(value).map(|errors| self.errors = errors),
            "clients" => parse_positive(value).filter(|n| *n <= 1000).map(|clients| self.clients = clients),
            "wait" => parse_duration(value).map(|wait| self.wait = wait),
            "retries" => value.parse().ok().map(|retries| self.retries = retries),
            _ => None,
        };
        parsed.ok_or_else(fault)?;
        let item =
            PlantItem { name: name.to_owned(), value: value.to_owned(), from: from.map(str::to_owned) };
        self.items.retain(|other| other.name != item.name || other.from != item.from);
        // The items of one name stay together, in the order in which they were given.
        let index = self.items.iter().rposition(|other| other.name == item.name);
        let index = index.map_or(self.items.len(), |index| index.saturating_add(1));
        self.items.insert(index, item);
        Ok(())
    }
}

impl FromStr for Plant {
    type Err = PlantError;

    fn from_str(given: &str) -> Result<Self, PlantError> {
        let mut plant = Self::default();
        for (index, item) in given.split(',').map(str::trim).enumerate() {
            match STANDARD_PLANTS.iter().find(|(name, _)| *name == item) {
                Some((_, text)) if index == 0 => plant = text.parse()?,
                _ => plant.apply(item)?,
            }
        }
        Ok(plant)
    }
}

impl std::fmt::Display for Plant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, PlantItem { name, value, from }) in self.items.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let from = from.as_ref().map_or(String::new(), |from| format!(" @{from}"));
            write!(f, "{comma}{name} {value}{from}")?;
        }
        Ok(())
    }
}

/// The error for a text that is not a [`Plant`]: the item that is wrong, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not an item of a plant (allowed: {names} first, then items such as workers 10, service exp 10ms, rate 2000/s, shared 0.01, front 20ms, most 30, errors 0.2, clients 9, wait 50ms, retries 3; the first three also with an instant, such as workers 3 @20s)",
    names = STANDARD_PLANTS.map(|(name, _)| name).join(", ")
)]
pub struct PlantError {
    given: String,
}

impl_debug_as_display!(PlantError);

fn parse_positive(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number))
}

fn parse_fraction(text: &str) -> Option<f64> {
    text.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction))
}

fn parse_rate(text: &str) -> Option<f64> {
    text.strip_suffix("/s")?.trim().parse().ok().filter(|rate| (0.001..=1e6).contains(rate))
}

fn parse_service(text: &str) -> Option<ServiceSpread> {
    let mut words = text.split_whitespace();
    let spread = match (words.next()?, words.next()?, words.next()) {
        ("exp", mean, None) => ServiceSpread::Exponential(parse_duration(mean)?),
        ("fixed", mean, None) => ServiceSpread::Fixed(parse_duration(mean)?),
        ("lognormal", sigma, Some(mean)) => {
            let sigma = sigma.parse().ok().filter(|sigma| (0.0..=5.0).contains(sigma))?;
            ServiceSpread::LogNormal(sigma, parse_duration(mean)?)
        }
        _ => return None,
    };
    Some(spread).filter(|spread| spread.mean() > Duration::ZERO && words.next().is_none())
}

/// Parses a whole number with `ms` or `s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let duration = match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.trim().parse().ok()?),
        None => Duration::from_secs(text.strip_suffix('s')?.trim().parse().ok()?),
    };
    Some(duration).filter(|duration| as_float(duration.as_secs()) <= 1e6)
}
