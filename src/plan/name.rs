//! Names of resources and gates: short, stored inline, `Copy`, and validated when they are created.

use std::fmt;
use std::str::FromStr;

use super::debug_as_display::impl_debug_as_display;

/// Implements parsing and printing for a name. `$kind` is its word in errors.
macro_rules! impl_name {
    ($name:ident, $kind:literal) => {
        impl FromStr for $name {
            type Err = NameError;

            fn from_str(given: &str) -> Result<Self, NameError> {
                InlineName::parse(given, $kind).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
            }
        }
    };
}

/// A resource of which the host has a finite amount.
///
/// The built-in resources are [`CPU`](Self::CPU) (cores), [`FD`](Self::FD) (open file descriptors),
/// [`MEMORY`](Self::MEMORY) (bytes) and [`TASKS`](Self::TASKS) (processes and threads). Declare your own with
/// [`Resource::new`] and measure it with a [`ResourceProbe`](crate::ResourceProbe).
///
/// ```
/// use concurrency_governor::Resource;
///
/// const GPU: Resource = Resource::new("gpu"); // an invalid literal does not compile
/// let from_input: Resource = "gpu".parse()?; // an invalid name is an error
/// assert_eq!(GPU, from_input);
/// # Ok::<(), concurrency_governor::plan::NameError>(())
/// ```
///
/// A name has 1 to 31 bytes: a lower-case letter, then lower-case letters, digits, `_`, `-` or `.`. The words of the
/// formula language are reserved: `whole`, `or`, `per`, `at`, `most`, `reserve`, `floor`, `ceiling`, `gate`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource(InlineName);

impl Resource {
    /// Processor cores that this process may use at once. Fractional under a quota (`1.5`).
    pub const CPU: Self = Self::new("cpu");
    /// File descriptors that this process may have open.
    pub const FD: Self = Self::new("fd");
    /// Bytes of memory that this process may use.
    pub const MEMORY: Self = Self::new("memory");
    /// Processes and threads that may exist at once.
    pub const TASKS: Self = Self::new("tasks");

    /// Creates a resource from a literal name. For computed input use [`str::parse`].
    ///
    /// # Panics
    ///
    /// If `name` is not a valid name. In a `const` that is a compile error.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        Self(InlineName::from_literal(name))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the resource whose reading is the limit that feedback chooses for a gate, such as `feedback.upstream`. Returns `None` if
    /// the name of the gate has more than 22 bytes, since that of the resource would be too long.
    #[must_use]
    pub fn feedback(gate: GateName) -> Option<Self> {
        format!("feedback.{gate}").parse().ok()
    }

    /// Returns `true` for the resource of [`feedback`](Self::feedback): each resource whose name starts with `feedback.`.
    #[must_use]
    pub fn is_feedback(&self) -> bool {
        self.as_str().starts_with("feedback.")
    }

    /// Returns `true` if texts show the resource in bytes: [`MEMORY`](Self::MEMORY), and each resource whose name starts
    /// with `memory.`, such as `memory.available`.
    #[must_use]
    pub fn is_in_bytes(&self) -> bool {
        *self == Self::MEMORY || self.as_str().starts_with("memory.")
    }
}

impl_name!(Resource, "resource");

/// The name of a gate. The rules are those of a [`Resource`]'s name.
///
/// A [`GateSpec`](crate::GateSpec) converts into its name, so a declared gate is its own key.
///
/// ```
/// use concurrency_governor::GateName;
///
/// const UPLOADS: GateName = GateName::new("uploads");
/// assert!("Uploads!".parse::<GateName>().is_err());
/// assert_eq!(UPLOADS.as_str(), "uploads");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GateName(InlineName);

impl GateName {
    /// Creates a gate name from a literal. For computed input use [`str::parse`].
    ///
    /// # Panics
    ///
    /// If `name` is not a valid name. In a `const` that is a compile error.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        Self(InlineName::from_literal(name))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl_name!(GateName, "gate");

/// The name of a [rule](crate::feedback::Rule) of your own, for [`Adaptive::custom`](crate::Adaptive::custom). The syntax is that
/// of a [`Resource`]'s name.
///
/// ```
/// use concurrency_governor::plan::RuleName;
///
/// const TWICE_PEAK: RuleName = RuleName::new("twice-peak");
/// assert_eq!("twice-peak".parse::<RuleName>()?, TWICE_PEAK);
/// # Ok::<(), concurrency_governor::plan::NameError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName(InlineName);

impl RuleName {
    /// Creates the name of a rule from a literal. For computed input use [`str::parse`].
    ///
    /// # Panics
    ///
    /// If `name` is not a valid name. In a `const` that is a compile error.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        Self(InlineName::from_literal(name))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl_name!(RuleName, "rule");

/// The error for a text that is not a name: the given text, the rule that it breaks, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a {kind} name: {reason} (allowed: 1 to {max} of a-z, 0-9, `_`, `-`, `.`, a letter first)",
    reason = fault.reason(),
    max = InlineName::MAX_BYTES
)]
pub struct NameError {
    given: String,
    kind: &'static str,
    fault: NameFault,
}

