//! The keys of a gate: the bounds of the table of gates that are made on demand, and a part of a limit.

use std::fmt;
use std::str::FromStr;

use super::debug_as_display::impl_debug_as_display;
use super::limit::Limit;

/// The declaration of a gate's keys: the bounds of a table of gates that are made on demand, such as one for each tenant.
///
/// Each key is a gate within the gate that declares the keys. Add the declaration with
/// [`GateSpec::keyed`](crate::GateSpec::keyed).
///
/// ```
/// use concurrency_governor::{Formula, GateSpec, Keys, Part, Resource};
///
/// // At most 4096 tenants at a time. A tenant has at most a quarter of the permits, and 64 waiting requests.
/// const TENANTS: Keys = Keys::up_to(4096).cap(Part::of(1, 4)).queue(64);
/// const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64)).keyed(TENANTS);
///
/// assert_eq!(IO.keys().map(|keys| keys.max()), Some(4096));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Keys {
    max: u32,
    cap: Part,
    queue: Option<usize>,
}

impl Keys {
    /// Declares keys, of which at most `max` are busy at a time. A key is busy while a permit is in use or a request waits in
    /// its name; an idle key takes no place. For computed input use [`Keys::try_up_to`].
    ///
    /// # Panics
    ///
    /// If `max` is 0. In a `const` that is a compile error:
    ///
    /// ```compile_fail
    /// # use concurrency_governor::Keys;
    /// const NO_KEYS: Keys = Keys::up_to(0);
    /// ```
    ///
    /// ```
    /// # use concurrency_governor::Keys;
    /// const ONE_KEY: Keys = Keys::up_to(1);
    /// ```
    pub const fn up_to(max: u32) -> Self {
        assert!(max > 0, "a gate has at least 1 key");
        Self { max, cap: Part::WHOLE, queue: None }
    }

    /// Same as [`up_to`](Self::up_to), for computed input.
    ///
    /// # Errors
    ///
    /// [`InvalidKeys`] if `max` is 0.
    pub fn try_up_to(max: u32) -> Result<Self, InvalidKeys> {
        if max == 0 { Err(InvalidKeys { given: max }) } else { Ok(Self::up_to(max)) }
    }

    /// Sets the cap of each key: the part of the gate's limit that the permits of one key never exceed, whatever is free. By
    /// default it is the whole limit.
    pub const fn cap(mut self, cap: Part) -> Self {
        self.cap = cap;
        self
    }

    /// Sets the bound of each key's queue, in requests. With 0 no request waits. By default the queue of a key has no bound
    /// of its own; that of the gate applies.
    pub const fn queue(mut self, bound: usize) -> Self {
        self.queue = Some(bound);
        self
    }

    /// Returns the greatest number of keys that are busy at a time.
    #[must_use]
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// Returns the part of the gate's limit that one key may use.
    pub const fn cap_part(&self) -> Part {
        self.cap
    }

    /// Returns the bound of each key's queue, in requests.
    #[must_use]
    pub const fn queue_bound(&self) -> Option<usize> {
        self.queue
    }
}

/// A part of a limit: a fraction that is more than 0 and at most 1.
///
/// It prints as a fraction, and parses as it prints. Two parts are equal if their numerators and denominators are.
///
/// ```
/// use concurrency_governor::{Limit, Part};
///
/// const QUARTER: Part = Part::of(1, 4);
/// assert_eq!(QUARTER.of_limit(Limit::new(130)), Limit::new(32)); // rounded down
/// assert_eq!(QUARTER.of_limit(Limit::new(3)), Limit::MIN); // at least 1
/// assert_eq!("1/4".parse::<Part>()?, QUARTER);
/// # Ok::<(), concurrency_governor::plan::InvalidPart>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Part {
    numerator: u32,
    denominator: u32,
}

impl Part {
    /// The whole limit: 1/1.
    pub const WHOLE: Self = Self { numerator: 1, denominator: 1 };

