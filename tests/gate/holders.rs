//! The records of a gate that tracks its holders: P87 and P90 of docs/GUARANTEES.md, by polling.

use std::future::Future;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::gate::{
    Acquire, AcquireOwned, Gate, Holder, HolderState, OwnedPermit, PollGate, Priority,
};
use concurrency_governor::{GateName, Holders, Keys, Limit};
use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{advance, timeout};

use super::support::{
    HANG_TIMEOUT, HOUR, MS, assert_idle, expect_ready, gate, paused_runtime, poll_once, spin_until,
    start_waiting,
};

const TRACKED: Holders = Holders::overdue_after(Duration::from_secs(30));

fn tracked(limit: u32) -> Gate {
    Gate::builder(GateName::new("tracked"), Limit::new(limit)).track_holders(TRACKED).build()
}

/// The root and its family: a tree of which only the root declares that it tracks its holders.
struct Family {
    root: Gate,
    child: Gate,
    tenants: [Gate; 2],
}

impl Family {
    fn new(limit: u32) -> Self {
        let root =
            Gate::builder(GateName::new("root"), Limit::new(limit)).with_children().keyed(Keys::up_to(8));
        let root = root.track_holders(TRACKED).build();
        let child = Gate::builder(GateName::new("child"), Limit::new(2)).within(&root).unwrap().build();
        let tenants = [root.key(1), root.key(2)];
        Self { root, child, tenants }
    }

    fn all(&self) -> [&Gate; 4] {
        [&self.root, &self.child, &self.tenants[0], &self.tenants[1]]
    }

    /// P87: the records are exactly the permits in use, at each level.
    fn check(&self) {
        for gate in self.all() {
            assert_eq!(weights(&gate.holders()), gate.in_use(), "{gate:?}");
        }
    }
}

fn weights(holders: &[Holder]) -> u32 {
    holders.iter().map(|holder| holder.weight).sum()
}

#[track_caller]
fn only(gate: &Gate) -> Holder {
    let holders = gate.holders();
    assert_eq!(holders.len(), 1, "{holders:?}");
    holders[0].clone()
}

/// What a random run does next. The numbers choose a gate, a request or a permit.
#[derive(Clone, Debug)]
enum Step {
    Try { gate: usize, weight: u32 },
    Request { gate: usize, weight: u32 },
    Poll(usize),
    Cancel(usize),
    Release(usize),
    Forget(usize),
    Split(usize, u32),
    Merge(usize, usize),
    Resize { gate: usize, limit: u32 },
    Label(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..4_usize, 1..4_u32).prop_map(|(gate, weight)| Step::Try { gate, weight }),
        4 => (0..4_usize, 1..4_u32).prop_map(|(gate, weight)| Step::Request { gate, weight }),
        4 => any::<usize>().prop_map(Step::Poll),
        1 => any::<usize>().prop_map(Step::Cancel),
        3 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Forget),
        1 => (any::<usize>(), 0..3_u32).prop_map(|(permit, weight)| Step::Split(permit, weight)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(permit, other)| Step::Merge(permit, other)),
        1 => (0..2_usize, 1..9_u32).prop_map(|(gate, limit)| Step::Resize { gate, limit }),
        1 => any::<usize>().prop_map(Step::Label),
    ];
    prop::collection::vec(step, 1..80)
}

fn take<T>(list: &mut Vec<T>, index: usize) -> Option<T> {
    if list.is_empty() { None } else { Some(list.swap_remove(index % list.len())) }
}

