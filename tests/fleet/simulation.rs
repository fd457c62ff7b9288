//! The whole protocol in simulated time: processes with clocks of their own, messages that are late, lost or delivered twice, and a
//! ledger that is restarted, loses its state and has a clock that steps. An auditor counts the work in flight of all processes.

use std::env;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::fleet::{Grant, Lease, LeaseTerms, LedgerServer, LedgerState, LimitVersion};

use crate::random::Random;
use crate::trace::OwnedAsk;

const TICK_MS: u64 = 10;
const TTL_MS: u64 = 2000;
const MAX_HOLD_MS: u64 = 900;
const MAX_PAUSE_MS: u64 = 1500;
/// Covers the longest hold and the longest pause.
const GRACE_MS: u64 = MAX_HOLD_MS + MAX_PAUSE_MS + TICK_MS;
const GUARD_MS: u64 = 1000;
const SPAN_MS: u64 = TTL_MS + GRACE_MS + GUARD_MS;
const TIMEOUT_MS: u64 = 400;

/// P70, P72, P73, P74: with faults of every kind, the work in flight of all processes is never above the limit, and work is done.
///
/// `FLEET_SEEDS` sets the number of simulations. `.ci/run model` runs 2000.
#[test]
fn no_fault_admits_more_than_the_limit() {
    let seeds = number_from_env("FLEET_SEEDS").unwrap_or(60);
    let first = number_from_env("FLEET_FIRST_SEED").unwrap_or(1);
    let (mut completed, mut faults) = (0, Faults::default());
    for seed in first..first + seeds {
        let mut fleet = Fleet::new(seed, FaultPlan::Random);
        fleet.run(60_000);
        assert!(fleet.completed > 0, "seed {seed}: no work was done");
        completed += fleet.completed;
        faults.add(&fleet.faults);
    }
    eprintln!("fleet simulation: seeds {first} to {}: {completed} requests, {faults:?}", first + seeds - 1);
    // Fewer simulations need not have every fault.
    assert!(seeds < 40 || faults.is_each_above(seeds / 8), "{faults:?}");
}

/// Without faults, at least nine tenths of the permits are in use at twice the demand, and equal processes do equal work.
#[test]
fn permits_are_used_and_shared_equally() {
    for (processes, limit) in [(6, 24), (6, 25), (3, 100), (10, 24)] {
        let mut fleet = Fleet::new(1, FaultPlan::NoFaults);
        fleet.resize(processes, limit);
        fleet.run(SPAN_MS * 2);
        fleet.begin_measurement();
        fleet.run(120_000);
        let used = fleet.used_ms as f64 / (120_000 * u64::from(limit)) as f64;
        assert!(used >= 0.9, "{processes} processes use {used:.3} of {limit} permits");
        // The work done varies with the random holds, so the time of the permits is compared.
        let used: Vec<u64> = fleet.processes.iter().map(|process| process.used_ms).collect();
        let mean = used.iter().sum::<u64>() as f64 / used.len() as f64;
        let off = used.iter().map(|used| (*used as f64 / mean - 1.0).abs()).fold(0.0, f64::max);
        assert!(off <= 0.05, "{processes} processes with {limit} permits: {off:.3} from the mean: {used:?}");
    }
}

/// P80: with more processes than permits, each process waits at most ⌈processes/limit⌉ spans for its next permit.
#[test]
fn more_processes_than_permits_take_turns() {
    for (processes, limit) in [(5, 1), (12, 4), (9, 8), (20, 3)] {
        let mut fleet = Fleet::new(2, FaultPlan::NoFaults);
        fleet.resize(processes, limit);
        fleet.run(SPAN_MS * 2);
        fleet.begin_measurement();
        fleet.run(180_000);
        let bound = processes.div_ceil(u64::from(limit)) * SPAN_MS;
        for process in &fleet.processes {
            let waited = process.longest_wait.max(fleet.now - process.last_start);
            assert!(waited <= bound, "{processes} for {limit}: {waited} ms, more than {bound} ms");
        }
    }
}

/// P74: the permits of a process that ends are in use by the others within one span.
#[test]
fn the_permits_of_a_crashed_process_come_back_within_one_span() {
    let mut fleet = Fleet::new(3, FaultPlan::NoFaults);
    fleet.resize(2, 20);
    fleet.run(SPAN_MS * 3);
    assert!(fleet.processes.iter().all(|process| process.work.len() >= 9), "both have their share");
    fleet.processes[0].crash(u64::MAX);
    fleet.run(SPAN_MS + TTL_MS / 3);
    assert!(fleet.processes[1].lease.cap() >= 20, "{:?}", fleet.processes[1].lease);
}

