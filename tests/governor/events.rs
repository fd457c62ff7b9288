//! What an observer, a subscriber and a woken waiter find when they are notified of a change, and in which order.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::event::{Observer, ProbeFault};
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::plan::Policy;
use concurrency_governor::probe::ProbeError;
use concurrency_governor::{OverrideLayer, Overrides};

use super::*;

/// The events so far, each with its number.
#[derive(Clone, Default)]
struct NumberedLog(Arc<Mutex<Vec<(u64, String)>>>);

impl NumberedLog {
    fn take(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for NumberedLog {
    fn observe_numbered(&self, number: u64, event: &Event) {
        self.0.lock().unwrap().push((number, event.to_string()));
    }
}

/// A waker that calls a closure.
struct CallingWaker<F>(F);

impl<F: Fn()> Wake for CallingWaker<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn calling_waker(call: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(CallingWaker(call)))
}

fn set_io(limit: usize) -> Overrides {
    Overrides::new().then(OverrideLayer::new("cli").set(IO, limit))
}

/// An event stays on one line, whatever a probe says.
#[test]
fn foreign_texts_of_an_event_are_escaped() {
    let error = ProbeError::new(Resource::CPU, "on\nfire").caused_by("a\u{1b}[2J cause");
    let kept = Reading::Unknown;
    for (fault, text) in [
        (
            ProbeFault::Panicked { message: "left: 1\nright: 2".into() },
            "the probe panicked: left: 1\\nright: 2",
        ),
        (ProbeFault::Failed(error), "cannot measure cpu: on\\nfire: a\\u{1b}[2J cause"),
    ] {
        let event = Event::ProbeFailed { resource: Resource::CPU, fault, kept };
        assert_eq!(event.to_string(), format!("cpu: {text}; keeping unknown"));
    }
}

/// The numbers count from 1 without gaps, over builds, changes of the overrides, refreshes and rejections. Rejected
/// overrides are no event.
#[tokio::test]
async fn events_are_numbered_without_gaps() {
    let (probe, log) = (cpu(4), NumberedLog::default());
    probe.fail("on fire");
    let builder = Governor::builder().gate(IO).gate(CACHE).probe(probe.clone()).observer(log.clone());
    let governor = builder.build().await.unwrap();
    let strict = OverrideLayer::new("cli").set(IO, 100).policy(Policy::Reject);
    governor.set_overrides(Overrides::new().then(strict.clone())).unwrap();
    governor.set_overrides(Overrides::new().then(strict.set(IO, 1000))).unwrap_err();
    probe.set(Reading::whole(1));
    governor.refresh().await.unwrap_err();
    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    governor.set_overrides(Overrides::new()).unwrap();

    let events = log.take();
    let starts = [
        "cpu: cannot measure cpu: on fire; keeping unknown",
        "gate io: limit 128 -> 100",
        "gate cache: limit 64 -> 50",
        "cpu: measured again, 1",
        "cpu: unknown -> 1",
        "new readings rejected: ",
        "cpu: 1 -> 2",
        "gate io: limit 100 -> 128",
        "gate cache: limit 50 -> 64",
    ];
    assert_eq!(events.len(), starts.len(), "{events:?}");
    for ((number, start), (given, event)) in (1..).zip(starts).zip(&events) {
        assert_eq!(number, *given, "{events:?}");
        assert!(event.starts_with(start), "{event}");
    }
    assert_eq!((governor.status().refreshes, governor.status().rejected), (2, 1));
}

/// The events of two concurrent changes may arrive in any order. Their numbers are in the order of the changes, and the
/// overrides of the last one are in force.
#[tokio::test]
async fn numbers_order_the_events_of_concurrent_changes() {
    struct SlowObserver {
        is_first: Mutex<bool>,
        reached: mpsc::Sender<()>,
        go_on: Mutex<mpsc::Receiver<()>>,
    }

    impl Observer for SlowObserver {
        fn observe(&self, _: &Event) {
            if std::mem::take(&mut *self.is_first.lock().unwrap()) {
                self.reached.send(()).unwrap();
                self.go_on.lock().unwrap().recv().unwrap();
            }
        }
    }

    let ((reached, has_reached), (go, go_on)) = (mpsc::channel(), mpsc::channel());
    let slow = SlowObserver { is_first: Mutex::new(true), reached, go_on: Mutex::new(go_on) };
    let (probe, log) = (cpu(4), NumberedLog::default());
    let builder = Governor::builder().gate(IO).gate(CACHE).probe(probe).observer(slow).observer(log.clone());
    let governor = builder.build().await.unwrap();
    let first = thread::spawn({
        let governor = governor.clone();
        move || governor.set_overrides(set_io(10)).unwrap()
    });
    // The first change has taken effect, and its observer is slow. The second change does not wait for it.
    has_reached.recv().unwrap();
    assert_eq!(limit_of(&governor, IO), 10);
    governor.set_overrides(set_io(20)).unwrap();
    assert_eq!(limit_of(&governor, IO), 20);
    go.send(()).unwrap();
    assert_eq!(first.join().unwrap().limit(IO).unwrap().get(), 10);

    let mut events = log.take();
    assert_eq!(events[0], (3, "gate io: limit 10 -> 20".to_owned()), "the later change arrives first");
    events.sort();
    let expected = [
        (1, "gate io: limit 256 -> 10".to_owned()),
        (2, "gate cache: limit 128 -> 5".to_owned()),
        (3, "gate io: limit 10 -> 20".to_owned()),
        (4, "gate cache: limit 5 -> 10".to_owned()),
    ];
    assert_eq!(events, expected);
    assert_eq!(limit_of(&governor, IO), 20);
    assert_eq!(governor.subscribe().borrow().limit(IO).unwrap().get(), 20);
}

/// When a subscriber is notified, every gate has its new limit, whether the limits rise or fall, and whatever caused it.
#[tokio::test]
async fn a_notified_subscriber_finds_the_gates_at_their_new_limits() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let found = Arc::new(Mutex::new(Vec::new()));
    let waker = calling_waker({
        let (gates, found) = (governor.gates([IO, CACHE]).unwrap(), Arc::clone(&found));
        move || found.lock().unwrap().push(gates.each_ref().map(|gate| gate.limit().get()))
    });
    let mut subscription = governor.subscribe();
    for (overridden, cores, expected) in [
        (Some(10), 4, [10, 5]),
        (Some(30), 4, [30, 15]),
        (None, 4, [256, 128]),
        (None, 1, [64, 32]),
        (None, 8, [512, 256]),
    ] {
        {
            let mut changed = pin!(subscription.changed());
            assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            probe.set(Reading::whole(cores));
            governor.set_overrides(overridden.map_or_else(Overrides::new, set_io)).unwrap();
            governor.refresh().await.unwrap();
            assert!(changed.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        }
        assert_eq!(std::mem::take(&mut *found.lock().unwrap()), [expected]);
        assert_eq!(subscription.borrow_and_update().limit(CACHE).unwrap().get(), expected[1]);
    }
}

/// When a waiter is woken by a raised limit, the whole change is visible: all gates, the resolution, and the
/// subscription.
#[tokio::test]
async fn a_woken_waiter_finds_the_change_complete() {
    let (probe, log) = (cpu(1), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let gate = governor.gate(IO).unwrap();
    let _held = gate.try_acquire_many(64).unwrap();
    let found = Arc::new(Mutex::new(Vec::new()));
    let waker = calling_waker({
        let (governor, found) = (governor.clone(), Arc::clone(&found));
        move || {
            let published = governor.subscribe().borrow().limit(IO).unwrap().get();
            found.lock().unwrap().push((limit_of(&governor, IO), limit_of(&governor, CACHE), published));
        }
    });
    let mut waiter = pin!(gate.acquire());
    assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    assert_eq!(*found.lock().unwrap(), [(128, 64, 128)]);
    assert!(matches!(waiter.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
}

/// When an observer is called, the whole change is visible, and the waiters that it admits are woken.
#[tokio::test]
async fn an_observer_finds_the_change_complete() {
    let (probe, woken) = (cpu(1), Arc::new(AtomicUsize::new(0)));
    let (handle, found) = (Arc::new(Mutex::new(None::<Governor>)), Arc::new(Mutex::new(Vec::new())));
    let observer = {
        let (handle, found, woken) = (Arc::clone(&handle), Arc::clone(&found), Arc::clone(&woken));
        move |event: &Event| {
            let governor = handle.lock().unwrap().clone().unwrap();
            let published = governor.subscribe().borrow().limit(IO).unwrap().get();
            let limits = (limit_of(&governor, IO), limit_of(&governor, CACHE), published);
            found.lock().unwrap().push((event.to_string(), limits, woken.load(Ordering::SeqCst)));
        }
    };
    let builder = Governor::builder().gate(IO).gate(CACHE).probe(probe.clone()).observer(observer);
    let governor = builder.build().await.unwrap();
    *handle.lock().unwrap() = Some(governor.clone());
    let gate = governor.gate(IO).unwrap();
    let _held = gate.try_acquire_many(64).unwrap();
    let mut waiter = pin!(gate.acquire());
    let waker = calling_waker(move || {
        woken.fetch_add(1, Ordering::SeqCst);
    });
    assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    *handle.lock().unwrap() = None;
    let events = ["cpu: 1 -> 2", "gate io: limit 64 -> 128", "gate cache: limit 32 -> 64"];
    assert_eq!(*found.lock().unwrap(), events.map(|event| (event.to_owned(), (128, 64, 128), 1)));
}

/// A waker that panics stops neither the change nor its reports: the other waiters are woken, subscribers notified and
/// observers called. Then the panic continues in the caller.
#[tokio::test]
async fn a_panicking_waker_does_not_stop_a_change() {
    let (probe, log) = (cpu(1), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let mut subscription = governor.subscribe();
    let [io, cache] = governor.gates([IO, CACHE]).unwrap();
    let _held = (io.try_acquire_many(64).unwrap(), cache.try_acquire_many(32).unwrap());
    let (mut panicking, mut other) = (pin!(io.acquire()), pin!(cache.acquire()));
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let panicking_waker = calling_waker(|| panic!("woken too early"));
    let other_waker = calling_waker(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    assert!(panicking.as_mut().poll(&mut Context::from_waker(&panicking_waker)).is_pending());
    assert!(other.as_mut().poll(&mut Context::from_waker(&other_waker)).is_pending());

    let change = panic::catch_unwind(AssertUnwindSafe(|| governor.set_overrides(set_io(100))));
    assert_eq!(change.unwrap_err().downcast_ref::<&str>(), Some(&"woken too early"));
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (100, 50));
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(log.take(), ["gate io: limit 64 -> 100", "gate cache: limit 32 -> 50"]);
    assert!(subscription.has_changed().unwrap());
    assert_eq!(subscription.borrow_and_update().limit(IO).unwrap().get(), 100);
    for waiter in [panicking, other] {
        assert!(matches!(waiter.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
    }
}

/// A waker that panics does not stop the background refresh, which goes on with the next change.
#[tokio::test(start_paused = true)]
async fn a_panicking_waker_does_not_stop_the_background_refresh() {
    let (probe, log) = (cpu(1), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let refresh = governor.spawn_refresh(RefreshPolicy::new().rise_after(Duration::ZERO));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let gate = governor.gate(IO).unwrap();
    let _held = gate.try_acquire_many(64).unwrap();
    let mut waiter = pin!(gate.acquire());
    let panicking_waker = calling_waker(|| panic!("woken too early"));
    assert!(waiter.as_mut().poll(&mut Context::from_waker(&panicking_waker)).is_pending());
    for (cores, limit) in [(2, 128), (3, 192)] {
        probe.set(Reading::whole(cores));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(refresh.is_running());
        assert_eq!(limit_of(&governor, IO), limit);
        assert!(log.take().contains(&format!("cpu: {} -> {cores}", cores - 1)));
    }
}
