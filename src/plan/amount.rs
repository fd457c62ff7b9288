//! An amount: so much of a resource, or of another gate's limit.

use super::name::{GateName, Resource};
use super::quantity::Quantity;
use super::reading::Reading;

/// So much of a resource, or of another gate's limit: a reading, perhaps rounded down, times a factor.
///
/// Made by [`Resource::times`], [`Resource::fraction`] and [`Resource::per`], and by the methods of the same names on
/// [`GateName`] and [`GateSpec`](crate::GateSpec). Its value is a whole number, rounded down, in exact arithmetic.
///
/// ```
/// use concurrency_governor::{Amount, Quantity, Resource};
///
/// const TWO_PER_CORE: Amount = Resource::CPU.times(2).whole().assume(4);
/// const HALF_THE_DESCRIPTORS: Amount = Resource::FD.fraction(1, 2);
/// let one_per_64_mebibytes = Resource::MEMORY.per(Quantity::whole(64 << 20));
/// assert_eq!(TWO_PER_CORE.to_string(), "(whole cpu or 4) * 2");
/// assert_eq!(HALF_THE_DESCRIPTORS.to_string(), "fd * 1/2");
/// assert_eq!(one_per_64_mebibytes.to_string(), "memory per 64Mi");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Amount {
    pub(super) operand: Operand,
    pub(super) rounding: Rounding,
    pub(super) factor: Factor,
    pub(super) assumed: Option<Quantity>,
}

impl Amount {
    /// Rounds the reading down to whole units before it is multiplied: of `1.5` cores, 1.
    pub const fn whole(mut self) -> Self {
        self.rounding = Rounding::Whole;
        self
    }

    /// Stands in for a reading that is [`Reading::Unknown`], in whole units of the resource.
    pub const fn assume(self, units: u64) -> Self {
        self.assume_quantity(Quantity::whole(units))
    }

    /// As [`assume`](Self::assume), for a quantity that need not be whole.
    pub const fn assume_quantity(mut self, quantity: Quantity) -> Self {
        self.assumed = Some(quantity);
        self
    }

    /// What the amount is taken of.
    #[must_use]
    pub const fn operand(&self) -> Operand {
        self.operand
    }

    /// The reading that stands in for `reading`: the assumed one, where that is unknown and something is assumed.
    pub(super) fn assume_for(&self, reading: Reading) -> Option<Quantity> {
        self.assumed.filter(|_| reading == Reading::Unknown)
    }

    /// The amount in whole units, given what the operand reads; unlimited and unknown stay what they are.
    pub(super) fn value(&self, reading: Reading) -> Reading {
        let reading = self.assume_for(reading).map_or(reading, Reading::Finite);
        let Reading::Finite(quantity) = reading else { return reading };
        let quantity = match self.rounding {
            Rounding::Exact => quantity,
            Rounding::Whole => Quantity::whole(quantity.floor()),
        };
        // A formula refuses divisors of 0 when it is made; the nothing that one would leave is never seen.
        let units = match self.factor {
            Factor::Ratio { numerator, denominator } => u128::from(quantity.thousandths())
                .saturating_mul(numerator.into())
                .checked_div(u128::from(denominator).saturating_mul(Quantity::whole(1).thousandths().into())),
            Factor::Per(unit) => u128::from(quantity.thousandths()).checked_div(unit.thousandths().into()),
        };
        let most = Quantity::MAX.floor(); // the greatest quantity is not whole, an amount is
        Reading::whole(units.map_or(0, |units| u64::try_from(units).unwrap_or(most).min(most)))
    }

    const fn of(operand: Operand, factor: Factor) -> Self {
        Self { operand, rounding: Rounding::Exact, factor, assumed: None }
    }

    pub(super) const fn reading_of(operand: Operand) -> Self {
        Self::of(operand, Factor::ONE)
    }
}

/// What an [`Amount`] is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operand {
    /// The reading of a resource.
    Resource(Resource),
    /// The limit of another gate of the same plan.
    Gate(GateName),
}

impl From<Resource> for Operand {
    fn from(resource: Resource) -> Self {
        Self::Resource(resource)
    }
}

impl From<GateName> for Operand {
    fn from(gate: GateName) -> Self {
        Self::Gate(gate)
    }
}

/// Whether a reading is rounded down before it is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rounding {
    Exact,
    Whole,
}

/// What a reading is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Factor {
    Ratio { numerator: u64, denominator: u64 },
    Per(Quantity),
}

impl Factor {
    pub(super) const ONE: Self = Self::Ratio { numerator: 1, denominator: 1 };
}

impl Resource {
    /// `n` for each unit of the resource.
    pub const fn times(self, n: u64) -> Amount {
        self.fraction(n, 1)
    }

    /// `numerator / denominator` of the resource.
    pub const fn fraction(self, numerator: u64, denominator: u64) -> Amount {
        Amount::of(Operand::Resource(self), Factor::Ratio { numerator, denominator })
    }

    /// One for each `unit` of the resource, such as one for each 64 MiB of memory.
    pub const fn per(self, unit: Quantity) -> Amount {
        Amount::of(Operand::Resource(self), Factor::Per(unit))
    }
}

impl GateName {
    /// `n` for each permit of that gate's limit.
    pub const fn times(self, n: u64) -> Amount {
        self.fraction(n, 1)
    }

    /// `numerator / denominator` of that gate's limit.
    pub const fn fraction(self, numerator: u64, denominator: u64) -> Amount {
        Amount::of(Operand::Gate(self), Factor::Ratio { numerator, denominator })
    }

    /// One for each `unit` permits of that gate's limit.
    pub const fn per(self, unit: Quantity) -> Amount {
        Amount::of(Operand::Gate(self), Factor::Per(unit))
    }
}
