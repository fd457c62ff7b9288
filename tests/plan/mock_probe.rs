//! The promises of `MockProbe` to the test suites that use it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::plan::{Bound, Measurement, Source};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{Quantity, Reading, Resource, ResourceProbe};

/// Clones share the outcome and the count of measurements. Other probes have their own.
#[tokio::test]
async fn clones_share_outcome_and_count() {
    let (original, other) = (mock(), mock());
    let clone = original.clone();
    original.set(Reading::Unlimited);
    assert_eq!(clone.measure().await.unwrap().reading(), Reading::Unlimited);
    assert_eq!(other.measure().await.unwrap().reading(), Reading::whole(4));
    assert_eq!((original.measures(), clone.measures(), other.measures()), (1, 1, 1));
    assert_eq!((clone.resource(), other.resource()), (Resource::CPU, Resource::CPU));
}

/// Each outcome that can be set is the outcome of the next measurement. A panic does not poison the probe.
#[tokio::test]
async fn measurement_has_the_outcome_that_was_set() {
    let probe = mock();
    let measured = probe.measure().await.unwrap();
    assert_eq!((measured.reading(), measured.bound()), (Reading::whole(4), Bound::Exact));
    assert_eq!(measured.sources()[0].to_string(), "mock: 4");

    probe.set("1.5".parse::<Quantity>().unwrap());
    assert_eq!(probe.measure().await.unwrap().reading().to_string(), "1.5");

    let odd =
        Measurement::new(Reading::Unknown).at_most().source(Source::new("x", "y")).note("z").stale("old");
    probe.set_measurement(odd.clone());
    assert_eq!(probe.measure().await.unwrap(), odd);

    probe.fail("no such host");
    assert_eq!(probe.measure().await.unwrap_err().to_string(), "cannot measure cpu: no such host");

    probe.panic("out of cores");
    let panicking = probe.clone();
    let panic = tokio::spawn(async move { panicking.measure().await }).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "out of cores");

    probe.set(Reading::whole(1));
    assert_eq!(probe.measure().await.unwrap().reading(), Reading::whole(1));
    assert_eq!(probe.measures(), 6);
}

/// A measurement that hangs does not use the clock, and never returns.
#[tokio::test(start_paused = true)]
async fn hanging_measurement_never_returns() {
    let probe = mock();
    probe.hang();
    let mut hanging = pin!(probe.measure());
    assert!(tokio::time::timeout(Duration::from_secs(3600), &mut hanging).await.is_err());
    probe.set(Reading::whole(1));
    assert!(poll(hanging).is_pending());
    assert_eq!(probe.measure().await.unwrap().reading(), Reading::whole(1));
    assert_eq!(probe.measures(), 2);
}

/// A measurement is counted when it is first polled, not when its future is created.
#[test]
fn measurement_counts_once_it_is_polled() {
    let probe = mock();
    drop(probe.measure());
    assert_eq!(probe.measures(), 0);
    assert!(poll(probe.measure().as_mut()).is_ready());
    assert_eq!(probe.measures(), 1);
}

/// Several changes are reported once, together, if they come before the call or while it waits. A new probe has no
/// change to report.
#[test]
fn changes_are_reported_once() {
    let probe = mock();
    assert!(!changed(&probe));

    probe.set(Reading::whole(1));
    probe.fail("x");
    assert!(changed(&probe));
    assert!(!changed(&probe));

    let mut waiting = pin!(probe.changed());
    assert!(poll(waiting.as_mut()).is_pending());
    for change in [
        MockProbe::hang,
        |probe: &MockProbe| probe.panic("y"),
        |probe: &MockProbe| {
            probe.set_measurement(Measurement::default());
        },
    ] {
        change(&probe);
    }
    assert!(poll(waiting).is_ready());
    assert!(!changed(&probe));
}

/// Each clone reports a change, so that two governors can share one mocked host. A new clone has reported what its
/// original has.
#[test]
fn each_clone_reports_a_change() {
    let first = mock();
    let second = first.clone();
    first.set(Reading::whole(1));
    assert!(changed(&first));
    let (third, fourth) = (first.clone(), second.clone());
    assert!(changed(&second) && !changed(&third) && changed(&fourth));
}

/// A call that is dropped after the change leaves the change to the next call.
#[test]
fn dropped_call_loses_no_change() {
    let probe = mock();
    {
        let mut waiting = probe.changed();
        assert!(poll(waiting.as_mut()).is_pending());
        probe.set(Reading::whole(1));
    }
    assert!(changed(&probe));
}

/// If two calls wait on the same clone, one of them reports the change.
#[test]
fn one_of_two_calls_reports_a_change() {
    let probe = mock();
    let (mut one, mut other) = (probe.changed(), probe.changed());
    assert!(poll(one.as_mut()).is_pending() && poll(other.as_mut()).is_pending());
    probe.set(Reading::whole(1));
    assert!(poll(other.as_mut()).is_ready());
    assert!(poll(one.as_mut()).is_pending());
    probe.set(Reading::whole(2));
    assert!(poll(one.as_mut()).is_ready());
}

/// A loop that waits and measures reaches the last change, which another thread made.
#[test]
fn last_change_of_another_thread_is_measured() {
    const CHANGES: u64 = 2000;

    let operator = mock();
    let probe = operator.clone();
    let watcher = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            while probe.measure().await.unwrap().reading() != Reading::whole(CHANGES) {
                probe.changed().await;
            }
        });
    });
    for change in 5..=CHANGES {
        operator.set(Reading::whole(change));
    }
    watcher.join().unwrap();
    assert!(operator.measures() <= CHANGES);
}

/// `Debug` shows the outcome, which property tests print with a failed case.
#[test]
fn debug_output_shows_the_outcome() {
    let probe = mock();
    probe.fail("x");
    assert_eq!(
        format!("{probe:?}"),
        r#"MockProbe { resource: Resource(cpu), outcome: Failed("x"), measures: 0, .. }"#
    );
}

fn mock() -> MockProbe {
    MockProbe::new(Resource::CPU, Reading::whole(4))
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns whether the probe has a change to report, and reports it.
fn changed(probe: &MockProbe) -> bool {
    poll(probe.changed().as_mut()).is_ready()
}