impl_debug_as_display!(NameError);

/// A valid name, stored inline: formulas and specs are built in `const`, which cannot allocate, and errors carry names
/// by value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct InlineName {
    // Padded with zeros and declared first, so that the derived order is the order of the texts.
    bytes: [u8; InlineName::MAX_BYTES],
    len: u8,
}

impl InlineName {
    /// With its length byte a name fills 32 bytes, half a cache line.
    const MAX_BYTES: usize = 31;

    const fn from_literal(name: &str) -> Self {
        match Self::validate(name.as_bytes()) {
            Ok(name) => name,
            Err(fault) => panic!("{}", fault.reason()),
        }
    }

    fn parse(given: &str, kind: &'static str) -> Result<Self, NameError> {
        Self::validate(given.as_bytes()).map_err(|fault| NameError { given: given.to_owned(), kind, fault })
    }

    #[expect(clippy::cast_possible_truncation, reason = "the length is at most 31")]
    #[expect(clippy::arithmetic_side_effects, reason = "each index stays below a length")]
    const fn validate(given: &[u8]) -> Result<Self, NameFault> {
        if given.is_empty() {
            return Err(NameFault::Empty);
        }
        if given.len() > Self::MAX_BYTES {
            return Err(NameFault::TooLong);
        }
        if !given[0].is_ascii_lowercase() {
            return Err(NameFault::FirstCharacter);
        }
        let mut bytes = [0; Self::MAX_BYTES];
        let mut index = 0;
        while index < given.len() {
            if !matches!(given[index], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.') {
                return Err(NameFault::Character);
            }
            bytes[index] = given[index];
            index += 1;
        }
        let mut word = 0;
        while word < RESERVED_WORDS.len() {
            if bytes_equal(given, RESERVED_WORDS[word].as_bytes()) {
                return Err(NameFault::Reserved);
            }
            word += 1;
        }
        Ok(Self { bytes, len: given.len() as u8 })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("a validated name is ASCII")
    }
}

/// The rule of names that a text breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameFault {
    Empty,
    TooLong,
    FirstCharacter,
    Character,
    Reserved,
}

impl NameFault {
    const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "a name cannot be empty",
            Self::TooLong => "a name has at most 31 bytes",
            Self::FirstCharacter => "a name starts with a lower-case letter",
            Self::Character => "a name has only lower-case letters, digits, `_`, `-` and `.`",
            Self::Reserved => "this word is reserved by the formula language",
        }
    }
}

/// The words of the formula language. As names they would make a formula's text ambiguous.
const RESERVED_WORDS: [&str; 9] = ["whole", "or", "per", "at", "most", "reserve", "floor", "ceiling", "gate"];

/// Compares two slices, since `==` on slices is not `const`.
#[expect(clippy::arithmetic_side_effects, reason = "the index stays below the length")]
const fn bytes_equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name keeps its text, up to the greatest length.
    #[test]
    fn name_keeps_up_to_31_bytes() {
        let longest = "a".repeat(InlineName::MAX_BYTES);
        assert_eq!(longest.parse::<GateName>().unwrap().as_str(), longest);
        assert!("a".repeat(InlineName::MAX_BYTES + 1).parse::<GateName>().is_err());
    }

    /// A text that breaks a rule of the grammar is rejected, and the error quotes it.
    #[test]
    fn text_that_breaks_a_rule_is_rejected() {
        for given in ["", "Io", "1io", "-io", "i o", "i/o", "ïo", "io\0", "whole", "gate", "ceiling"] {
            let error = given.parse::<Resource>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{given:?} is not a resource name: ")), "{error}");
            assert!(error.contains("allowed"), "{error}");
        }
    }

    /// Names are ordered as their texts are, so that maps keyed by name list alphabetically.
    #[test]
    fn names_are_ordered_as_their_texts() {
        let mut names = ["b", "ab", "a", "a.b", "aa", "a-b"].map(GateName::new);
        names.sort_unstable();
        assert!(names.is_sorted_by_key(|name| name.as_str().to_owned()));
    }
}
