//! A quantity: an exact fixed-point amount of a resource, in thousandths of its unit.

use std::fmt;
use std::str::FromStr;

use super::debug_as_display::impl_debug_as_display;

/// An exact amount of a resource in thousandths of its unit: `1.5` cores, `512Mi` bytes.
///
/// It uses no floats: two quantities that print the same text are equal. Arithmetic saturates. The greatest quantity is
/// about 1.8 × 10^16 units (18 petabytes, if the unit is a byte).
///
/// The text format is that of Kubernetes: a decimal number, then a suffix `n`, `u`, `m`, `k`, `M`, `G`, `T`, `P`, `E`,
/// or `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`, or an exponent (`1e3`). A number that is not a multiple of 0.001 is rejected, not
/// rounded. `Display` prints a whole number with the greatest suffix that divides it (`Ki` from 1 MiB on), and
/// digits otherwise; [`plain`](Self::plain) always prints digits.
///
/// ```
/// use concurrency_governor::Quantity;
///
/// let half: Quantity = "500m".parse()?;
/// let memory: Quantity = "512Mi".parse()?;
/// assert_eq!(half.to_string(), "0.5");
/// assert_eq!(memory.to_string(), "512Mi");
/// assert_eq!(memory.plain().to_string(), "536870912");
/// assert_eq!(memory, Quantity::whole(512 << 20));
/// # Ok::<(), concurrency_governor::plan::QuantityError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity {
    thousandths: u64,
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self::from_thousandths(0);
    /// The greatest quantity. Greater results saturate to it.
    pub const MAX: Self = Self::from_thousandths(u64::MAX);

    /// Returns a quantity of `units` whole units. Saturates at [`Quantity::MAX`].
    #[must_use]
    pub const fn whole(units: u64) -> Self {
        Self::from_thousandths(units.saturating_mul(THOUSAND))
    }

    /// Returns a quantity of `thousandths` of a unit.
    #[must_use]
    pub const fn from_thousandths(thousandths: u64) -> Self {
        Self { thousandths }
    }

    /// Returns `numerator / denominator` units, rounded down to a thousandth. Saturates. Returns `None` if the
    /// denominator is 0.
    ///
    /// The result depends on the ratio alone: multiplying both numbers by the same factor gives the same quantity.
    #[must_use]
    pub const fn ratio(numerator: u64, denominator: u64) -> Option<Self> {
        match (numerator as u128).saturating_mul(THOUSAND as u128).checked_div(denominator as u128) {
            Some(thousandths) => Some(Self::saturating(thousandths)),
            None => None,
        }
    }

    /// Returns the quantity in thousandths of a unit.
    #[must_use]
    pub const fn thousandths(self) -> u64 {
        self.thousandths
    }

    /// Returns the number of whole units, rounded down.
    #[must_use]
    pub const fn floor(self) -> u64 {
        self.thousandths / THOUSAND
    }

    /// Returns the sum. Saturates at [`Quantity::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::from_thousandths(self.thousandths.saturating_add(other.thousandths))
    }

    /// Returns the difference. Saturates at [`Quantity::ZERO`].
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self::from_thousandths(self.thousandths.saturating_sub(other.thousandths))
    }

    /// Returns a value that prints as decimal digits without a suffix: `536870912` for `512Mi`.
    #[must_use]
    pub const fn plain(self) -> Plain {
        Plain(self)
    }

    const fn saturating(thousandths: u128) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the value was compared with u64::MAX")]
        if thousandths > u64::MAX as u128 { Self::MAX } else { Self::from_thousandths(thousandths as u64) }
    }
}

impl From<u32> for Quantity {
    fn from(units: u32) -> Self {
        Self::whole(units.into())
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(given: &str) -> Result<Self, QuantityError> {
        parse(given).map_err(|fault| QuantityError { given: given.to_owned(), fault })
    }
}

impl fmt::Display for Quantity {
    #[expect(clippy::arithmetic_side_effects, reason = "the divisors are constants and not 0")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.floor();
        let suffix =
            SUFFIXES.iter().rev().find(|suffix| units >= suffix.prints_from && units % suffix.units == 0);
        match suffix {
            Some(suffix) if self.thousandths % THOUSAND == 0 => {
                f.pad(&format!("{}{}", units / suffix.units, suffix.text))
            }
            _ => self.plain().fmt(f),
        }
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantity({})", self.plain())
    }
}

/// A [`Quantity`] that prints as decimal digits. Returned by [`Quantity::plain`].
#[derive(Clone, Copy, Debug)]
pub struct Plain(Quantity);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(quantity) = *self;
        match quantity.thousandths % THOUSAND {
            0 => f.pad(&quantity.floor().to_string()),
            rest => {
                let digits = format!("{}.{rest:03}", quantity.floor());
                f.pad(digits.trim_end_matches('0'))
            }
        }
    }
}

