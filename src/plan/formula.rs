//! A formula: a left-to-right pipeline from readings to a number.

use std::fmt;

use super::amount::{Amount, Factor, Operand};
use super::debug_as_display::impl_debug_as_display;
use super::limit::Limit;
use super::name::Resource;

/// A pipeline that computes a gate's limit from the host's resources: a base, then steps applied left to right.
///
/// - [`reserve(n)`](Self::reserve) subtracts `n`, for other work.
/// - [`floor(n)`](Self::floor) and [`ceiling(n)`](Self::ceiling) keep the number within fixed bounds.
/// - [`at_most(amount)`](Self::at_most) keeps the number within what the host has: the fraction clamp. It never clamps
///   below 1. It is skipped when the amount is unlimited or unknown, and the explanation reports that.
///
/// The constructors for literals are `const`; the arithmetic is exact and saturates. A base that reads unknown counts as 0, so the
/// limit is the floor, or 1 without one, unless a clamp is lower; [`assume`](Amount::assume) sets a better value. A base that reads
/// unlimited gives [`Limit::MAX`], regardless of reserves, unless a ceiling or a clamp is lower.
///
/// ```
/// use concurrency_governor::{Formula, Resource};
///
/// const IO: Formula = Formula::of(Resource::CPU.times(64).whole().assume(2))
///     .floor(64)
///     .at_most(Resource::FD.fraction(1, 2));
///
/// assert_eq!(IO.to_string(), "(whole cpu or 2) * 64 | floor 64 | at most fd * 1/2");
/// assert_eq!(IO.to_string().parse::<Formula>()?, IO);
/// # Ok::<(), concurrency_governor::plan::FormulaError>(())
/// ```
///
/// A formula cannot contradict itself: the constructors reject it. In a `const` the compiler reports the error.
///
/// ```compile_fail
/// # use concurrency_governor::{Formula, Resource};
/// const LIFTED: Formula = Formula::scale(Resource::CPU, 2).at_most(Resource::FD.times(1)).floor(8);
/// ```
///
/// ```
/// # use concurrency_governor::{Formula, Resource};
/// const CLAMPED: Formula = Formula::scale(Resource::CPU, 2).floor(8).at_most(Resource::FD.times(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Formula {
    base: Base,
    // The steps, then `None` in each unused slot: a `const` cannot hold a `Vec`.
    steps: [Option<Step>; Formula::MAX_STEPS],
}

impl Formula {
    /// The greatest number of steps after the base. Each kind of step is useful once or twice in a formula.
    pub const MAX_STEPS: usize = 8;

    /// Starts a formula from `n` for each unit of a resource: `scale(Resource::CPU, 4)` is four per core.
    ///
    /// # Panics
    ///
    /// If `n` is 0. In a `const` that is a compile error.
    pub const fn scale(resource: Resource, n: u64) -> Self {
        Self::of(resource.times(n))
    }

    /// Starts a formula from an amount of a resource, or of another gate's limit.
    ///
    /// # Panics
    ///
    /// If the amount multiplies by 0 or divides by 0. In a `const` that is a compile error.
    pub const fn of(amount: Amount) -> Self {
        Self::expect_valid(Self::try_start(Base::Amount(amount)))
    }

    /// Starts a formula from a number that is the same on every host.
    ///
    /// # Panics
    ///
    /// If `n` is not in `1..=Limit::MAX`. In a `const` that is a compile error.
    pub const fn fixed(n: u64) -> Self {
        Self::expect_valid(Self::try_start(Base::Fixed(n)))
    }

    /// Subtracts `n`, for other work. Saturates at 0.
    ///
    /// # Panics
    ///
    /// After a [`floor`](Self::floor), which it would undo, and after [`MAX_STEPS`](Self::MAX_STEPS) steps. In a `const`
    /// that is a compile error.
    pub const fn reserve(self, n: u64) -> Self {
        Self::expect_valid(self.try_push(Step::Reserve(n)))
    }

    /// Raises the number to `n` if it is lower.
    ///
    /// # Panics
    ///
    /// If `n` is not in `1..=Limit::MAX` or is above an earlier [`ceiling`](Self::ceiling); after an
    /// [`at_most`](Self::at_most), which it would undo; after [`MAX_STEPS`](Self::MAX_STEPS) steps. In a `const` that is a
    /// compile error.
    pub const fn floor(self, n: u64) -> Self {
        Self::expect_valid(self.try_push(Step::Floor(n)))
    }

