//! What a suite that mocks the host may rely on.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::plan::{Bound, Measurement, Source};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{Quantity, Reading, Resource, ResourceProbe};

fn mock() -> MockProbe {
    MockProbe::new(Resource::CPU, Reading::whole(4))
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Whether a change is waiting to be told; telling it if so.
fn changed(probe: &MockProbe) -> bool {
    poll(probe.changed().as_mut()).is_ready()
}

/// Clones share one cell: what is told to one, all measure, and all count.
#[tokio::test]
async fn clones_share_one_cell() {
    let (operator, probe) = (mock(), mock());
    let twin = operator.clone();
    operator.set(Reading::Unlimited);
    assert_eq!(twin.measure().await.unwrap().reading(), Reading::Unlimited);
    assert_eq!(probe.measure().await.unwrap().reading(), Reading::whole(4));
    assert_eq!((operator.measures(), twin.measures(), probe.measures()), (1, 1, 1));
    assert_eq!((twin.resource(), probe.resource()), (Resource::CPU, Resource::CPU));
}

/// Each thing that it can be told is what comes of the next measurement.
#[tokio::test]
async fn does_what_it_is_told() {
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

    // A panic poisons nothing.
    probe.set(Reading::whole(1));
    assert_eq!(probe.measure().await.unwrap().reading(), Reading::whole(1));
    assert_eq!(probe.measures(), 6);
}

/// A measurement that hangs does so under a clock that stands still, and for good.
#[tokio::test(start_paused = true)]
async fn hangs_for_good() {
    let probe = mock();
    probe.hang();
    let mut hanging = pin!(probe.measure());
    assert!(tokio::time::timeout(Duration::from_secs(3600), &mut hanging).await.is_err());
    probe.set(Reading::whole(1));
    assert!(poll(hanging).is_pending());
    assert_eq!(probe.measure().await.unwrap().reading(), Reading::whole(1));
    assert_eq!(probe.measures(), 2);
}

/// A measurement is counted when it is begun, not when its future is made.
#[test]
fn counts_measurements_that_were_begun() {
    let probe = mock();
    drop(probe.measure());
    assert_eq!(probe.measures(), 0);
    assert!(poll(probe.measure().as_mut()).is_ready());
    assert_eq!(probe.measures(), 1);
}

/// Changes are told once and come as one, be it before the wait or during it; at first there are none.
#[test]
fn changes_are_told_once() {
    let probe = mock();
    assert!(!changed(&probe));

    probe.set(Reading::whole(1));
    probe.fail("x");
    assert!(changed(&probe));
    assert!(!changed(&probe));

    let mut waiting = pin!(probe.changed());
    assert!(poll(waiting.as_mut()).is_pending());
    for tell in [
        MockProbe::hang,
        |probe: &MockProbe| probe.panic("y"),
        |probe: &MockProbe| {
            probe.set_measurement(Measurement::default());
        },
    ] {
        tell(&probe);
    }
    assert!(poll(waiting).is_ready());
    assert!(!changed(&probe));
}

/// Every clone is told, so that two governors may share one mocked host; a clone starts where its original stood.
#[test]
fn every_clone_is_told() {
    let first = mock();
    let second = first.clone();
    first.set(Reading::whole(1));
    assert!(changed(&first));
    let (third, fourth) = (first.clone(), second.clone());
    assert!(changed(&second) && !changed(&third) && changed(&fourth));
}

/// A wait that is dropped, even after the change has come, leaves the change to the next.
#[test]
fn dropped_wait_loses_no_change() {
    let probe = mock();
    {
        let mut waiting = probe.changed();
        assert!(poll(waiting.as_mut()).is_pending());
        probe.set(Reading::whole(1));
    }
    assert!(changed(&probe));
}

/// Of two that wait on one clone, one is told.
#[test]
fn one_of_two_waits_is_told() {
    let probe = mock();
    let (mut one, mut other) = (probe.changed(), probe.changed());
    assert!(poll(one.as_mut()).is_pending() && poll(other.as_mut()).is_pending());
    probe.set(Reading::whole(1));
    assert!(poll(other.as_mut()).is_ready());
    assert!(poll(one.as_mut()).is_pending());
    probe.set(Reading::whole(2));
    assert!(poll(one.as_mut()).is_ready());
}

/// Whoever waits, measures and waits again sees the last change, from whichever thread it came.
#[test]
fn last_change_is_seen() {
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

/// It can be shown, which property tests do with what failed.
#[test]
fn shows_what_it_would_answer() {
    let probe = mock();
    probe.fail("x");
    assert_eq!(
        format!("{probe:?}"),
        r#"MockProbe { resource: Resource(cpu), answer: Failed("x"), measures: 0, .. }"#
    );
}
