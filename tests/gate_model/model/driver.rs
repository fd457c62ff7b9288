//! The step driver: applies steps to a gate while it has a handle, and checks the gate after each step.

use concurrency_governor::gate::{Drained, Gate, OwnedPermit};

use super::oracle::{DRAINED_SLOTS, Oracle, PollWaker, REQUEST_SLOTS, RequestTerms, WakeTarget};
use super::slots::{AcquireSlot, AnyPermit, FutureSlot};
use super::step_mix::{STEP_MIXES, StepKind};
use super::{Environment, MAX_PERMITS};

/// The steps on one gate, until its handles are dropped or the bytes end.
pub(super) struct StepDriver<'g, 'd, 'e> {
    pub(super) gate: &'g Gate,
    pub(super) environment: &'d mut Environment<'e>,
    pub(super) oracle: &'d mut Oracle,
    pub(super) requests: [RequestSlot<'g>; REQUEST_SLOTS],
    /// The slots that hold a request, as a bit set.
    pub(super) occupied: u32,
    pub(super) drained: [DrainedSlot<'g>; DRAINED_SLOTS],
    pub(super) permits: Vec<AnyPermit<'g>>,
    /// The sum of the weights of `permits`.
    pub(super) held: u32,
    pub(super) handles: Vec<Gate>,
    /// How many requests expired in this step. They are the first that are woken, in any order.
    pub(super) expired: usize,
}

/// A request and its terms.
pub(super) struct RequestSlot<'g> {
    pub(super) future: AcquireSlot<'g>,
    pub(super) terms: RequestTerms,
    pub(super) is_polled: bool,
    /// The index of the waker of its latest poll.
    pub(super) latest_waker: usize,
}

/// A `drained` future.
pub(super) struct DrainedSlot<'g> {
    pub(super) future: FutureSlot<Drained<'g>>,
    pub(super) is_occupied: bool,
    /// The index of the waker of its latest poll.
    pub(super) latest_waker: usize,
}

impl<'g, 'd, 'e> StepDriver<'g, 'd, 'e> {
    pub(super) fn new(
        gate: &'g Gate,
        environment: &'d mut Environment<'e>,
        oracle: &'d mut Oracle,
        owned_permits: Vec<OwnedPermit>,
    ) -> Self {
        let request = || RequestSlot {
            future: AcquireSlot::new(),
            terms: RequestTerms::default(),
            is_polled: false,
            latest_waker: 0,
        };
        let drained = || DrainedSlot { future: FutureSlot::new(), is_occupied: false, latest_waker: 0 };
        let mut permits = Vec::with_capacity(MAX_PERMITS);
        permits.extend(owned_permits.into_iter().map(AnyPermit::Owned));
        Self {
            gate,
            environment,
            oracle,
            requests: std::array::from_fn(|_| request()),
            occupied: 0,
            drained: std::array::from_fn(|_| drained()),
            held: permits.iter().map(AnyPermit::weight).sum(),
            permits,
            handles: Vec::with_capacity(2),
            expired: 0,
        }
    }

    /// Applies and checks one step after another. At the end drops everything that borrows the gate, and
    /// returns the owned permits that are left.
    pub(super) fn run(mut self) -> Vec<OwnedPermit> {
        while let Some(byte) = self.environment.decisions.next_byte() {
            let step = STEP_MIXES[self.environment.mix][usize::from(byte) % 64];
            if let StepKind::DropHandles = step {
                break;
            }
            self.apply(step);
            self.check();
        }
        self.drop_borrows()
    }

    /// Applies a step. A step that has nothing to act on becomes an acquire, a release or a poll instead.
    fn apply(&mut self, step: StepKind) {
        let is_done = match step {
            StepKind::Acquire => self.acquire(),
            StepKind::TryAcquire => self.try_acquire(),
            StepKind::AcquireBlocking => self.acquire_blocking(),
            StepKind::Poll => self.poll_request(PollWaker::Same),
            StepKind::PollWithNewWaker => self.poll_request(PollWaker::New),
            StepKind::Cancel => self.cancel_request(),
            StepKind::Release => self.release(),
            StepKind::Resize => self.resize(),
            StepKind::AdvanceTime => self.advance_time(),
            StepKind::Drained => self.poll_or_cancel_drained(),
            StepKind::ChangeHandles => self.change_handles(),
            StepKind::Close => self.close(),
            StepKind::PauseOrResume => self.pause_or_resume(),
            StepKind::DropHandles => false,
        };
        if !is_done && !self.acquire() && !self.release() {
            self.poll_request(PollWaker::New);
        }
    }

