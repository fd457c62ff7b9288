//! Gates within gates, keys and priorities: P49 to P60 of docs/GUARANTEES.md, by polling.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use concurrency_governor::gate::{
    AcquireError, Gate, GateTotals, OwnedPermit, PollGate, Priority, RetryAfter, TryAcquireError,
};
use concurrency_governor::{GateName, Keys, Limit, Part};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::support::{
    BoxedAcquire, HOUR, MS, boxed_acquire, current_thread_runtime, expect_ready, paused_runtime, poll_once,
    poll_with, start_waiting,
};

fn name(text: &str) -> GateName {
    text.parse().unwrap()
}

fn parent(limit: u32) -> Gate {
    Gate::builder(name("parent"), Limit::new(limit)).with_children().build()
}

fn child(parent: &Gate, text: &str, limit: u32, weight: u32) -> Gate {
    Gate::builder(name(text), Limit::new(limit)).within(parent).unwrap().weight(weight).build()
}

fn keyed(limit: u32) -> Gate {
    Gate::builder(name("keyed"), Limit::new(limit)).keyed(Keys::up_to(4096)).build()
}

fn waiting(gate: &Gate) -> BoxedAcquire {
    waiting_with(gate, 1, Priority::Normal)
}

#[track_caller]
fn waiting_with(gate: &Gate, weight: u32, priority: Priority) -> BoxedAcquire {
    let gate = gate.clone();
    let mut request: BoxedAcquire =
        Box::pin(async move { gate.request().weight(weight).priority(priority).acquire_owned().await });
    assert!(poll_once(&mut request).is_pending());
    request
}

/// Returns the permit of a request that was granted.
#[track_caller]
fn granted(request: &mut BoxedAcquire) -> OwnedPermit {
    match poll_once(request) {
        Poll::Ready(permit) => permit.unwrap(),
        Poll::Pending => panic!("the request still waits"),
    }
}

/// Returns the index of the only request that is granted now, and its permit.
fn only_granted(requests: &mut [BoxedAcquire]) -> (usize, OwnedPermit) {
    let mut granted =
        requests.iter_mut().enumerate().filter_map(|(index, request)| match poll_once(request) {
            Poll::Ready(permit) => Some((index, permit.unwrap())),
            Poll::Pending => None,
        });
    let first = granted.next().expect("no request was granted");
    assert!(granted.next().is_none(), "two requests were granted by one permit");
    first
}

/// P49: a permit of a child is in use at each ancestor, and one acquisition takes all or none.
#[test]
fn a_permit_counts_at_each_level() {
    let io = parent(3);
    let messages =
        Gate::builder(name("messages"), Limit::new(2)).within(&io).unwrap().with_children().build();
    let inbox = child(&messages, "inbox", 5, 1);
    let first = inbox.try_acquire().unwrap();
    let second = expect_ready(inbox.acquire_owned()).unwrap();
    assert_eq!([io.in_use(), messages.in_use(), inbox.in_use()], [2, 2, 2]);
    assert_eq!(inbox.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: messages.name() });
    let direct = io.try_acquire().unwrap();
    assert_eq!(inbox.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: messages.name() });
    assert_eq!([io.in_use(), messages.in_use(), inbox.in_use()], [3, 2, 2], "nothing is held in part");
    drop(first);
    assert_eq!(io.try_acquire().unwrap().weight(), 1);
    drop((second, direct));
    assert_eq!([io.in_use(), messages.in_use(), inbox.in_use()], [0, 0, 0]);
    let status = inbox.status();
    assert_eq!((status.totals.admitted, status.totals.rejected.no_permits), (2, 2));
    assert_eq!(io.status().totals.admitted, 2, "the requests made on the gate itself");
}

/// The requests of a key, also those that wait, are counted in the totals of its gate, and not in its own.
#[test]
fn a_key_has_no_totals() {
    let io = keyed(1);
    let tenant = io.key("tenant");
    let permit = tenant.try_acquire().unwrap();
    let mut waiting = boxed_acquire(&tenant, 1, Duration::MAX);
    assert!(poll_once(&mut waiting).is_pending());
    let (of_key, of_gate) = (tenant.status(), io.status());
    assert_eq!((of_key.in_use, of_key.waiting, of_key.totals), (1, 1, GateTotals::default()));
    assert_eq!((of_gate.totals.admitted, of_gate.totals.queue.enqueued), (1, 1));
    drop(permit);
}

/// A permit of weight 0 changes nothing when it is dropped, also if its key is idle by then.
#[test]
fn a_permit_without_weight_changes_nothing() {
    let io = keyed(4);
    let tenant = io.key(1);
    let mut permit = tenant.try_acquire_owned().unwrap();
    let rest = permit.split(0).unwrap();
    drop(permit);
    assert_eq!(io.busy_keys(), 0);
    drop(rest);
    assert_eq!(io.busy_keys(), 0);
    // The node of the key is free once, not twice: these keys do not share it.
    let others = [2, 3, 4].map(|key| io.key(key).try_acquire_owned().unwrap());
    assert_eq!((io.busy_keys(), io.in_use()), (3, 3));
    let in_use: Vec<u32> = [2, 3, 4].map(|key| io.key(key).in_use()).into();
    assert_eq!(in_use, [1, 1, 1]);
    drop(others);
}

