//! One model of a gate for random runs, fuzzing and the corpus: bytes become steps, and after every step the gate is
//! held against an oracle that does the same with a `VecDeque`, and nothing clever.
//!
//! Held against it are: what each call and each poll gives, which wakers are woken and in which order, that no other
//! is, which wakers are kept, and every number of the status. The books are checked by themselves, too.
//!
//! A run is one gate after another, or the same again: when its last handle is dropped, permits may be out, and one of
//! them may give a handle again.

use std::sync::Arc;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{Gate, OwnedPermit};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use hands::{Bell, Input, Log};
use mixes::MIXES;
use oracle::{DRAINS, NAME, Oracle, PLACES};
use run::Run;

pub(crate) use events::{Event, Seen};

#[path = "gate_events.rs"]
mod events;
#[path = "gate_hands.rs"]
mod hands;
#[path = "gate_mixes.rs"]
mod mixes;
#[path = "gate_oracle.rs"]
mod oracle;
#[path = "gate_run.rs"]
mod run;
#[path = "gate_steps.rs"]
mod steps;

/// Interprets `bytes` as gates and steps upon them, and says what was seen; panics where a gate and the oracle differ.
pub(crate) fn drive(bytes: &[u8]) -> Seen {
    CLOCK.with(|clock| {
        let _inside = clock.enter();
        let mut world = World::new(clock, Input::new(bytes));
        let mut oracle = None;
        while !world.input.is_empty() {
            let seen = oracle.take().map_or(Seen::new(), |oracle: Oracle| oracle.seen);
            oracle = Some(world.live(seen));
        }
        world.assert_no_waker_is_kept();
        oracle.map_or(Seen::new(), |oracle| oracle.seen)
    })
}

thread_local! {
    /// Time stands still but for the steps that move it.
    static CLOCK: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
}

/// What is there whatever becomes of a gate.
struct World<'w> {
    clock: &'w Runtime,
    input: Input<'w>,
    start: Instant,
    /// Milliseconds since `start`.
    now: u64,
    log: Arc<Log>,
    /// Two for each place, so that one can replace the other.
    bells: [[Bell; 2]; PLACES + DRAINS],
    mix: usize,
}

impl<'w> World<'w> {
    fn new(clock: &'w Runtime, input: Input<'w>) -> Self {
        let log = Arc::new(Log::new());
        let mut serials = 0..;
        let mut bell = || Bell::new(serials.next().unwrap(), &log);
        let bells = std::array::from_fn(|_| [bell(), bell()]);
        Self { clock, input, start: Instant::now(), now: 0, log, bells, mix: 0 }
    }

    /// The whole life of a gate, or what there are bytes for.
    fn live(&mut self, seen: Seen) -> Oracle {
        let (limit, shape) = (self.input.below(LIMITS.len() as u32), self.input.below(16));
        let limit = LIMITS[limit as usize];
        self.mix = self.input.below(MIXES.len() as u32) as usize;
        let mut builder = Gate::builder(NAME, Limit::new(limit));
        let bound = [usize::MAX, usize::MAX, usize::MAX, 5, usize::MAX, 2, usize::MAX, 0][shape as usize % 8];
        if bound < usize::MAX {
            builder = builder.queue(bound);
        }
        let max_wait = (shape >= 12).then(|| u64::from(shape - 8));
        if let Some(ms) = max_wait {
            builder = builder.max_wait(Duration::from_millis(ms));
        }
        // Where waits are not measured the ways into the line and out of it are shorter.
        let measures = (limit ^ shape) & 1 == 0;
        let mut gate = builder.measure_waits(measures).build();
        let mut oracle = Oracle::new(limit, bound, max_wait, measures, self.now, seen);
        let mut orphans = Vec::with_capacity(PERMITS);
        loop {
            orphans = Run::new(&gate, self, &mut oracle, orphans).play();
            drop(gate);
            match self.revive(&mut oracle, &mut orphans) {
                Some(again) => gate = again,
                None => return oracle,
            }
        }
    }

    /// With no handle left, a permit still is one, and gives a handle that finds everything as it was.
    fn revive(&mut self, oracle: &mut Oracle, orphans: &mut Vec<OwnedPermit>) -> Option<Gate> {
        if orphans.is_empty() {
            oracle.seen.note(Event::Gone);
            return None;
        }
        oracle.seen.note(Event::Abandoned);
        let revives = !self.input.is_empty() && self.input.below(4) > 0;
        let kept = usize::from(revives);
        while orphans.len() > kept && (!revives || self.input.below(3) == 0) {
            let permit = orphans.swap_remove(self.input.below(orphans.len() as u32) as usize);
            oracle.release(permit.weight());
            oracle.seen.note(Event::ReleasedOrphan);
            drop(permit);
        }
        let gate = orphans.first().map(OwnedPermit::gate);
        if let Some(gate) = &gate {
            oracle.check(&gate.status(), orphans.iter().map(OwnedPermit::weight).sum());
            oracle.seen.note(Event::Revived);
        } else {
            oracle.seen.note(Event::GoneWithPermit);
            assert_eq!((oracle.in_use(), oracle.waiting()), (0, 0), "the oracle itself has lost something");
        }
        gate
    }

    fn assert_no_waker_is_kept(&self) {
        assert!(self.bells.iter().flatten().all(|bell| bell.kept() == 0), "a waker outlived the gate");
    }
}

/// As many permits as are held at once; far more would only be more of the same.
const PERMITS: usize = 32;
/// Mostly so few that there is a crowd.
const LIMITS: [u32; 16] = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8];
