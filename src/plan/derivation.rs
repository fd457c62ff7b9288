//! The derivation of a limit: a formula evaluated, with what each part read and did.

use std::fmt;

use super::amount::{Amount, Operand};
use super::formula::{Base, Formula, Step};
use super::limit::Limit;
use super::name::Resource;
use super::quantity::Quantity;
use super::reading::Reading;

/// A formula evaluated: the number after each part, and which part decided the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    parts: Vec<DerivedPart>,
    binding: usize,
    limit: Limit,
}

impl Derivation {
    /// Evaluates a formula, given what each operand reads. Total, exact and saturating.
    pub(super) fn of(formula: &Formula, read: impl Fn(Operand) -> Reading) -> Self {
        let base = match formula.base() {
            Base::Fixed(n) => DerivedPart::new(formula.base(), Reading::whole(n), Effect::Set),
            Base::Amount(amount) => {
                let taken = Taken::of(&amount, &read);
                DerivedPart::new(formula.base(), taken.value, Effect::Set).taking(taken)
            }
        };
        let mut parts = vec![base];
        let mut value = parts[0].value;
        for step in formula.steps() {
            let part = apply(step, value, &read);
            value = part.value;
            parts.push(part);
        }
        let limit = match value {
            Reading::Finite(quantity) => Limit::saturating(quantity.floor()),
            Reading::Unlimited => Limit::MAX,
            Reading::Unknown => Limit::MIN,
        };
        let in_range = Reading::whole(limit.into());
        if value != in_range {
            let rule = if limit == Limit::MIN { "at least 1" } else { "at most what a gate can hold" };
            parts.push(DerivedPart::new(rule, in_range, Effect::Changed));
        }
        let changes = |part: &DerivedPart| matches!(part.effect, Effect::Set | Effect::Changed);
        let binding = parts.iter().rposition(changes).unwrap_or(0);
        parts[binding].decides = true;
        Self { parts, binding, limit }
    }

    /// The limit that the formula comes to.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// The formula's base and steps, in order; at the end, where the number was out of range, the rule that brought it
    /// into `1..=Limit::MAX`.
    #[must_use]
    pub fn parts(&self) -> &[DerivedPart] {
        &self.parts
    }

    /// The part that decided the limit: the last one that changed the number.
    #[must_use]
    pub fn binding(&self) -> &DerivedPart {
        &self.parts[self.binding]
    }
}

/// One part of a formula, evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedPart {
    text: String,
    taken: Option<Taken>,
    value: Reading,
    effect: Effect,
    decides: bool,
}

impl DerivedPart {
    /// The part as it stands in the formula's text, such as `at most fd * 1/2`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it read: the operand and its reading.
    #[must_use]
    pub fn operand(&self) -> Option<(Operand, Reading)> {
        self.taken.as_ref().map(|taken| (taken.operand, taken.reading))
    }

    /// What the amount came to, where the part takes one.
    #[must_use]
    pub fn amount(&self) -> Option<Reading> {
        self.taken.as_ref().map(|taken| taken.value)
    }

    /// What stood in for an unknown reading.
    #[must_use]
    pub fn assumed(&self) -> Option<Quantity> {
        self.taken.as_ref().and_then(|taken| taken.assumed)
    }

    /// The number after it: finite and whole, unlimited, or unknown, which counts as nothing.
    #[must_use]
    pub fn value(&self) -> Reading {
        self.value
    }

    /// What it did.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Whether it decided the limit that the formula comes to: of each derivation, one part does.
    #[must_use]
    pub fn decides(&self) -> bool {
        self.decides
    }

    /// What a reader should know beside the number: what was read, assumed or skipped. Empty where there is nothing.
    #[must_use]
    pub fn remark(&self) -> String {
        let Some(taken) = &self.taken else { return String::new() };
        let read = format!("{} = {}", taken.operand, taken.reading_text());
        match (self.effect, taken.assumed) {
            (Effect::Skipped, _) => format!("skipped: {} is {}", taken.operand, taken.reading),
            (Effect::Set, None) if taken.value == Reading::Unknown => {
                format!("{read}, nothing is assumed: counts as 0")
            }
            (Effect::Set, None) => read,
            (Effect::Set, Some(assumed)) => format!("{read}, assumed {assumed}"),
            (_, None) => format!("{read}: {}", taken.value.plain()),
            (_, Some(assumed)) => format!("{read}, assumed {assumed}: {}", taken.value.plain()),
        }
    }

    fn new(text: impl fmt::Display, value: Reading, effect: Effect) -> Self {
        Self { text: text.to_string(), taken: None, value, effect, decides: false }
    }

    fn taking(self, taken: Taken) -> Self {
        Self { taken: Some(taken), ..self }
    }
}

/// What a part of a formula did to the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// It set it: the base.
    Set,
    /// It changed it.
    Changed,
    /// It left it as it was.
    Held,
    /// It could not apply, since what it reads is unlimited or unknown.
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

/// An amount evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    operand: Operand,
    reading: Reading,
    assumed: Option<Quantity>,
    value: Reading,
}

impl Taken {
    fn of(amount: &Amount, read: impl Fn(Operand) -> Reading) -> Self {
        let reading = read(amount.operand());
        Self {
            operand: amount.operand(),
            reading,
            assumed: amount.assume_for(reading),
            value: amount.value(reading),
        }
    }

    /// Bytes read best with their suffix; anything else is counted one by one.
    fn reading_text(&self) -> String {
        match self.operand {
            Operand::Resource(Resource::MEMORY) => self.reading.to_string(),
            Operand::Resource(_) | Operand::Gate(_) => self.reading.plain().to_string(),
        }
    }
}

fn apply(step: Step, before: Reading, read: impl Fn(Operand) -> Reading) -> DerivedPart {
    let changed_to = |value: Reading| {
        let effect = if value == before { Effect::Held } else { Effect::Changed };
        DerivedPart::new(step, value, effect)
    };
    match step {
        Step::Reserve(n) => changed_to(map(before, |number| number.saturating_sub(Quantity::whole(n)))),
        Step::Floor(n) => changed_to(match before {
            Reading::Unknown => Reading::whole(n),
            _ => map(before, |number| number.max(Quantity::whole(n))),
        }),
        Step::Ceiling(n) => changed_to(lower(before, Quantity::whole(n))),
        Step::AtMost(amount) => {
            let taken = Taken::of(&amount, read);
            let part = match taken.value {
                Reading::Finite(cap) => changed_to(lower(before, cap.max(Quantity::whole(1)))),
                Reading::Unlimited | Reading::Unknown => DerivedPart::new(step, before, Effect::Skipped),
            };
            part.taking(taken)
        }
    }
}

fn map(number: Reading, change: impl FnOnce(Quantity) -> Quantity) -> Reading {
    match number {
        Reading::Finite(quantity) => Reading::Finite(change(quantity)),
        Reading::Unlimited | Reading::Unknown => number,
    }
}

fn lower(number: Reading, cap: Quantity) -> Reading {
    match number {
        Reading::Unlimited => Reading::Finite(cap),
        _ => map(number, |quantity| quantity.min(cap)),
    }
}
