//! Gates within gates: threads that use keys, a child and their parent at the same time.

use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, Priority};
use concurrency_governor::{GateName, Holders, Keys, Limit, Part};
use shuttle::thread;

use super::harness::{TestGate, below, check};

/// A gate with keys and a child, and the child. At most `allowed` permits of the gate may be held at once.
fn tree(limit: u32, allowed: u32) -> (TestGate, Gate) {
    let keys = Keys::up_to(2).cap(Part::of(1, 2));
    let builder = Gate::builder(GateName::new("parent"), Limit::new(limit)).with_children().keyed(keys);
    let parent = builder.measure_waits(below(2) == 0).build();
    let child = Gate::builder(GateName::new("child"), Limit::new(1)).within(&parent).unwrap().build();
    (TestGate::with_gate(parent, allowed), child)
}

/// Whatever five threads do on two levels, every waiter is woken, no more permits are held than allowed, and none is lost.
#[test]
fn all_operations_on_two_levels() {
    check(|| {
        let (gate, child) = tree(2, 4);
        let keys = [1_u64, 2].map(|key| gate.within(gate.inner.key(key)));
        let threads = keys.clone().map(|key| {
            key.spawn(|key| {
                for _ in 0..2 {
                    assert_admitted(&key.acquire_and_release(1));
                    key.acquire_or_cancel(1, below(3));
                }
            })
        });
        let of_child = gate.within(child.clone()).spawn(|child| {
            for _ in 0..3 {
                assert_admitted(&child.acquire_and_release(1));
            }
        });
        let direct = gate.spawn(|gate| {
            for _ in 0..2 {
                gate.acquire_or_cancel(1 + below(2), below(3));
                drop(gate.try_acquire(1));
            }
        });
        let resizing = gate.spawn(|gate| {
            for _ in 0..3 {
                gate.inner.resize(Limit::new(1 + below(4)));
                thread::yield_now();
            }
            gate.inner.resize(Limit::new(4));
        });
        for thread in threads.into_iter().chain([of_child, direct, resizing]) {
            thread.join().unwrap();
        }
        drop(keys);
        assert_eq!(gate.inner.busy_keys(), 0);
        gate.finish_with(&[child]);
    });
}

/// P87: while five threads use a tracked gate, its keys and its child, each thread finds the record of its own permit.
#[test]
fn each_thread_finds_the_record_of_its_permit() {
    check(|| {
        let tracked = Holders::overdue_after(Duration::from_secs(30));
        let builder =
            Gate::builder(GateName::new("parent"), Limit::new(2)).with_children().keyed(Keys::up_to(2));
        let parent = builder.track_holders(tracked).build();
        let child = Gate::builder(GateName::new("child"), Limit::new(1)).within(&parent).unwrap().build();
        let gates = [parent.key(1), parent.key(2), child.clone(), child.clone(), parent.clone()];
        let gate = TestGate::with_gate(parent.clone(), 2);
        let threads = gates.map(|own| {
            let parent = parent.clone();
            gate.within(own).spawn(move |own| {
                for turn in 0..3 {
                    let Ok(permit) = own.block_on(own.inner.acquire_owned()) else {
                        panic!("the gate is open")
                    };
                    let label = format!("{:?} {turn}", thread::current().id());
                    permit.label(label.clone());
                    let holders = parent.holders();
                    let mine =
                        holders.iter().filter(|holder| holder.label.as_deref() == Some(&*label)).count();
                    assert_eq!(mine, 1, "{label}: {holders:?}");
                    assert!(holders.iter().map(|holder| holder.weight).sum::<u32>() <= 2);
                    drop(permit);
                    own.acquire_or_cancel(1, below(3));
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(parent.holders().is_empty());
        assert_eq!((parent.in_use(), parent.waiting(), parent.busy_keys()), (0, 0, 0));
    });
}

/// A parent that is closed ends the waits of its child and its keys, once each.
#[test]
fn closing_a_parent_with_waiters_below() {
    check(|| {
        let (gate, child) = tree(1, 1);
        let waiting =
            [gate.within(child.clone()), gate.within(gate.inner.key(1)), gate.within(gate.inner.key(1))].map(
                |gate| {
                    gate.spawn(|gate| match gate.acquire_and_release(1) {
                        Ok(()) | Err(AcquireError::Closed { .. }) => {}
                        Err(error) => panic!("{error}"),
                    })
                },
            );
        let closing = gate.spawn(|gate| gate.inner.close());
        for thread in waiting.into_iter().chain([closing]) {
            thread.join().unwrap();
        }
        gate.finish_with(&[child]);
    });
}

/// Priorities, a bounded queue, pauses and changed bounds: every request is granted, rejected or pushed out, and every waiter is woken.
#[test]
fn priorities_bounds_and_pauses_on_two_levels() {
    check(|| {
        let (gate, child) = tree(2, 2);
        gate.inner.set_queue(2);
        let gates = [gate.inner.key(1), gate.inner.key(2), child.clone(), gate.inner.clone()];
        let threads = gates.map(|own| {
            gate.within(own).spawn(|own| {
                for _ in 0..3 {
                    let priority = [Priority::Batch, Priority::Normal, Priority::Critical][below(3) as usize];
                    let request = own.inner.request().priority(priority);
                    match own.block_on(request.acquire_owned()) {
                        Ok(permit) => {
                            let permit = own.count(permit);
                            thread::yield_now();
                            drop(permit);
                        }
                        Err(AcquireError::QueueFull { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    own.acquire_or_cancel(1, below(2));
                }
            })
        });
        let changing = gate.spawn(move |gate| {
            for _ in 0..3 {
                let paused = if below(2) == 0 { &gate.inner } else { &child };
                paused.pause();
                gate.inner.set_queue(below(4) as usize);
                thread::yield_now();
                paused.resume();
            }
            child
        });
        for thread in threads {
            thread.join().unwrap();
        }
        let child = changing.join().unwrap();
        assert_eq!(gate.inner.busy_keys(), 0);
        gate.finish_with(&[child]);
    });
}

/// P103: four threads with nested requests at keys and at their gate, which has fewer permits than there are requests, all end.
#[test]
fn nested_requests_on_two_levels() {
    check(|| {
        let keys = Keys::up_to(2);
        let root = Gate::builder(GateName::new("parent"), Limit::new(2)).keyed(keys).build();
        let gate = TestGate::with_gate(root.clone(), 2);
        let threads = [1_u64, 1, 2, 2].map(|key| {
            let own = gate.within(root.key(key));
            let root = root.clone();
            own.spawn(move |own| {
                for _ in 0..2 {
                    let permit = own.block_on(own.inner.acquire_owned()).unwrap().lend();
                    let nested = own.block_on(root.request().under(&permit).acquire()).unwrap();
                    let inner = own.block_on(root.request().under(&nested).acquire()).unwrap();
                    assert!(own.inner.in_use() <= 2);
                    thread::yield_now();
                    drop((inner, permit, nested));
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!((root.in_use(), root.waiting(), root.busy_keys()), (0, 0, 0));
    });
}

fn assert_admitted(result: &Result<(), AcquireError>) {
    // At most two keys are busy, and a weight of 1 is never above the limit, so no request is rejected.
    assert!(result.is_ok(), "{result:?}");
}