/// An error names the level that rejects the request.
#[test]
fn errors_name_the_level_that_rejects() {
    let io = Gate::builder(name("io"), Limit::new(4)).with_children().queue(1).build();
    let messages = child(&io, "messages", 2, 1);
    let too_large = expect_ready(messages.acquire_many(3)).unwrap_err();
    let expected = AcquireError::TooLarge { gate: messages.name(), weight: 3, limit: Limit::new(2) };
    assert_eq!(too_large, expected);
    messages.resize(Limit::new(9));
    let too_large = messages.try_acquire_many(5).unwrap_err();
    assert_eq!(too_large, TryAcquireError::TooLarge { gate: io.name(), weight: 5, limit: Limit::new(4) });
    let held = io.try_acquire_many(4).unwrap();
    assert_eq!(messages.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: io.name() });
    let _waiting = waiting(&messages);
    let full = expect_ready(messages.acquire()).unwrap_err();
    assert_eq!(full, AcquireError::QueueFull { gate: io.name(), bound: 1, retry_after: RetryAfter::UNKNOWN });
    io.close();
    assert_eq!(messages.try_acquire().unwrap_err(), TryAcquireError::Closed { gate: io.name() });
    assert!(messages.is_closed());
    drop(held);
    assert_eq!(
        expect_ready(messages.acquire_many(0)).unwrap_err(),
        AcquireError::ZeroWeight { gate: messages.name() }
    );
}

/// A request whose wait ends says at which level.
#[test]
fn ended_waits_name_their_level() {
    let io = parent(4);
    let messages = child(&io, "messages", 4, 1);
    let _held = io.try_acquire_many(4).unwrap();
    let mut heavy = waiting_with(&messages, 3, Priority::Normal);
    io.resize(Limit::new(2));
    let ended = expect_ready(&mut heavy).unwrap_err();
    assert_eq!(ended, AcquireError::TooLarge { gate: io.name(), weight: 3, limit: Limit::new(2) });
    let mut closed = waiting(&messages);
    io.close();
    assert_eq!(expect_ready(&mut closed).unwrap_err(), AcquireError::Closed { gate: io.name() });
    assert_eq!(messages.status().totals.queue.closed, 1);
}

/// P50: a key never has more than its cap, whatever is free, and a lowered cap is debt at once.
#[test]
fn a_cap_is_never_exceeded() {
    let io = Gate::builder(name("io"), Limit::new(8)).keyed(Keys::up_to(10).cap(Part::of(1, 2))).build();
    let tenant = io.key("a");
    let permits: Vec<_> = (0..4).map(|_| tenant.try_acquire().unwrap()).collect();
    assert_eq!(tenant.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: io.name() });
    assert_eq!((tenant.limit(), io.available()), (Limit::new(4), 4));
    io.resize(Limit::new(4));
    assert_eq!((tenant.limit(), tenant.status().debt, io.status().debt), (Limit::new(2), 2, 0));
    let mut next = waiting(&tenant);
    for (released, permit) in permits.into_iter().enumerate() {
        assert_eq!(poll_once(&mut next).is_ready(), released > 2, "admitted under debt");
        drop(permit);
    }
    io.resize(Limit::new(8));
    assert_eq!(io.key("never used").limit(), Limit::new(4));
}

/// P51: a share that its owner does not need is lent.
#[test]
fn idle_shares_are_lent() {
    let io = parent(8);
    let (a, b) = (child(&io, "a", 8, 1), child(&io, "b", 8, 7));
    let lent: Vec<_> = (0..8).map(|_| a.try_acquire().unwrap()).collect();
    let mut back = waiting(&b);
    drop(lent);
    drop(granted(&mut back));
}

/// P52: while all children want permits, they share them by weight, and the requests made directly are one more child of weight 1.
#[test]
fn children_share_by_weight() {
    let io = parent(10);
    let gates = [child(&io, "a", 10, 3), child(&io, "b", 10, 6), io.clone()];
    let mut held: VecDeque<_> = (0..10).map(|_| (0, gates[0].try_acquire_owned().unwrap())).collect();
    let mut requests: Vec<Vec<BoxedAcquire>> =
        gates.iter().map(|gate| (0..30).map(|_| waiting(gate)).collect()).collect();
    // The oldest permit is released each time.
    for _ in 0..200 {
        drop(held.pop_front());
        for (index, waiting) in requests.iter_mut().enumerate() {
            waiting.retain_mut(|request| match poll_once(request) {
                Poll::Ready(permit) => {
                    held.push_back((index, permit.unwrap()));
                    false
                }
                Poll::Pending => true,
            });
            while waiting.len() < 30 {
                waiting.push(self::waiting(&gates[index]));
            }
        }
    }
    let shares = [0, 1, 2].map(|index| held.iter().filter(|(holder, _)| *holder == index).count());
    assert_eq!(shares, [3, 6, 1]);
}

/// P53: equal children take turns.
#[test]
fn equal_children_take_turns() {
    let io = keyed(1);
    let keys: Vec<Gate> = (0..5_u64).map(|key| io.key(key)).collect();
    let mut permit = io.try_acquire_owned().unwrap();
    let mut requests: Vec<BoxedAcquire> = keys.iter().map(waiting).collect();
    let mut order = Vec::new();
    for _ in 0..20 {
        drop(permit);
        let (index, next) = only_granted(&mut requests);
        permit = next;
        order.push(index);
        requests[index] = waiting(&keys[index]);
    }
    assert!(order.chunks(5).all(|turn| turn == [0, 1, 2, 3, 4]), "{order:?}");
}

/// P54: within a key and a priority, the first to come is served first; a higher priority goes ahead.
#[test]
fn requests_of_a_key_are_served_in_order_within_a_priority() {
    let io = keyed(1);
    let key = io.key("a");
    let mut permit = io.try_acquire_owned().unwrap();
    let arrivals =
        [Priority::Batch, Priority::Normal, Priority::Critical, Priority::Normal, Priority::Sheddable];
    let mut requests: Vec<BoxedAcquire> =
        arrivals.iter().map(|priority| waiting_with(&key, 1, *priority)).collect();
    for expected in [2, 1, 3, 4, 0] {
        drop(permit);
        permit = granted(&mut requests[expected]);
    }
}

