//! A requirement: a name, a comparison and a number.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use concurrency_governor::plan::QuantityError;
use concurrency_governor::{Quantity, Reading};

/// A requirement as given on the command line, such as `io>=64`.
///
/// Whether the name is a gate or a resource is known only together with the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) name: String,
    comparison: Comparison,
    number: Quantity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    MoreThan,
    LessThan,
    Equal,
}

impl Requirement {
    /// Returns `true` if the reading meets the requirement. An unknown reading meets none.
    pub(crate) fn is_met_by(&self, reading: Reading) -> bool {
        let order = match reading {
            Reading::Finite(number) => number.cmp(&self.number),
            Reading::Unlimited => Ordering::Greater,
            Reading::Unknown => return false,
        };
        match self.comparison {
            Comparison::AtLeast => order.is_ge(),
            Comparison::AtMost => order.is_le(),
            Comparison::MoreThan => order.is_gt(),
            Comparison::LessThan => order.is_lt(),
            Comparison::Equal => order.is_eq(),
        }
    }
}

impl Comparison {
    /// The signs. A sign comes before each other sign that is its prefix.
    const SIGNS: [(&str, Self); 5] = [
        (">=", Self::AtLeast),
        ("<=", Self::AtMost),
        (">", Self::MoreThan),
        ("<", Self::LessThan),
        ("=", Self::Equal),
    ];
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(given: &str) -> Result<Self, RequirementError> {
        let start = given.find(SIGN_CHARACTERS).ok_or(RequirementError::NoComparison)?;
        let (name, rest) = given.split_at(start);
        let signs = Comparison::SIGNS.into_iter();
        let mut matches = signs.filter_map(|(sign, comparison)| Some((rest.strip_prefix(sign)?, comparison)));
        let (number, comparison) = matches.next().ok_or(RequirementError::NoComparison)?;
        // Without this check, `io==64` would be reported as a wrong number, `=64`.
        if number.starts_with(SIGN_CHARACTERS) {
            let end = rest.find(|c| !SIGN_CHARACTERS.contains(&c)).unwrap_or(rest.len());
            return Err(RequirementError::UnknownComparison { given: rest[..end].to_owned() });
        }
        Ok(Self { name: name.trim().to_owned(), comparison, number: number.trim().parse()? })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signs = Comparison::SIGNS.into_iter();
        let sign = signs.filter(|(_, comparison)| *comparison == self.comparison).map(|(sign, _)| sign);
        write!(f, "{} {} {}", self.name, sign.collect::<String>(), self.number)
    }
}

/// The text is not a requirement. The caller puts the flag and its value in front.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequirementError {
    #[error("the value has no comparison (allowed: NAME>=NUMBER, or >, =, < or <=, such as io>=64)")]
    NoComparison,
    #[error("`{given}` is not a comparison (allowed: NAME>=NUMBER, or >, =, < or <=, such as io>=64)")]
    UnknownComparison { given: String },
    #[error(transparent)]
    Number(#[from] QuantityError),
}

/// The characters of which the signs of comparisons consist.
const SIGN_CHARACTERS: [char; 3] = ['>', '<', '='];