/// P72: after the ledger has lost its state, nothing is admitted above the limit, and after one span all permits are in use again.
#[test]
fn lost_state_freezes_for_at_most_one_span() {
    let mut fleet = Fleet::new(4, FaultPlan::NoFaults);
    fleet.resize(4, 40);
    fleet.run(SPAN_MS * 3);
    fleet.ledger = LedgerState::new();
    // The processes learn of it by their next exchange, and grow again by the one after the span.
    fleet.run(SPAN_MS + TTL_MS);
    assert_eq!(fleet.processes.iter().map(|process| process.work.len()).sum::<usize>(), 40);
}

/// P71: a process that holds permits for longer than it has declared adds at most its own block to the limit.
#[test]
fn a_violator_adds_at_most_its_own_block() {
    let mut fleet = Fleet::new(6, FaultPlan::NoFaults);
    fleet.resize(4, 40);
    fleet.processes[0].longest_hold = 20 * SPAN_MS;
    fleet.run(SPAN_MS * 3);
    let block = fleet.processes[0].work.len() as u32;
    assert!(block >= 8, "it has its share: {block}");
    // Its work goes on although its lease has ended, and the others get its permits.
    fleet.processes[0].partition_until = u64::MAX;
    fleet.tolerated = block;
    fleet.run(SPAN_MS * 3);
    let in_flight: usize = fleet.processes.iter().map(|process| process.work.len()).sum();
    assert!(in_flight > 40, "the test is not empty: {in_flight}");
}

/// P75: a process makes at most ten calls a second while requests wait, and about three in a ttl otherwise.
#[test]
fn exchanges_are_rare() {
    let mut fleet = Fleet::new(5, FaultPlan::NoFaults);
    fleet.resize(4, 40);
    for process in &mut fleet.processes {
        process.workers = 3;
    }
    fleet.run(SPAN_MS * 3);
    let before = fleet.exchanges;
    fleet.run(TTL_MS * 30);
    let per_ttl = (fleet.exchanges - before) as f64 / 30.0 / 4.0;
    assert!((2.8..=3.2).contains(&per_ttl), "{per_ttl} exchanges of a process in one ttl");
    for process in &mut fleet.processes {
        process.workers = 40;
    }
    let before = fleet.exchanges;
    fleet.run(10_000);
    assert!(fleet.exchanges - before <= 4 * 100, "{} exchanges in 10 s", fleet.exchanges - before);
}

/// Which faults happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultPlan {
    NoFaults,
    Random,
}

/// Processes, a ledger, and the messages between them.
struct Fleet {
    random: Random,
    fault_plan: FaultPlan,
    now: u64,
    processes: Vec<Process>,
    ledger: LedgerState,
    snapshot: LedgerState,
    server_offset: u64,
    run: u64,
    last_step: u64,
    messages: Vec<Message>,
    limit: u32,
    /// How many requests in flight above the limit a test allows.
    tolerated: u32,
    completed: u64,
    used_ms: u64,
    exchanges: u64,
    faults: Faults,
}

struct Process {
    life: u64,
    lease: Lease,
    /// The instants at which the work in flight ends.
    work: Vec<u64>,
    /// The requests that are in flight or wait.
    workers: u32,
    longest_hold: u64,
    sent: Option<(u64, u64)>,
    paused_until: u64,
    partition_until: u64,
    /// The local clock: an offset, and its rate in parts of 10 000.
    clock_offset: u64,
    clock_rate: u64,
    used_ms: u64,
    last_start: u64,
    longest_wait: u64,
}

enum Message {
    Ask { at: u64, life: u64, ask: OwnedAsk, times: u8 },
    Answer { at: u64, index: usize, life: u64, seq: u64, grant: Grant },
}

#[derive(Debug, Default)]
struct Faults {
    lost: u64,
    late: u64,
    twice: u64,
    partitions: u64,
    pauses: u64,
    crashes: u64,
    restarts: u64,
    rollbacks: u64,
    flushes: u64,
    clock_steps: u64,
}

impl Fleet {
    fn new(seed: u64, fault_plan: FaultPlan) -> Self {
        let mut random = Random(seed);
        let (processes, limit) = (random.between(2, 8), random.between(1, 40) as u32);
        let mut fleet = Self {
            server_offset: random.below(1 << 40),
            random,
            fault_plan,
            now: 0,
            processes: Vec::new(),
            ledger: LedgerState::new(),
            snapshot: LedgerState::new(),
            run: 1,
            last_step: 0,
            messages: Vec::new(),
            limit,
            tolerated: 0,
            completed: 0,
            used_ms: 0,
            exchanges: 0,
            faults: Faults::default(),
        };
        fleet.resize(processes, limit);
        fleet
    }

