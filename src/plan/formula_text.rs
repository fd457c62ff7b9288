//! The text of a formula, written and read: `(whole cpu or 2) * 64 | floor 64 | at most fd * 1/2`.
//!
//! ```text
//! formula := base { "|" step }
//! base    := integer | amount
//! step    := "reserve" integer | "floor" integer | "ceiling" integer | "at" "most" amount
//! amount  := reading [ "*" integer [ "/" integer ] | "per" quantity ]
//! reading := [ "whole" ] operand | "(" [ "whole" ] operand [ "or" quantity ] ")"
//!          | [ "whole" ] operand "or" quantity          (nothing may follow it in the amount)
//! operand := resource | "gate" gate
//! ```

use std::fmt;
use std::str::FromStr;

use super::amount::{Amount, Factor, Operand, Rounding};
use super::formula::{Base, Formula, FormulaError, Step};
use super::name::{GateName, Resource};
use super::quantity::Quantity;

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base().fmt(f)?;
        self.steps().try_for_each(|step| write!(f, " | {step}"))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => n.fmt(f),
            Self::Amount(amount) => amount.fmt(f),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserve(n) => write!(f, "reserve {n}"),
            Self::Floor(n) => write!(f, "floor {n}"),
            Self::Ceiling(n) => write!(f, "ceiling {n}"),
            Self::AtMost(amount) => write!(f, "at most {amount}"),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = match self.rounding {
            Rounding::Exact => "",
            Rounding::Whole => "whole ",
        };
        let or = self.assumed.map_or(String::new(), |quantity| format!(" or {quantity}"));
        let reading = format!("{whole}{}{or}", self.operand);
        match self.factor {
            Factor::ONE => f.write_str(&reading),
            _ if self.assumed.is_some() => write!(f, "({reading}) {}", self.factor),
            _ => write!(f, "{reading} {}", self.factor),
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio { numerator, denominator: 1 } => write!(f, "* {numerator}"),
            Self::Ratio { numerator, denominator } => write!(f, "* {numerator}/{denominator}"),
            Self::Per(unit) => write!(f, "per {unit}"),
        }
    }
}

/// `cpu`, or `gate io`.
impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(resource) => resource.fmt(f),
            Self::Gate(gate) => write!(f, "gate {gate}"),
        }
    }
}

impl FromStr for Formula {
    type Err = FormulaError;

    fn from_str(text: &str) -> Result<Self, FormulaError> {
        let mut parser = Parser { text, at: 0 };
        let start = parser.next_start();
        let base = parser.base()?;
        let mut formula = Self::start(base).map_err(|fault| parser.error(start, fault.reason()))?;
        while parser.take("|") {
            let start = parser.next_start();
            let step = parser.step()?;
            formula = formula.then(step).map_err(|fault| parser.error(start, fault.reason()))?;
        }
        match parser.peek() {
            "" => Ok(formula),
            _ => Err(parser.expected("`|` and a further step, or the end")),
        }
    }
}

