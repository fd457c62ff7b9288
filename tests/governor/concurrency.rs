//! Foreign code that is called by the governor, and changes from several threads.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use concurrency_governor::{Limit, OverrideLayer, Overrides};

use super::*;

/// An observer that panics affects neither the refresh nor the observers after it.
#[tokio::test]
async fn a_panicking_observer_is_harmless() {
    let (probe, log) = (cpu(4), EventLog::default());
    let builder = Governor::builder().gate(IO).gate(CACHE).probe(probe.clone());
    let builder = builder.observer(|_: &Event| panic!("observed too much")).observer(log.observer());
    let governor = builder.build().await.unwrap();
    probe.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 64);
    assert_eq!(log.take().len(), 3);
}

/// Wakers run while no lock of the governor is held, so a waker may change the overrides.
#[tokio::test]
async fn a_waker_may_change_the_overrides() {
    struct OverridingWaker(Governor);

    impl Wake for OverridingWaker {
        fn wake(self: Arc<Self>) {
            self.0.set_overrides(Overrides::new().then(OverrideLayer::new("waker").set(IO, 7))).unwrap();
        }
    }

    let (probe, log) = (cpu(1), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let gate = governor.gate(IO).unwrap();
    let held = gate.try_acquire_many(64).unwrap();
    let mut waiter = pin!(gate.acquire());
    let waker = Waker::from(Arc::new(OverridingWaker(governor.clone())));
    assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 7);
    assert!(matches!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
    drop(held);
    assert_eq!(
        governor.subscribe().borrow().limit(IO).unwrap(),
        Limit::new(7),
        "the later change is the one that subscribers see"
    );
}

/// After concurrent refreshes and changes of the overrides, gates, resolution and subscribers agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_end_in_agreement() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_usize {
        let (governor, probe) = (governor.clone(), probe.clone());
        tasks.spawn(async move {
            for round in 0..200_usize {
                if task % 2 == 0 {
                    let overrides =
                        Overrides::new().then(OverrideLayer::new("cli").set(IO, task * 1000 + round + 1));
                    governor.set_overrides(overrides).unwrap();
                } else {
                    probe.set(Reading::whole((task * round) as u64 + 1));
                    governor.refresh().await.unwrap();
                }
            }
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    for gate in [IO, CACHE] {
        let limit = limit_of(&governor, gate);
        assert_eq!(governor.subscribe().borrow().limit(gate).unwrap().get(), limit);
    }
}
