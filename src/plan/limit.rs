//! A limit: the number of permits of a gate.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::debug_as_display::impl_debug_as_display;

/// The number of permits of a gate: a whole number in `1..=Limit::MAX`.
///
/// A limit of 0 does not exist, since it would stop a class of work for ever. A limit above [`Limit::MAX`] does not exist,
/// since a gate could not count its permits.
///
/// ```
/// use concurrency_governor::Limit;
///
/// const WIDE: Limit = Limit::new(128);
/// assert!(Limit::try_new(0).is_err());
/// assert_eq!(Limit::saturating(0), Limit::MIN);
/// assert_eq!(WIDE.get(), 128);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Limit(NonZeroU32);

impl Limit {
    /// One permit at a time.
    pub const MIN: Self = Self(NonZeroU32::MIN);
    /// 2^30 - 1, about 10^9. The limit and the debt together stay below 2^31, so the state of a gate fits one machine
    /// word.
    pub const MAX: Self = Self::new((1 << 30) - 1);

    /// Creates a limit from a literal. For computed input use [`Limit::try_new`] or [`Limit::saturating`].
    ///
    /// # Panics
    ///
    /// If `limit` is not in `1..=Limit::MAX`. In a `const` that is a compile error.
    #[must_use]
    #[inline]
    pub const fn new(limit: u32) -> Self {
        assert!(limit < 1 << 30, "a limit is at most 1073741823");
        match NonZeroU32::new(limit) {
            Some(limit) => Self(limit),
            None => panic!("a limit is at least 1"),
        }
    }

    /// Creates a limit from computed input.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if `limit` is not in `1..=Limit::MAX`.
    pub fn try_new(limit: u64) -> Result<Self, LimitError> {
        let nearest = Self::saturating(limit);
        if u64::from(nearest.get()) == limit {
            Ok(nearest)
        } else {
            Err(LimitError { given: limit.to_string() })
        }
    }

    /// Returns the valid limit that is nearest to `limit`.
    #[must_use]
    #[inline]
    pub const fn saturating(limit: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the value is below MAX, which is a u32")]
        match limit {
            0 => Self::MIN,
            limit if limit >= Self::MAX.get() as u64 => Self::MAX,
            limit => Self::new(limit as u32),
        }
    }

    /// Returns the limit as a number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl From<Limit> for u32 {
    fn from(limit: Limit) -> Self {
        limit.get()
    }
}

impl From<Limit> for u64 {
    fn from(limit: Limit) -> Self {
        limit.get().into()
    }
}

/// Implements the conversions from and to an integer type.
macro_rules! convert_integer {
    ($($integer:ty),*) => {$(
        impl TryFrom<$integer> for Limit {
            type Error = LimitError;

            fn try_from(limit: $integer) -> Result<Self, LimitError> {
                let converted = u64::try_from(limit).ok().and_then(|limit| Self::try_new(limit).ok());
                converted.ok_or_else(|| LimitError { given: limit.to_string() })
            }
        }
    )*};
}

convert_integer!(u8, u16, u32, u64, usize, i32, i64, isize);

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(given: &str) -> Result<Self, LimitError> {
        given
            .parse()
            .ok()
            .and_then(|limit| Self::try_new(limit).ok())
            .ok_or_else(|| LimitError { given: format!("{given:?}") })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limit({})", self.0)
    }
}

/// The error for a number or a text that is not a limit: what was given, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is not a limit (allowed: a whole number from 1 to {max})", max = Limit::MAX)]
pub struct LimitError {
    given: String,
}

impl_debug_as_display!(LimitError);

#[cfg(test)]
mod tests {
    use super::*;

    /// All constructors agree inside the range. Outside it, `try_new` fails and `saturating` clamps.
    #[test]
    fn constructors_agree_on_the_range() {
        for inside in [1, 2, 1 << 29, (1 << 30) - 1] {
            assert_eq!(Limit::try_new(inside).unwrap(), Limit::saturating(inside));
            assert_eq!(inside.to_string().parse::<Limit>().unwrap(), Limit::saturating(inside));
        }
        for (outside, nearest) in [(0, Limit::MIN), (1 << 30, Limit::MAX), (u64::MAX, Limit::MAX)] {
            assert!(Limit::try_new(outside).is_err());
            assert_eq!(Limit::saturating(outside), nearest);
        }
    }

    /// Each integer type converts exactly where its value is a limit.
    #[test]
    fn integers_convert_where_they_are_limits() {
        assert_eq!(
            [Limit::try_from(7_u8), Limit::try_from(7_i32), Limit::try_from(7_usize)].map(Result::unwrap),
            [Limit::new(7); 3]
        );
        assert_eq!(
            Limit::try_from(1_u32 << 30).unwrap_err().to_string(),
            Limit::try_new(1 << 30).unwrap_err().to_string()
        );
        assert!(Limit::try_from(0_u16).is_err() && Limit::try_from(i64::MAX).is_err());
        assert!(Limit::try_from(-1_isize).unwrap_err().to_string().starts_with("-1 is not a limit"));
    }

    /// The error names what was given and what is allowed.
    #[test]
    fn error_names_the_given_text_and_the_range() {
        let error = "many".parse::<Limit>().unwrap_err().to_string();
        assert_eq!(error, r#""many" is not a limit (allowed: a whole number from 1 to 1073741823)"#);
    }
}
