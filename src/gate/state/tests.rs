use std::pin::{Pin, pin};
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::advance;

use super::*;
use crate::gate::clock;
use crate::gate::counters::ShardedCounters;
use crate::gate::error::Rejection;
use crate::gate::permits::Word;
use crate::gate::queue::{FifoQueue, Waiter, WaiterRules, WaiterState};
use crate::gate::status::GateStatus;
use crate::gate::timer::{Rearm, RuntimeId, Timers};
use crate::gate::wake_list::WakeList;
use crate::plan::{GateName, Limit};

const NAME: GateName = GateName::new("tested");

/// The state of a gate whose permits are all in use.
struct FullGate {
    word: Word,
    state: GateState<FifoQueue>,
}

impl FullGate {
    fn new(limit: u32) -> Self {
        Self { word: Word::new(Limit::new(limit)).acquired(limit), state: GateState::new(usize::MAX, true) }
    }

    /// Enqueues a request without a deadline.
    fn enqueue(&mut self, waiter: Pin<&mut Waiter>) {
        assert!(matches!(
            self.state.decide_arrival(&mut self.word, &waiter, || true),
            ArrivalDecision::MustWait
        ));
        self.state.enqueue(&mut self.word, waiter, Waker::noop().clone(), || 0);
    }

    /// Enqueues a request with a deadline. Returns what must be set.
    fn enqueue_until(
        &mut self,
        instant: i64,
        runtime: RuntimeId,
        waiter: Pin<&mut Waiter>,
    ) -> Result<Option<Rearm>, Rejection> {
        assert!(matches!(
            self.state.decide_arrival(&mut self.word, &waiter, || true),
            ArrivalDecision::MustWait
        ));
        let make_waker = |_| Waker::noop().clone();
        let (timer, rearm) = self.state.register_deadline((), runtime, instant, make_waker)?;
        let deadline = WaitDeadline { since: 0, instant, timer };
        self.state.enqueue_with_deadline(&mut self.word, waiter, Waker::noop().clone(), deadline);
        Ok(rearm)
    }

    fn cancel(&mut self, mut waiter: Pin<&mut Waiter>) {
        let removed = self.state.cancel((), waiter.as_mut());
        self.state.finish_cancel(&mut self.word, (), waiter, removed, || 0, &mut WakeList::default());
    }

    fn release(&mut self, weight: u32) {
        let mut wake_list = WakeList::default();
        self.state.release(&mut self.word, (), weight, || 0, &mut wake_list);
    }

    fn status(&self) -> GateStatus {
        self.state.status(self.word, &ShardedCounters::default(), NAME)
    }

    fn has_waiters_flag(&self) -> bool {
        self.word.has(Word::WAITERS)
    }
}

fn runtime_id() -> RuntimeId {
    Builder::new_current_thread().build().unwrap().handle().id()
}

/// A request with a deadline is rejected like one at a full queue if too many runtimes have timers at the gate.
#[test]
fn one_runtime_too_many_is_rejected() {
    let mut gate = FullGate::new(1);
    gate.state.timers = Timers::full(runtime_id());
    let rejected = gate.enqueue_until(1, runtime_id(), pin!(Waiter::new(1, WaiterRules::DEFAULT)));
    assert!(matches!(rejected, Err(Rejection::QueueFull(_))));
    let totals = gate.status().totals;
    assert_eq!((totals.rejected.queue_full, totals.queue.enqueued), (1, 0));
    assert!(!gate.has_waiters_flag(), "nothing is left of the request");
}