/// P55: a lower priority is passed by at most 16 grants, in a key and among keys.
#[test]
fn a_lower_priority_is_passed_at_most_16_times() {
    for is_same_key in [true, false] {
        let io = keyed(1);
        let (low, high) = (io.key("low"), io.key(if is_same_key { "low" } else { "high" }));
        let mut permit = io.try_acquire_owned().unwrap();
        let mut batch = waiting_with(&low, 1, Priority::Batch);
        let mut critical =
            [waiting_with(&high, 1, Priority::Critical), waiting_with(&high, 1, Priority::Critical)];
        let mut passed = 0;
        loop {
            drop(permit);
            if let Poll::Ready(granted) = poll_once(&mut batch) {
                drop(granted);
                break;
            }
            passed += 1;
            assert!(passed <= 16, "the lower priority is passed without end");
            let (index, next) = only_granted(&mut critical);
            critical[index] = waiting_with(&high, 1, Priority::Critical);
            permit = next;
        }
        assert_eq!(passed, 16);
    }
}

/// P55: a lower priority is passed by at most 16 grants also while its key lacks room between them.
#[test]
fn a_priority_that_lacks_room_at_times_is_passed_at_most_16_times() {
    for others in [1, 3, 15] {
        let io = keyed(1);
        let keys: Vec<Gate> = (0..=others).map(|key: u64| io.key(key)).collect();
        let mut permit = io.try_acquire_owned().unwrap();
        let mut batch = waiting_with(&keys[0], 1, Priority::Batch);
        let mut critical: Vec<BoxedAcquire> =
            keys.iter().map(|key| waiting_with(key, 1, Priority::Critical)).collect();
        let mut passed = 0;
        loop {
            drop(permit);
            if let Poll::Ready(granted) = poll_once(&mut batch) {
                drop(granted);
                break;
            }
            passed += 1;
            assert!(passed <= 16, "the lower priority is passed without end");
            let (index, next) = only_granted(&mut critical);
            critical[index] = waiting_with(&keys[index], 1, Priority::Critical);
            permit = next;
        }
        assert_eq!(passed, 16, "{others} other keys");
    }
}

/// A closed gate rejects with `Closed`, even if its table of keys is full.
#[test]
fn a_closed_gate_with_a_full_table_is_closed() {
    let io = Gate::builder(name("io"), Limit::new(4)).keyed(Keys::up_to(1)).build();
    let _busy = io.key(1).try_acquire_owned().unwrap();
    io.close();
    assert_eq!(io.key(2).try_acquire().unwrap_err(), TryAcquireError::Closed { gate: io.name() });
    assert_eq!(expect_ready(io.key(2).acquire()).unwrap_err(), AcquireError::Closed { gate: io.name() });
}

/// P56: the counts of a key are kept while one of its permits is in use or one of its requests waits, whichever handles are dropped.
#[test]
fn counts_of_a_busy_key_are_kept() {
    let io = Gate::builder(name("io"), Limit::new(4)).keyed(Keys::up_to(10).cap(Part::of(1, 2))).build();
    let permits = [io.key("a").try_acquire_owned().unwrap(), io.key("a").try_acquire_owned().unwrap()];
    assert!(io.key("a").try_acquire().is_err(), "another handle of the key has a cap of its own");
    let mut request = waiting(&io.key("a"));
    assert_eq!((io.key("a").in_use(), io.key("a").waiting(), io.busy_keys()), (2, 1, 1));
    drop(permits);
    drop(granted(&mut request));
    assert_eq!((io.key("a").in_use(), io.busy_keys()), (0, 0));
    // A release that leaves another permit in use keeps the counts, also while other keys become busy and idle.
    let [kept, released] =
        [io.key("a").try_acquire_owned().unwrap(), io.key("a").try_acquire_owned().unwrap()];
    drop(released);
    for other in 0..20_u64 {
        drop(io.key(other).try_acquire().unwrap());
    }
    assert_eq!((io.key("a").in_use(), io.busy_keys()), (1, 1));
    drop(kept);
}

/// P57: if the queue is full, the newest request of the longest queue is pushed out, and a short queue keeps its requests.
#[test]
fn a_full_queue_pushes_out_the_newest_of_the_longest() {
    let io = Gate::builder(name("io"), Limit::new(1)).keyed(Keys::up_to(10)).queue(10).build();
    let held = io.try_acquire_owned().unwrap();
    let mut flood: Vec<BoxedAcquire> = (0..10).map(|_| waiting(&io.key("flood"))).collect();
    let full = expect_ready(io.key("flood").acquire_owned()).unwrap_err();
    assert_eq!(
        full,
        AcquireError::QueueFull { gate: io.name(), bound: 10, retry_after: RetryAfter::UNKNOWN }
    );
    let mut others: Vec<BoxedAcquire> = (0..5_u64).map(|_| waiting(&io.key("calm"))).collect();
    let ended: Vec<bool> = flood.iter_mut().map(|request| poll_once(request).is_ready()).collect();
    assert_eq!(ended, [false, false, false, false, false, true, true, true, true, true]);
    assert!(expect_ready(io.key("calm").acquire_owned()).is_err(), "both queues are equally long");
    let totals = io.status().totals;
    assert_eq!((totals.queue.pushed_out, totals.rejected.queue_full), (5, 2));
    drop(held);
    drop(granted(&mut flood[0]));
    drop(granted(&mut others[0]));
}