proptest! {
    /// P87: after each step, the records are the permits in use at each level, whatever was forgotten, split or not polled. The
    /// state of a record is that of its permits.
    #[test]
    fn the_records_are_the_permits_in_use(steps in steps()) {
        let family = Family::new(6);
        let (mut permits, mut requests): (Vec<OwnedPermit>, Vec<Pin<Box<AcquireOwned>>>) = Default::default();
        let mut forgotten = 0;
        for step in steps {
            match step {
                Step::Try { gate, weight } => permits.extend(family.all()[gate].try_acquire_many_owned(weight)),
                Step::Request { gate, weight } => {
                    let mut request = Box::pin(family.all()[gate].acquire_many_owned(weight));
                    match poll_once(&mut request) {
                        Poll::Ready(result) => permits.extend(result),
                        Poll::Pending => requests.push(request),
                    }
                }
                Step::Poll(index) => {
                    if let Some(mut request) = take(&mut requests, index) {
                        match poll_once(&mut request) {
                            Poll::Ready(result) => permits.extend(result),
                            Poll::Pending => requests.push(request),
                        }
                    }
                }
                Step::Cancel(index) => drop(take(&mut requests, index)),
                Step::Release(index) => drop(take(&mut permits, index)),
                Step::Forget(index) => {
                    if let Some(permit) = take(&mut permits, index) {
                        forgotten += permit.weight();
                        permit.forget();
                    }
                }
                Step::Split(index, weight) => {
                    if let Some(mut permit) = take(&mut permits, index) {
                        permits.extend(permit.split(weight));
                        permits.push(permit);
                    }
                }
                Step::Merge(index, other) => {
                    if let (Some(mut permit), Some(other)) = (take(&mut permits, index), take(&mut permits, other)) {
                        if let Err(other) = permit.merge(other) {
                            permits.push(other);
                        }
                        permits.push(permit);
                    }
                }
                Step::Resize { gate, limit } => drop(family.all()[gate].resize(Limit::new(limit))),
                Step::Label(index) => {
                    if let Some(permit) = take(&mut permits, index) {
                        permit.label("named");
                        permits.push(permit);
                    }
                }
            }
            family.check();
            let holders = family.root.holders();
            let of = |state| weights(&holders.iter().filter(|holder| holder.state == state).cloned().collect::<Vec<_>>());
            prop_assert_eq!(of(HolderState::Held), permits.iter().map(OwnedPermit::weight).sum::<u32>());
            prop_assert_eq!(of(HolderState::Forgotten), forgotten);
            let unclaimed = family.root.status().unclaimed + family.child.status().unclaimed;
            let not_polled = holders.iter().filter(|holder| holder.state == HolderState::GrantedNotPolled).count();
            prop_assert_eq!(not_polled, unclaimed);
        }
        drop((permits, requests));
        family.check();
        prop_assert_eq!(family.root.in_use(), forgotten);
    }
}

/// P87: a gate that tracks its holders admits as any other: first come, first served, and nothing is left.
#[test]
fn a_tracked_gate_admits_in_order() {
    let gate = tracked(2);
    let held = gate.try_acquire_many(2).unwrap();
    let (mut heavy, _) = start_waiting(gate.acquire_many(2));
    let (mut light, _) = start_waiting(gate.acquire());
    assert!(gate.try_acquire().is_err());
    drop(held);
    assert!(poll_once(&mut light).is_pending());
    let Poll::Ready(Ok(permit)) = poll_once(&mut heavy) else { panic!("the first request waits") };
    drop(permit);
    assert!(poll_once(&mut light).is_ready());
    drop((heavy, light));
    assert_idle(&gate);
    assert!(gate.holders().is_empty());
}

/// P87: if permits of two handles of one key merge, so do their records.
#[test]
fn records_of_two_handles_of_a_key_merge() {
    let gate = Gate::builder(GateName::new("tracked"), Limit::new(4))
        .track_holders(TRACKED)
        .keyed(Keys::up_to(8))
        .build();
    let [key, other] = [(); 2].map(|()| gate.key("tenant"));
    let mut permit = key.try_acquire_owned().unwrap();
    permit.merge(other.try_acquire_many_owned(2).unwrap()).unwrap();
    let holders = gate.holders();
    assert_eq!((holders.len(), holders[0].weight, gate.in_use()), (1, 3, 3));
    drop(permit);
    assert!(gate.holders().is_empty() && gate.in_use() == 0);
}