    /// Lowers the number to `n` if it is higher.
    ///
    /// # Panics
    ///
    /// If `n` is not in `1..=Limit::MAX` or is below an earlier [`floor`](Self::floor); after
    /// [`MAX_STEPS`](Self::MAX_STEPS) steps. In a `const` that is a compile error.
    pub const fn ceiling(self, n: u64) -> Self {
        Self::expect_valid(self.try_push(Step::Ceiling(n)))
    }

    /// Lowers the number to the amount if it is higher, but never below 1. Skipped if the amount is unlimited, or if it is
    /// unknown and has no [assumed](Amount::assume) value.
    ///
    /// # Panics
    ///
    /// If the amount multiplies by 0 or divides by 0; after [`MAX_STEPS`](Self::MAX_STEPS) steps. In a `const` that is
    /// a compile error.
    pub const fn at_most(self, amount: Amount) -> Self {
        Self::expect_valid(self.try_push(Step::AtMost(amount)))
    }

    /// Builds a formula from computed parts. The methods above build one from literals.
    ///
    /// ```
    /// use concurrency_governor::plan::{Base, Formula, Step};
    /// use concurrency_governor::Resource;
    ///
    /// let floor = 0; // from a user, say
    /// let base = Base::Amount(Resource::CPU.times(2));
    /// let error = Formula::from_parts(base, [Step::Floor(floor)]).unwrap_err();
    /// assert!(error.to_string().contains("a floor must be a limit (allowed: 1 to 1073741823)"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`FormulaError`] in the cases in which those methods panic.
    pub fn from_parts(base: Base, steps: impl IntoIterator<Item = Step>) -> Result<Self, FormulaError> {
        let start = Self::try_start(base).map_err(|fault| FormulaError::in_part(&base, fault))?;
        steps.into_iter().try_fold(start, |formula, step| {
            formula.try_push(step).map_err(|fault| FormulaError::in_part(&step, fault))
        })
    }

    /// Returns the base: the number that the pipeline starts from.
    #[must_use]
    pub const fn base(&self) -> Base {
        self.base
    }

    /// Returns the steps after the base, in order.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.steps.into_iter().flatten()
    }

    /// Returns the resources and gates that the formula reads, in the order of its text. An operand that is read twice is
    /// returned twice.
    pub fn operands(&self) -> impl Iterator<Item = Operand> {
        let base = match self.base {
            Base::Fixed(_) => None,
            Base::Amount(amount) => Some(amount.operand),
        };
        let clamps = self.steps().filter_map(|step| match step {
            Step::AtMost(amount) => Some(amount.operand),
            Step::Reserve(_) | Step::Floor(_) | Step::Ceiling(_) => None,
        });
        base.into_iter().chain(clamps)
    }

    /// Starts a formula, unless its base is invalid.
    pub(super) const fn try_start(base: Base) -> Result<Self, Contradiction> {
        let fault = match base {
            Base::Fixed(n) if !is_limit(n) => Some(Contradiction::FixedRange),
            Base::Amount(amount) => amount_fault(&amount),
            Base::Fixed(_) => None,
        };
        match fault {
            Some(fault) => Err(fault),
            None => Ok(Self { base, steps: [None; Self::MAX_STEPS] }),
        }
    }

    /// Appends a step, unless the step is invalid or contradicts an earlier one.
    #[expect(clippy::arithmetic_side_effects, reason = "the index stays below MAX_STEPS")]
    pub(super) const fn try_push(mut self, step: Step) -> Result<Self, Contradiction> {
        if let Some(fault) = step.fault() {
            return Err(fault);
        }
        let mut index = 0;
        while index < Self::MAX_STEPS {
            let Some(earlier) = &self.steps[index] else {
                self.steps[index] = Some(step);
                return Ok(self);
            };
            if let Some(fault) = step.conflict_with(earlier) {
                return Err(fault);
            }
            index += 1;
        }
        Err(Contradiction::TooManySteps)
    }

    #[expect(
        clippy::large_types_passed_by_value,
        reason = "it runs in the compiler, or once per declared gate"
    )]
    const fn expect_valid(built: Result<Self, Contradiction>) -> Self {
        match built {
            Ok(formula) => formula,
            Err(fault) => panic!("{}", fault.reason()),
        }
    }
}