/// Requests that rely on a timer that could not be set are woken to register with another.
#[test]
fn requests_of_a_timer_that_cannot_be_set_are_woken() {
    let mut gate = FullGate::new(1);
    let runtime = runtime_id();
    let (mut setting, mut relying) =
        (pin!(Waiter::new(1, WaiterRules::DEFAULT)), pin!(Waiter::new(1, WaiterRules::DEFAULT)));
    let Ok(Some(rearm)) = gate.enqueue_until(1, runtime, setting.as_mut()) else { panic!() };
    let relies = gate.enqueue_until(1, runtime, relying.as_mut());
    assert!(matches!(relies, Ok(None)), "the timer is being set");
    gate.state.lose_timer(rearm.timer(), &mut WakeList::default());
    assert_eq!([setting.state(), relying.state()], [WaiterState::TimerLost; 2]);
    gate.cancel(setting);
    gate.cancel(relying);
}

/// A timer that is lost gives up its `Sleep`, so that the next request creates another one.
#[test]
fn a_lost_timer_gives_up_its_sleep() {
    let paused = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _inside = paused.enter();
    let mut gate = FullGate::new(1);
    let (mut waiter, mut later) =
        (pin!(Waiter::new(1, WaiterRules::DEFAULT)), pin!(Waiter::new(1, WaiterRules::DEFAULT)));
    let runtime = paused.handle().id();
    let deadline = clock::now() + 1_000_000_000;
    let Ok(Some(mut rearm)) = gate.enqueue_until(deadline, runtime, waiter.as_mut()) else { panic!() };
    rearm.set();
    let timer = rearm.timer();
    let next = gate.state.put_timer_back(&mut gate.word, rearm, clock::now, &mut WakeList::default());
    assert!(next.is_none());
    gate.state.lose_timer(timer, &mut WakeList::default());
    let Ok(Some(rearm)) = gate.enqueue_until(deadline, runtime, later.as_mut()) else {
        panic!("it must be set again")
    };
    assert!(rearm.into_sleep().is_none());
    gate.cancel(waiter);
    gate.cancel(later);
}

/// A rejection that the caller does not take now changes nothing.
#[test]
fn a_rejection_that_is_not_taken_changes_nothing() {
    let mut gate = FullGate::new(1);
    gate.word = gate.word.with(Word::CLOSED);
    let waiter = Waiter::new(1, WaiterRules::DEFAULT);
    let before = gate.status();
    for is_strict in [true, false] {
        let decision = gate.state.decide_expired_arrival(&mut gate.word, &waiter, is_strict, || false);
        assert!(matches!(decision, ArrivalDecision::NotYet));
    }
    assert!(matches!(gate.state.decide_arrival(&mut gate.word, &waiter, || false), ArrivalDecision::NotYet));
    assert_eq!(gate.status(), before);
}

/// A timer that fires while it is being set ends no wait; the thread that sets it does that afterwards.
#[test]
fn a_timer_that_is_being_set_ends_no_wait() {
    let mut gate = FullGate::new(1);
    let mut waiter = pin!(Waiter::new(1, WaiterRules::DEFAULT));
    let Ok(Some(rearm)) = gate.enqueue_until(1, runtime_id(), waiter.as_mut()) else { panic!() };
    let next = gate.state.handle_timer(&mut gate.word, rearm.timer(), || 1, &mut WakeList::default());
    assert!(next.is_none());
    assert_eq!((waiter.state(), gate.status().totals.queue.expired), (WaiterState::Waiting, 0));
    gate.cancel(waiter);
}

/// A timer that has fired while it was being set ends the wait when it is put back.
#[test]
fn a_timer_that_fires_while_it_is_being_set_ends_the_wait_afterwards() {
    let paused = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _inside = paused.enter();
    let mut gate = FullGate::new(1);
    let mut waiter = pin!(Waiter::new(1, WaiterRules::DEFAULT));
    let deadline = clock::now() + 1_000_000;
    let enqueued = gate.enqueue_until(deadline, paused.handle().id(), waiter.as_mut());
    let Ok(Some(mut rearm)) = enqueued else { panic!() };
    rearm.set();
    paused.block_on(advance(Duration::from_millis(2)));
    let next = gate.state.put_timer_back(&mut gate.word, rearm, clock::now, &mut WakeList::default());
    assert!(next.is_none());
    assert_eq!((waiter.state(), gate.status().totals.queue.expired), (WaiterState::Expired, 1));
}