/// The error for a text that is not a quantity: the given text, the reason, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a quantity: {fault} (allowed: a number such as `2`, `1.5`, `500m`, `64k` or `512Mi`)"
)]
pub struct QuantityError {
    given: String,
    fault: QuantityFault,
}

impl_debug_as_display!(QuantityError);

/// The reason why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum QuantityFault {
    #[error("it is empty")]
    Empty,
    #[error("it is negative")]
    Negative,
    #[error("it does not start with a number")]
    NoNumber,
    #[error("its suffix is unknown")]
    UnknownSuffix,
    #[error("it is not a multiple of 0.001")]
    TooFine,
    #[error("it is greater than {}", Quantity::MAX.plain())]
    TooGreat,
}

/// Parses mantissa × 10^exponent × suffix, and converts the result to thousandths if that is exact.
fn parse(given: &str) -> Result<Quantity, QuantityFault> {
    match given.as_bytes().first() {
        None => return Err(QuantityFault::Empty),
        Some(b'-') => return Err(QuantityFault::Negative),
        Some(_) => {}
    }
    let given = given.strip_prefix('+').unwrap_or(given);
    let number_end = given.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(given.len());
    let (number, suffix) = given.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(QuantityFault::NoNumber);
    }
    let (units, exponent) = scale_of(suffix)?;

    // The decimal places move into the exponent, and so do the zeros at the end. Thousandths are three powers of ten below the unit.
    let places = i64::try_from(fraction.len()).map_err(|_| QuantityFault::TooFine)?;
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let zeros = digits.len().saturating_sub(significant.len());
    let zeros = i64::try_from(zeros).map_err(|_| QuantityFault::TooGreat)?;
    let exponent = exponent.saturating_add(3).saturating_sub(places).saturating_add(zeros);
    let too_long = if exponent < 0 { QuantityFault::TooFine } else { QuantityFault::TooGreat };
    let mut mantissa: u128 = 0;
    for digit in significant.bytes() {
        let digit = u128::from(digit.saturating_sub(b'0'));
        mantissa = mantissa.checked_mul(10).and_then(|m| m.checked_add(digit)).ok_or(too_long)?;
    }

    // Zero is exact at any scale, also where the scale itself is out of range.
    if mantissa == 0 {
        return Ok(Quantity::ZERO);
    }

    // A negative power must divide without a remainder. It is cancelled factor by factor, so that no product overflows first.
    let mut factors = [mantissa, units.into()];
    for divisor in (exponent..0).flat_map(|_| [2, 5]) {
        let factor = factors.iter_mut().find(|factor| factor.checked_rem(divisor) == Some(0));
        let factor = factor.ok_or(QuantityFault::TooFine)?;
        *factor = factor.checked_div(divisor).ok_or(QuantityFault::TooFine)?;
    }
    let power = u32::try_from(exponent.max(0)).ok().and_then(|power| 10_u128.checked_pow(power));
    let product = factors.into_iter().try_fold(power.ok_or(QuantityFault::TooGreat)?, u128::checked_mul);
    let thousandths = product.ok_or(QuantityFault::TooGreat)?;
    u64::try_from(thousandths).map(Quantity::from_thousandths).map_err(|_| QuantityFault::TooGreat)
}

/// Returns the factor of a suffix: a number of units, and a power of ten.
fn scale_of(suffix: &str) -> Result<(u64, i64), QuantityFault> {
    match suffix {
        "" => Ok((1, 0)),
        "m" => Ok((1, -3)),
        "u" => Ok((1, -6)),
        "n" => Ok((1, -9)),
        _ => {
            if let Some(known) = SUFFIXES.iter().find(|known| known.text == suffix) {
                return Ok((known.units, 0));
            }
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityFault::UnknownSuffix)?;
            exponent.parse().map(|exponent| (1, exponent)).map_err(|_| QuantityFault::UnknownSuffix)
        }
    }
}

const THOUSAND: u64 = 1000;

/// A suffix that multiplies by a whole number of units.
struct UnitSuffix {
    text: &'static str,
    units: u64,
    /// The least number of units that prints with this suffix. `Ki` starts at 1 MiB, so that 1024 file descriptors do not
    /// print as `1Ki`.
    prints_from: u64,
}

impl UnitSuffix {
    const fn new(text: &'static str, units: u64) -> Self {
        Self { text, units, prints_from: units }
    }
}