    /// Creates the part `numerator / denominator` from literals. For computed input use [`Part::try_of`].
    ///
    /// # Panics
    ///
    /// If a number is 0, or the numerator is above the denominator. In a `const` that is a compile error:
    ///
    /// ```compile_fail
    /// # use concurrency_governor::Part;
    /// const MORE_THAN_ALL: Part = Part::of(5, 4);
    /// ```
    ///
    /// ```
    /// # use concurrency_governor::Part;
    /// const MOST: Part = Part::of(4, 5);
    /// ```
    pub const fn of(numerator: u32, denominator: u32) -> Self {
        match Self::validate(numerator, denominator) {
            Ok(part) => part,
            Err(fault) => panic!("{}", fault.reason()),
        }
    }

    /// Same as [`of`](Self::of), for computed input.
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] if a number is 0, or the numerator is above the denominator.
    pub fn try_of(numerator: u32, denominator: u32) -> Result<Self, InvalidPart> {
        Self::validate(numerator, denominator)
            .map_err(|fault| InvalidPart { given: format!("{numerator}/{denominator}"), fault })
    }

    /// Returns this part of a limit, rounded down, and at least 1.
    #[must_use]
    pub const fn of_limit(self, limit: Limit) -> Limit {
        // A limit is below 2^30 and a numerator below 2^32, so the product fits.
        let product = (limit.get() as u64).saturating_mul(self.numerator as u64);
        match product.checked_div(self.denominator as u64) {
            Some(permits) => Limit::saturating(permits),
            None => Limit::MIN, // unreachable: a denominator is at least 1
        }
    }

    /// Returns the smallest limit of which this part is at least so many permits.
    #[cfg(feature = "fleet")]
    pub(crate) const fn limit_for(self, permits: u32) -> Limit {
        if permits <= 1 {
            return Limit::MIN;
        }
        let product = (permits as u64).saturating_mul(self.denominator as u64);
        Limit::saturating(product.div_ceil(self.numerator as u64)) // a numerator is at least 1
    }

    const fn validate(numerator: u32, denominator: u32) -> Result<Self, PartFault> {
        if numerator == 0 {
            Err(PartFault::NumeratorZero)
        } else if denominator == 0 {
            Err(PartFault::DenominatorZero)
        } else if numerator > denominator {
            Err(PartFault::AboveWhole)
        } else {
            Ok(Self { numerator, denominator })
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

/// Parses `1/4`. Spaces around the numbers make no difference.
impl FromStr for Part {
    type Err = InvalidPart;

    fn from_str(given: &str) -> Result<Self, InvalidPart> {
        // Only digits are a number here: the parser of integers would accept a sign.
        let parse_number = |text: &str| match text.trim() {
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u32>().ok(),
            _ => None,
        };
        let numbers = given.split_once('/').and_then(|(numerator, denominator)| {
            Some((parse_number(numerator)?, parse_number(denominator)?))
        });
        numbers
            .ok_or(PartFault::NotAFraction)
            .and_then(|(numerator, denominator)| Self::validate(numerator, denominator))
            .map_err(|fault| InvalidPart { given: format!("{given:?}"), fault })
    }
}

/// The error for numbers or a text that are not a [`Part`]: what was given, the reason, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given} is not a part of a limit: {reason} (allowed: a fraction above 0 and at most 1, such as 1/4)",
    reason = fault.reason()
)]
pub struct InvalidPart {
    given: String,
    fault: PartFault,
}

/// The error for a number that is not a number of keys: what was given, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is not a number of keys (allowed: 1 to {max})", max = u32::MAX)]
pub struct InvalidKeys {
    given: u32,
}

impl_debug_as_display!(InvalidPart, InvalidKeys);

/// The rule of parts that numbers or a text break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartFault {
    NumeratorZero,
    DenominatorZero,
    AboveWhole,
    NotAFraction,
}

impl PartFault {
    const fn reason(self) -> &'static str {
        match self {
            Self::NumeratorZero => "the numerator is 0",
            Self::DenominatorZero => "the denominator is 0",
            Self::AboveWhole => "the numerator is above the denominator",
            Self::NotAFraction => "it is not two whole numbers up to 4294967295 with a `/` between them",
        }
    }
}
