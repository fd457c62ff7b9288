//! What holds on every system: the probes of this host, the trait, fixed probes and errors.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{self, Cpu, Fixed, Memory, OpenFiles, ProbeError, Tasks, async_trait};
use concurrency_governor::{Quantity, Reading, Resource, ResourceProbe};

use crate::support::poll_once;

/// Every probe of `probe::host` measures this host, and `measure` returns what `read` returns.
#[tokio::test]
async fn every_probe_measures_this_host() {
    let probes = probe::host();
    let resources: Vec<Resource> = probes.iter().map(ResourceProbe::resource).collect();
    assert_eq!(resources, [Resource::CPU, Resource::FD, Resource::MEMORY, Resource::TASKS]);
    let read = [Cpu::new().read(), OpenFiles::new().read(), Memory::new().read(), Tasks::new().read()];
    for (probe, read) in probes.iter().zip(read) {
        let measured = probe.measure().await.unwrap();
        assert_eq!(measured, read.unwrap());
        assert_eq!(measured.staleness(), None);
        assert!(!measured.sources().is_empty() || !cfg!(target_os = "linux"), "{measured:?}");
    }
}

/// Outside of a runtime, `changed` waits and does not panic.
#[test]
fn changed_waits_outside_of_a_runtime() {
    for probe in probe::host() {
        assert_eq!(poll_once(probe.changed()), Poll::Pending);
    }
}

/// The source of a fixed reading is named `fixed`.
#[tokio::test]
async fn a_fixed_probe_names_its_source() {
    let probe = Fixed::new(Resource::MEMORY, "512Mi".parse::<Quantity>().unwrap());
    let measured = probe.measure().await.unwrap();
    assert_eq!((measured.reading(), measured.bound()), (Reading::whole(512 << 20), Bound::Exact));
    assert_eq!(measured.sources()[0].to_string(), "fixed: 512Mi");
    assert_eq!(Fixed::new(Resource::FD, Reading::Unlimited).read().reading(), Reading::Unlimited);
}

/// A probe behind `Box` or `Arc` is a probe, and forwards every method, `changed` included.
#[tokio::test]
async fn boxed_and_shared_probes_forward_every_method() {
    /// Has a change at every call.
    struct AlwaysChanged;

    #[async_trait]
    impl ResourceProbe for AlwaysChanged {
        fn resource(&self) -> Resource {
            Resource::TASKS
        }

        async fn measure(&self) -> Result<Measurement, ProbeError> {
            Err(ProbeError::new(Resource::TASKS, "always changed"))
        }

        async fn changed(&self) {}
    }

    fn boxed(probe: impl ResourceProbe + 'static) -> Box<dyn ResourceProbe> {
        Box::new(probe)
    }
    let shared: Arc<dyn ResourceProbe> = Arc::new(AlwaysChanged);
    for probe in [boxed(AlwaysChanged), boxed(Box::new(AlwaysChanged)), boxed(shared)] {
        assert_eq!(probe.resource(), Resource::TASKS);
        assert_eq!(probe.measure().await.unwrap_err().to_string(), "cannot measure tasks: always changed");
        probe.changed().await;
    }
}

/// An error names the resource and the path. Its cause is its `source`, and `{:#}` prints the whole chain.
#[test]
fn errors_name_resource_path_and_cause() {
    let cause = io::Error::other("the disk is asleep");
    let error = ProbeError::io(Resource::FD, "/proc/self/limits", cause);
    assert_eq!(error.resource(), Resource::FD);
    assert_eq!(error.source().unwrap().to_string(), "the disk is asleep");
    assert_eq!(error.to_string(), "cannot measure fd: cannot read /proc/self/limits");
    let outer = ProbeError::new(Resource::CPU, "the other probe failed").caused_by(error.clone());
    assert_eq!(
        format!("{outer:#}"),
        "cannot measure cpu: the other probe failed: cannot measure fd: cannot read /proc/self/limits: \
         the disk is asleep"
    );
    assert!(ProbeError::new(Resource::CPU, "no cause").source().is_none());
}
