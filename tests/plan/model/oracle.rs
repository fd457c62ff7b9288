//! An independent second implementation of resolving a plan. It works on the printed formulas, with signed wide integers,
//! gate by gate with recursion. It shares only the public types with the library.

use std::collections::BTreeMap;

use concurrency_governor::plan::{Effect, Policy};
use concurrency_governor::{GateName, GateSpec, Overrides, Plan, Quantity, Reading, Readings};

/// The greatest limit.
const MAX_LIMIT: i128 = 1_073_741_823;
/// The greatest whole quantity.
const MAX_WHOLE: i128 = 18_446_744_073_709_551;

/// The number between two parts of a formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Finite(i128),
    Unlimited,
    Unknown,
}

impl Number {
    /// Lowers the number to `cap` if it is higher.
    fn cap_at(self, cap: i128) -> Self {
        match self {
            Self::Finite(n) if n > cap => Self::Finite(cap),
            Self::Unlimited => Self::Finite(cap),
            other => other,
        }
    }

    /// Converts the number to the library's type.
    pub(crate) fn reading(self) -> Reading {
        match self {
            Self::Finite(n) => Reading::whole(n.try_into().unwrap()),
            Self::Unlimited => Reading::Unlimited,
            Self::Unknown => Reading::Unknown,
        }
    }
}

/// The expected report of one part of a formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) value: Number,
    pub(crate) amount: Option<Number>,
    pub(crate) effect: Effect,
}

/// The expected derivation of a formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Derived {
    pub(crate) parts: Vec<Part>,
    pub(crate) binding: usize,
    pub(crate) limit: i128,
}

