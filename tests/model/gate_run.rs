//! A gate from one handle to the last: step after step, and what holds after each.

use concurrency_governor::gate::{Drained, Gate, OwnedPermit};

use super::hands::{Asking, Held, Pinned};
use super::mixes::{MIXES, Op};
use super::oracle::{Call, DRAINS, Oracle, PLACES};
use super::{PERMITS, World};

/// A gate from one handle to the last.
pub(super) struct Run<'g, 'r, 'w> {
    pub(super) gate: &'g Gate,
    pub(super) world: &'r mut World<'w>,
    pub(super) oracle: &'r mut Oracle,
    pub(super) requests: [Request<'g>; PLACES],
    /// The places in which there is a request, as bits.
    pub(super) taken: u32,
    pub(super) drains: [Draining<'g>; DRAINS],
    pub(super) permits: Vec<Held<'g>>,
    /// What they come to.
    pub(super) held: u32,
    pub(super) handles: Vec<Gate>,
    /// How many this step's first wakes are for whose deadline has passed, which are woken in any order.
    pub(super) expired: usize,
}

pub(super) struct Request<'g> {
    pub(super) future: Asking<'g>,
    pub(super) weight: u32,
    pub(super) deadline: Option<u64>,
    pub(super) max_wait: Option<u64>,
    pub(super) is_polled: bool,
    /// Which of its two wakers it was polled with last.
    pub(super) latest: usize,
}

pub(super) struct Draining<'g> {
    pub(super) future: Pinned<Drained<'g>>,
    pub(super) waits: bool,
    pub(super) latest: usize,
}

impl<'g, 'r, 'w> Run<'g, 'r, 'w> {
    pub(super) fn new(
        gate: &'g Gate,
        world: &'r mut World<'w>,
        oracle: &'r mut Oracle,
        orphans: Vec<OwnedPermit>,
    ) -> Self {
        let request = || Request {
            future: Asking::new(),
            weight: 0,
            deadline: None,
            max_wait: None,
            is_polled: false,
            latest: 0,
        };
        let mut permits = Vec::with_capacity(PERMITS);
        permits.extend(orphans.into_iter().map(Held::Owned));
        Self {
            gate,
            world,
            oracle,
            requests: std::array::from_fn(|_| request()),
            taken: 0,
            drains: std::array::from_fn(|_| Draining { future: Pinned::new(), waits: false, latest: 0 }),
            held: permits.iter().map(Held::weight).sum(),
            permits,
            handles: Vec::with_capacity(2),
            expired: 0,
        }
    }

    /// One step after another, and then all that borrows from the gate is let go.
    pub(super) fn play(mut self) -> Vec<OwnedPermit> {
        while let Some(op) = self.world.input.next() {
            let op = MIXES[self.world.mix][usize::from(op) % 64];
            if let Op::Abandon = op {
                break;
            }
            self.step(op);
            self.check();
        }
        self.dissolve()
    }

    /// Every step does something: with nothing there to do it to, it asks; with no place left to ask from, it polls.
    fn step(&mut self, op: Op) {
        let is_done = match op {
            Op::Ask => self.ask(),
            Op::Try => self.try_ask(),
            Op::Block => self.block(),
            Op::Poll => self.poll_some(false),
            Op::PollAnew => self.poll_some(true),
            Op::Cancel => self.cancel(),
            Op::Release => self.release(),
            Op::Resize => self.resize(),
            Op::PassTime => self.pass_time(),
            Op::Drain => self.drain(),
            Op::Handle => self.handle(),
            Op::Close => self.close(),
            Op::Abandon => false,
        };
        if !is_done && !self.ask() && !self.release() {
            self.poll_some(true);
        }
    }

    /// Everything that holds after every step.
    fn check(&mut self) {
        let expected = self.oracle.woken().iter().map(|call| match *call {
            Call::Request(at) => self.world.bells[at][self.requests[at].latest].serial(),
            Call::Drain(at) => self.world.bells[PLACES + at][self.drains[at].latest].serial(),
        });
        if self.expired > 1 || !self.world.log.read().eq(expected.clone()) {
            let [mut woken, mut expected] = [self.world.log.read().collect(), expected.collect::<Vec<_>>()];
            for calls in [&mut woken, &mut expected] {
                let expired = self.expired.min(calls.len());
                calls[..expired].sort_unstable();
            }
            assert_eq!(woken, expected, "woken were the left, not the right, in this order");
        }
        self.expired = 0;
        self.world.log.clear();
        for at in bits(self.taken) {
            let request = &self.requests[at];
            let [latest, old] =
                [request.latest, request.latest ^ 1].map(|which| self.world.bells[at][which].kept());
            let in_line = usize::from(self.oracle.is_in_line(at));
            assert!(
                latest == in_line && old == 0,
                "request {at}: its waker is kept {latest} times, the one before {old} times"
            );
        }
        for (at, drain) in self.drains.iter().enumerate() {
            let [latest, old] =
                [drain.latest, drain.latest ^ 1].map(|which| self.world.bells[PLACES + at][which].kept());
            assert!(
                latest <= usize::from(drain.waits) && old == 0,
                "a waker of who asked for drained is kept"
            );
        }
        self.oracle.check(&self.gate.status(), self.held);
    }

    /// Lets go of all that is borrowed from the gate, each step of it checked, and keeps what outlives every handle.
    fn dissolve(mut self) -> Vec<OwnedPermit> {
        let choice = self.world.input.below(4);
        for which in 0..DRAINS {
            if self.drains[which].waits {
                self.cancel_drain(which);
                self.check();
            }
        }
        self.handles.clear();
        let mut orphans = Vec::with_capacity(PERMITS);
        for turn in [choice % 2 == 0, choice % 2 != 0] {
            if turn {
                for permit in std::mem::take(&mut self.permits) {
                    match permit {
                        Held::Owned(permit) if choice < 3 => orphans.push(permit),
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
                while let Some(at) = self.world.input.pick(self.taken) {
                    self.give_up(at);
                    self.check();
                }
            }
        }
        orphans
    }

    /// The places of requests that were granted or refused and have not been told, as bits.
    pub(super) fn told(&self) -> u32 {
        bits(self.taken).filter(|at| self.oracle.is_decided(*at)).fold(0, |bits, at| bits | 1 << at)
    }
}

/// The places of the bits that are set.
pub(super) fn bits(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (at < 32).then_some(at)
    })
}
