//! An amount: a multiple or a fraction of a resource's reading, or of another gate's limit.

use super::name::{GateName, Resource};
use super::quantity::Quantity;
use super::reading::Reading;

/// A multiple or a fraction of a resource's reading, or of another gate's limit.
///
/// Created by [`Resource::times`], [`Resource::fraction`] and [`Resource::per`], and by the methods of the same names on
/// [`GateName`] and [`GateSpec`](crate::GateSpec). Its value is computed in exact arithmetic, then rounded down to a whole
/// number.
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
    /// Rounds the reading down to whole units before it is multiplied: `1.5` cores count as 1.
    pub const fn whole(mut self) -> Self {
        self.rounding = Rounding::Whole;
        self
    }

    /// Sets the value that replaces a reading of [`Reading::Unknown`], in whole units of the resource.
    pub const fn assume(self, units: u64) -> Self {
        self.assume_quantity(Quantity::whole(units))
    }

    /// Same as [`assume`](Self::assume), for a quantity that need not be whole.
    pub const fn assume_quantity(mut self, quantity: Quantity) -> Self {
        self.assumed = Some(quantity);
        self
    }

    /// Returns the operand: the resource or the gate that the amount reads.
    #[must_use]
    pub const fn operand(&self) -> Operand {
        self.operand
    }

    /// Returns the assumed value, if `reading` is unknown and there is one.
    pub(super) fn assumed_for(&self, reading: Reading) -> Option<Quantity> {
        self.assumed.filter(|_| reading == Reading::Unknown)
    }

    /// Computes the amount in whole units from the reading of the operand. Unlimited and unknown stay as they are.
    pub(super) fn value(&self, reading: Reading) -> Reading {
        let reading = self.assumed_for(reading).map_or(reading, Reading::Finite);
        let Reading::Finite(quantity) = reading else { return reading };
        let quantity = match self.rounding {
            Rounding::Exact => quantity,
            Rounding::Whole => Quantity::whole(quantity.floor()),
        };
        // A formula rejects a divisor of 0 when it is built, so the 0 that replaces its result is never observed.
        let units = match self.factor {
            Factor::Ratio { numerator, denominator } => u128::from(quantity.thousandths())
                .saturating_mul(numerator.into())
                .checked_div(u128::from(denominator).saturating_mul(Quantity::whole(1).thousandths().into())),
            Factor::Per(unit) => u128::from(quantity.thousandths()).checked_div(unit.thousandths().into()),
        };
        let most = Quantity::MAX.floor(); // whole, as every amount is; `Quantity::MAX` is not
        Reading::whole(units.map_or(0, |units| u64::try_from(units).unwrap_or(most).min(most)))
    }

    pub(super) const fn of(operand: Operand, factor: Factor) -> Self {
        Self { operand, rounding: Rounding::Exact, factor, assumed: None }
    }
}

/// The resource or the gate that an [`Amount`] reads.
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

/// The factor that a reading is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Factor {
    Ratio { numerator: u64, denominator: u64 },
    Per(Quantity),
}

impl Factor {
    pub(super) const ONE: Self = Self::Ratio { numerator: 1, denominator: 1 };
}

impl Resource {
    /// Returns `n` times the resource: `n` for each unit.
    pub const fn times(self, n: u64) -> Amount {
        self.fraction(n, 1)
    }

    /// Returns `numerator / denominator` of the resource.
    pub const fn fraction(self, numerator: u64, denominator: u64) -> Amount {
        Amount::of(Operand::Resource(self), Factor::Ratio { numerator, denominator })
    }

    /// Returns one for each `unit` of the resource, such as one for each 64 MiB of memory.
    pub const fn per(self, unit: Quantity) -> Amount {
        Amount::of(Operand::Resource(self), Factor::Per(unit))
    }
}

impl GateName {
    /// Returns `n` times that gate's limit: `n` for each permit.
    pub const fn times(self, n: u64) -> Amount {
        self.fraction(n, 1)
    }

    /// Returns `numerator / denominator` of that gate's limit.
    pub const fn fraction(self, numerator: u64, denominator: u64) -> Amount {
        Amount::of(Operand::Gate(self), Factor::Ratio { numerator, denominator })
    }

    /// Returns one for each `unit` permits of that gate's limit.
    pub const fn per(self, unit: Quantity) -> Amount {
        Amount::of(Operand::Gate(self), Factor::Per(unit))
    }
}
