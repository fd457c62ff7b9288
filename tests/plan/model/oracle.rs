//! What a plan comes to, worked out a second time and in another way: from the formulas as they print, in signed wide
//! integers, gate after gate by recursion. It shares nothing with the library but its types.

use std::collections::BTreeMap;

use concurrency_governor::plan::{Effect, Policy};
use concurrency_governor::{Formula, GateName, GateSpec, Overrides, Plan, Quantity, Reading, Readings};

/// The greatest limit, and the greatest whole number that a quantity holds.
pub(crate) const TOP: i128 = 1_073_741_823;
const MOST: i128 = 18_446_744_073_709_551;

/// A number on its way through a formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Known(i128),
    Endless,
    Blank,
}

impl Number {
    fn within(self, cap: i128) -> Self {
        match self {
            Self::Known(n) if n > cap => Self::Known(cap),
            Self::Endless => Self::Known(cap),
            other => other,
        }
    }

    /// The same as the library says it.
    pub(crate) fn reading(self) -> Reading {
        match self {
            Self::Known(n) => Reading::whole(n.try_into().unwrap()),
            Self::Endless => Reading::Unlimited,
            Self::Blank => Reading::Unknown,
        }
    }
}

/// What one part of a formula is expected to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) value: Number,
    pub(crate) amount: Option<Number>,
    pub(crate) effect: Effect,
}

/// A formula worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Derived {
    pub(crate) parts: Vec<Part>,
    pub(crate) binding: usize,
    pub(crate) limit: i128,
}

