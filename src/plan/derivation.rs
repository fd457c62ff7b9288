//! The derivation of a limit: an evaluated formula, with what each part read and did.

use std::fmt;

use super::amount::{Amount, Operand};
use super::formula::{Base, Formula, Step};
use super::limit::Limit;
use super::quantity::Quantity;
use super::reading::Reading;

/// An evaluated formula: the number after each part, and the part that decided the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    parts: Vec<DerivedPart>,
    binding: usize,
    limit: Limit,
    ceiling: Limit,
}

impl Derivation {
    /// Evaluates a formula, and the `at most` step of feedback if there is one. `read` returns the reading of an operand. Never panics;
    /// the arithmetic is exact and saturates.
    pub(super) fn evaluate(
        formula: &Formula,
        feedback: Option<Amount>,
        read: impl Fn(Operand) -> Reading,
    ) -> Self {
        let base = match formula.base() {
            Base::Fixed(n) => DerivedPart::new(formula.base(), Reading::whole(n), Effect::Set),
            Base::Amount(amount) => {
                let evaluated = EvaluatedAmount::new(&amount, &read);
                DerivedPart::new(formula.base(), evaluated.value, Effect::Set).with_amount(evaluated)
            }
        };
        let mut parts = vec![base];
        let mut value = parts[0].value;
        for step in formula.steps() {
            let part = apply_step(step, value, &read);
            value = part.value;
            parts.push(part);
        }
        let ceiling = nearest_limit(value);
        if let Some(amount) = feedback {
            let part = apply_step(Step::AtMost(amount), value, &read);
            value = part.value;
            parts.push(part);
        }

        // A number outside of the range of limits gets one more part, so that the explanation shows the rule.
        let limit = nearest_limit(value);
        let in_range = Reading::whole(limit.into());
        if value != in_range {
            let rule = if limit == Limit::MIN { "at least 1" } else { "at most what a gate can hold" };
            parts.push(DerivedPart::new(rule, in_range, Effect::Changed));
        }

        let has_changed = |part: &DerivedPart| matches!(part.effect, Effect::Set | Effect::Changed);
        let binding = parts.iter().rposition(has_changed).unwrap_or(0);
        parts[binding].decides = true;
        Self { parts, binding, limit, ceiling }
    }

    /// Returns the derived limit.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Returns the limit that the formula derives before feedback lowers it; the derived limit if the gate is not adaptive.
    #[must_use]
    pub fn ceiling(&self) -> Limit {
        self.ceiling
    }

    /// Returns the base and the steps of the formula, in order. If the number was out of range, the last part is the rule
    /// that brought it into `1..=Limit::MAX`.
    #[must_use]
    pub fn parts(&self) -> &[DerivedPart] {
        &self.parts
    }

    /// Returns the part that decided the limit: the last one that changed the number.
    #[must_use]
    pub fn binding(&self) -> &DerivedPart {
        &self.parts[self.binding]
    }
}

/// One evaluated part of a formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedPart {
    text: String,
    evaluated: Option<EvaluatedAmount>,
    value: Reading,
    effect: Effect,
    decides: bool,
}

impl DerivedPart {
    /// Returns the part as the formula's text has it, such as `at most fd * 1/2`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the operand of the part's amount and its reading, if the part has an amount.
    #[must_use]
    pub fn operand(&self) -> Option<(Operand, Reading)> {
        self.evaluated.as_ref().map(|amount| (amount.operand, amount.reading))
    }

    /// Returns the value of the part's amount, if the part has one.
    #[must_use]
    pub fn amount(&self) -> Option<Reading> {
        self.evaluated.as_ref().map(|amount| amount.value)
    }

    /// Returns the assumed value that replaced an unknown reading, if one did.
    #[must_use]
    pub fn assumed(&self) -> Option<Quantity> {
        self.evaluated.as_ref().and_then(|amount| amount.assumed)
    }

    /// Returns the number after this part: finite and whole, unlimited, or unknown, which counts as 0.
    #[must_use]
    pub fn value(&self) -> Reading {
        self.value
    }

    /// Returns the part's effect on the number.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Returns `true` if this part decided the derived limit. Exactly one part of a derivation does.
    #[must_use]
    pub fn decides(&self) -> bool {
        self.decides
    }

