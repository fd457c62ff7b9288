//! The declaration of a limit that follows the outcomes of the work.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::debug_as_display::impl_debug_as_display;
use super::limit::Limit;
use super::name::{Resource, RuleName};
use super::quantity::Quantity;

/// The declaration of a limit that follows the outcomes of the work, within a floor and the derived limit. Add it with
/// [`GateSpec::adaptive`](crate::GateSpec::adaptive).
///
/// The derived limit is what the host grants. The capacity of an upstream service is known only from its answers, so a
/// [rule](crate::feedback) chooses the limit below it.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::{Adaptive, Formula, GateSpec, Resource};
///
/// const UPSTREAM: GateSpec = GateSpec::new("upstream", Formula::scale(Resource::CPU, 64))
///     .adaptive(Adaptive::latency().start(16).floor(4));
/// const SEARCH: GateSpec = GateSpec::new("search", Formula::fixed(100))
///     .adaptive(Adaptive::aimd(Duration::from_millis(200)));
/// # assert_eq!(SEARCH.adaptivity().map(|adaptive| adaptive.rule().to_string()), Some("aimd".to_owned()));
/// ```
///
/// The pressure on this host can count as overload, too. Use this for calls to other servers that also cost CPU time or
/// memory here.
///
/// ```
/// use concurrency_governor::probe::Pressure;
/// use concurrency_governor::{Adaptive, Formula, GateSpec};
///
/// const RENDER: GateSpec = GateSpec::new("render", Formula::fixed(100))
///     .adaptive(Adaptive::latency().overload_at(Pressure::CPU, 20));
/// ```
///
/// It prints as one line of text, and parses as it prints. Everything after the rule may be left out:
///
/// ```
/// use concurrency_governor::Adaptive;
///
/// let given: Adaptive = "latency, start 32".parse()?;
/// assert_eq!(given, Adaptive::latency().start(32));
/// assert_eq!(given.to_string(), "latency, start 32, floor 4");
/// assert_eq!("aimd 200ms".parse::<Adaptive>()?.to_string(), "aimd 200ms, start 16, floor 4");
/// # Ok::<(), concurrency_governor::plan::InvalidAdaptive>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Adaptive {
    rule: AdaptiveRule,
    start: Limit,
    floor: Limit,
    overload: Option<OverloadSign>,
}

/// A resource of this host, and the least reading of it at which a window counts as overloaded; for
/// [`Adaptive::overload_by`].
///
/// It is meant for a share of time, such as [`Pressure::CPU`](crate::probe::Pressure::CPU). It prints as `20%
/// pressure.cpu`, and parses as it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OverloadSign {
    resource: Resource,
    percent: u8,
}

impl OverloadSign {
    /// Creates the sign: a reading of `resource` of at least `percent` hundredths.
    ///
    /// # Panics
    ///
    /// If `percent` is not in `1..=100`. In a `const` that is a compile error. For computed input, parse a text.
    #[must_use]
    pub const fn new(resource: Resource, percent: u8) -> Self {
        assert!(percent >= 1 && percent <= 100, "the percentage must be from 1 to 100");
        Self { resource, percent }
    }

    /// Returns the resource.
    #[must_use]
    pub const fn resource(&self) -> Resource {
        self.resource
    }

    /// Returns the least reading that counts as overload.
    #[must_use]
    pub const fn least(&self) -> Quantity {
        Quantity::from_thousandths((self.percent as u64).saturating_mul(10))
    }
}

impl fmt::Display for OverloadSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}% {}", self.percent, self.resource)
    }
}

impl FromStr for OverloadSign {
    type Err = InvalidOverloadSign;

    fn from_str(given: &str) -> Result<Self, InvalidOverloadSign> {
        let parse = || {
            let (percent, resource) = given.trim().split_once('%')?;
            let percent = percent.trim().parse().ok().filter(|percent| (1..=100).contains(percent))?;
            Some(Self { resource: resource.trim().parse().ok()?, percent })
        };
        parse().ok_or_else(|| InvalidOverloadSign { given: given.to_owned() })
    }
}

/// The error for a text that is not an [`OverloadSign`]: what was given, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a sign of overload (allowed: 1 to 100 percent of a resource, such as `20% pressure.cpu`)"
)]
pub struct InvalidOverloadSign {
    given: String,
}

impl_debug_as_display!(InvalidOverloadSign);