/// P57: the longest queue makes room, also if other queues are longer than that of the request.
#[test]
fn only_the_longest_queue_makes_room() {
    let io = Gate::builder(name("io"), Limit::new(1)).keyed(Keys::up_to(10)).queue(6).build();
    let _held = io.try_acquire_owned().unwrap();
    let mut some: Vec<BoxedAcquire> = (0..2).map(|_| waiting(&io.key("some"))).collect();
    let mut flood: Vec<BoxedAcquire> = (0..4).map(|_| waiting(&io.key("flood"))).collect();
    let _calm = waiting(&io.key("calm"));
    assert!(some.iter_mut().all(|request| poll_once(request).is_pending()));
    let ended: Vec<bool> = flood.iter_mut().map(|request| poll_once(request).is_ready()).collect();
    assert_eq!(ended, [false, false, false, true]);
}

/// P57: the requests made on the gate itself are one more queue within it, so a flood of a key makes room for them, too.
#[test]
fn a_flood_of_a_key_makes_room_for_the_gate_itself() {
    let io = Gate::builder(name("io"), Limit::new(1)).keyed(Keys::up_to(10)).queue(4).build();
    let _held = io.try_acquire_owned().unwrap();
    let mut flood: Vec<BoxedAcquire> = (0..4).map(|_| waiting(&io.key("flood"))).collect();
    let _direct: Vec<BoxedAcquire> = (0..2).map(|_| waiting(&io)).collect();
    let ended: Vec<bool> = flood.iter_mut().map(|request| poll_once(request).is_ready()).collect();
    assert_eq!(ended, [false, false, true, true]);
    assert!(expect_ready(io.acquire_owned()).is_err(), "both queues are equally long");
}

/// If no queue is longer, a request takes the place of the newest one of the lowest priority in its own queue, if that priority is lower.
#[test]
fn a_full_queue_keeps_the_higher_priorities() {
    let io = Gate::builder(name("io"), Limit::new(1)).keyed(Keys::up_to(10)).queue(3).build();
    let held = io.try_acquire_owned().unwrap();
    let key = io.key("only");
    let arrive = |priority| waiting_with(&key, 1, priority);
    let rejected = |priority| {
        let error = expect_ready(key.request().priority(priority).acquire_owned()).unwrap_err();
        assert_eq!(
            error,
            AcquireError::QueueFull { gate: io.name(), bound: 3, retry_after: RetryAfter::UNKNOWN }
        );
        error
    };
    let mut batch = [arrive(Priority::Batch), arrive(Priority::Batch)];
    let mut normal = arrive(Priority::Normal);
    rejected(Priority::Batch);
    let mut critical = vec![arrive(Priority::Critical)];
    assert!(poll_once(&mut batch[0]).is_pending());
    assert_eq!(expect_ready(&mut batch[1]).unwrap_err(), rejected(Priority::Batch));
    critical.push(arrive(Priority::Critical));
    expect_ready(&mut batch[0]).unwrap_err();
    rejected(Priority::Normal);
    critical.push(arrive(Priority::Critical));
    expect_ready(&mut normal).unwrap_err();
    rejected(Priority::Critical);
    let totals = io.status().totals;
    assert_eq!((totals.queue.pushed_out, totals.rejected.queue_full), (3, 4));
    drop(held);
    for request in &mut critical {
        drop(granted(request));
    }
}

/// The bound of the queue of a key, and of a gate without keys in a tree, keeps the higher priorities as well.
#[test]
fn a_bound_of_a_leaf_keeps_the_higher_priorities() {
    let keys = Keys::up_to(10).queue(1);
    let keyed = Gate::builder(name("keyed"), Limit::new(1)).keyed(keys).build();
    let parent = parent(1);
    let child = Gate::builder(name("child"), Limit::new(1)).within(&parent).unwrap().queue(1).build();
    for (gate, top) in [(keyed.key("only"), &keyed), (child, &parent)] {
        let held = top.try_acquire_owned().unwrap();
        let mut batch = waiting_with(&gate, 1, Priority::Batch);
        let mut other = waiting_with(top, 1, Priority::Batch);
        let mut normal = waiting_with(&gate, 1, Priority::Normal);
        expect_ready(&mut batch).unwrap_err();
        assert!(poll_once(&mut other).is_pending(), "it is in no full queue");
        drop(held);
        drop(granted(&mut normal));
        drop(granted(&mut other));
    }
}

/// A request that is pushed out had kept room free: the requests that fit then are granted at once.
#[test]
fn a_pushed_out_request_admits_those_that_it_held_up() {
    let io = parent(4);
    let messages = Gate::builder(name("messages"), Limit::new(4))
        .within(&io)
        .unwrap()
        .keyed(Keys::up_to(9))
        .queue(1)
        .build();
    let _held = io.try_acquire_many_owned(2).unwrap();
    let mut heavy = waiting_with(&messages.key("heavy"), 4, Priority::Normal);
    let mut held_up = waiting(&io);
    let calm = expect_ready(messages.key("calm").acquire_owned()).unwrap();
    let pushed_out = expect_ready(&mut heavy).unwrap_err();
    assert_eq!(
        pushed_out,
        AcquireError::QueueFull { gate: messages.name(), bound: 1, retry_after: RetryAfter::UNKNOWN }
    );
    drop((granted(&mut held_up), calm));
}

/// P58: an idle key does not count against the declared maximum of busy keys, and no more keys are busy.
#[test]
fn idle_keys_take_no_place() {
    let io = Gate::builder(name("io"), Limit::new(100)).keyed(Keys::up_to(2)).build();
    for key in 0..1000_u64 {
        drop(io.key(key).try_acquire().unwrap());
    }
    let busy = [io.key(1).try_acquire_owned().unwrap(), io.key(2).try_acquire_owned().unwrap()];
    let rejected = io.key(3).try_acquire().unwrap_err();
    assert_eq!(rejected, TryAcquireError::TooManyKeys { gate: io.name(), max: 2 });
    assert_eq!(
        expect_ready(io.key(4).acquire()).unwrap_err(),
        AcquireError::TooManyKeys { gate: io.name(), max: 2 }
    );
    assert_eq!(io.status().totals.rejected.too_many_keys, 2);
    drop(busy);
    assert!(io.key(3).try_acquire().is_ok());
}

