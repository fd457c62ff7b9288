//! A probe with a fixed reading.

use async_trait::async_trait;

use super::error::ProbeError;
use super::resource_probe::ResourceProbe;
use crate::plan::{Measurement, Reading, Resource, Source};

/// Returns the same reading each time: for tests, and for operators who set a resource by hand.
///
/// It reads nothing, and works on all systems. The unit is that of the resource. The bound is `Exact`, and the source
/// of the measurement is `fixed`.
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
    /// Creates a probe of `resource` that always returns `reading`, in the resource's unit.
    #[must_use]
    pub fn new(resource: Resource, reading: impl Into<Reading>) -> Self {
        Self { resource, reading: reading.into() }
    }

    /// Returns the reading as an exact measurement.
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
