//! A formula: a left-to-right pipeline from readings to a limit.

use std::fmt;

use super::amount::{Amount, Factor, Operand};
use super::limit::Limit;
use super::name::Resource;

/// How a gate's limit follows from the host's resources: a base, then steps applied left to right.
///
/// - [`reserve(n)`](Self::reserve) takes `n` away, for others;
/// - [`floor(n)`](Self::floor) and [`ceiling(n)`](Self::ceiling) keep the number within bounds you choose;
/// - [`at_most(amount)`](Self::at_most) keeps it within what the host has: the fraction clamp. It never clamps below 1,
///   and is skipped, and says so, when the amount is unlimited or unknown.
///
/// Everything is `const`, exact and saturating. A base that reads unknown counts as nothing, so the floor decides, or
/// 1; give it an [`assume`](Amount::assume) to do better. One that reads unlimited comes to [`Limit::MAX`], whatever is
/// reserved of it, unless a ceiling or a clamp is less.
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
/// A formula that contradicts itself does not exist: it is refused where it is written, in a `const` by the compiler.
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
    // `None` from the first unused place on: a `const` cannot hold a growing list.
    steps: [Option<Step>; Formula::MAX_STEPS],
}

impl Formula {
    /// The most steps a formula has after its base. Each kind of step has one sensible use or two.
    pub const MAX_STEPS: usize = 8;

    /// `n` for each unit of a resource: `scale(Resource::CPU, 4)` is four a core.
    ///
    /// # Panics
    ///
    /// If `n` is 0; in a `const` that is a compile error.
    pub const fn scale(resource: Resource, n: u64) -> Self {
        Self::of(resource.times(n))
    }

    /// An amount of a resource, or of another gate's limit.
    ///
    /// # Panics
    ///
    /// If the amount multiplies by 0 or divides by 0; in a `const` that is a compile error.
    pub const fn of(amount: Amount) -> Self {
        Self::literal(Self::start(Base::Amount(amount)))
    }

    /// The same number on every host.
    ///
    /// # Panics
    ///
    /// If `n` is not in `1..=Limit::MAX`; in a `const` that is a compile error.
    pub const fn fixed(n: u64) -> Self {
        Self::literal(Self::start(Base::Fixed(n)))
    }

    /// Takes `n` away for other work, down to nothing.
    ///
    /// # Panics
    ///
    /// After a [`floor`](Self::floor), which it would undo, and after [`MAX_STEPS`](Self::MAX_STEPS) steps; in a
    /// `const` that is a compile error.
    pub const fn reserve(self, n: u64) -> Self {
        Self::literal(self.then(Step::Reserve(n)))
    }

    /// Raises the number to `n` where it is less.
    ///
    /// # Panics
    ///
    /// If `n` is not in `1..=Limit::MAX` or above an earlier [`ceiling`](Self::ceiling); after an
    /// [`at_most`](Self::at_most), which it would undo; after [`MAX_STEPS`](Self::MAX_STEPS) steps. In a `const` that
    /// is a compile error.
    pub const fn floor(self, n: u64) -> Self {
        Self::literal(self.then(Step::Floor(n)))
    }

    /// Lowers the number to `n` where it is more.
    ///
    /// # Panics
    ///
    /// If `n` is not in `1..=Limit::MAX` or below an earlier [`floor`](Self::floor); after
    /// [`MAX_STEPS`](Self::MAX_STEPS) steps. In a `const` that is a compile error.
    pub const fn ceiling(self, n: u64) -> Self {
        Self::literal(self.then(Step::Ceiling(n)))
    }

    /// Lowers the number to the amount where it is more, but never below 1. Skipped where the amount is unlimited, or
    /// unknown and nothing is [assumed](Amount::assume).
    ///
    /// # Panics
    ///
    /// If the amount multiplies by 0 or divides by 0; after [`MAX_STEPS`](Self::MAX_STEPS) steps. In a `const` that is
    /// a compile error.
    pub const fn at_most(self, amount: Amount) -> Self {
        Self::literal(self.then(Step::AtMost(amount)))
    }

    /// A formula from computed parts, as the methods above make it from literals.
    ///
    /// ```
    /// use concurrency_governor::plan::{Base, Formula, Step};
    /// use concurrency_governor::Resource;
    ///
    /// let floor = 0; // from a user, say
    /// let base = Base::Amount(Resource::CPU.times(2));
    /// let error = Formula::from_parts(base, [Step::Floor(floor)]).unwrap_err();
    /// assert!(error.to_string().contains("a floor is a limit, from 1 to 1073741823"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`FormulaError`] where those methods would panic.
    pub fn from_parts(base: Base, steps: impl IntoIterator<Item = Step>) -> Result<Self, FormulaError> {
        let start = Self::start(base).map_err(|fault| FormulaError::in_part(&base, fault))?;
        steps.into_iter().try_fold(start, |formula, step| {
            formula.then(step).map_err(|fault| FormulaError::in_part(&step, fault))
        })
    }

