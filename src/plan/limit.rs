//! A limit: how many units of work a gate admits at once.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// How much work a gate admits at once: a whole number in `1..=Limit::MAX`.
///
/// There is no limit of 0, which would stop a class of work for ever, and none above [`Limit::MAX`], which no host
/// could honour and no gate's books could hold.
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
    /// One unit of work at a time.
    pub const MIN: Self = Self(NonZeroU32::MIN);
    /// 2^30 - 1, about a thousand million: limit and debt together stay below 2^31, so a gate's books fit one machine
    /// word.
    pub const MAX: Self = Self::new((1 << 30) - 1);

    /// A limit from a literal. For computed input use [`Limit::try_new`] or [`Limit::saturating`].
    ///
    /// # Panics
    ///
    /// If `limit` is not in `1..=Limit::MAX`; in a `const` that is a compile error.
    #[must_use]
    #[inline]
    pub const fn new(limit: u32) -> Self {
        assert!(limit < 1 << 30, "a limit is at most 1073741823");
        match NonZeroU32::new(limit) {
            Some(limit) => Self(limit),
            None => panic!("a limit is at least 1"),
        }
    }

    /// A limit from computed input.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if `limit` is not in `1..=Limit::MAX`.
    pub fn try_new(limit: u64) -> Result<Self, LimitError> {
        let inside = Self::saturating(limit);
        if u64::from(inside.get()) == limit {
            Ok(inside)
        } else {
            Err(LimitError { given: limit.to_string() })
        }
    }

    /// The limit nearest to `limit`.
    #[must_use]
    #[inline]
    pub const fn saturating(limit: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "smaller than MAX, which is a u32")]
        match limit {
            0 => Self::MIN,
            limit if limit >= Self::MAX.get() as u64 => Self::MAX,
            limit => Self::new(limit as u32),
        }
    }

    /// The number itself.
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

impl TryFrom<u64> for Limit {
    type Error = LimitError;

    fn try_from(limit: u64) -> Result<Self, LimitError> {
        Self::try_new(limit)
    }
}

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

/// A number that is no limit, with what was given and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} is no limit (allowed: a whole number from 1 to {max})", max = Limit::MAX)]
pub struct LimitError {
    given: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three ways in agree inside the range; outside, one refuses and one saturates.
    #[test]
    fn range_is_held_at_both_ends() {
        for inside in [1, 2, 1 << 29, (1 << 30) - 1] {
            assert_eq!(Limit::try_new(inside).unwrap(), Limit::saturating(inside));
            assert_eq!(inside.to_string().parse::<Limit>().unwrap(), Limit::saturating(inside));
        }
        for (outside, nearest) in [(0, Limit::MIN), (1 << 30, Limit::MAX), (u64::MAX, Limit::MAX)] {
            assert!(Limit::try_new(outside).is_err());
            assert_eq!(Limit::saturating(outside), nearest);
        }
    }

    /// The error says what was given, be it a number or a text, and what is allowed.
    #[test]
    fn error_names_the_range() {
        let error = "many".parse::<Limit>().unwrap_err().to_string();
        assert_eq!(error, r#""many" is no limit (allowed: a whole number from 1 to 1073741823)"#);
    }
}