    /// Checks everything that holds after every step.
    fn check(&mut self) {
        // The expected wakers were woken, in the expected order, and no other.
        let wakers = &self.environment.wakers;
        let expected = self.oracle.woken().iter().map(|target| match *target {
            WakeTarget::Request(slot) => wakers[slot][self.requests[slot].latest_waker].id(),
            WakeTarget::Drained(slot) => wakers[REQUEST_SLOTS + slot][self.drained[slot].latest_waker].id(),
        });
        let log = &self.environment.wake_log;
        if self.expired > 1 || !log.iter().eq(expected.clone()) {
            let [mut woken, mut expected] = [log.iter().collect(), expected.collect::<Vec<_>>()];
            for ids in [&mut woken, &mut expected] {
                let expired = self.expired.min(ids.len());
                ids[..expired].sort_unstable();
            }
            assert_eq!(
                woken, expected,
                "the wakers that were woken (left) and that should have been (right)"
            );
        }
        self.expired = 0;
        log.clear();

        // The gate retains the latest waker of each waiting request, once, and no other waker.
        let retained = |slot: usize, latest: usize| {
            [latest, latest ^ 1].map(|waker| wakers[slot][waker].retained_clones())
        };
        for slot in set_bits(self.occupied) {
            let [latest, replaced] = retained(slot, self.requests[slot].latest_waker);
            assert!(
                latest == usize::from(self.oracle.is_waiting(slot)) && replaced == 0,
                "request {slot}: its waker is retained {latest} times, the one before {replaced} times"
            );
        }
        for (slot, drained) in self.drained.iter().enumerate() {
            let [latest, replaced] = retained(REQUEST_SLOTS + slot, drained.latest_waker);
            assert!(
                latest <= usize::from(drained.is_occupied) && replaced == 0,
                "a waker of a `drained` future is retained"
            );
        }
        self.oracle.check(&self.gate.status(), self.held);
    }

    /// Drops everything that borrows the gate, with a check after each drop. Returns the owned permits that
    /// are left.
    fn drop_borrows(mut self) -> Vec<OwnedPermit> {
        let choice = self.environment.decisions.below(4);
        for slot in 0..DRAINED_SLOTS {
            if self.drained[slot].is_occupied {
                self.cancel_drained(slot);
                self.check();
            }
        }
        self.handles.clear();
        let mut owned_permits = Vec::with_capacity(MAX_PERMITS);
        // The permits are dropped before the requests, or after them.
        for drops_permits in [choice % 2 == 0, choice % 2 != 0] {
            if drops_permits {
                for permit in std::mem::take(&mut self.permits) {
                    match permit {
                        AnyPermit::Owned(permit) if choice < 3 => owned_permits.push(permit),
                        permit => {
                            let weight = permit.weight();
                            self.held -= weight;
                            drop(permit);
                            self.oracle.release(weight);
                            self.check();
                        }
                    }
                }
            } else {
                while let Some(slot) = self.environment.decisions.pick_bit(self.occupied) {
                    self.cancel(slot);
                    self.check();
                }
            }
        }
        owned_permits
    }

    /// Returns the slots of requests that were admitted or rejected while they waited and have not been
    /// polled since, as a bit set.
    pub(super) fn decided(&self) -> u32 {
        let decided = set_bits(self.occupied).filter(|slot| self.oracle.is_decided(*slot));
        decided.fold(0, |bits, slot| bits | 1 << slot)
    }
}

/// Returns the positions of the bits that are set.
fn set_bits(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (at < 32).then_some(at)
    })
}