/// When a request leaves the queue for any reason, its deadline leaves the timer, so the slot of the timer is free for another runtime.
#[test]
fn a_deadline_leaves_with_its_request() {
    for is_admitted in [true, false] {
        let mut gate = FullGate::new(2);
        let mut waiters = [(); 3].map(|()| Box::pin(Waiter::new(1, WaiterRules::DEFAULT)));
        let [first, mut expiring, later] = waiters.each_mut().map(|waiter| waiter.as_mut());
        gate.enqueue(first);
        let enqueued = gate.enqueue_until(1, runtime_id(), expiring.as_mut());
        let Ok(Some(first_timer)) = enqueued else { panic!() };
        if is_admitted {
            gate.release(2);
        } else {
            gate.cancel(expiring);
        }
        let Ok(Some(rearm)) = gate.enqueue_until(1, runtime_id(), later) else { panic!() };
        assert_eq!(rearm.timer(), first_timer.timer(), "the same slot");
        gate.state.end_waits(&mut gate.word, || 0, &mut WakeList::default());
    }
}

/// A request that was admitted before its deadline does not expire, however late its thread notices.
#[test]
fn an_admitted_request_does_not_expire() {
    let mut gate = FullGate::new(1);
    let mut waiter = pin!(Waiter::new(1, WaiterRules::DEFAULT));
    gate.enqueue(waiter.as_mut());
    gate.release(1);
    gate.state.expire(&mut gate.word, (), waiter.as_mut(), 1, &mut WakeList::default());
    assert_eq!((waiter.state(), gate.status().totals.queue.expired), (WaiterState::Admitted, 0));
}

/// The WAITERS flag is set while a `drained` future waits and not longer, because it turns the fast path off.
#[test]
fn the_waiters_flag_is_set_only_while_needed() {
    let mut gate = FullGate::new(1);
    let poll = |gate: &mut FullGate, ticket| {
        gate.state.poll_drained(&mut gate.word, (), ticket, Waker::noop().clone(), &mut WakeList::default())
    };
    let cancel = |gate: &mut FullGate, ticket| {
        gate.state.cancel_drained(&mut gate.word, ticket, &mut WakeList::default());
    };
    let tickets = [(); 2].map(|()| poll(&mut gate, None).unwrap());
    assert!(gate.has_waiters_flag());
    cancel(&mut gate, tickets[0]);
    assert!(gate.has_waiters_flag());
    gate.release(1);
    assert!(!gate.has_waiters_flag() && poll(&mut gate, Some(tickets[1])).is_none());
    assert!(poll(&mut gate, None).is_none() && !gate.has_waiters_flag(), "drained now");
    gate.word = gate.word.acquired(1);
    let ticket = poll(&mut gate, None).unwrap();
    cancel(&mut gate, ticket);
    assert!(!gate.has_waiters_flag());
}

/// While only `drained` futures wait, a request that fits is admitted under the lock.
#[test]
fn requests_are_admitted_while_the_gate_drains() {
    let mut gate = FullGate::new(1);
    gate.state.resize(&mut gate.word, Limit::new(2), || 0, &mut WakeList::default());
    let ticket =
        gate.state.poll_drained(&mut gate.word, (), None, Waker::noop().clone(), &mut WakeList::default());
    let request = Waiter::new(1, WaiterRules::DEFAULT);
    let decision = gate.state.decide_arrival(&mut gate.word, &request, || true);
    assert!(matches!(decision, ArrivalDecision::Admitted));
    assert_eq!((gate.status().in_use, gate.has_waiters_flag()), (2, true));
    gate.release(2);
    assert!(ticket.is_some() && !gate.has_waiters_flag());
}
