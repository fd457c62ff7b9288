//! The text format of a formula, with its printer and its parser: `(whole cpu or 2) * 64 | floor 64 | at most fd * 1/2`.
//!
//! ```text
//! formula := base { "|" step }
//! base    := integer | amount
//! step    := "reserve" integer | "floor" integer | "ceiling" integer | "at" "most" amount
//! amount  := reading [ "*" integer [ "/" integer ] | "per" quantity ]
//! reading := [ "whole" ] operand | "(" [ "whole" ] operand [ "or" quantity ] ")"
//!          | [ "whole" ] operand "or" quantity          (the amount must end here)
//! operand := resource | "gate" gate
//! ```

use std::fmt;
use std::str::FromStr;

use super::amount::{Amount, Factor, Operand, Rounding};
use super::formula::{Base, Formula, FormulaError, Step};
use super::name::{GateName, Resource};
use super::quantity::{Quantity, QuantityError};

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
        let assumed = self.assumed.map_or(String::new(), |quantity| format!(" or {quantity}"));
        let reading = format!("{whole}{}{assumed}", self.operand);
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

/// Prints `cpu` for a resource, `gate io` for a gate.
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
        let mut parser = FormulaParser { text, offset: 0 };
        let start = parser.next_start();
        let base = parser.parse_base()?;
        let mut formula = Self::try_start(base).map_err(|fault| parser.error_at(start, fault.reason()))?;
        while parser.accept("|") {
            let start = parser.next_start();
            let step = parser.parse_step()?;
            formula = formula.try_push(step).map_err(|fault| parser.error_at(start, fault.reason()))?;
        }
        match parser.peek() {
            "" => Ok(formula),
            _ => Err(parser.expected("`|` and a further step, or the end")),
        }
    }
}

/// A recursive descent parser with one token of lookahead.
struct FormulaParser<'t> {
    text: &'t str,
    /// The byte offset behind the last accepted token.
    offset: usize,
}

impl<'t> FormulaParser<'t> {
    fn parse_base(&mut self) -> Result<Base, FormulaError> {
        if self.peek().starts_with(|c: char| c.is_ascii_digit()) {
            return self.parse_integer("a whole number").map(Base::Fixed);
        }
        self.parse_amount("a number, or an amount such as `cpu * 2`").map(Base::Amount)
    }

    fn parse_step(&mut self) -> Result<Step, FormulaError> {
        if self.accept("reserve") {
            return self.parse_integer("a whole number to reserve").map(Step::Reserve);
        }
        if self.accept("floor") {
            return self.parse_integer("a whole number for the floor").map(Step::Floor);
        }
        if self.accept("ceiling") {
            return self.parse_integer("a whole number for the ceiling").map(Step::Ceiling);
        }
        if self.accept("at") {
            self.require("most", "`most` after `at`")?;
            return self.parse_amount("an amount such as `fd * 1/2`").map(Step::AtMost);
        }
        Err(self.expected("a step: `reserve N`, `floor N`, `ceiling N` or `at most AMOUNT`"))
    }

    fn parse_amount(&mut self, wanted: &str) -> Result<Amount, FormulaError> {
        let start = self.next_start();
        let enclosed = self.accept("(");
        let mut amount = self.parse_reading(wanted)?;
        if enclosed {
            self.require(")", "`)`")?;
        }
        // `cpu or 2 * 64` could mean `(cpu or 2) * 64` or `cpu or 128`, so the parentheses are required.
        let factor_follows = matches!(self.peek(), "*" | "per");
        if factor_follows && amount.assumed.is_some() && !enclosed {
            return Err(self.error_at(start, format!("put the reading in parentheses: `({amount})`")));
        }
        if self.accept("*") {
            let numerator = self.parse_integer("a factor such as `2` or `1/2`")?;
            let denominator =
                if self.accept("/") { self.parse_integer("a whole number to divide by")? } else { 1 };
            amount.factor = Factor::Ratio { numerator, denominator };
        } else if self.accept("per") {
            amount.factor = Factor::Per(self.parse_quantity("a quantity such as `64Mi`")?);
        }
        Ok(amount)
    }

    /// Parses a reading, as an amount with the factor 1.
    fn parse_reading(&mut self, wanted: &str) -> Result<Amount, FormulaError> {
        let whole = self.accept("whole");
        let operand = if self.accept("gate") {
            self.parse_name::<GateName>("the gate's name").map(Operand::Gate)?
        } else {
            self.parse_name::<Resource>(wanted).map(Operand::Resource)?
        };
        let amount = Amount::of(operand, Factor::ONE);
        let amount = if whole { amount.whole() } else { amount };
        if self.accept("or") {
            return Ok(amount.assume_quantity(self.parse_quantity("the quantity to assume")?));
        }
        Ok(amount)
    }

    fn parse_name<N: FromStr<Err: fmt::Display>>(&mut self, wanted: &str) -> Result<N, FormulaError> {
        let start = self.next_start();
        match self.peek() {
            word if word.starts_with(|c: char| c.is_alphabetic()) => {
                self.advance(word);
                word.parse().map_err(|error: N::Err| self.error_at(start, error.to_string()))
            }
            _ => Err(self.expected(wanted)),
        }
    }

