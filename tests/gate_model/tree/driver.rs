//! Applies steps to the gates of a tree and to the oracle, and compares the two.

use std::array;
use std::pin::Pin;
use std::sync::Arc;

use concurrency_governor::gate::{AcquireOwned, Gate, OwnedPermit};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::coverage::Coverage;
use super::oracle::{Arrival, Outcome, SLOTS, World, Worlds};
use super::shape::Shape;
use super::step_mix::{StepMix, TreeStep};
use crate::model::decisions::Decisions;
use crate::model::wakers::{RecordingWaker, WakeLog};
use crate::runner::Trace;

pub(super) struct TreeDriver<'s, 'd> {
    pub(super) shape: &'s Shape,
    pub(super) decisions: Decisions<'d>,
    pub(super) trace: Trace,
    pub(super) mix: StepMix,
    pub(super) worlds: Worlds<'s>,
    pub(super) coverage: Coverage,
    pub(super) gates: Vec<Gate>,
    /// A handle of each place, which stays until the gate is created again.
    pub(super) handles: Vec<Gate>,
    pub(super) slots: [Option<Slot>; SLOTS],
    pub(super) permits: Vec<HeldPermit>,
    /// The permits of each place that were forgotten.
    pub(super) forgotten: Vec<u32>,
    pub(super) log: Arc<WakeLog>,
    /// Two wakers for each slot, so that a poll can replace one by the other.
    pub(super) wakers: [[RecordingWaker; 2]; SLOTS],
    pub(super) clock: &'s Runtime,
    pub(super) start: Instant,
    /// The time since `start`, in milliseconds.
    pub(super) time: u64,
    /// Chooses what is checked in detail.
    pub(super) checks: usize,
}

/// A request.
pub(super) struct Slot {
    pub(super) future: Pin<Box<AcquireOwned>>,
    pub(super) arrival: Arrival,
    /// The handle of the request.
    pub(super) handle: HandleId,
    pub(super) is_polled: bool,
    pub(super) latest_waker: usize,
}

pub(super) struct HeldPermit {
    pub(super) permit: OwnedPermit,
    pub(super) place: usize,
    pub(super) handle: HandleId,
}

/// Which handle of a place: the one that stays, or one of those that were made for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandleId {
    Kept,
    Own(u64),
}

pub(super) const MAX_PERMITS: usize = 24;

impl<'s, 'd> TreeDriver<'s, 'd> {
    pub(super) fn new(
        shape: &'s Shape,
        clock: &'s Runtime,
        mut decisions: Decisions<'d>,
        trace: Trace,
    ) -> Self {
        let mix = StepMix::decide(&mut decisions);
        let mut gates = Vec::with_capacity(shape.gates.len());
        for (gate, rules) in shape.gates.iter().enumerate() {
            gates.push(shape.create_gate(gate, rules.limit, &gates));
        }
        let handles = (0..shape.places.len()).map(|place| shape.handle(place, &gates)).collect();
        let log = Arc::new(WakeLog::new());
        let mut ids = 0..;
        let mut waker = || RecordingWaker::new(ids.next().unwrap(), &log);
        let wakers = array::from_fn(|_| [waker(), waker()]);
        Self {
            shape,
            decisions,
            trace,
            mix,
            worlds: Worlds::new(World::new(shape)),
            coverage: Coverage::new(),
            gates,
            handles,
            slots: array::from_fn(|_| None),
            permits: Vec::with_capacity(MAX_PERMITS),
            forgotten: vec![0; shape.places.len()],
            log,
            wakers,
            clock,
            start: Instant::now(),
            time: 0,
            checks: 0,
        }
    }

    pub(super) fn run(mut self) -> Coverage {
        self.explain(|driver| format!("{}", driver.worlds.any()));
        while let Some(byte) = self.decisions.next_byte() {
            let step = self.mix.step(byte);
            let is_done = self.apply(step);
            // A step that has nothing to act on becomes another one.
            let _ = is_done || self.acquire() || self.release();
            self.coverage.steps += 1;
            self.check();
            self.explain(|driver| driver.worlds.any().to_string());
        }
        self.finish();
        self.coverage
    }

