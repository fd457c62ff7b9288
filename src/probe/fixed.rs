//! A reading that does not come from the host.

use super::{ProbeError, ResourceProbe, async_trait};
use crate::plan::{Measurement, Reading, Resource, Source};

/// Gives always the same reading: for tests, and for operators who know better than the host.
///
/// The measurement's source says that it is fixed.
///
/// ```
/// use concurrency_governor::probe::Fixed;
/// use concurrency_governor::{Reading, Resource};
///
/// let cores = Fixed::new(Resource::CPU, Reading::whole(4));
/// assert_eq!(cores.read().reading(), Reading::whole(4));
/// assert_eq!(cores.read().sources()[0].to_string(), "fixed: 4");
/// ```
#[derive(Clone, Debug)]
pub struct Fixed {
    resource: Resource,
    reading: Reading,
}

impl Fixed {
    /// A probe of `resource` that always reads `reading`, in the resource's unit.
    #[must_use]
    pub fn new(resource: Resource, reading: impl Into<Reading>) -> Self {
        Self { resource, reading: reading.into() }
    }

    /// The reading, as an exact measurement.
    pub fn read(&self) -> Measurement {
        Measurement::new(self.reading).source(Source::new("fixed", self.reading.to_string()))
    }
}

#[async_trait]
impl ResourceProbe for Fixed {
    fn resource(&self) -> Resource {
        self.resource
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        Ok(self.read())
    }
}