/// Which rule chooses an adaptive limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdaptiveRule {
    /// [`Latency`](crate::feedback::Latency): keeps a small queue at the server.
    Latency,
    /// [`Arc`](crate::feedback::Arc), adaptive request concurrency: follows the mean latency, and the server's signs of overload.
    Arc,
    /// [`Aimd`](crate::feedback::Aimd), additive increase and multiplicative decrease: raises the limit while the latency is healthy, and
    /// lowers it otherwise.
    Aimd {
        /// The highest 90th percentile of the latency that is healthy.
        max_healthy: Duration,
    },
    /// A rule of your own, by the name that [`GovernorBuilder::rule`](crate::governor::GovernorBuilder::rule) gives it.
    Custom(RuleName),
}

impl Adaptive {
    /// The limit before the first decision, unless [`start`](Self::start) sets another one: 16.
    pub const DEFAULT_START: Limit = Limit::new(16);

    /// The lowest limit, unless [`floor`](Self::floor) sets another one: 4.
    pub const DEFAULT_FLOOR: Limit = Limit::new(4);

    /// Declares a limit that keeps a small queue at the server, judged by latency and throughput:
    /// [`Latency`](crate::feedback::Latency).
    pub const fn latency() -> Self {
        Self::by(AdaptiveRule::Latency)
    }

    /// Declares a limit for servers that say when they are overloaded: [`Arc`](crate::feedback::Arc).
    pub const fn arc() -> Self {
        Self::by(AdaptiveRule::Arc)
    }

    /// Declares a limit that rises while the 90th percentile of the latency is at most `max_healthy`:
    /// [`Aimd`](crate::feedback::Aimd).
    pub const fn aimd(max_healthy: Duration) -> Self {
        Self::by(AdaptiveRule::Aimd { max_healthy })
    }

    /// Declares a limit of a rule of your own, by the name that
    /// [`GovernorBuilder::rule`](crate::governor::GovernorBuilder::rule) gives it.
    pub const fn custom(rule: RuleName) -> Self {
        Self::by(AdaptiveRule::Custom(rule))
    }

    /// Declares a limit of a rule, with the default start and floor.
    pub const fn by(rule: AdaptiveRule) -> Self {
        Self { rule, start: Self::DEFAULT_START, floor: Self::DEFAULT_FLOOR, overload: None }
    }

    /// Sets the limit before the first decision, in permits. A start outside of the band from the floor to the derived limit
    /// counts as the nearest limit in it. For computed input use [`start_at`](Self::start_at).
    ///
    /// # Panics
    ///
    /// If `limit` is not in `1..=Limit::MAX`. In a `const` that is a compile error.
    pub const fn start(self, limit: u32) -> Self {
        self.start_at(Limit::new(limit))
    }

    /// Same as [`start`](Self::start), for computed input.
    pub const fn start_at(mut self, limit: Limit) -> Self {
        self.start = limit;
        self
    }

    /// Sets the lowest limit that the rule may choose, in permits. If the derived limit is below the floor, the derived
    /// limit applies. For computed input use [`floor_at`](Self::floor_at).
    ///
    /// # Panics
    ///
    /// If `limit` is not in `1..=Limit::MAX`. In a `const` that is a compile error.
    pub const fn floor(self, limit: u32) -> Self {
        self.floor_at(Limit::new(limit))
    }

    /// Same as [`floor`](Self::floor), for computed input.
    pub const fn floor_at(mut self, limit: Limit) -> Self {
        self.floor = limit;
        self
    }

    /// Makes a window count as overloaded if the reading of `resource` was at least `percent` hundredths in it. The built-in rules then
    /// lower the limit to nine tenths at the end of the window, whatever the outcomes say. A window without enough outcomes goes on.
    ///
    /// Meant for the pressure on this host, such as [`Pressure::CPU`](crate::probe::Pressure::CPU), whose probe the governor must have. It
    /// is read while a background refresh runs, about four times in a window. An unknown reading does not count as overload.
    ///
    /// # Panics
    ///
    /// If `percent` is not in `1..=100`. In a `const` that is a compile error. For computed input use
    /// [`overload_by`](Self::overload_by).
    pub const fn overload_at(self, resource: Resource, percent: u8) -> Self {
        self.overload_by(OverloadSign::new(resource, percent))
    }