/// A flood of 1000 requests of one key delays a request of another key by one release.
#[test]
fn a_flood_of_one_key_delays_another_by_one_release() {
    let io = keyed(2);
    let flood = io.key("flood");
    let mut held: VecDeque<_> = (0..2).map(|_| flood.try_acquire_owned().unwrap()).collect();
    let mut requests: Vec<BoxedAcquire> = (0..1000).map(|_| waiting(&flood)).collect();
    let mut calm = waiting(&io.key("calm"));
    drop(held.pop_front());
    drop(granted(&mut calm));
    assert!(
        poll_once(&mut requests[0]).is_ready(),
        "the dropped permit of the calm key admits the next request"
    );
}

/// A heavy request is granted although light requests of other keys keep coming, and once it has left it holds up no other.
#[test]
fn a_heavy_request_is_not_starved() {
    let io = keyed(4);
    let (heavy, light) = (io.key("heavy"), io.key("light"));
    let mut held: VecDeque<_> = (0..4).map(|_| light.try_acquire_owned().unwrap()).collect();
    let mut request = waiting_with(&heavy, 4, Priority::Normal);
    let mut more: VecDeque<BoxedAcquire> = (0..4).map(|_| waiting(&light)).collect();
    for _ in 0..4 {
        assert!(poll_once(&mut request).is_pending());
        held.pop_front();
    }
    drop(granted(&mut request));
    drop(granted(&mut more[0]));
    more.clear();
    // The chosen request leaves: what it had kept is free again.
    let _three = light.try_acquire_many_owned(3).unwrap();
    let chosen = waiting_with(&heavy, 4, Priority::Normal);
    let mut behind = waiting(&light);
    drop(chosen);
    drop(granted(&mut behind));
}

/// The room that a node keeps for a heavy request stays reserved when a request of another key leaves.
#[test]
fn a_request_that_leaves_frees_no_room_of_another() {
    let io = keyed(4);
    let (heavy, light) = (io.key("heavy"), io.key("light"));
    let _own = heavy.try_acquire_owned().unwrap();
    let held = light.try_acquire_many_owned(2).unwrap();
    let mut request = waiting_with(&heavy, 3, Priority::Normal);
    // Key `calm` has less in use, but came after the room was reserved.
    let (mut calm, leaving) = (waiting(&io.key("calm")), waiting(&io.key("leaving")));
    drop(leaving);
    assert!(poll_once(&mut calm).is_pending());
    drop(held);
    drop(granted(&mut request));
    drop(granted(&mut calm));
}

/// A dropped request leaves its queue at once, and a granted one passes its permits on to another key.
#[test]
fn cancelled_requests_pass_on_their_permits() {
    let io = keyed(1);
    let (a, b) = (io.key("a"), io.key("b"));
    let held = io.try_acquire_owned().unwrap();
    let (first, second) = (waiting(&a), waiting(&a));
    let mut other = waiting(&b);
    drop(second);
    assert_eq!((a.waiting(), io.waiting()), (1, 2));
    drop(held);
    drop(first); // granted, and never polled
    drop(granted(&mut other));
    let status = io.status();
    assert_eq!((status.in_use, status.waiting, status.totals.queue.abandoned), (0, 0, 1));
    assert_eq!(status.totals.queue.enqueued, 3);
    assert_eq!(io.busy_keys(), 0);
}

/// Requests of many keys with one deadline all end at it, whichever of them were cancelled before.
#[test]
fn equal_deadlines_of_many_keys_are_met() {
    const KEYS: u64 = 64;
    let runtime = paused_runtime();
    runtime.block_on(async {
        let gate = keyed(1);
        for left_alone in 0..4_u64 {
            let held = gate.try_acquire_owned().unwrap();
            let keys: Vec<Gate> = (0..KEYS).map(|key| gate.key(key)).collect();
            let deadline = Instant::now() + 10 * MS;
            let request = |key: &Gate| start_waiting(key.request().deadline(deadline).acquire_owned());
            let mut waiting: Vec<_> = keys.iter().chain(&keys).map(request).map(Some).collect();
            // Three of four are cancelled, in an order of their own.
            let requests = waiting.len();
            for at in (0..requests).map(|step| step * 37 % requests) {
                if at as u64 % 4 != left_alone {
                    waiting[at] = None;
                }
            }
            sleep(10 * MS).await;
            assert_eq!(gate.waiting(), 0);
            for (request, _) in waiting.iter_mut().flatten() {
                assert!(matches!(
                    poll_once(request),
                    Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))
                ));
            }
            drop(held);
        }
    });
}