    /// What the pipeline starts from.
    #[must_use]
    pub const fn base(&self) -> Base {
        self.base
    }

    /// The steps after the base, in order.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.steps.into_iter().flatten()
    }

    /// The resources and gates it reads, in the order of the text; one read twice stands twice.
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

    pub(super) const fn start(base: Base) -> Result<Self, Contradiction> {
        let fault = match base {
            Base::Fixed(n) if !is_limit(n) => Some(Contradiction::FixedRange),
            Base::Amount(amount) => fault_of(&amount),
            Base::Fixed(_) => None,
        };
        match fault {
            Some(fault) => Err(fault),
            None => Ok(Self { base, steps: [None; Self::MAX_STEPS] }),
        }
    }

    /// The formula with one more step, unless that contradicts what is there.
    #[expect(clippy::arithmetic_side_effects, reason = "the index stays below MAX_STEPS")]
    pub(super) const fn then(mut self, step: Step) -> Result<Self, Contradiction> {
        if let Some(fault) = step.fault() {
            return Err(fault);
        }
        let mut at = 0;
        while at < Self::MAX_STEPS {
            let Some(earlier) = &self.steps[at] else {
                self.steps[at] = Some(step);
                return Ok(self);
            };
            if let Some(fault) = step.undoes(earlier) {
                return Err(fault);
            }
            at += 1;
        }
        Err(Contradiction::TooManySteps)
    }

    #[expect(clippy::large_types_passed_by_value, reason = "only ever run by the compiler, or once a gate")]
    const fn literal(made: Result<Self, Contradiction>) -> Self {
        match made {
            Ok(formula) => formula,
            Err(fault) => panic!("{}", fault.reason()),
        }
    }
}

/// What a [`Formula`] starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Base {
    /// A number in `1..=Limit::MAX`.
    Fixed(u64),
    /// An amount of a resource, or of another gate's limit.
    Amount(Amount),
}

/// One step of a [`Formula`]; the methods of the same names say what each does.
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
    const fn fault(&self) -> Option<Contradiction> {
        match self {
            Self::Floor(n) if !is_limit(*n) => Some(Contradiction::FloorRange),
            Self::Ceiling(n) if !is_limit(*n) => Some(Contradiction::CeilingRange),
            Self::AtMost(amount) => fault_of(amount),
            Self::Reserve(_) | Self::Floor(_) | Self::Ceiling(_) => None,
        }
    }

    /// Why this step cannot come after `earlier`.
    const fn undoes(&self, earlier: &Self) -> Option<Contradiction> {
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

/// A text or parts that are no formula: where, what was given and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct FormulaError {
    place: String,
    column: Option<usize>,
    reason: String,
}

impl FormulaError {
    /// The column in the text at which it stops making sense, counted in characters from 1; `None` for a formula that
    /// was made of parts.
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

/// Why parts make no formula.
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
            Self::FactorZero => "a factor of 0 leaves nothing (allowed: 1 or more)",
            Self::DivisorZero => "nothing can be divided by 0 (allowed: 1 or more)",
            Self::FixedRange => "a fixed number is a limit, from 1 to 1073741823",
            Self::FloorRange => "a floor is a limit, from 1 to 1073741823",
            Self::CeilingRange => "a ceiling is a limit, from 1 to 1073741823",
            Self::CeilingBelowFloor => "the ceiling is below the floor, so one undoes the other",
            Self::FloorAfterAtMost => {
                "a floor after `at most` undoes it where the host has less: put the floor first"
            }
            Self::ReserveAfterFloor => "a reserve after a floor undoes it: put the reserve first",
            Self::TooManySteps => "a formula has at most 8 steps after its base",
        }
    }
}

const fn is_limit(n: u64) -> bool {
    1 <= n && n <= Limit::MAX.get() as u64
}

const fn fault_of(amount: &Amount) -> Option<Contradiction> {
    match amount.factor {
        Factor::Ratio { numerator: 0, .. } => Some(Contradiction::FactorZero),
        Factor::Ratio { denominator: 0, .. } => Some(Contradiction::DivisorZero),
        Factor::Per(unit) if unit.thousandths() == 0 => Some(Contradiction::DivisorZero),
        Factor::Ratio { .. } | Factor::Per(_) => None,
    }
}