    /// Same as [`overload_at`](Self::overload_at), for computed input.
    pub const fn overload_by(mut self, sign: OverloadSign) -> Self {
        self.overload = Some(sign);
        self
    }

    /// Returns the sign of overload, if one is declared.
    #[must_use]
    pub const fn overload_sign(&self) -> Option<OverloadSign> {
        self.overload
    }

    /// Returns the rule.
    #[must_use]
    pub const fn rule(&self) -> AdaptiveRule {
        self.rule
    }

    /// Returns the limit before the first decision.
    #[must_use]
    pub const fn start_limit(&self) -> Limit {
        self.start
    }

    /// Returns the lowest limit that the rule may choose.
    #[must_use]
    pub const fn floor_limit(&self) -> Limit {
        self.floor
    }
}

impl fmt::Display for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.fmt(f)?;
        if let AdaptiveRule::Aimd { max_healthy } = self.rule {
            write!(f, " {max_healthy:?}")?;
        }
        write!(f, ", start {}, floor {}", self.start, self.floor)?;
        self.overload.map_or(Ok(()), |sign| write!(f, ", overload {sign}"))
    }
}

impl FromStr for Adaptive {
    type Err = InvalidAdaptive;

    fn from_str(given: &str) -> Result<Self, InvalidAdaptive> {
        parse(given).ok_or_else(|| InvalidAdaptive { given: given.to_owned() })
    }
}

fn parse(given: &str) -> Option<Adaptive> {
    let mut parts = given.split(',').map(str::trim);
    let mut words = parts.next()?.split_whitespace();
    let rule = match (words.next()?, words.next()) {
        ("latency", None) => AdaptiveRule::Latency,
        ("arc", None) => AdaptiveRule::Arc,
        ("aimd", Some(duration)) => AdaptiveRule::Aimd { max_healthy: parse_duration(duration)? },
        (custom, None) => AdaptiveRule::Custom(custom.strip_prefix("custom:")?.parse().ok()?),
        _ => return None,
    };
    let (mut adaptive, mut start, mut floor) = (Adaptive::by(rule), None, None);
    for part in parts {
        let (name, limit) = part.split_once(' ')?;
        if name == "overload" {
            if adaptive.overload.replace(limit.parse().ok()?).is_some() {
                return None; // given twice
            }
            continue;
        }
        let limit: Limit = limit.trim().parse().ok()?;
        let set = match name {
            "start" => &mut start,
            "floor" => &mut floor,
            _ => return None,
        };
        if set.replace(limit).is_some() {
            return None; // given twice
        }
    }
    adaptive.start = start.unwrap_or(adaptive.start);
    adaptive.floor = floor.unwrap_or(adaptive.floor);
    Some(adaptive).filter(|_| words.next().is_none())
}

/// Parses a duration as `Debug` prints it: a number with `s`, `ms`, `µs` or `ns`, such as `1.5s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let units = [("ms", 1_000_000), ("µs", 1_000), ("us", 1_000), ("ns", 1), ("s", NANOS_PER_SECOND)];
    let (number, unit) = units.iter().find_map(|(name, nanos)| Some((text.strip_suffix(name)?, *nanos)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || number.ends_with('.') {
        return None;
    }
    let mut nanos = whole.parse::<u128>().ok()?.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        nanos = nanos.checked_add(u128::from(digit.wrapping_sub(b'0')).checked_mul(place)?)?;
    }
    let (seconds, rest) = (nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND);
    Some(Duration::new(seconds.try_into().ok()?, rest.try_into().ok()?))
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The error for a text that is not an [`Adaptive`]: what was given, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a rule for an adaptive limit (allowed: `latency`, `arc`, `aimd` with a duration such as `aimd 200ms`, or `custom:NAME`; then `, start N` and `, floor N` from 1 to {max}, and a sign such as `, overload 20% pressure.cpu`)",
    max = Limit::MAX
)]
pub struct InvalidAdaptive {
    given: String,
}

impl_debug_as_display!(InvalidAdaptive);

/// Prints the name: `latency`, `arc`, `aimd`, or `custom:` and the name of a rule of your own.
impl fmt::Display for AdaptiveRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency => f.pad("latency"),
            Self::Arc => f.pad("arc"),
            Self::Aimd { .. } => f.pad("aimd"),
            Self::Custom(name) => f.pad(&format!("custom:{name}")),
        }
    }
}
