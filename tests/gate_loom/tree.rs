//! Keys of one gate: requests of different keys that arrive, are granted, cancelled and dropped at the same time.

use concurrency_governor::Limit;

use super::harness::{TestGate, Threads, check};

/// Two keys get the one permit one after the other. A request that enqueues while the other key releases misses no wake-up.
#[test]
fn two_keys_for_one_permit() {
    check(Threads::Two, || {
        let gate = TestGate::keyed(1);
        let other = gate.key(1).spawn(|key| key.acquire_and_release(1));
        let mine = gate.key(2).acquire_and_release(1);
        gate.finish([mine, other.join().unwrap()]);
        gate.assert_work_done(2);
    });
}

/// A key that becomes idle while another handle of it makes a request loses neither permits nor requests.
#[test]
fn a_key_that_becomes_idle_while_it_is_used() {
    check(Threads::Two, || {
        let gate = TestGate::keyed(1);
        let other = gate.key(1).spawn(|key| key.acquire_and_release(1));
        let mine = gate.key(1).acquire_and_release(1);
        gate.finish([mine, other.join().unwrap()]);
        gate.assert_work_done(2);
        assert_eq!(gate.inner.busy_keys(), 0);
    });
}

/// A request that is cancelled while another key releases passes on what it was granted.
#[test]
fn a_cancelled_request_passes_on_its_permit() {
    check(Threads::Two, || {
        let gate = TestGate::keyed(1);
        let held = gate.try_acquire(1).unwrap();
        let (cancelled, waiting) = (gate.key(1).enqueue(1), gate.key(2).enqueue(1));
        let other = gate.spawn(move |_| drop(cancelled));
        drop(held);
        other.join().unwrap();
        gate.finish([Some(waiting)]);
        gate.assert_work_done(1);
    });
}

/// The requests made on the gate itself and those of a key share its permits under every interleaving.
#[test]
fn a_key_and_the_gate_itself() {
    check(Threads::Two, || {
        let gate = TestGate::keyed(1);
        let other = gate.key(1).spawn(|key| key.try_work(1));
        let mine = gate.acquire_and_release(1);
        other.join().unwrap();
        gate.finish([mine]);
        gate.assert_work_visible();
    });
}

/// A change of the limit while keys acquire admits exactly as many as allowed.
#[test]
fn a_limit_that_is_raised_while_keys_acquire() {
    check(Threads::Two, || {
        let gate = TestGate::keyed(1);
        let held = gate.key(2).try_acquire(1).unwrap();
        gate.allow(2);
        let other = gate.key(1).spawn(|key| key.acquire_and_release(1));
        gate.inner.resize(Limit::new(2));
        let request = other.join().unwrap();
        drop(held);
        gate.finish([request]);
        gate.assert_work_done(1);
    });
}

/// P87: a request that was granted and not polled since has a record, whatever the order. In the end no record is left.
#[test]
fn a_tracked_gate_has_a_record_of_each_permit() {
    check(Threads::Two, || {
        let gate = TestGate::tracked(1);
        let other = gate.spawn(|gate| gate.acquire_and_release(1));
        let requests = [gate.acquire_and_release(1), other.join().unwrap()];
        let granted = requests.iter().flatten().filter(|request| request.is_woken()).count();
        assert_eq!(gate.inner.holders().len(), granted);
        gate.finish(requests);
        gate.assert_work_done(2);
        assert!(gate.inner.holders().is_empty());
    });
}

/// P87: a cancelled request that may be granted at the same time leaves no record.
#[test]
fn a_cancelled_grant_leaves_no_record() {
    check(Threads::Two, || {
        let gate = TestGate::tracked(1);
        let held = gate.try_acquire(1).unwrap();
        let cancelled = gate.enqueue(1);
        let other = gate.spawn(move |_| drop(cancelled));
        drop(held);
        other.join().unwrap();
        assert!(gate.inner.holders().is_empty());
        gate.finish([]);
    });
}

/// The node of a key that becomes idle goes to another key while a handle of the first one is used: neither has the permits of the other.
#[test]
fn a_node_that_goes_to_another_key_while_it_is_used() {
    check(Threads::Two, || {
        let gate = TestGate::keyed(3);
        // Only one more key may be busy.
        let busy = gate.key(9).try_acquire(1).unwrap();
        let mine = gate.key(1);
        let held = mine.try_acquire(1).unwrap();
        let key = gate.key(2);
        let other = key.spawn(|key| drop(key.try_acquire(1)));
        drop(held);
        let again = mine.try_acquire(1);
        other.join().unwrap();
        assert_eq!((mine.inner.in_use(), key.inner.in_use()), (u32::from(again.is_some()), 0));
        drop(again);
        assert_eq!((gate.inner.busy_keys(), gate.inner.in_use()), (1, 1));
        drop(busy);
        gate.finish([]);
    });
}

/// A permit that is released while its gate is paused and resumed goes to the key that waits, once the gate is resumed.
#[test]
fn pause_and_resume_race_a_release_of_a_key() {
    check(Threads::Two, || {
        let gate = TestGate::keyed(1);
        let held = gate.key(2).try_acquire(1).unwrap();
        let waiting = gate.key(1).enqueue(1);
        let other = gate.spawn(|gate| {
            gate.inner.pause();
            assert!(gate.inner.try_acquire().is_err());
            gate.inner.resume();
        });
        drop(held);
        other.join().unwrap();
        gate.finish([Some(waiting)]);
        gate.assert_work_done(1);
    });
}

/// A gate that is closed while a permit is released ends the wait of a key, or has granted it. No permit is lost.
#[test]
fn closing_races_a_grant_to_a_key() {
    check(Threads::Two, || {
        let gate = TestGate::keyed(1);
        let held = gate.key(2).try_acquire(1).unwrap();
        let waiting = gate.key(1).enqueue(1);
        let other = gate.spawn(|gate| gate.inner.close());
        drop(held);
        other.join().unwrap();
        gate.finish([Some(waiting)]);
        gate.assert_work_visible();
        assert_eq!(gate.inner.busy_keys(), 0);
    });
}
