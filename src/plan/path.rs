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
    parents: Vec<GateName>,
    gate: GateName,
}

impl GatePath {
    /// Returns the gate at the end of the path.
    #[must_use]
    pub fn gate(&self) -> GateName {
        self.gate
    }

    /// Returns the gates that the gate is within, from the root down. Empty for a root, and for a name alone.
    #[must_use]
    pub fn parents(&self) -> &[GateName] {
        &self.parents
    }

    /// Returns the names of the path, from the root down to the gate.
    #[must_use]
    pub fn names(&self) -> impl DoubleEndedIterator<Item = GateName> {
        self.parents.iter().copied().chain([self.gate])
    }

    pub(super) fn new(parents: Vec<GateName>, gate: GateName) -> Self {
        Self { parents, gate }
    }
}

/// The path of one name: a root, or a gate without its parents.
impl From<GateName> for GatePath {
    fn from(gate: GateName) -> Self {
        Self { parents: Vec::new(), gate }
    }
}

impl FromStr for GatePath {
    type Err = PathError;

    fn from_str(given: &str) -> Result<Self, PathError> {
        let Some((parents, gate)) = given.rsplit_once('/') else {
            return given.parse::<GateName>().map(Self::from).map_err(PathError::Name);
        };
        let parse =
            |name: &str| name.parse().map_err(|error| PathError::InPath { given: given.to_owned(), error });
        Ok(Self { parents: parents.split('/').map(parse).collect::<Result<_, _>>()?, gate: parse(gate)? })
    }
}

impl fmt::Display for GatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parents.is_empty() {
            return self.gate.fmt(f);
        }
        let names: Vec<String> = self.names().map(|name| name.to_string()).collect();
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