/// The suffixes in the order of their units. A number prints with the last one that divides it.
const SUFFIXES: [UnitSuffix; 12] = [
    UnitSuffix::new("k", 1000),
    UnitSuffix { text: "Ki", units: 1 << 10, prints_from: 1 << 20 },
    UnitSuffix::new("M", 1000_u64.pow(2)),
    UnitSuffix::new("Mi", 1 << 20),
    UnitSuffix::new("G", 1000_u64.pow(3)),
    UnitSuffix::new("Gi", 1 << 30),
    UnitSuffix::new("T", 1000_u64.pow(4)),
    UnitSuffix::new("Ti", 1 << 40),
    UnitSuffix::new("P", 1000_u64.pow(5)),
    UnitSuffix::new("Pi", 1 << 50),
    UnitSuffix::new("E", 1000_u64.pow(6)),
    UnitSuffix::new("Ei", 1 << 60),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn thousandths(given: &str) -> Result<u64, QuantityFault> {
        parse(given).map(Quantity::thousandths)
    }

    /// Each suffix and exponent has the meaning that Kubernetes gives it.
    #[test]
    fn suffixes_follow_kubernetes() {
        for (given, expected) in [
            ("0", 0),
            ("0.000", 0),
            ("2", 2000),
            ("1.5", 1500),
            (".5", 500),
            ("5.", 5000),
            ("1.50000000000000000000000000000000000000000000000000", 1500),
            ("500m", 500),
            ("5000u", 5),
            ("1000000n", 1),
            ("64k", 64_000_000),
            ("64Ki", 65_536_000),
            ("1M", 1_000_000_000),
            ("512Mi", 536_870_912_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1500e-3", 1500),
            ("0.0005k", 500),
            ("16P", 16_000_000_000_000_000_000),
            ("18446744073709551.615", u64::MAX),
            ("0E", 0),
            ("0e99999999", 0),
            ("+1.5", 1500),
            ("1000000000000000000000000000000000000000000000e-45", 1000),
            ("1.000000000476837158203125Pi", (1 << 50) * 1000 + (1 << 29)),
        ] {
            assert_eq!(thousandths(given), Ok(expected), "{given}");
        }
    }

    /// A text that is not an exact quantity is rejected with its reason, at any length and size.
    #[test]
    fn inexact_or_malformed_text_is_rejected() {
        for (given, fault) in [
            ("", QuantityFault::Empty),
            ("-1", QuantityFault::Negative),
            (".", QuantityFault::NoNumber),
            ("+", QuantityFault::NoNumber),
            ("++1", QuantityFault::NoNumber),
            ("+-1", QuantityFault::NoNumber),
            ("1.2.3", QuantityFault::NoNumber),
            ("Mi", QuantityFault::NoNumber),
            (" 1", QuantityFault::NoNumber),
            ("1 ", QuantityFault::UnknownSuffix),
            ("1mi", QuantityFault::UnknownSuffix),
            ("1e", QuantityFault::UnknownSuffix),
            ("1e1.5", QuantityFault::UnknownSuffix),
            ("1µ", QuantityFault::UnknownSuffix),
            ("0.0005", QuantityFault::TooFine),
            ("1u", QuantityFault::TooFine),
            ("1e-99999999999999999", QuantityFault::TooFine),
            ("18446744073709551.616", QuantityFault::TooGreat),
            ("1E", QuantityFault::TooGreat),
            ("1e99999999999999999", QuantityFault::TooGreat),
            (&"9".repeat(5000), QuantityFault::TooGreat),
            (&format!("1{}n", "0".repeat(45)), QuantityFault::TooGreat),
        ] {
            assert_eq!(thousandths(given), Err(fault), "{given}");
        }
    }

    /// A quantity prints with the greatest suffix that divides it. `Ki` starts at 1 MiB, since 1024 is a usual number of descriptors.
    #[test]
    fn quantity_prints_its_shortest_exact_form() {
        for text in
            ["0", "0.5", "1.5", "999", "1k", "1024", "64k", "65536", "1M", "1Mi", "512Mi", "3Gi", "16P"]
        {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!(quantity.to_string(), text);
        }
        for (bytes, text) in [
            (25_276_502_016, "24684084Ki"), // the memory of a real host
            ((1 << 20) - 1024, "1047552"),
            ((1 << 20) + 1024, "1025Ki"),
            ((1 << 20) + 1, "1048577"),
        ] {
            assert_eq!(Quantity::whole(bytes).to_string(), text);
        }
    }

    /// The two numbers of CPU bandwidth control give the same cores at any scale. A denominator of 0 gives `None`.
    #[test]
    fn ratio_depends_on_the_ratio_alone() {
        for scale in [1, 2, 10, 1_000_000] {
            assert_eq!(
                Quantity::ratio(150_000 * scale, 100_000 * scale),
                Some(Quantity::from_thousandths(1500))
            );
        }
        assert_eq!(Quantity::ratio(u64::MAX, 1), Some(Quantity::MAX));
        assert_eq!(Quantity::ratio(1, 0), None);
    }
}
