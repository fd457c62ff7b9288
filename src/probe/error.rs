//! The error of a measurement that did not come about.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::plan::Resource;

/// A measurement that failed: which resource, what went wrong, and the cause as [`source`](Error::source).
///
/// It prints without its cause, as errors do whose reporter walks the sources; `{:#}` prints the causes too, on one
/// line.
///
/// ```
/// use concurrency_governor::Resource;
/// use concurrency_governor::probe::ProbeError;
///
/// let error = ProbeError::io(Resource::MEMORY, "/proc/meminfo", std::io::ErrorKind::PermissionDenied.into());
/// assert_eq!(error.to_string(), "cannot measure memory: cannot read /proc/meminfo");
/// assert_eq!(format!("{error:#}"), "cannot measure memory: cannot read /proc/meminfo: permission denied");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
pub struct ProbeError {
    resource: Resource,
    message: String,
    // Shared, so that one failure can stand in the resolution, in an event and in a log.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ProbeError {
    /// The measurement of `resource` failed for the reason `message`: lower case, no full stop.
    #[must_use]
    pub fn new(resource: Resource, message: impl Into<String>) -> Self {
        Self { resource, message: message.into(), source: None }
    }

    /// The measurement of `resource` failed because a file could not be read, or a system call of this name failed.
    #[must_use]
    pub fn io(resource: Resource, path: impl AsRef<Path>, error: io::Error) -> Self {
        Self::new(resource, format!("cannot read {}", path.as_ref().display())).caused_by(error)
    }

    /// The same with its cause.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into().into());
        self
    }

    /// The resource that was to be measured.
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