/// A holder has the location at which its permits were requested, whichever method made the request.
#[test]
fn a_holder_has_the_location_of_its_request() {
    let gate = tracked(9);
    let here = |line: u32| {
        move |holder: &Holder| (holder.location.file() == file!(), holder.location.line() == line)
    };
    let expect =
        |line: u32| assert_eq!(here(line)(&only(&gate)), (true, true), "{} is not line {line}", only(&gate));

    let permit = gate.try_acquire();
    expect(line!() - 1);
    drop(permit);
    let permit = gate.try_acquire_many_owned(3);
    expect(line!() - 1);
    drop(permit);
    let permit = expect_ready(gate.acquire());
    expect(line!() - 1);
    drop(permit);
    let request = gate.request().weight(2).max_wait(HOUR).deadline(tokio::time::Instant::now() + HOUR);
    let permit = expect_ready(request.acquire_owned());
    expect(line!() - 1);
    drop(permit);
    let permit = gate.acquire_blocking();
    expect(line!() - 1);
    drop(permit);
    let permit = gate.request().acquire_owned_blocking();
    expect(line!() - 1);
    drop(permit);
    let mut poll_gate = PollGate::new(gate.clone());
    let permit = expect_ready(std::future::poll_fn(|cx| poll_gate.poll_acquire(cx)));
    expect(line!() - 1);
    drop(permit);
    let mut run = pin!(gate.run(std::future::pending::<()>()));
    assert!(poll_once(&mut run).is_pending());
    expect(line!() - 2);
    run.set(gate.run(std::future::pending::<()>()));
    assert!(gate.holders().is_empty(), "the old future is gone");

    // The request waits, and the location is that of the request and not that of a poll.
    let all = gate.try_acquire_many(9).unwrap();
    let (request, line) = (gate.acquire(), line!());
    let (mut request, _) = start_waiting(request);
    drop(all);
    expect(line);
    drop(poll_once(&mut request));
    let permit = expect_ready(acquire_for_caller(&gate));
    expect(line!() - 1);
    drop(permit);
}

/// Acquires for its caller, whose location the holder has.
#[track_caller]
fn acquire_for_caller(gate: &Gate) -> Acquire<'_> {
    gate.acquire()
}