    fn apply(&mut self, step: TreeStep) -> bool {
        match step {
            TreeStep::Acquire => self.acquire(),
            TreeStep::TryAcquire => self.try_acquire(),
            TreeStep::Poll => self.poll_some(),
            TreeStep::Cancel => self.cancel_some(),
            TreeStep::AdvanceTime => self.advance_time(),
            TreeStep::Release => self.release(),
            TreeStep::Resize => self.resize(),
            TreeStep::PauseOrResume => self.pause_or_resume(),
            TreeStep::SetQueueBound => self.set_queue_bound(),
            TreeStep::Close => self.close(),
            TreeStep::ChangePermits => self.change_permits(),
            TreeStep::Drained => self.poll_drained(),
            TreeStep::Recreate => self.recreate(),
        }
    }

    /// Prints a step, if the run prints its steps.
    pub(super) fn explain(&self, text: impl FnOnce(&Self) -> String) {
        if self.trace == Trace::Printed {
            eprintln!("{}", text(self));
        }
    }

    /// Returns the slots of the requests that were woken by the latest wakers since the last call, in order.
    fn take_woken(&self) -> Vec<usize> {
        let slot_of = |id: u8| {
            let slot = usize::from(id) / 2;
            let latest = self.slots[slot].as_ref().map(|slot| slot.latest_waker);
            assert_eq!(latest, Some(usize::from(id) % 2), "request {slot} is woken by an earlier waker");
            slot
        };
        let woken = self.log.iter().map(slot_of).collect();
        self.log.clear();
        woken
    }

    /// Makes a step of the oracle, after the gates have made it.
    pub(super) fn step(&mut self, step: impl Fn(World<'s>, &[usize], &mut Vec<World<'s>>)) {
        let woken = self.take_woken();
        self.explain(|_| format!("    woken: {woken:?}"));
        self.worlds.step(&woken, &mut self.coverage, step);
    }

    /// Compares what holds after every step.
    fn check(&mut self) {
        let Self { shape, worlds, gates, handles, .. } = self;
        for (gate, rules) in gates.iter().zip(&shape.gates) {
            let actual = (gate.in_use(), gate.waiting());
            worlds.observe("permits in use and requests that wait", |world| {
                let expected = (world.in_use(rules.node), world.waiting(rules.node));
                if actual == expected {
                    Ok(())
                } else {
                    Err(format!("{}: {actual:?} for {expected:?}", rules.name))
                }
            });
        }
        // One gate and one key in detail.
        self.checks += 1;
        let (gate, place) = (self.checks % gates.len(), self.checks % handles.len());
        let (status, busy) = (gates[gate].status(), gates[gate].busy_keys());
        let (of_place, node) = (handles[place].status(), shape.places[place].node);
        worlds.observe("status", |world| {
            world.check_status(gate, &status)?;
            let expected =
                (world.in_use(node), world.waiting(node), world.limit(node), world.busy_keys(gate));
            let actual = (of_place.in_use, of_place.waiting, of_place.limit.get(), busy);
            if actual == expected { Ok(()) } else { Err(format!("{actual:?} for {expected:?}")) }
        });
        // What is held adds up without the oracle.
        let held = self.permits.iter().map(|held| held.permit.weight()).sum::<u32>();
        let forgotten = self.forgotten.iter().sum::<u32>();
        let granted = |slot: &usize| *self.worlds.any().outcome(*slot) == Outcome::Admitted;
        let unclaimed = (0..SLOTS).filter(granted).filter_map(|slot| self.slots[slot].as_ref());
        let unclaimed = unclaimed.map(|slot| slot.arrival.terms.weight).sum::<u32>();
        assert_eq!(self.gates[0].in_use(), held + forgotten + unclaimed, "permits are lost or invented");
        for (slot, wakers) in self.wakers.iter().enumerate() {
            let retained = wakers.each_ref().map(RecordingWaker::retained_clones);
            let waits = *self.worlds.any().outcome(slot) == Outcome::Waiting;
            let latest = self.slots[slot].as_ref().map_or(0, |slot| slot.latest_waker);
            let is_latest = |waker: usize| waits && waker == latest;
            let expected = [usize::from(is_latest(0)), usize::from(is_latest(1))];
            assert_eq!(retained, expected, "wakers of request {slot} that are retained");
        }
    }

    /// Ends every request, and releases every permit.
    fn finish(&mut self) {
        for slot in 0..SLOTS {
            self.cancel(slot);
            self.check();
        }
        while self.release() {
            self.check();
        }
        let forgotten = self.forgotten.iter().sum::<u32>();
        assert_eq!((self.gates[0].in_use(), self.gates[0].waiting()), (forgotten, 0));
        if forgotten == 0 {
            assert!(
                self.gates.iter().all(|gate| gate.busy_keys() == 0),
                "a key is busy without a permit or a request"
            );
        }
    }
}