/// Deadlines end waits in a tree, on a blocked thread, too, and strict ones reject on arrival.
#[test]
fn deadlines_end_waits() {
    let runtime = paused_runtime();
    runtime.block_on(async {
        let io = Gate::builder(name("io"), Limit::new(1)).keyed(Keys::up_to(9)).max_wait(HOUR).build();
        let held = io.try_acquire_owned().unwrap();
        let (a, b) = (io.key("a"), io.key("b"));
        let started = Instant::now();
        let (first, second) = tokio::join!(
            a.request().max_wait(5 * MS).acquire_owned(),
            b.request().deadline(started + 9 * MS).acquire_owned()
        );
        assert!(matches!(first, Err(AcquireError::DeadlineExceeded { waited, .. }) if waited >= 5 * MS));
        assert!(matches!(second, Err(AcquireError::DeadlineExceeded { .. })));
        assert!(started.elapsed() >= 9 * MS && io.waiting() == 0 && io.busy_keys() == 0);
        let late = a.request().deadline(started);
        assert!(matches!(late.acquire().await, Err(AcquireError::DeadlineExceeded { .. })));
        drop(held);
        assert!(late.acquire().await.is_ok());
        assert!(late.strict_deadline().acquire().await.is_err());
        let totals = io.status().totals;
        assert_eq!((totals.queue.expired, totals.rejected.expired), (2, 2));
    });
    let io = keyed(1);
    let held = io.try_acquire_owned().unwrap();
    let blocked = io.key(1).request().max_wait(MS).acquire_blocking().map(drop);
    assert!(matches!(blocked, Err(AcquireError::DeadlineExceeded { .. })));
    drop(held);
    assert_eq!(io.key(1).acquire_many_blocking(1).unwrap().weight(), 1);
}

/// A request for which room is kept, and whose wait ends at its deadline, leaves that room to the requests of other keys.
#[test]
fn an_expired_heavy_request_holds_up_no_other() {
    paused_runtime().block_on(async {
        let io = keyed(4);
        let held = io.key("light").try_acquire_owned().unwrap();
        let mut heavy = start_waiting(io.key("heavy").request().weight(4).max_wait(5 * MS).acquire_owned()).0;
        let mut light = waiting(&io.key("light"));
        sleep(5 * MS).await;
        assert!(matches!(expect_ready(&mut heavy), Err(AcquireError::DeadlineExceeded { .. })));
        drop(granted(&mut light));
        drop(io.key("other").try_acquire_owned().unwrap());
        drop(held);
        assert_eq!((io.in_use(), io.waiting()), (0, 0));
    });
}

/// A waker that panics when its request is pushed out loses no permit of the request that takes its position.
#[test]
fn a_panicking_waker_of_a_pushed_out_request_loses_no_permit() {
    for blocks in [false, true] {
        let io = Gate::builder(name("io"), Limit::new(2)).keyed(Keys::up_to(9)).queue(1).build();
        let _held = io.key("a").try_acquire_owned().unwrap();
        let mut chosen = Box::pin(io.key("b").acquire_many_owned(2));
        let waker = Waker::from(Arc::new(PanickingWaker));
        assert!(poll_with(&mut chosen, &waker).is_pending());
        let other = io.key("c");
        let admitted = catch_unwind(AssertUnwindSafe(|| {
            if blocks {
                other.acquire_owned_blocking().map(drop)
            } else {
                expect_ready(other.acquire_owned()).map(drop)
            }
        }));
        assert!(admitted.is_err(), "the panic of the waker reaches the caller");
        assert_eq!((io.in_use(), io.waiting()), (1, 0));
        assert_eq!(
            expect_ready(chosen).unwrap_err(),
            AcquireError::QueueFull { gate: io.name(), bound: 1, retry_after: RetryAfter::UNKNOWN }
        );
    }
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new("scripted panic"));
    }
}

/// The maximum wait of a gate bounds the waits at its children and keys.
#[test]
fn the_maximum_wait_holds_below() {
    paused_runtime().block_on(async {
        let builder = Gate::builder(name("io"), Limit::new(1)).max_wait(5 * MS).with_children();
        let io = builder.keyed(Keys::up_to(1)).build();
        let messages = child(&io, "messages", 1, 1);
        let _held = io.try_acquire().unwrap();
        let started = Instant::now();
        let (of_child, of_key) = (messages.clone(), io.key("a"));
        let (first, second) = tokio::join!(of_child.acquire(), of_key.request().max_wait(HOUR).acquire());
        assert!(first.is_err() && second.is_err() && started.elapsed() < 7 * MS);
    });
}

/// A request that waits for a higher limit stops only its own key, and a raised limit admits it.
#[test]
fn a_request_that_waits_for_the_limit_stops_only_its_key() {
    let io = keyed(2);
    let (a, b) = (io.key("a"), io.key("b"));
    let request = async { a.request().weight(5).wait_for_limit().acquire_owned().await };
    let (mut request, _) = start_waiting(request);
    assert!(b.try_acquire().is_ok() && a.try_acquire().is_err());
    io.resize(Limit::new(5));
    assert_eq!(expect_ready(request.as_mut()).unwrap().weight(), 5);
}

/// A child is drained by itself, and the parent with all of its children and keys.
#[test]
fn drained_waits_for_the_gate_and_what_is_below() {
    let io = Gate::builder(name("io"), Limit::new(9)).with_children().keyed(Keys::up_to(5)).build();
    let (messages, key) = (child(&io, "messages", 9, 1), io.key("a"));
    let permits = (messages.try_acquire_owned().unwrap(), key.try_acquire_owned().unwrap());
    let (mut all, all_wakes) = start_waiting(io.drained());
    let (mut one, one_wakes) = start_waiting(messages.drained());
    let (mut of_key, _) = start_waiting(key.drained());
    drop(permits.0);
    assert!(poll_once(&mut one).is_ready() && one_wakes.wakes() == 1 && all_wakes.wakes() == 0);
    drop(permits.1);
    assert!(poll_once(&mut all).is_ready() && poll_once(&mut of_key).is_ready());
    expect_ready(key.drained());
}