/// Reads a text word by word; `at` is the byte where the next word is looked for.
struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn base(&mut self) -> Result<Base, FormulaError> {
        if self.peek().starts_with(|c: char| c.is_ascii_digit()) {
            return self.integer("a whole number").map(Base::Fixed);
        }
        self.amount("a number, or an amount such as `cpu * 2`").map(Base::Amount)
    }

    fn step(&mut self) -> Result<Step, FormulaError> {
        if self.take("reserve") {
            return self.integer("a whole number to reserve").map(Step::Reserve);
        }
        if self.take("floor") {
            return self.integer("a whole number for the floor").map(Step::Floor);
        }
        if self.take("ceiling") {
            return self.integer("a whole number for the ceiling").map(Step::Ceiling);
        }
        if self.take("at") {
            self.require("most", "`most` after `at`")?;
            return self.amount("an amount such as `fd * 1/2`").map(Step::AtMost);
        }
        Err(self.expected("a step: `reserve N`, `floor N`, `ceiling N` or `at most AMOUNT`"))
    }

    fn amount(&mut self, wanted: &str) -> Result<Amount, FormulaError> {
        let start = self.next_start();
        let enclosed = self.take("(");
        let mut amount = self.reading(wanted)?;
        if enclosed {
            self.require(")", "`)`")?;
        }
        let factor_follows = matches!(self.peek(), "*" | "per");
        if factor_follows && amount.assumed.is_some() && !enclosed {
            let fix = format!("put what is multiplied in parentheses: `({amount})`");
            return Err(self.error(start, fix));
        }
        if self.take("*") {
            let numerator = self.integer("a factor such as `2` or `1/2`")?;
            let denominator = if self.take("/") { self.integer("a whole number to divide by")? } else { 1 };
            amount.factor = Factor::Ratio { numerator, denominator };
        } else if self.take("per") {
            amount.factor = Factor::Per(self.quantity("a quantity such as `64Mi`")?);
        }
        Ok(amount)
    }

    /// A reading by itself, as an amount without a factor.
    fn reading(&mut self, wanted: &str) -> Result<Amount, FormulaError> {
        let whole = self.take("whole");
        let operand = if self.take("gate") {
            self.name::<GateName>("the gate's name").map(Operand::Gate)?
        } else {
            self.name::<Resource>(wanted).map(Operand::Resource)?
        };
        let amount = Amount::reading_of(operand);
        let amount = if whole { amount.whole() } else { amount };
        if self.take("or") {
            return Ok(amount.assume_quantity(self.quantity("the quantity to assume")?));
        }
        Ok(amount)
    }

    fn name<N: FromStr<Err: fmt::Display>>(&mut self, wanted: &str) -> Result<N, FormulaError> {
        let start = self.next_start();
        match self.peek() {
            word if word.starts_with(|c: char| c.is_alphabetic()) => {
                self.advance(word);
                word.parse().map_err(|error: N::Err| self.error(start, error.to_string()))
            }
            _ => Err(self.expected(wanted)),
        }
    }

    fn integer(&mut self, wanted: &str) -> Result<u64, FormulaError> {
        let start = self.next_start();
        match self.peek() {
            word if word.starts_with(|c: char| c.is_ascii_digit()) => {
                self.advance(word);
                word.parse().map_err(|_| {
                    let allowed = format!("a whole number from 0 to {}", u64::MAX);
                    self.error(start, format!("{word:?} is not {wanted} (allowed: {allowed})"))
                })
            }
            _ => Err(self.expected(wanted)),
        }
    }

    fn quantity(&mut self, wanted: &str) -> Result<Quantity, FormulaError> {
        let start = self.next_start();
        match self.peek() {
            word if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                self.advance(word);
                word.parse().map_err(|error: super::QuantityError| self.error(start, error.to_string()))
            }
            _ => Err(self.expected(wanted)),
        }
    }

    fn require(&mut self, word: &str, wanted: &str) -> Result<(), FormulaError> {
        if self.take(word) { Ok(()) } else { Err(self.expected(wanted)) }
    }

    fn take(&mut self, word: &str) -> bool {
        let next = self.peek();
        if next == word {
            self.advance(next);
        }
        next == word
    }

    /// The next word: a symbol by itself, or a run of anything that is neither symbol nor space. Empty at the end.
    fn peek(&self) -> &'t str {
        let rest = &self.text[self.next_start()..];
        let length = match rest.find(|c: char| SYMBOLS.contains(&c) || c.is_whitespace()) {
            Some(0) => rest.chars().next().map_or(0, char::len_utf8),
            Some(end) => end,
            None => rest.len(),
        };
        &rest[..length]
    }

    fn advance(&mut self, word: &str) {
        self.at = self.next_start().saturating_add(word.len());
    }

    fn next_start(&self) -> usize {
        let rest = &self.text[self.at..];
        self.text.len().saturating_sub(rest.trim_start().len())
    }

    fn expected(&self, wanted: &str) -> FormulaError {
        let found = match self.peek() {
            "" => "the end".to_owned(),
            word => format!("{word:?}"),
        };
        self.error(self.next_start(), format!("expected {wanted}, found {found}"))
    }

    fn error(&self, at: usize, reason: impl Into<String>) -> FormulaError {
        let column = self.text[..at].chars().count().saturating_add(1);
        FormulaError::at(self.text, column, reason)
    }
}