    /// Begins again with equal processes, each with a part of twice the demand that the limit admits.
    fn resize(&mut self, processes: u64, limit: u32) {
        self.limit = limit;
        let workers = (2 * u64::from(limit)).div_ceil(processes).max(1) as u32;
        self.processes = (0..processes as usize).map(|index| self.process(index, 1, workers)).collect();
    }

    fn process(&mut self, index: usize, life: u64, workers: u32) -> Process {
        let terms = LeaseTerms::from_parts(
            Duration::from_millis(TTL_MS),
            Duration::from_millis(GRACE_MS),
            Duration::from_millis(GUARD_MS),
        );
        let limit = LimitVersion::configured(Limit::new(self.limit));
        Process {
            life,
            lease: Lease::new(format!("host-{index}-{life}"), terms.unwrap(), limit),
            work: Vec::new(),
            workers,
            longest_hold: MAX_HOLD_MS,
            sent: None,
            paused_until: 0,
            partition_until: 0,
            clock_offset: self.random.below(1 << 40),
            clock_rate: self.random.between(9950, 10_050),
            used_ms: 0,
            last_start: self.now,
            longest_wait: 0,
        }
    }

    fn begin_measurement(&mut self) {
        self.used_ms = 0;
        for process in &mut self.processes {
            (process.used_ms, process.last_start, process.longest_wait) = (0, self.now, 0);
        }
    }

    fn run(&mut self, length: u64) {
        let end = self.now + length;
        while self.now < end {
            self.now += TICK_MS;
            if self.fault_plan == FaultPlan::Random {
                self.cause_faults();
            }
            self.deliver_messages();
            for index in 0..self.processes.len() {
                self.step_process(index);
            }
            let in_flight: usize = self.processes.iter().map(|process| process.work.len()).sum();
            assert!(
                in_flight <= (self.limit + self.tolerated) as usize,
                "at {} ms, {in_flight} requests are in flight, and the limit is {}",
                self.now,
                self.limit
            );
            self.used_ms += in_flight as u64 * TICK_MS;
            for process in &mut self.processes {
                process.used_ms += process.work.len() as u64 * TICK_MS;
            }
        }
    }

    fn step_process(&mut self, index: usize) {
        let now = self.now;
        let process = &mut self.processes[index];
        if process.paused_until > now {
            return;
        }
        let before = process.work.len();
        process.work.retain(|end| *end > now);
        self.completed += (before - process.work.len()) as u64;
        let clock = process.clock(now);
        while process.work.len() < process.lease.cap() as usize
            && process.work.len() < process.workers as usize
            && process.lease.is_valid(clock)
        {
            let hold = self.random.between(TICK_MS, process.longest_hold);
            process.work.push(now + hold);
            process.longest_wait = process.longest_wait.max(now - process.last_start);
            process.last_start = now;
        }
        if let Some((seq, _)) = process.sent.filter(|(_, sent)| now >= sent + TIMEOUT_MS) {
            process.lease.fail(seq);
            process.sent = None;
        }
        let in_use = process.work.len() as u32;
        if process.lease.next_exchange(in_use, process.workers).is_some_and(|due| clock >= due) {
            let ask = process.lease.begin(clock, in_use, process.workers);
            let ask = OwnedAsk {
                index,
                holder: ask.holder.to_owned(),
                seq: ask.seq,
                epoch: ask.epoch,
                held: ask.held,
                wants: ask.wants,
                claim: ask.claim,
                terms: ask.terms,
                limit: ask.limit,
            };
            process.sent = Some((ask.seq, now));
            let life = process.life;
            self.exchanges += 1;
            self.send(ask, life);
        }
    }

    fn send(&mut self, ask: OwnedAsk, life: u64) {
        let mut times = 1;
        let mut delay = self.random.below(3) * TICK_MS;
        if self.now < self.processes[ask.index].partition_until {
            self.faults.lost += 1;
            return;
        }
        if self.fault_plan == FaultPlan::Random {
            if self.random.once_in(50) {
                self.faults.lost += 1;
                return;
            }
            if self.random.once_in(30) {
                self.faults.late += 1;
                delay += self.random.below(2 * SPAN_MS);
            }
            if self.random.once_in(30) {
                self.faults.twice += 1;
                times = 2;
            }
        }
        self.messages.push(Message::Ask { at: self.now + delay, life, ask, times });
    }