/// A closed child rejects, its siblings go on. A closed handle of a key rejects, its other handles go on, and the key is
/// not counted as busy.
#[test]
fn closing_a_child_leaves_its_siblings_open() {
    let io = Gate::builder(name("io"), Limit::new(2)).with_children().keyed(Keys::up_to(5)).build();
    let (messages, key) = (child(&io, "messages", 2, 1), io.key("a"));
    let _held = io.try_acquire_many(2).unwrap();
    let (mut closing, mut open) = (waiting(&messages), waiting(&io.key("b")));
    messages.close();
    key.close();
    assert_eq!(expect_ready(&mut closing).unwrap_err(), AcquireError::Closed { gate: messages.name() });
    assert!(poll_once(&mut open).is_pending() && !io.is_closed() && messages.is_closed() && key.is_closed());
    assert_eq!(key.try_acquire().unwrap_err(), TryAcquireError::Closed { gate: io.name() });
    assert_eq!(expect_ready(key.clone().acquire()).unwrap_err(), AcquireError::Closed { gate: io.name() });
    assert!(!io.key("a").is_closed() && io.busy_keys() == 1, "only key b is busy");
    assert!(io.key("c").try_acquire().is_err_and(|error| matches!(error, TryAcquireError::NoPermits { .. })));
}

/// Permits of two handles of one key merge, borrowed or owned. Keys that differ, and keys of different gates, stay apart.
#[test]
fn permits_of_two_handles_of_a_key_merge() {
    let (io, other) = (keyed(8), keyed(8));
    let handles = [io.key("a"), io.key("a")];
    let mut permit = handles[0].try_acquire_many(2).unwrap();
    permit.merge(handles[1].try_acquire().unwrap()).unwrap();
    let mut owned = handles[1].try_acquire_owned().unwrap();
    owned.merge(handles[0].try_acquire_many_owned(3).unwrap()).unwrap();
    assert_eq!((permit.weight(), owned.weight(), io.in_use()), (3, 4, 7));
    for stranger in [io.key("b"), other.key("a"), io.clone()] {
        let foreign = owned.merge(stranger.try_acquire_owned().unwrap()).unwrap_err();
        assert_eq!((foreign.gate().as_key(), owned.weight()), (stranger.as_key(), 4));
    }
    // A release through either handle admits the waiters of the key, and makes it idle in the end.
    let mut request = waiting_with(&handles[0], 5, Priority::Normal);
    drop(owned);
    let granted = granted(&mut request);
    assert_eq!((handles.each_ref().map(Gate::in_use), io.busy_keys()), ([8, 8], 1));
    drop((permit, granted));
    assert_eq!((io.in_use(), io.busy_keys(), other.in_use()), (0, 0, 0));
}

/// Every way of acquiring works at a key and a child: permits split and merge, closures run, polled handles wait.
#[test]
fn every_operation_works_in_a_tree() {
    let io = keyed(4);
    let (a, b) = (io.key("a"), io.key("b"));
    let mut permit = a.try_acquire_many_owned(3).unwrap();
    let part = permit.split(1).unwrap();
    assert_eq!((a.in_use(), permit.gate().as_key().unwrap().to_string()), (3, "a".to_owned()));
    let other = b.try_acquire_owned().unwrap();
    let other = permit.merge(other).unwrap_err();
    permit.merge(part).unwrap();
    drop((permit, other));
    assert_eq!(io.in_use(), 0);
    let runtime = current_thread_runtime();
    runtime.block_on(async {
        assert_eq!(a.run(async { a.in_use() }).await.unwrap(), 1);
        assert_eq!(b.run_blocking(|| 7).await.unwrap(), 7);
    });
    let mut polled = PollGate::new(a.clone());
    let held = b.try_acquire_many_owned(4).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(polled.poll_acquire(&mut cx).is_pending());
    drop(held);
    assert!(polled.poll_acquire(&mut cx).is_ready());
    assert_eq!(
        (a.resize(Limit::new(1)).to, a.limit()),
        (Limit::new(4), Limit::new(4)),
        "a key follows its gate"
    );
    assert_eq!(io.status().totals.rejected.sum(), 0);
}

/// The builder rejects a parent that cannot have children, and the error contains the reason. `key` panics at a gate without keys.
#[test]
fn a_wrong_parent_is_rejected() {
    let plain = Gate::new(name("plain"), Limit::new(1));
    let within = |gate: &Gate| Gate::builder(name("child"), Limit::new(1)).within(gate).map(drop);
    let text = within(&plain).unwrap_err().to_string();
    assert!(text.contains("`child`") && text.contains("`plain`") && text.contains("with_children"), "{text}");
    assert!(within(&keyed(1).key("a")).unwrap_err().to_string().contains("a key has no children"));
    let mut deepest = parent(1);
    for _ in 1..8 {
        let next = Gate::builder(name("deep"), Limit::new(1)).within(&deepest).unwrap();
        deepest = next.with_children().build();
    }
    assert!(within(&deepest).unwrap_err().to_string().contains("depth 8"));
    assert!(deepest.try_acquire().is_ok());
    assert!(!plain.has_keys() && catch_unwind(AssertUnwindSafe(|| plain.key("a"))).is_err());
}

/// A child whose handles are gone leaves the tree, and another one can take its place.
#[test]
fn dropped_children_leave_the_tree() {
    let io = parent(2);
    for _ in 0..100 {
        let messages = child(&io, "messages", 1, 1);
        let permit = messages.try_acquire_owned().unwrap();
        drop(messages);
        assert_eq!(io.in_use(), 1, "the permit keeps the child");
        drop(permit);
    }
    std::mem::forget(child(&io, "leaking", 1, 1).try_acquire_owned().unwrap());
    assert_eq!((io.in_use(), io.try_acquire_many(2).is_err()), (1, true), "a forgotten permit stays in use");
}