const SYMBOLS: [char; 5] = ['(', ')', '*', '/', '|'];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every form of the grammar reads back as it is written.
    #[test]
    fn text_round_trips() {
        for text in [
            "64",
            "cpu",
            "cpu * 2",
            "cpu * 1/2",
            "whole cpu",
            "whole cpu * 2",
            "whole cpu or 2",
            "cpu or 1.5",
            "(cpu or 0.5) * 3/4",
            "memory per 64Mi",
            "(memory or 1Gi) per 64Mi",
            "gate io * 1/2",
            "whole gate io",
            "(gate io or 2) * 2",
            "(whole cpu or 2) * 64 | reserve 2 | floor 64 | ceiling 1000 | at most fd * 1/2 | at most gate io",
        ] {
            assert_eq!(text.parse::<Formula>().unwrap().to_string(), text);
        }
    }

    /// Space is free, parentheses around a reading too.
    #[test]
    fn other_spellings_are_understood() {
        for (text, canonical) in [
            (" (cpu)*2|floor 3 ", "cpu * 2 | floor 3"),
            ("(whole cpu) * 2", "whole cpu * 2"),
            ("cpu\t*\n1 / 2", "cpu * 1/2"),
            ("cpu * 1", "cpu"),
        ] {
            assert_eq!(text.parse::<Formula>().unwrap().to_string(), canonical);
        }
    }

    /// An error points at the character where the text stops making sense, and says what would.
    #[test]
    fn errors_have_a_column_and_a_reason() {
        for (text, column, reason) in [
            ("", 1, "expected a number, or an amount such as `cpu * 2`, found the end"),
            ("cpu *", 6, "expected a factor such as `2` or `1/2`, found the end"),
            ("cpu * 0.5", 7, "\"0.5\" is not a factor such as `2` or `1/2`"),
            ("cpu 2", 5, "expected `|` and a further step, or the end, found \"2\""),
            ("cpu | flor 2", 7, "expected a step"),
            ("cpu | at least 2", 10, "expected `most` after `at`, found \"least\""),
            ("cpu or 2 * 64", 1, "put what is multiplied in parentheses: `(cpu or 2)`"),
            ("(cpu or 2 * 64", 11, "expected `)`, found \"*\""),
            ("CPU * 2", 1, "\"CPU\" is no resource name"),
            ("ççç * 2 | floor", 1, "\"ççç\" is no resource name"),
            ("cpu * 2 | floor é", 17, "expected a whole number for the floor, found \"é\""),
            ("memory per 64mi", 12, "\"64mi\" is no quantity: its suffix is unknown"),
            ("gate whole * 2", 6, "\"whole\" is no gate name: that word belongs to the formula language"),
            ("cpu * 0", 1, "a factor of 0"),
            ("cpu * 1/0", 1, "divided by 0"),
            ("0", 1, "a fixed number is a limit"),
            ("cpu | at most fd | floor 2", 20, "a floor after `at most` undoes it"),
            ("cpu | floor 8 | ceiling 4", 17, "the ceiling is below the floor"),
            ("cpu | ceiling 4 | floor 8", 19, "the ceiling is below the floor"),
            ("cpu | floor 8 | reserve 2", 17, "a reserve after a floor undoes it"),
            ("cpu | ceiling 1073741824", 7, "a ceiling is a limit"),
            ("cpu * 99999999999999999999", 7, "(allowed: a whole number from 0 to 18446744073709551615)"),
        ] {
            let error = text.parse::<Formula>().unwrap_err();
            assert_eq!(error.column(), Some(column), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
            assert!(
                error.to_string().starts_with(&format!("formula {text:?}, column {column}: ")),
                "{error}"
            );
        }
        let nine = format!("cpu{}", " | reserve 1".repeat(9));
        assert!(nine.parse::<Formula>().unwrap_err().to_string().contains("at most 8 steps"));
    }
}
