//! The path of a gate: the names of the gates that it is within, and its own.

use std::fmt;
use std::str::FromStr;

use super::debug_as_display::impl_debug_as_display;
use super::name::{GateName, NameError};

/// The path of a gate: the names from its root down to the gate itself, such as `io/messages`.
///
/// The names of a plan's gates are unique, so a name alone identifies a gate. A setting of an operator may give either the
/// name or the path from the root; a path is checked against the plan. [`Plan::path`](crate::Plan::path) returns the path of
/// a declared gate.
///
/// ```
/// use concurrency_governor::{GateName, plan::GatePath};
///
/// let path: GatePath = "io/messages".parse()?;
/// assert_eq!(path.gate(), GateName::new("messages"));
/// assert_eq!(path.parents(), [GateName::new("io")]);
/// assert_eq!("messages".parse::<GatePath>()?, GatePath::from(path.gate()));
/// # Ok::<(), concurrency_governor::plan::PathError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GatePath {
    /// The names from the root down, at least one. Boxed, since errors carry paths by value.
    names: Box<[GateName]>,
}

impl GatePath {
    /// Returns the gate at the end of the path.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "every constructor gives a path at least one name")]
    pub fn gate(&self) -> GateName {
        *self.names.last().expect("a path has at least one name")
    }

    /// Returns the gates that the gate is within, from the root down. Empty for a root, and for a name alone.
    #[must_use]
    pub fn parents(&self) -> &[GateName] {
        self.names.split_last().map_or(&[], |(_, parents)| parents)
    }

    /// Returns the names of the path, from the root down to the gate.
    #[must_use]
    pub fn names(&self) -> &[GateName] {
        &self.names
    }

    /// Returns `true` if `given` names the gate of this path: by its name alone, or by this path.
    pub(crate) fn is_named_by(&self, given: &Self) -> bool {
        given == self || (given.parents().is_empty() && given.gate() == self.gate())
    }

    /// Returns what an operator may give for the gate, for errors.
    pub(crate) fn accepted(&self) -> String {
        if self.parents().is_empty() { format!("`{self}`") } else { format!("`{}` or `{self}`", self.gate()) }
    }

    /// Creates the path of a gate from the names above it, the nearest one first.
    pub(super) fn of_ancestors(gate: GateName, ancestors: &[GateName]) -> Self {
        Self { names: ancestors.iter().rev().copied().chain([gate]).collect() }
    }
}

/// The path of one name: a root, or a gate without its parents.
impl From<GateName> for GatePath {
    fn from(gate: GateName) -> Self {
        Self { names: Box::new([gate]) }
    }
}

impl FromStr for GatePath {
    type Err = PathError;

    fn from_str(given: &str) -> Result<Self, PathError> {
        if !given.contains('/') {
            return given.parse::<GateName>().map(Self::from).map_err(PathError::Name);
        }
        let in_path = |error| PathError::InPath { given: given.to_owned(), error };
        let names: Result<_, NameError> = given.split('/').map(str::parse).collect(); // `split` returns at least one text
        names.map(|names| Self { names }).map_err(in_path)
    }
}

impl fmt::Display for GatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names.iter().map(GateName::as_str).collect();
        f.pad(&names.join("/"))
    }
}

impl fmt::Debug for GatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatePath({self})")
    }
}

/// The error for a text that is not the path of a gate.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The text is one name, and the name is invalid.
    #[error(transparent)]
    Name(NameError),
    /// A name of the path is invalid.
    #[error("{given:?} is not the path of a gate: {error}")]
    InPath {
        /// The whole text.
        given: String,
        /// The error of the first invalid name.
        error: NameError,
    },
}

impl_debug_as_display!(PathError);