    /// Returns a text on what the part read, assumed or skipped. Empty if it has no amount.
    #[must_use]
    pub fn remark(&self) -> String {
        let Some(amount) = &self.evaluated else { return String::new() };
        let read = format!("{} = {}", amount.operand, amount.reading_text());
        match (self.effect, amount.assumed) {
            (Effect::Skipped, _) => format!("skipped: {} is {}", amount.operand, amount.reading),
            (Effect::Set, None) if amount.value == Reading::Unknown => {
                format!("{read}, nothing is assumed: counts as 0")
            }
            (Effect::Set, None) => read,
            (Effect::Set, Some(assumed)) => format!("{read}, assumed {assumed}"),
            (_, None) => format!("{read}: {}", amount.value.plain()),
            (_, Some(assumed)) => format!("{read}, assumed {assumed}: {}", amount.value.plain()),
        }
    }

    fn new(text: impl fmt::Display, value: Reading, effect: Effect) -> Self {
        Self { text: text.to_string(), evaluated: None, value, effect, decides: false }
    }

    fn with_amount(self, evaluated: EvaluatedAmount) -> Self {
        Self { evaluated: Some(evaluated), ..self }
    }
}

/// The effect of a part of a formula on the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// The base: it set the number.
    Set,
    /// The part changed the number.
    Changed,
    /// The part left the number unchanged.
    Held,
    /// The part could not apply, since its amount is unlimited or unknown.
    Skipped,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Set => "set",
            Self::Changed => "changed",
            Self::Held => "held",
            Self::Skipped => "skipped",
        })
    }
}

/// An evaluated [`Amount`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct EvaluatedAmount {
    operand: Operand,
    reading: Reading,
    assumed: Option<Quantity>,
    value: Reading,
}

impl EvaluatedAmount {
    fn new(amount: &Amount, read: impl Fn(Operand) -> Reading) -> Self {
        let reading = read(amount.operand());
        Self {
            operand: amount.operand(),
            reading,
            assumed: amount.assumed_for(reading),
            value: amount.value(reading),
        }
    }

    /// Returns the reading as text: bytes with a suffix such as `Mi`, everything else as plain digits.
    fn reading_text(&self) -> String {
        match self.operand {
            Operand::Resource(resource) if resource.is_in_bytes() => self.reading.to_string(),
            Operand::Resource(_) | Operand::Gate(_) => self.reading.plain().to_string(),
        }
    }
}

/// Returns the limit that is nearest to a number.
fn nearest_limit(value: Reading) -> Limit {
    match value {
        Reading::Finite(quantity) => Limit::saturating(quantity.floor()),
        Reading::Unlimited => Limit::MAX,
        Reading::Unknown => Limit::MIN,
    }
}

/// Applies a step to the number `before`.
fn apply_step(step: Step, before: Reading, read: impl Fn(Operand) -> Reading) -> DerivedPart {
    let changed_to = |value: Reading| {
        let effect = if value == before { Effect::Held } else { Effect::Changed };
        DerivedPart::new(step, value, effect)
    };
    match step {
        Step::Reserve(n) => {
            changed_to(map_finite(before, |number| number.saturating_sub(Quantity::whole(n))))
        }
        Step::Floor(n) => changed_to(match before {
            Reading::Unknown => Reading::whole(n),
            _ => map_finite(before, |number| number.max(Quantity::whole(n))),
        }),
        Step::Ceiling(n) => changed_to(cap_at(before, Quantity::whole(n))),
        Step::AtMost(amount) => {
            let evaluated = EvaluatedAmount::new(&amount, read);
            let part = match evaluated.value {
                Reading::Finite(cap) => changed_to(cap_at(before, cap.max(Quantity::whole(1)))),
                Reading::Unlimited | Reading::Unknown => DerivedPart::new(step, before, Effect::Skipped),
            };
            part.with_amount(evaluated)
        }
    }
}

/// Changes a finite number. Unlimited and unknown stay as they are.
fn map_finite(number: Reading, change: impl FnOnce(Quantity) -> Quantity) -> Reading {
    match number {
        Reading::Finite(quantity) => Reading::Finite(change(quantity)),
        Reading::Unlimited | Reading::Unknown => number,
    }
}

/// Lowers a number to `cap` if it is higher. Unlimited becomes `cap`; unknown, which counts as 0, stays.
fn cap_at(number: Reading, cap: Quantity) -> Reading {
    match number {
        Reading::Unlimited => Reading::Finite(cap),
        _ => map_finite(number, |quantity| quantity.min(cap)),
    }
}