/// Derives a limit from the printed formula. `read` returns the reading of an operand.
pub(crate) fn derive(text: &str, read: &mut dyn FnMut(Operand<'_>) -> Reading) -> Derived {
    let mut parts: Vec<Part> = Vec::new();
    for part in text.split(" | ") {
        let before = parts.last().map(|part| part.value);
        let (value, amount) = evaluate_part(part, before, read);
        let effect = match (before, amount) {
            (None, _) => Effect::Set,
            (_, Some(Number::Unlimited | Number::Unknown)) => Effect::Skipped,
            (Some(before), _) if before == value => Effect::Held,
            _ => Effect::Changed,
        };
        parts.push(Part { text: part.to_owned(), value, amount, effect });
    }
    let limit = match parts.last().unwrap().value {
        Number::Finite(n) => n.clamp(1, MAX_LIMIT),
        Number::Unlimited => MAX_LIMIT,
        Number::Unknown => 1,
    };
    if parts.last().unwrap().value != Number::Finite(limit) {
        let text = if limit == 1 { "at least 1" } else { "at most what a gate can hold" };
        let value = Number::Finite(limit);
        parts.push(Part { text: text.to_owned(), value, amount: None, effect: Effect::Changed });
    }
    let has_changed = |index: &usize| *index == 0 || parts[*index].value != parts[*index - 1].value;
    let binding = (0..parts.len()).rev().find(has_changed).unwrap();
    Derived { parts, binding, limit }
}

/// Returns the number after one part, and the value of its amount if it has one.
fn evaluate_part(
    text: &str,
    before: Option<Number>,
    read: &mut dyn FnMut(Operand<'_>) -> Reading,
) -> (Number, Option<Number>) {
    let Some(before) = before else {
        if let Ok(fixed) = text.parse() {
            return (Number::Finite(fixed), None);
        }
        let amount = evaluate_amount(text, read);
        return (amount, Some(amount));
    };
    if let Some(amount_text) = text.strip_prefix("at most ") {
        let amount = evaluate_amount(amount_text, read);
        let after = match amount {
            Number::Finite(cap) => before.cap_at(cap.max(1)),
            Number::Unlimited | Number::Unknown => before,
        };
        return (after, Some(amount));
    }
    let (step, n) = text.split_once(' ').unwrap();
    let n: i128 = n.parse().unwrap();
    let after = match (step, before) {
        ("reserve", Number::Finite(before)) => Number::Finite(if before > n { before - n } else { 0 }),
        ("floor", Number::Finite(before)) => Number::Finite(if before < n { n } else { before }),
        ("floor", Number::Unknown) => Number::Finite(n),
        ("ceiling", before) => before.cap_at(n),
        ("reserve" | "floor", before) => before,
        _ => panic!("unexpected step: {text}"),
    };
    (after, None)
}

/// The operand of an amount, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand<'t> {
    Resource(&'t str),
    Gate(&'t str),
}

/// A printed amount, split into its parts: `(whole cpu or 2) * 64`.
struct Amount<'t> {
    operand: Operand<'t>,
    whole: bool,
    assumed: Option<Quantity>,
    factor: &'t str,
}

impl<'t> Amount<'t> {
    fn parse(text: &'t str) -> Self {
        let factor_start = text.find(" * ").or_else(|| text.find(" per "));
        let (reading, factor) = match text.strip_prefix('(') {
            Some(rest) => rest.split_once(')').unwrap(),
            None => text.split_at(factor_start.unwrap_or(text.len())),
        };
        let (operand, assumed) = match reading.split_once(" or ") {
            Some((operand, assumed)) => (operand, Some(assumed.parse().unwrap())),
            None => (reading, None),
        };
        let (operand, whole) = match operand.strip_prefix("whole ") {
            Some(operand) => (operand, true),
            None => (operand, false),
        };
        let operand = match operand.strip_prefix("gate ") {
            Some(gate) => Operand::Gate(gate),
            None => Operand::Resource(operand),
        };
        Self { operand, whole, assumed, factor: factor.trim_start() }
    }

    /// Returns the factor and the divisor of a reading in thousandths.
    fn ratio(&self) -> (u128, u128) {
        if let Some(unit) = self.factor.strip_prefix("per ") {
            return (1, unit.parse::<Quantity>().unwrap().thousandths().into());
        }
        let factor = self.factor.strip_prefix("* ").unwrap_or("1");
        let (numerator, denominator) = factor.split_once('/').unwrap_or((factor, "1"));
        (numerator.parse().unwrap(), 1000 * denominator.parse::<u128>().unwrap())
    }
}

/// Returns the value of a printed amount, rounded down.
fn evaluate_amount(text: &str, read: &mut dyn FnMut(Operand<'_>) -> Reading) -> Number {
    let amount = Amount::parse(text);
    let thousandths: u128 = match (read(amount.operand), amount.assumed) {
        (Reading::Finite(quantity), _) | (Reading::Unknown, Some(quantity)) => quantity.thousandths().into(),
        (Reading::Unlimited, _) => return Number::Unlimited,
        (Reading::Unknown, None) => return Number::Unknown,
    };
    let thousandths = if amount.whole { thousandths - thousandths % 1000 } else { thousandths };
    let (factor, divisor) = amount.ratio();
    // The quotient is the greatest number whose product with the divisor is not above `product`. It is found by bisection,
    // since the library divides.
    let product = thousandths * factor;
    let (mut low, mut high) = (0, u128::try_from(MAX_WHOLE).unwrap() + 1);
    while high - low > 1 {
        let middle = low.midpoint(high);
        let fits = divisor.checked_mul(middle).is_some_and(|back| back <= product);
        if fits { low = middle } else { high = middle }
    }
    Number::Finite(low.try_into().unwrap())
}

/// The expected treatment of an operator's setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    Derived,
    Within,
    Trusted,
    Clamped,
    Rejected,
}

/// The expected limit of one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedLimit {
    pub(crate) limit: i128,
    pub(crate) treatment: Treatment,
    pub(crate) derived: Derived,
    /// What settings are compared with: the derived limit without feedback.
    pub(crate) granted: i128,
    /// The settings of the gate with the names of their layers. The first decides, the others are shadowed.
    pub(crate) settings: Vec<(String, usize)>,
}

/// Resolves a plan. A gate whose setting is rejected gets its derived limit, which is what other formulas then read.
pub(crate) fn resolve(
    plan: &Plan,
    readings: &Readings,
    overrides: &Overrides,
) -> BTreeMap<GateName, ExpectedLimit> {
    let mut expected = BTreeMap::new();
    for spec in plan.specs() {
        decide(spec, plan, readings, overrides, &mut expected);
    }
    expected
}

/// Decides the limit of one gate, after those that its formula reads.
fn decide(
    spec: &GateSpec,
    plan: &Plan,
    readings: &Readings,
    overrides: &Overrides,
    expected: &mut BTreeMap<GateName, ExpectedLimit>,
) -> i128 {
    if let Some(known) = expected.get(&spec.name()) {
        return known.limit;
    }
    let mut read = |operand: Operand<'_>| match operand {
        Operand::Resource(name) => readings.reading(name.parse().unwrap()),
        Operand::Gate(name) => {
            let read = plan.specs().iter().find(|spec| spec.name().as_str() == name).unwrap();
            let limit = decide(read, plan, readings, overrides, expected);
            Reading::whole(limit.try_into().unwrap())
        }
    };
    let formula = spec.formula().to_string();
    let granted = derive(&formula, &mut read).limit;
    // Feedback is one more step of the formula.
    let feedback = spec.adaptivity().map_or(String::new(), |adaptive| {
        let start = adaptive.start_limit().max(adaptive.floor_limit());
        format!(" | at most feedback.{} or {start}", spec.name())
    });
    let derived = derive(&format!("{formula}{feedback}"), &mut read);
    let settings: Vec<_> = overrides
        .layers()
        .iter()
        .filter_map(|layer| {
            let (_, value) = layer.settings().find(|(gate, _)| *gate == spec.name())?;
            Some((layer, value))
        })
        .collect();
    let (limit, treatment) = match settings.first() {
        None => (derived.limit, Treatment::Derived),
        Some((layer, value)) => {
            let requested = i128::try_from(*value).unwrap().clamp(1, MAX_LIMIT);
            let policies = [layer.override_policy(), spec.override_policy()];
            if requested <= granted {
                (requested, Treatment::Within)
            } else if policies.contains(&Policy::Reject) {
                (granted, Treatment::Rejected)
            } else if policies.contains(&Policy::Clamp) {
                (granted, Treatment::Clamped)
            } else {
                (requested, Treatment::Trusted)
            }
        }
    };
    let settings = settings.iter().map(|(layer, value)| (layer.name().to_owned(), *value)).collect();
    expected.insert(spec.name(), ExpectedLimit { limit, treatment, derived, granted, settings });
    limit
}
