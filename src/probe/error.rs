//! The error of a failed measurement.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::plan::Resource;
use crate::plan::debug_as_display::impl_debug_with_causes;

/// The error of a failed measurement: the resource, a message, and the cause as [`source`](Error::source).
///
/// `{}` prints the error without its cause, for reporters that walk the sources. `{:#}` also prints the causes, on
/// the same line.
///
/// ```
/// use concurrency_governor::Resource;
/// use concurrency_governor::probe::ProbeError;
///
/// let error = ProbeError::io(Resource::MEMORY, "/proc/meminfo", std::io::ErrorKind::PermissionDenied.into());
/// assert_eq!(error.to_string(), "cannot measure memory: cannot read /proc/meminfo");
/// assert_eq!(format!("{error:#}"), "cannot measure memory: cannot read /proc/meminfo: permission denied");
/// ```
#[derive(Clone, thiserror::Error)]
pub struct ProbeError {
    resource: Resource,
    message: String,
    // Shared, so that the error can be cloned into the resolution, an event and a log.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ProbeError {
    /// Creates an error of a measurement of `resource`. The message is lower case and has no full stop.
    #[must_use]
    pub fn new(resource: Resource, message: impl Into<String>) -> Self {
        Self { resource, message: message.into(), source: None }
    }

    /// Creates an error for a file that could not be read, or for a system call that failed, named in place of the
    /// path.
    #[must_use]
    pub fn io(resource: Resource, path: impl AsRef<Path>, error: io::Error) -> Self {
        Self::new(resource, format!("cannot read {}", path.as_ref().display())).caused_by(error)
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into().into());
        self
    }

    /// Returns the resource whose measurement failed.
    #[must_use]
    pub fn resource(&self) -> Resource {
        self.resource
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot measure {}: {}", self.resource, self.message)?;
        if !f.alternate() {
            return Ok(());
        }
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl_debug_with_causes!(ProbeError);