    fn parse_integer(&mut self, wanted: &str) -> Result<u64, FormulaError> {
        let start = self.next_start();
        match self.peek() {
            word if word.starts_with(|c: char| c.is_ascii_digit()) => {
                self.advance(word);
                word.parse().map_err(|_| {
                    let allowed = format!("a whole number from 0 to {}", u64::MAX);
                    self.error_at(start, format!("{word:?} is not {wanted} (allowed: {allowed})"))
                })
            }
            _ => Err(self.expected(wanted)),
        }
    }

    fn parse_quantity(&mut self, wanted: &str) -> Result<Quantity, FormulaError> {
        let start = self.next_start();
        match self.peek() {
            word if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                self.advance(word);
                word.parse().map_err(|error: QuantityError| self.error_at(start, error.to_string()))
            }
            _ => Err(self.expected(wanted)),
        }
    }

    /// Consumes the next token, which must be `word`.
    fn require(&mut self, word: &str, wanted: &str) -> Result<(), FormulaError> {
        if self.accept(word) { Ok(()) } else { Err(self.expected(wanted)) }
    }

    /// Consumes the next token if it is `word`, and returns whether it did.
    fn accept(&mut self, word: &str) -> bool {
        let next = self.peek();
        if next == word {
            self.advance(next);
        }
        next == word
    }

    /// Returns the next token without consuming it: one symbol, or a run of characters that are neither symbols nor
    /// whitespace. Empty at the end of the text.
    fn peek(&self) -> &'t str {
        let rest = &self.text[self.next_start()..];
        let length = match rest.find(|c: char| SYMBOLS.contains(&c) || c.is_whitespace()) {
            Some(0) => rest.chars().next().map_or(0, char::len_utf8),
            Some(end) => end,
            None => rest.len(),
        };
        &rest[..length]
    }

    /// Consumes the next token, which is `word`.
    fn advance(&mut self, word: &str) {
        self.offset = self.next_start().saturating_add(word.len());
    }

    /// Returns the byte offset of the next token.
    fn next_start(&self) -> usize {
        let rest = &self.text[self.offset..];
        self.text.len().saturating_sub(rest.trim_start().len())
    }

    fn expected(&self, wanted: &str) -> FormulaError {
        let found = match self.peek() {
            "" => "the end".to_owned(),
            word => format!("{word:?}"),
        };
        self.error_at(self.next_start(), format!("expected {wanted}, found {found}"))
    }

    fn error_at(&self, offset: usize, reason: impl Into<String>) -> FormulaError {
        let column = self.text[..offset].chars().count().saturating_add(1);
        FormulaError::at(self.text, column, reason)
    }
}

/// The characters that are tokens by themselves.
const SYMBOLS: [char; 5] = ['(', ')', '*', '/', '|'];

#[cfg(test)]
mod tests {
    use super::*;

    /// Each form of the grammar prints as it was parsed.
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

    /// Whitespace and parentheses around a reading are optional.
    #[test]
    fn whitespace_and_parentheses_are_optional() {
        for (text, canonical) in [
            (" (cpu)*2|floor 3 ", "cpu * 2 | floor 3"),
            ("(whole cpu) * 2", "whole cpu * 2"),
            ("cpu\t*\n1 / 2", "cpu * 1/2"),
            ("cpu * 1", "cpu"),
        ] {
            assert_eq!(text.parse::<Formula>().unwrap().to_string(), canonical);
        }
    }

    /// An error gives the column at which the text stops being a formula, and what is expected there.
    #[test]
    fn errors_have_a_column_and_a_reason() {
        for (text, column, reason) in [
            ("", 1, "expected a number, or an amount such as `cpu * 2`, found the end"),
            ("cpu *", 6, "expected a factor such as `2` or `1/2`, found the end"),
            ("cpu * 0.5", 7, "\"0.5\" is not a factor such as `2` or `1/2`"),
            ("cpu 2", 5, "expected `|` and a further step, or the end, found \"2\""),
            ("cpu | flor 2", 7, "expected a step"),
            ("cpu | at least 2", 10, "expected `most` after `at`, found \"least\""),
            ("cpu or 2 * 64", 1, "put the reading in parentheses: `(cpu or 2)`"),
            ("(cpu or 2 * 64", 11, "expected `)`, found \"*\""),
            ("CPU * 2", 1, "\"CPU\" is not a resource name"),
            ("ççç * 2 | floor", 1, "\"ççç\" is not a resource name"),
            ("cpu * 2 | floor é", 17, "expected a whole number for the floor, found \"é\""),
            ("memory per 64mi", 12, "\"64mi\" is not a quantity: its suffix is unknown"),
            (
                "gate whole * 2",
                6,
                "\"whole\" is not a gate name: this word is reserved by the formula language",
            ),
            ("cpu * 0", 1, "a factor of 0"),
            ("cpu * 1/0", 1, "a divisor of 0"),
            ("0", 1, "a fixed number must be a limit"),
            ("cpu | at most fd | floor 2", 20, "a floor after `at most` undoes it"),
            ("cpu | floor 8 | ceiling 4", 17, "the ceiling is below the floor"),
            ("cpu | ceiling 4 | floor 8", 19, "the ceiling is below the floor"),
            ("cpu | floor 8 | reserve 2", 17, "a reserve after a floor undoes it"),
            ("cpu | ceiling 1073741824", 7, "a ceiling must be a limit"),
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