/// In simulated time, equal flows get equal shares of the permits in use: within 1 % for uniform holds, and with Jain's index at least
/// 0.99 for 16 keys whose holds differ by a factor of 10.
#[test]
fn equal_keys_get_equal_shares() {
    for spread in [1, 10] {
        let runtime = paused_runtime();
        let shares: Vec<f64> = runtime.block_on(async {
            let io = keyed(64);
            let until = Instant::now() + Duration::from_secs(20);
            let flows = (0..16_u64).flat_map(|key| (0..8).map(move |_| key)).map(|key| {
                let gate = io.key(key);
                let hold = MS * if key % 2 == 0 { 10 } else { 10 * spread };
                tokio::spawn(async move {
                    let mut used = Duration::ZERO;
                    while Instant::now() < until {
                        let permit = gate.acquire().await.unwrap();
                        sleep(hold).await;
                        drop(permit);
                        used += hold;
                    }
                    (key, used)
                })
            });
            let mut used = vec![0.0; 16];
            for flow in flows.collect::<Vec<_>>() {
                let (key, time) = flow.await.unwrap();
                used[usize::try_from(key).unwrap()] += time.as_secs_f64();
            }
            used
        });
        let (sum, squares) =
            (shares.iter().sum::<f64>(), shares.iter().map(|share| share * share).sum::<f64>());
        let jain = sum * sum / (16.0 * squares);
        assert!(jain >= 0.99, "Jain's index is {jain}: {shares:?}");
        let mean = sum / 16.0;
        let deviation = shares.iter().map(|share| (share / mean - 1.0).abs()).fold(0.0, f64::max);
        assert!(spread > 1 || deviation <= 0.01, "{deviation}: {shares:?}");
    }
}

proptest! {
    /// P49, P50: whatever requests of keys and children do, no level exceeds its limit, and in the end nothing is in use or waits.
    #[test]
    fn no_level_exceeds_its_limit(steps in prop::collection::vec((0_u8..8, 0_usize..7, 1_u32..4), 1..120)) {
        let io = Gate::builder(name("io"), Limit::new(5)).with_children().keyed(Keys::up_to(3).cap(Part::of(1, 2))).build();
        let messages = Gate::builder(name("messages"), Limit::new(3)).within(&io).unwrap().keyed(Keys::up_to(9)).build();
        let gates = [io.clone(), messages.clone(), io.key(1), io.key(2), io.key(3), messages.key(1), messages.key(2)];
        let mut requests: Vec<(usize, BoxedAcquire)> = Vec::new();
        let mut permits: Vec<(usize, OwnedPermit)> = Vec::new();
        for (kind, at, weight) in steps {
            match kind {
                0..=3 => {
                    let gate = gates[at].clone();
                    let priority = [Priority::Normal, Priority::Batch, Priority::Critical][weight as usize - 1];
                    let request = async move { gate.request().weight(weight).priority(priority).acquire_owned().await };
                    requests.push((at, Box::pin(request)));
                }
                4..=5 if !permits.is_empty() => drop(permits.swap_remove(at % permits.len())),
                6 if !requests.is_empty() => drop(requests.swap_remove(at % requests.len())),
                _ => {}
            }
            requests = requests.into_iter().filter_map(|(at, mut request)| match poll_once(&mut request) {
                Poll::Ready(Ok(permit)) => {
                    permits.push((at, permit));
                    None
                }
                Poll::Ready(Err(_)) => None,
                Poll::Pending => Some((at, request)),
            }).collect();
            for (index, gate) in gates.iter().enumerate() {
                let is_below = |at: usize| at == index || index == 0 || (index == 1 && at >= 5);
                let in_use: u32 = permits.iter().filter(|(at, _)| is_below(*at)).map(|(_, permit)| permit.weight()).sum();
                prop_assert_eq!(gate.in_use(), in_use);
                prop_assert!(in_use <= gate.limit().get());
            }
        }
        drop(requests);
        drop(permits);
        prop_assert_eq!((io.in_use(), io.waiting(), io.busy_keys(), messages.busy_keys()), (0, 0, 0, 0));
    }
}

/// A future of a tree is as large as any other.
#[test]
fn futures_of_a_tree_are_not_larger() {
    let io = keyed(1);
    let key = io.key("a");
    assert_eq!(size_of_val(&key.acquire_owned()), size_of_val(&super::support::gate(1).acquire_owned()));
    let spawned: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(key.acquire_owned());
    drop(spawned);
}

/// Real threads that use keys, a child and the parent at once admit no request too many, and lose no permit.
#[test]
fn threads_on_two_levels_lose_no_permit() {
    let io = Gate::builder(name("io"), Limit::new(3)).with_children().keyed(Keys::up_to(8)).build();
    let gates = [io.clone(), child(&io, "child", 2, 2), io.key(1), io.key(1), io.key(2)];
    let (in_use, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for (seed, gate) in gates.iter().enumerate() {
            let (in_use, most) = (&in_use, &most);
            scope.spawn(move || {
                for round in 0..2000 {
                    let weight = if (round + seed) % 7 == 0 { 2 } else { 1 };
                    let permit = if round % 3 == 0 {
                        gate.try_acquire_many(weight).ok()
                    } else {
                        Some(gate.acquire_many_blocking(weight).unwrap())
                    };
                    let Some(permit) = permit else { continue };
                    most.fetch_max(in_use.fetch_add(weight, Ordering::SeqCst) + weight, Ordering::SeqCst);
                    std::thread::yield_now();
                    in_use.fetch_sub(weight, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!((io.in_use(), io.waiting(), io.busy_keys()), (0, 0, 0));
    let admitted = io.status().totals.admitted + gates[1].status().totals.admitted;
    let rejected = io.status().totals.rejected.no_permits + gates[1].status().totals.rejected.no_permits;
    assert_eq!(admitted + rejected, 10_000);
}