/// The number that a [`Formula`] starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Base {
    /// A number in `1..=Limit::MAX`.
    Fixed(u64),
    /// An amount of a resource, or of another gate's limit.
    Amount(Amount),
}

/// One step of a [`Formula`]. The methods of the same names define what each step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// See [`Formula::reserve`].
    Reserve(u64),
    /// See [`Formula::floor`].
    Floor(u64),
    /// See [`Formula::ceiling`].
    Ceiling(u64),
    /// See [`Formula::at_most`].
    AtMost(Amount),
}

impl Step {
    /// Returns what is wrong with the step itself, if anything.
    const fn fault(&self) -> Option<Contradiction> {
        match self {
            Self::Floor(n) if !is_limit(*n) => Some(Contradiction::FloorRange),
            Self::Ceiling(n) if !is_limit(*n) => Some(Contradiction::CeilingRange),
            Self::AtMost(amount) => amount_fault(amount),
            Self::Reserve(_) | Self::Floor(_) | Self::Ceiling(_) => None,
        }
    }

    /// Returns why this step cannot come after `earlier`, if it cannot.
    const fn conflict_with(&self, earlier: &Self) -> Option<Contradiction> {
        match (earlier, self) {
            (Self::AtMost(_), Self::Floor(_)) => Some(Contradiction::FloorAfterAtMost),
            (Self::Floor(_), Self::Reserve(_)) => Some(Contradiction::ReserveAfterFloor),
            (Self::Floor(floor), Self::Ceiling(ceiling)) | (Self::Ceiling(ceiling), Self::Floor(floor))
                if *ceiling < *floor =>
            {
                Some(Contradiction::CeilingBelowFloor)
            }
            _ => None,
        }
    }
}

/// The error for a text or parts that are not a formula: the text or part, the column, the reason, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct FormulaError {
    place: String,
    column: Option<usize>,
    reason: String,
}

impl_debug_as_display!(FormulaError);

impl FormulaError {
    /// Returns the column at which the text stops being a formula, in characters from 1. Returns `None` for a formula that
    /// was built from parts.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.column
    }

    pub(super) fn at(text: &str, column: usize, reason: impl Into<String>) -> Self {
        Self {
            place: format!("formula {text:?}, column {column}"),
            column: Some(column),
            reason: reason.into(),
        }
    }

    fn in_part(part: &dyn fmt::Display, fault: Contradiction) -> Self {
        Self { place: format!("formula part `{part}`"), column: None, reason: fault.reason().to_owned() }
    }
}

/// The reason why parts are not a formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contradiction {
    FactorZero,
    DivisorZero,
    FixedRange,
    FloorRange,
    CeilingRange,
    CeilingBelowFloor,
    FloorAfterAtMost,
    ReserveAfterFloor,
    TooManySteps,
}

impl Contradiction {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::FactorZero => "a factor of 0 gives 0 on every host (allowed: 1 or more)",
            Self::DivisorZero => "a divisor of 0 is not possible (allowed: 1 or more)",
            Self::FixedRange => "a fixed number must be a limit (allowed: 1 to 1073741823)",
            Self::FloorRange => "a floor must be a limit (allowed: 1 to 1073741823)",
            Self::CeilingRange => "a ceiling must be a limit (allowed: 1 to 1073741823)",
            Self::CeilingBelowFloor => "the ceiling is below the floor: raise the ceiling or lower the floor",
            Self::FloorAfterAtMost => {
                "a floor after `at most` undoes it on a small host: put the floor first"
            }
            Self::ReserveAfterFloor => "a reserve after a floor undoes it: put the reserve first",
            Self::TooManySteps => "a formula has at most 8 steps after its base",
        }
    }
}

/// Returns `true` if `n` is in `1..=Limit::MAX`.
const fn is_limit(n: u64) -> bool {
    1 <= n && n <= Limit::MAX.get() as u64
}

/// Returns what is wrong with an amount, if anything.
const fn amount_fault(amount: &Amount) -> Option<Contradiction> {
    match amount.factor {
        Factor::Ratio { numerator: 0, .. } => Some(Contradiction::FactorZero),
        Factor::Ratio { denominator: 0, .. } => Some(Contradiction::DivisorZero),
        Factor::Per(unit) if unit.thousandths() == 0 => Some(Contradiction::DivisorZero),
        Factor::Ratio { .. } | Factor::Per(_) => None,
    }
}