/// Works a formula out from its text.
pub(crate) fn derive(formula: &Formula, read: &mut dyn FnMut(Operand<'_>) -> Reading) -> Derived {
    let text = formula.to_string();
    let mut parts: Vec<Part> = Vec::new();
    for word in text.split(" | ") {
        let before = parts.last().map(|part| part.value);
        let (value, amount) = part(word, before, read);
        let effect = match (before, amount) {
            (None, _) => Effect::Set,
            (_, Some(Number::Endless | Number::Blank)) => Effect::Skipped,
            (Some(before), _) if before == value => Effect::Held,
            _ => Effect::Changed,
        };
        parts.push(Part { text: word.to_owned(), value, amount, effect });
    }
    let limit = match parts.last().unwrap().value {
        Number::Known(n) => n.clamp(1, TOP),
        Number::Endless => TOP,
        Number::Blank => 1,
    };
    if parts.last().unwrap().value != Number::Known(limit) {
        let text = if limit == 1 { "at least 1" } else { "at most what a gate can hold" };
        let value = Number::Known(limit);
        parts.push(Part { text: text.to_owned(), value, amount: None, effect: Effect::Changed });
    }
    let moved = |at: &usize| *at == 0 || parts[*at].value != parts[*at - 1].value;
    let binding = (0..parts.len()).rev().find(moved).unwrap();
    Derived { parts, binding, limit }
}

/// The number after one part, and what its amount came to.
fn part(
    text: &str,
    before: Option<Number>,
    read: &mut dyn FnMut(Operand<'_>) -> Reading,
) -> (Number, Option<Number>) {
    let Some(before) = before else {
        if let Ok(fixed) = text.parse() {
            return (Number::Known(fixed), None);
        }
        let amount = amount(text, read);
        return (amount, Some(amount));
    };
    if let Some(amount_text) = text.strip_prefix("at most ") {
        let amount = amount(amount_text, read);
        let after = match amount {
            Number::Known(cap) => before.within(cap.max(1)),
            Number::Endless | Number::Blank => before,
        };
        return (after, Some(amount));
    }
    let (verb, n) = text.split_once(' ').unwrap();
    let n: i128 = n.parse().unwrap();
    let after = match (verb, before) {
        ("reserve", Number::Known(before)) => Number::Known(if before > n { before - n } else { 0 }),
        ("floor", Number::Known(before)) => Number::Known(if before < n { n } else { before }),
        ("floor", Number::Blank) => Number::Known(n),
        ("ceiling", before) => before.within(n),
        ("reserve" | "floor", before) => before,
        _ => panic!("no such step: {text}"),
    };
    (after, None)
}

/// What an amount is taken of, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand<'t> {
    Resource(&'t str),
    Gate(&'t str),
}

/// An amount as it prints: `(whole cpu or 2) * 64`.
struct Amount<'t> {
    operand: Operand<'t>,
    whole: bool,
    assumed: Option<Quantity>,
    factor: &'t str,
}

impl<'t> Amount<'t> {
    fn read(text: &'t str) -> Self {
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

    /// What a reading of so many thousandths is multiplied by, and then divided by.
    fn ratio(&self) -> (u128, u128) {
        if let Some(unit) = self.factor.strip_prefix("per ") {
            return (1, unit.parse::<Quantity>().unwrap().thousandths().into());
        }
        let factor = self.factor.strip_prefix("* ").unwrap_or("1");
        let (times, over) = factor.split_once('/').unwrap_or((factor, "1"));
        (times.parse().unwrap(), 1000 * over.parse::<u128>().unwrap())
    }
}

fn amount(text: &str, read: &mut dyn FnMut(Operand<'_>) -> Reading) -> Number {
    let amount = Amount::read(text);
    let thousandths: u128 = match (read(amount.operand), amount.assumed) {
        (Reading::Finite(quantity), _) | (Reading::Unknown, Some(quantity)) => quantity.thousandths().into(),
        (Reading::Unlimited, _) => return Number::Endless,
        (Reading::Unknown, None) => return Number::Blank,
    };
    let thousandths = if amount.whole { thousandths - thousandths % 1000 } else { thousandths };
    let (times, over) = amount.ratio();
    // The greatest number that, multiplied back, is not more: found by halving, where the library divides.
    let product = thousandths * times;
    let (mut yes, mut no) = (0, u128::try_from(MOST).unwrap() + 1);
    while no - yes > 1 {
        let middle = yes.midpoint(no);
        if over.checked_mul(middle).is_some_and(|back| back <= product) { yes = middle } else { no = middle }
    }
    Number::Known(yes.try_into().unwrap())
}

/// How an operator's setting is expected to fare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Derived,
    Within,
    Trusted,
    Clamped,
    Rejected,
}

/// What is expected of one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) limit: i128,
    pub(crate) fate: Fate,
    pub(crate) derived: Derived,
    /// The settings of the gate, by layer: the first decides, the others are shadowed.
    pub(crate) settings: Vec<(String, usize)>,
}

/// Works a whole plan out. A gate whose setting is rejected gets what is derived, so that those which read it are
/// judged by what the host grants.
pub(crate) fn resolve(
    plan: &Plan,
    readings: &Readings,
    overrides: &Overrides,
) -> BTreeMap<GateName, Verdict> {
    let mut verdicts = BTreeMap::new();
    for spec in plan.specs() {
        decide(spec, plan, readings, overrides, &mut verdicts);
    }
    verdicts
}

fn decide(
    spec: &GateSpec,
    plan: &Plan,
    readings: &Readings,
    overrides: &Overrides,
    verdicts: &mut BTreeMap<GateName, Verdict>,
) -> i128 {
    if let Some(verdict) = verdicts.get(&spec.name()) {
        return verdict.limit;
    }
    let derived = derive(spec.formula(), &mut |operand| match operand {
        Operand::Resource(name) => readings.reading(name.parse().unwrap()),
        Operand::Gate(name) => {
            let read = plan.specs().iter().find(|spec| spec.name().as_str() == name).unwrap();
            let limit = decide(read, plan, readings, overrides, verdicts);
            Reading::whole(limit.try_into().unwrap())
        }
    });
    let settings: Vec<_> = overrides
        .layers()
        .iter()
        .filter_map(|layer| {
            let (_, value) = layer.settings().find(|(gate, _)| *gate == spec.name())?;
            Some((layer, value))
        })
        .collect();
    let (limit, fate) = match settings.first() {
        None => (derived.limit, Fate::Derived),
        Some((layer, value)) => {
            let asked = i128::try_from(*value).unwrap().clamp(1, TOP);
            let policies = [layer.override_policy(), spec.override_policy()];
            if asked <= derived.limit {
                (asked, Fate::Within)
            } else if policies.contains(&Policy::Reject) {
                (derived.limit, Fate::Rejected)
            } else if policies.contains(&Policy::Clamp) {
                (derived.limit, Fate::Clamped)
            } else {
                (asked, Fate::Trusted)
            }
        }
    };
    let settings = settings.iter().map(|(layer, value)| (layer.name().to_owned(), *value)).collect();
    verdicts.insert(spec.name(), Verdict { limit, fate, derived, settings });
    limit
}
