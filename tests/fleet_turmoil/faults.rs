//! The faults of a simulation.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrency_governor::fleet::LedgerState;
use turmoil::Sim;

use crate::ledger::{LEDGER, ServerMemory};
use crate::random::Random;
use crate::workers::SPAN;

/// Causes faults at random instants, and ends those that last.
pub(crate) struct Faults {
    random: Random,
    memory: Arc<Mutex<ServerMemory>>,
    /// An older state, which a restart can bring back.
    snapshot: LedgerState,
    workers: Vec<String>,
    /// The workers whose link does not work, and the instant at which it is repaired.
    cut: Vec<(String, Duration)>,
    ledger_down_until: Option<Duration>,
    last_step: Duration,
    pub(crate) counts: FaultCounts,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultCounts {
    pub(crate) partitions: u64,
    pub(crate) one_way: u64,
    pub(crate) held: u64,
    pub(crate) crashes: u64,
    pub(crate) restarts: u64,
    pub(crate) rollbacks: u64,
    pub(crate) flushes: u64,
    pub(crate) clock_steps: u64,
}

impl FaultCounts {
    pub(crate) fn each(&mut self) -> [&mut u64; 8] {
        [
            &mut self.partitions,
            &mut self.one_way,
            &mut self.held,
            &mut self.crashes,
            &mut self.restarts,
            &mut self.rollbacks,
            &mut self.flushes,
            &mut self.clock_steps,
        ]
    }
}

impl Faults {
    pub(crate) fn new(random: Random, memory: Arc<Mutex<ServerMemory>>, workers: Vec<String>) -> Self {
        Self {
            random,
            memory,
            snapshot: LedgerState::new(),
            workers,
            cut: Vec::new(),
            ledger_down_until: None,
            last_step: Duration::ZERO,
            counts: FaultCounts::default(),
        }
    }

    /// Causes what is due in this tick. On average there is a fault every second.
    pub(crate) fn cause(&mut self, sim: &mut Sim<'_>, tick: Duration) {
        self.end_faults(sim, sim.elapsed());
        if !self.random.once_in(1000 / tick.as_millis() as u64) {
            return;
        }
        let now = sim.elapsed();
        let worker = self.random.below(self.workers.len() as u64) as usize;
        let worker = self.workers[worker].clone();
        let until = now + Duration::from_millis(self.random.below(2 * SPAN.as_millis() as u64));
        match self.random.below(10) {
            0..=2 if self.cut.iter().any(|(cut, _)| *cut == worker) => {} // one fault of a link at a time
            0 => {
                self.counts.partitions += 1;
                sim.partition(&*worker, LEDGER);
                self.cut.push((worker, until));
            }
            1 => {
                // The asks arrive, and the answers do not, or the other way round.
                self.counts.one_way += 1;
                let (from, to) = self.random.pick(&[(LEDGER, &*worker), (&*worker, LEDGER)]);
                sim.partition_oneway(from, to);
                self.cut.push((worker, until));
            }
            2 => {
                // What is under way arrives later.
                self.counts.held += 1;
                sim.hold(&*worker, LEDGER);
                self.cut.push((worker, until));
            }
            3 => {
                self.counts.crashes += 1;
                sim.bounce(&*worker);
            }
            4 | 5 if self.ledger_down_until.is_none() => {
                self.counts.restarts += 1;
                sim.crash(LEDGER);
                self.ledger_down_until = Some(now + Duration::from_millis(self.random.below(3000)));
                let mut memory = self.memory.lock().unwrap();
                match self.random.below(3) {
                    0 => {
                        self.counts.rollbacks += 1;
                        memory.state = self.snapshot.clone();
                    }
                    1 => memory.state = LedgerState::new(),
                    _ => {}
                }
            }
            6 => {
                self.counts.flushes += 1;
                self.memory.lock().unwrap().state = LedgerState::new();
                self.snapshot = LedgerState::new();
            }
            // At most one step of the clock in the life of a lease, messages that are under way included.
            7 if now >= self.last_step + 3 * SPAN => {
                self.counts.clock_steps += 1;
                self.last_step = now;
                let mut memory = self.memory.lock().unwrap();
                let step = self.random.below(3_600_000);
                memory.ahead_ms = if self.random.once_in(2) {
                    memory.ahead_ms + step
                } else {
                    memory.ahead_ms.saturating_sub(step)
                };
            }
            _ => self.snapshot = self.memory.lock().unwrap().state.clone(),
        }
    }

    /// Ends the faults whose time has come.
    pub(crate) fn end_faults(&mut self, sim: &mut Sim<'_>, now: Duration) {
        if self.ledger_down_until.is_some_and(|until| now >= until) {
            self.ledger_down_until = None;
            sim.bounce(LEDGER);
        }
        self.cut.retain(|(worker, until)| {
            if now >= *until {
                // Which of the faults it was makes no difference.
                sim.repair(&**worker, LEDGER);
                sim.release(&**worker, LEDGER);
            }
            now < *until
        });
    }
}