/// The location survives combinators that poll the request themselves.
#[test]
fn a_location_is_that_of_the_request_within_a_timeout() {
    paused_runtime().block_on(async {
        let gate = tracked(1);
        let permit = timeout(HOUR, gate.acquire()).await.unwrap().unwrap();
        assert_eq!((only(&gate).location.file(), only(&gate).location.line()), (file!(), line!() - 1));
        drop(permit);
        let location = Location::caller();
        let running = tokio::spawn({
            let gate = gate.clone();
            async move { gate.run(std::future::pending::<()>()).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(only(&gate).location.line(), location.line() + 3);
        running.abort();
    });
}

/// A holder has the label, the gate, the key and the task of its permits.
#[test]
fn a_holder_has_its_label_gate_key_and_task() {
    paused_runtime().block_on(async {
        let Family { root, child, tenants } = Family::new(4);
        let permit = child.try_acquire().unwrap();
        permit.label("upload");
        let holder = only(&root);
        assert_eq!((holder.gate, holder.label.as_deref(), holder.key), (child.name(), Some("upload"), None));
        assert!(tenants[0].holders().is_empty());
        permit.label(String::from("download"));
        assert_eq!(only(&child).label.as_deref(), Some("download"));
        drop(permit);

        let tenant = tenants[1].clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _permit = tenant.acquire().await;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        let holder = only(&root);
        assert_eq!(holder.key, tenants[1].as_key().cloned());
        assert_eq!(holder.gate, root.name());
        assert!(holder.task.is_some());
        assert!(holder.to_string().starts_with("1 permit of gate root, requested at "), "{holder}");
        tasks.shutdown().await;
        assert!(root.holders().is_empty());
    });
}

/// P87: permits that were granted to a future that is not polled have a state of their own, and so have forgotten ones.
#[test]
fn granted_permits_that_are_not_polled_have_their_own_state() {
    let gate = tracked(1);
    let held = gate.try_acquire().unwrap();
    let (mut request, _) = start_waiting(gate.acquire());
    assert_eq!(only(&gate).state, HolderState::Held);
    drop(held);
    assert_eq!(only(&gate).state, HolderState::GrantedNotPolled);
    let Poll::Ready(Ok(permit)) = poll_once(&mut request) else { panic!("not granted") };
    assert_eq!((only(&gate).state, gate.status().unclaimed), (HolderState::Held, 0));
    permit.forget();
    assert_eq!(only(&gate).state, HolderState::Forgotten);
    gate.resize(Limit::new(2));
    let leaked = gate.try_acquire().unwrap();
    std::mem::forget(leaked);
    assert_eq!(weights(&gate.holders()), 2);
}

/// A task without budget takes its permits later. Until then they count as granted and not polled.
#[test]
fn a_task_without_budget_takes_its_permits_later() {
    paused_runtime().block_on(async {
        let gate = tracked(1);
        let taken = tokio::spawn({
            let gate = gate.clone();
            async move {
                while tokio::task::coop::has_budget_remaining() {
                    tokio::task::coop::consume_budget().await;
                }
                let mut request = pin!(gate.acquire());
                let first =
                    std::future::poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_pending())).await;
                let state = only(&gate).state;
                let permit = request.await.unwrap();
                let held = only(&gate).state;
                drop(permit);
                (first, state, held)
            }
        });
        let (is_pending, state, held) = taken.await.unwrap();
        assert!(is_pending);
        assert_eq!((state, held), (HolderState::GrantedNotPolled, HolderState::Held));
        assert_idle(&gate);
    });
}

/// A thread has a record, whether it waited or was admitted immediately. A thread whose wait expires leaves no record.
#[test]
fn threads_have_records() {
    let gate = tracked(1);
    let held = gate.acquire_blocking().unwrap();
    assert_eq!(only(&gate).task, None);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let permit = gate.request().max_wait(HANG_TIMEOUT).acquire_blocking().unwrap();
            (only(&gate), permit.weight())
        });
        let expired = scope.spawn(|| gate.request().max_wait(MS).acquire_blocking().is_err());
        assert!(expired.join().unwrap());
        spin_until(|| gate.waiting() == 1);
        drop(held);
        let (holder, _) = waiting.join().unwrap();
        assert_eq!(holder.state, HolderState::Held);
    });
    assert_idle(&gate);
    assert!(gate.holders().is_empty());
}

/// The status has the times for which permits were held, and the age of the oldest permit in use.
#[test]
fn the_status_has_hold_times() {
    paused_runtime().block_on(async {
        let gate = tracked(3);
        assert_eq!((gate.status().oldest_permit, gate.status().holds.count()), (None, 0));
        let first = gate.try_acquire().unwrap();
        advance(Duration::from_secs(5)).await;
        let second = gate.acquire().await.unwrap();
        advance(Duration::from_secs(2)).await;
        assert_eq!(gate.status().oldest_permit, Some(Duration::from_secs(7)));
        drop(first);
        assert_eq!(gate.status().oldest_permit, Some(Duration::from_secs(2)));
        drop(second);
        let status = gate.status();
        assert_eq!((status.oldest_permit, status.holds.count()), (None, 2));
        assert_eq!(status.holds.max(), Some(Duration::from_secs(7)));
    });
}

/// If more permits are acquired at once than the gate measures, each measured hold time counts for those that are left out.
#[test]
fn measured_hold_times_represent_all_permits() {
    const PERMITS: u32 = if cfg!(miri) { 2000 } else { 10_000 };
    let runtime = paused_runtime();
    let _inside = runtime.enter(); // all permits are acquired at one instant
    let gate = tracked(PERMITS);
    let held: Vec<_> = (0..PERMITS).map(|_| gate.try_acquire().unwrap()).collect();
    drop(held);
    let measured = gate.status().holds.count();
    assert!(measured.abs_diff(PERMITS.into()) < 512, "{measured} of {PERMITS} permits");
}

