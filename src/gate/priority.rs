//! The priority of a request.

use std::fmt;
use std::iter;
use std::str::FromStr;

use crate::plan::debug_as_display::impl_debug_as_display;

/// How important a request is, compared with others that wait at a gate that is not [standalone](crate::gate); for
/// [`Request::priority`](super::Request::priority). The priorities follow those of Google's book on site reliability engineering.
///
/// A request of a higher priority is admitted first. To prevent starvation, after 16 admissions of higher priorities one waiting request of
/// each lower priority is admitted. If a queue is full, a request takes the place of one with a lower priority of the same key, unless
/// another key has a longer queue. Then the longest queue loses a request of its lowest priority.
///
/// ```
/// use concurrency_governor::gate::Priority;
///
/// assert!(Priority::Critical > Priority::Normal && Priority::Normal > Priority::Batch);
/// assert_eq!(Priority::default(), Priority::Normal);
/// // As a text, such as that of a header:
/// assert_eq!("batch".parse(), Ok(Priority::Batch));
/// assert_eq!(Priority::Batch.to_string(), "batch");
/// ```
// A closed enum: it names every level, and code may match on all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)] // the default is 0, so that a new request is written by fewer instructions: benchmark row `await`
pub enum Priority {
    /// Work that may be delayed for long, such as a nightly job.
    Batch = -2,
    /// Work that may fail under load, and is retried later.
    Sheddable = -1,
    /// Work on behalf of a user. The default.
    #[default]
    Normal = 0,
    /// Work whose delay users notice most.
    Critical = 1,
}

impl Priority {
    /// Every priority, the lowest first. Each is at its own index.
    pub(super) const ALL: [Self; PRIORITIES] = [Self::Batch, Self::Sheddable, Self::Normal, Self::Critical];

    #[inline]
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Batch => 0,
            Self::Sheddable => 1,
            Self::Normal => 2,
            Self::Critical => 3,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Sheddable => "sheddable",
            Self::Normal => "normal",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Parses the name, in lower case.
impl FromStr for Priority {
    type Err = InvalidPriority;

    fn from_str(given: &str) -> Result<Self, InvalidPriority> {
        let found = Self::ALL.into_iter().find(|priority| priority.name() == given);
        found.ok_or_else(|| InvalidPriority { given: given.to_owned() })
    }
}

/// The error for a text that is not a priority.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a priority (allowed: critical, normal, sheddable and batch)")]
pub struct InvalidPriority {
    given: String,
}

impl_debug_as_display!(InvalidPriority);

/// The number of priorities.
pub(super) const PRIORITIES: usize = 4;

/// A set of priorities, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PrioritySet(u8);

impl PrioritySet {
    pub(super) const EMPTY: Self = Self(0);
    pub(super) const NORMAL: Self = Self::of(Priority::Normal);

    #[inline]
    pub(super) const fn of(priority: Priority) -> Self {
        Self(1 << priority.index())
    }

    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) const fn contains(self, priority: Priority) -> bool {
        self.0 & Self::of(priority).0 != 0
    }

    #[inline]
    pub(super) const fn with(self, priority: Priority) -> Self {
        Self(self.0 | Self::of(priority).0)
    }

    #[inline]
    pub(super) const fn without(self, priority: Priority) -> Self {
        Self(self.0 & !Self::of(priority).0)
    }

    /// Returns the priorities of this set that are lower than `priority`.
    #[inline]
    pub(super) const fn below(self, priority: Priority) -> Self {
        Self(self.0 & Self::of(priority).0.wrapping_sub(1))
    }

    /// Returns the priorities that are in both sets.
    #[inline]
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the priorities that are in at least one of the sets.
    #[inline]
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the priorities of this set that are not in the other.
    #[inline]
    pub(super) const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the highest priority of the set.
    #[inline]
    pub(super) fn highest(self) -> Option<Priority> {
        HIGHEST[usize::from(self.0) % SETS]
    }

    /// Returns the lowest priority of the set.
    #[inline]
    pub(super) fn lowest(self) -> Option<Priority> {
        Priority::ALL.get(self.0.trailing_zeros() as usize).copied()
    }

    /// Returns the priorities of the set, the highest first.
    #[inline]
    pub(super) fn iter(mut self) -> impl Iterator<Item = Priority> {
        iter::from_fn(move || {
            let highest = self.highest()?;
            self = self.without(highest);
            Some(highest)
        })
    }
}

/// The number of sets.
const SETS: usize = 1 << PRIORITIES;

/// The highest priority of each set, as a table instead of a computation: benchmark row `key-cycle`.
static HIGHEST: [Option<Priority>; SETS] = {
    let mut highest = [None; SETS];
    let (mut set, mut priority) = (0, 0);
    while set < SETS {
        while priority < PRIORITIES {
            if set >> priority == 1 {
                highest[set] = Some(Priority::ALL[priority]);
            }
            priority += 1;
        }
        (set, priority) = (set + 1, 0);
    }
    highest
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The highest priority of each set is the one that a search finds.
    #[test]
    fn the_highest_of_each_set() {
        for set in 0..SETS {
            let set = PrioritySet(u8::try_from(set).unwrap());
            let found = Priority::ALL.into_iter().rev().find(|priority| set.contains(*priority));
            assert_eq!(set.highest(), found, "{set:?}");
        }
    }

    /// Each priority prints as its name, in a column too, and parses back. The error has what was given, and what is allowed.
    #[test]
    fn priorities_parse_as_they_print() {
        for priority in Priority::ALL {
            assert_eq!(priority.to_string().parse(), Ok(priority));
        }
        assert_eq!(format!("{:<7}|", Priority::Batch), "batch  |");
        let error = "Critical".parse::<Priority>().unwrap_err();
        let text = r#""Critical" is not a priority (allowed: critical, normal, sheddable and batch)"#;
        assert_eq!(error.to_string(), text);
    }

    /// Every set answers as a list of its members does.
    #[test]
    fn sets_answer_as_lists() {
        for bits in 0_u8..16 {
            let set = PrioritySet(bits);
            let members: Vec<Priority> = set.iter().collect();
            assert!(members.is_sorted_by(|a, b| a > b) && members.len() == bits.count_ones() as usize);
            assert_eq!((set.highest(), set.lowest()), (members.first().copied(), members.last().copied()));
            for priority in Priority::ALL {
                assert_eq!(Priority::ALL[priority.index()], priority);
                assert_eq!(set.contains(priority), members.contains(&priority));
                let below: Vec<Priority> = set.below(priority).iter().collect();
                assert_eq!(
                    below,
                    members.iter().copied().filter(|member| *member < priority).collect::<Vec<_>>()
                );
            }
        }
    }
}