    fn deliver_messages(&mut self) {
        let now = self.now;
        let (due, later) =
            std::mem::take(&mut self.messages).into_iter().partition(|message| message.at() <= now);
        self.messages = later;
        let due: Vec<Message> = due;
        for message in due {
            match message {
                Message::Ask { life, ask, times, .. } => self.exchange(ask, life, times),
                Message::Answer { index, life, seq, grant, .. } => {
                    let process = &mut self.processes[index];
                    if process.life == life && process.lease.finish(seq, &grant) {
                        process.sent = None;
                    }
                }
            }
        }
    }

    fn exchange(&mut self, ask: OwnedAsk, life: u64, times: u8) {
        let run = format!("run{}", self.run);
        let server = LedgerServer { now_ms: self.now + self.server_offset, run: &run };
        if let Ok(grant) = self.ledger.exchange(&ask.as_ask(), server) {
            let is_lost = self.fault_plan == FaultPlan::Random && self.random.once_in(50);
            if !is_lost {
                let late =
                    if self.fault_plan == FaultPlan::Random && self.random.once_in(50) { TTL_MS } else { 30 };
                let at = self.now + self.random.below(late);
                self.messages.push(Message::Answer { at, index: ask.index, life, seq: ask.seq, grant });
            }
        }
        if times > 1 {
            let at = self.now + self.random.below(2 * SPAN_MS);
            self.messages.push(Message::Ask { at, life, ask, times: times - 1 });
        }
    }

    fn cause_faults(&mut self) {
        let per_second = 1000 / TICK_MS;
        if self.random.once_in(10 * per_second) {
            // One process in two loses its way to the ledger, for up to two spans.
            self.faults.partitions += 1;
            for index in 0..self.processes.len() {
                if self.random.once_in(2) {
                    self.processes[index].partition_until = self.now + self.random.below(2 * SPAN_MS);
                }
            }
        }
        if self.random.once_in(5 * per_second) {
            self.faults.pauses += 1;
            let pause = self.random.below(MAX_PAUSE_MS);
            let index = self.random.below(self.processes.len() as u64) as usize;
            // Another pause must not make the work of this process longer than the grace.
            if self.now >= self.processes[index].paused_until + GRACE_MS {
                self.processes[index].paused_until = self.now + pause;
            }
        }
        if self.random.once_in(10 * per_second) {
            self.faults.crashes += 1;
            let index = self.random.below(self.processes.len() as u64) as usize;
            let (life, workers) = (self.processes[index].life + 1, self.processes[index].workers);
            self.processes[index] = self.process(index, life, workers);
            self.processes[index].paused_until = self.now + self.random.below(2000);
        }
        if self.random.once_in(5 * per_second) {
            self.snapshot = self.ledger.clone();
        }
        if self.random.once_in(30 * per_second) {
            match self.random.below(3) {
                0 => self.faults.restarts += 1,
                1 => {
                    self.faults.rollbacks += 1;
                    self.ledger = self.snapshot.clone();
                }
                _ => self.ledger = LedgerState::new(),
            }
            self.run += 1;
        }
        if self.random.once_in(30 * per_second) {
            self.faults.flushes += 1;
            self.ledger = LedgerState::new();
            self.snapshot = LedgerState::new();
        }
        // At most one step of the clock in the life of a lease, messages that are under way included.
        if self.now >= self.last_step + 3 * SPAN_MS && self.random.once_in(5 * per_second) {
            self.faults.clock_steps += 1;
            self.last_step = self.now;
            let step = self.random.below(3_600_000);
            self.server_offset = if self.random.once_in(2) {
                self.server_offset + step
            } else {
                self.server_offset.saturating_sub(step)
            };
        }
    }
}

impl Process {
    fn clock(&self, now: u64) -> Duration {
        Duration::from_micros((self.clock_offset + now) * self.clock_rate / 10)
    }

    fn crash(&mut self, until: u64) {
        self.work.clear();
        self.paused_until = until;
        self.life += 1;
    }
}

impl Message {
    fn at(&self) -> u64 {
        match self {
            Self::Ask { at, .. } | Self::Answer { at, .. } => *at,
        }
    }
}

impl Faults {
    fn counts(&mut self) -> [&mut u64; 10] {
        [
            &mut self.lost,
            &mut self.late,
            &mut self.twice,
            &mut self.partitions,
            &mut self.pauses,
            &mut self.crashes,
            &mut self.restarts,
            &mut self.rollbacks,
            &mut self.flushes,
            &mut self.clock_steps,
        ]
    }

    fn add(&mut self, other: &Self) {
        let mut other = Self { ..*other };
        for (count, more) in self.counts().into_iter().zip(other.counts()) {
            *count += *more;
        }
    }

    fn is_each_above(&mut self, least: u64) -> bool {
        self.counts().into_iter().all(|count| *count > least)
    }
}

fn number_from_env(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}