/// P90: a gate that does not track its holders keeps nothing, and the calls have no effect.
#[test]
fn a_gate_without_records_reports_none() {
    let gate = gate(2);
    let permit = gate.try_acquire_owned().unwrap();
    permit.label("upload");
    permit.stay_in_task();
    assert!(gate.holders().is_empty() && !gate.tracks_holders());
    assert_eq!((gate.status().oldest_permit, gate.status().holds.count()), (None, 0));
    drop(permit);
    assert_idle(&gate);
    let parent = Gate::builder(GateName::new("parent"), Limit::new(3)).with_children().build();
    let child = Gate::builder(GateName::new("child"), Limit::new(2)).within(&parent).unwrap();
    let child = child.track_holders(TRACKED).build();
    let permits = (parent.try_acquire().unwrap(), child.try_acquire().unwrap());
    assert_eq!((parent.holders().len(), child.holders().len()), (0, 1), "only the child declares it");
    drop(permits);
}

/// P90: neither the future nor the permit of any gate is larger than before there were records.
#[test]
fn records_make_nothing_larger() {
    assert_eq!((size_of::<Acquire<'_>>(), size_of::<AcquireOwned>()), (80, 80));
    assert_eq!((size_of::<concurrency_governor::Permit<'_>>(), size_of::<OwnedPermit>()), (16, 16));
}

/// Requests that leave the queue in any way leave no record: cancelled, expired, too large, pushed out, closed.
#[test]
fn requests_that_leave_the_queue_leave_no_record() {
    paused_runtime().block_on(async {
        let root = Gate::builder(GateName::new("root"), Limit::new(4)).keyed(Keys::up_to(8)).queue(2);
        let root = root.track_holders(TRACKED).build();
        let held = root.try_acquire_many(4).unwrap();
        let (cancelled, _) = start_waiting(root.acquire());
        drop(cancelled);
        let (mut expired, _) = start_waiting(root.request().max_wait(MS).acquire());
        tokio::time::sleep(2 * MS).await;
        assert!(matches!(poll_once(&mut expired), Poll::Ready(Err(_))));
        let (mut large, _) = start_waiting(root.acquire_many(3));
        root.resize(Limit::new(2));
        assert!(matches!(poll_once(&mut large), Poll::Ready(Err(_))));
        let (noisy, quiet) = (root.key("noisy"), root.key("quiet"));
        let (_first, _) = start_waiting(noisy.acquire());
        let (mut pushed, _) = start_waiting(noisy.acquire());
        let (mut kept, _) = start_waiting(quiet.acquire());
        assert!(matches!(poll_once(&mut pushed), Poll::Ready(Err(_))));
        drop(held);
        assert!(matches!(poll_once(&mut kept), Poll::Ready(Ok(_))));
        assert_eq!(weights(&root.holders()), root.in_use());
        let (mut closed, _) = start_waiting(root.acquire_many(2));
        root.close();
        assert!(matches!(poll_once(&mut closed), Poll::Ready(Err(_))));
        assert_eq!(
            (weights(&root.holders()), root.in_use()),
            (1, 1),
            "only the request that was never polled again"
        );
    });
}

/// The holder of a request that one task enqueued and another task polled to its end has the second task.
#[test]
fn a_request_that_moves_belongs_to_the_task_that_takes_it() {
    paused_runtime().block_on(async {
        let gate = tracked(1);
        let held = gate.try_acquire().unwrap();
        let mut request = Box::pin(gate.acquire_owned());
        let first = tokio::spawn(async move {
            assert!(std::future::poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_pending())).await);
            Some(request)
        });
        let request = first.await.unwrap().unwrap();
        let task = tokio::spawn(async move {
            let permit = request.await.unwrap();
            (tokio::task::id(), permit)
        });
        tokio::task::yield_now().await;
        drop(held);
        let (id, permit) = task.await.unwrap();
        assert_eq!(only(&gate).task, Some(id));
        drop(permit);
    });
}

/// A priority has an effect at a gate that tracks its holders, as its documentation says.
#[test]
fn priorities_have_an_effect_at_a_tracked_gate() {
    let gate = tracked(1);
    let held = gate.try_acquire().unwrap();
    let (mut normal, _) = start_waiting(gate.acquire());
    let (mut critical, _) = start_waiting(gate.request().priority(Priority::Critical).acquire());
    drop(held);
    assert!(poll_once(&mut normal).is_pending() && poll_once(&mut critical).is_ready());
}
