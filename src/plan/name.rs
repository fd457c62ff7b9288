//! Names of resources and gates: short, inline, `Copy`, and checked when they are made.

use std::fmt;
use std::str::FromStr;

/// Something the host has a finite amount of.
///
/// The built-in ones are [`CPU`](Self::CPU) (cores), [`FD`](Self::FD) (open file descriptors),
/// [`MEMORY`](Self::MEMORY) (bytes) and [`TASKS`](Self::TASKS) (processes and threads). Declare one of your own with
/// [`Resource::new`] and measure it with a [`ResourceProbe`](crate::ResourceProbe).
///
/// ```
/// use concurrency_governor::Resource;
///
/// const GPU: Resource = Resource::new("gpu"); // a bad literal does not compile
/// let from_input: Resource = "gpu".parse()?; // a bad name is an error
/// assert_eq!(GPU, from_input);
/// # Ok::<(), concurrency_governor::plan::NameError>(())
/// ```
///
/// A name is 1 to 31 bytes: a lower-case letter, then lower-case letters, digits, `_`, `-` or `.`; the words of the
/// formula language (`whole`, `or`, `per`, `at`, `most`, `reserve`, `floor`, `ceiling`, `gate`) are taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource(Name);

impl Resource {
    /// Processor cores this process may run on at once, fractional under a quota (`1.5`).
    pub const CPU: Self = Self::new("cpu");
    /// File descriptors this process may have open.
    pub const FD: Self = Self::new("fd");
    /// Bytes of memory this process may use.
    pub const MEMORY: Self = Self::new("memory");
    /// Processes and threads that may exist.
    pub const TASKS: Self = Self::new("tasks");

    /// Names a resource by a literal. For computed input use [`str::parse`].
    ///
    /// # Panics
    ///
    /// If `name` is no valid name; in a `const` that is a compile error.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        Self(Name::literal(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Resource {
    type Err = NameError;

    fn from_str(given: &str) -> Result<Self, NameError> {
        Name::parse(given, "resource").map(Self)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({})", self.as_str())
    }
}

/// The name of a gate, under the same rules as a [`Resource`]'s.
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
pub struct GateName(Name);

impl GateName {
    /// Names a gate by a literal. For computed input use [`str::parse`].
    ///
    /// # Panics
    ///
    /// If `name` is no valid name; in a `const` that is a compile error.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        Self(Name::literal(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for GateName {
    type Err = NameError;

    fn from_str(given: &str) -> Result<Self, NameError> {
        Name::parse(given, "gate").map(Self)
    }
}

impl fmt::Display for GateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for GateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GateName({})", self.as_str())
    }
}

/// A text that is no name, with what was given and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is no {kind} name: {reason} (allowed: 1 to {max} of a-z, 0-9, `_`, `-`, `.`, a letter first)",
    reason = fault.reason(),
    max = Name::MAX_BYTES
)]
pub struct NameError {
    given: String,
    kind: &'static str,
    fault: Fault,
}

/// The name itself, inline: formulas and specs are built in `const`, where nothing can be allocated, and errors carry
/// names by value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Name {
    // Zero-padded and first, so that the derived order is the order of the texts.
    bytes: [u8; Name::MAX_BYTES],
    len: u8,
}

impl Name {
    /// With its length byte a name fills 32 bytes, half a cache line.
    const MAX_BYTES: usize = 31;

    const fn literal(name: &str) -> Self {
        match Self::check(name.as_bytes()) {
            Ok(name) => name,
            Err(fault) => panic!("{}", fault.reason()),
        }
    }

    fn parse(given: &str, kind: &'static str) -> Result<Self, NameError> {
        Self::check(given.as_bytes()).map_err(|fault| NameError { given: given.to_owned(), kind, fault })
    }

    #[expect(clippy::cast_possible_truncation, reason = "the length is at most 31")]
    #[expect(clippy::arithmetic_side_effects, reason = "the index stays below the length")]
    const fn check(given: &[u8]) -> Result<Self, Fault> {
        if given.is_empty() {
            return Err(Fault::Empty);
        }
        if given.len() > Self::MAX_BYTES {
            return Err(Fault::TooLong);
        }
        if !given[0].is_ascii_lowercase() {
            return Err(Fault::First);
        }
        let mut bytes = [0; Self::MAX_BYTES];
        let mut at = 0;
        while at < given.len() {
            if !matches!(given[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.') {
                return Err(Fault::Character);
            }
            bytes[at] = given[at];
            at += 1;
        }
        let mut word = 0;
        while word < RESERVED.len() {
            if same(given, RESERVED[word].as_bytes()) {
                return Err(Fault::Reserved);
            }
            word += 1;
        }
        Ok(Self { bytes, len: given.len() as u8 })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("a checked name is ASCII")
    }
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Empty,
    TooLong,
    First,
    Character,
    Reserved,
}

impl Fault {
    const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "a name cannot be empty",
            Self::TooLong => "a name has at most 31 bytes",
            Self::First => "a name starts with a lower-case letter",
            Self::Character => "a name has no such character",
            Self::Reserved => "that word belongs to the formula language",
        }
    }
}

/// The words of the formula language: as names they would make its text ambiguous.
const RESERVED: [&str; 9] = ["whole", "or", "per", "at", "most", "reserve", "floor", "ceiling", "gate"];

/// Slice equality, which `const` evaluation does not offer.
#[expect(clippy::arithmetic_side_effects, reason = "the index stays below the length")]
const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name holds what it was made from, up to the last byte allowed.
    #[test]
    fn longest_name_survives() {
        let longest = "a".repeat(Name::MAX_BYTES);
        assert_eq!(longest.parse::<GateName>().unwrap().as_str(), longest);
        assert!("a".repeat(Name::MAX_BYTES + 1).parse::<GateName>().is_err());
    }

    /// Each rule of the grammar refuses, and says what was given.
    #[test]
    fn each_rule_refuses() {
        for given in ["", "Io", "1io", "-io", "i o", "i/o", "ïo", "io\0", "whole", "gate", "ceiling"] {
            let error = given.parse::<Resource>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{given:?} is no resource name: ")), "{error}");
            assert!(error.contains("allowed"), "{error}");
        }
    }

    /// Names order as their texts do, so that maps keyed by names list alphabetically.
    #[test]
    fn order_is_the_order_of_the_texts() {
        let mut names = ["b", "ab", "a", "a.b", "aa", "a-b"].map(GateName::new);
        names.sort_unstable();
        assert!(names.is_sorted_by_key(|name| name.as_str().to_owned()));
    }
}
