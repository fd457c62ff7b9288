//! The events of a plant in simulated time.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::PlantLimiter;
use super::random::PlantRandom;
use super::report::PlantReport;
use super::spec::{Plant, ServiceSpread};
use crate::feedback::Outcome;

impl Plant {
    /// Runs the plant. `start` creates the limiter of each client. Returns what happened, and the limiters at the end.
    pub fn run<L: PlantLimiter>(
        &self,
        mut start: impl FnMut() -> L,
        length: Duration,
        seed: u64,
    ) -> (PlantReport, Vec<L>) {
        let gates: Vec<PlantGate<L>> = (0..self.clients)
            .map(|_| PlantGate { limiter: start(), in_use: 0, queue: VecDeque::new() })
            .collect();
        let first = gates.first().map_or(0, |gate| gate.limiter.limit());
        let report = PlantReport {
            successes: vec![0; gates.len()],
            limits: vec![(Duration::ZERO, first)],
            ..PlantReport::default()
        };
        let mut run = PlantSimulation {
            plant: self,
            random: PlantRandom(seed),
            events: BinaryHeap::new(),
            number: 0,
            gates,
            queue: VecDeque::new(),
            working: 0,
            sharing: BinaryHeap::new(),
            shared_work: 0.0,
            shared_at: Duration::ZERO,
            shared_version: 0,
            in_server: 0,
            report,
        };
        run.run(length);
        (run.report, run.gates.into_iter().map(|gate| gate.limiter).collect())
    }
}

struct PlantGate<L> {
    limiter: L,
    in_use: u32,
    /// When each waiting request arrived, and how often it was tried.
    queue: VecDeque<(Duration, u32)>,
}

#[derive(Clone, Copy, Debug)]
enum PlantEvent {
    Arrive,
    Retry {
        client: usize,
        attempts: u32,
    },
    /// A request reaches the workers after the time in front of them.
    Reach(PlantWork),
    Finish(PlantWork),
    /// The shared server finishes its first request, unless it has changed since.
    FinishShared {
        version: u64,
    },
    Fail(PlantWork),
    Refuse(PlantWork),
    /// Happens every 100 ms.
    Tick,
}

/// A request in the server.
#[derive(Clone, Copy, Debug)]
struct PlantWork {
    client: usize,
    admitted: Duration,
}

struct PlantSimulation<'p, L> {
    plant: &'p Plant,
    random: PlantRandom,
    events: BinaryHeap<Reverse<InOrder<Duration, PlantEvent>>>,
    number: u64,
    gates: Vec<PlantGate<L>>,
    /// The queue at the server.
    queue: VecDeque<PlantWork>,
    working: u32,
    /// Requests in a shared server, by the amount of shared work in seconds at which each is done.
    sharing: BinaryHeap<Reverse<InOrder<Seconds, PlantWork>>>,
    shared_work: f64,
    shared_at: Duration,
    shared_version: u64,
    in_server: u32,
    report: PlantReport,
}

impl<L: PlantLimiter> PlantSimulation<'_, L> {
    fn run(&mut self, length: Duration) {
        self.schedule(Duration::ZERO, PlantEvent::Arrive);
        self.schedule(Duration::ZERO, PlantEvent::Tick);
        while let Some(Reverse(InOrder { key: now, item, .. })) = self.events.pop() {
            if now > length {
                break;
            }
            match item {
                PlantEvent::Arrive => {
                    let gap = seconds(self.random.exponential() / self.plant.rate.at(now));
                    self.schedule(now.saturating_add(gap), PlantEvent::Arrive);
                    let client = self.random.index(self.gates.len());
                    self.report.arrivals = self.report.arrivals.saturating_add(1);
                    self.request(client, 0, now);
                }
                PlantEvent::Retry { client, attempts } => self.request(client, attempts, now),
                PlantEvent::Reach(work) => self.reach(work, now),
                PlantEvent::Finish(work) => {
                    self.working = self.working.saturating_sub(1);
                    self.end(work, Outcome::Success, now);
                    self.start_workers(now);
                }
                PlantEvent::FinishShared { version } if version == self.shared_version => {
                    self.advance_shared(now);
                    if let Some(Reverse(InOrder { item: work, .. })) = self.sharing.pop() {
                        self.end(work, Outcome::Success, now);
                    }
                    self.plan_shared(now);
                }
                PlantEvent::FinishShared { .. } => {}
                PlantEvent::Fail(work) => self.end(work, Outcome::Ignore, now),
                PlantEvent::Refuse(work) => {
                    self.report.rejections.push(now);
                    self.end(work, Outcome::Overload, now);
                }
                PlantEvent::Tick => self.tick(now),
            }
        }
    }

    fn schedule(&mut self, at: Duration, event: PlantEvent) {
        self.number = self.number.saturating_add(1);
        self.events.push(Reverse(InOrder { key: at, number: self.number, item: event }));
    }

    /// Updates all gates, as a timer does: the waits of requests, and windows, may have ended.
    fn tick(&mut self, now: Duration) {
        self.schedule(now.saturating_add(Duration::from_millis(100)), PlantEvent::Tick);
        for client in 0..self.gates.len() {
            self.admit(client, now);
            self.step(client, now);
        }
        self.start_workers(now);
        let in_use = self.gates.iter().fold(0_u32, |sum, gate| sum.saturating_add(gate.in_use));
        self.report.in_use.push((now, in_use));
    }

    /// Puts a request into the queue of the gate of a client.
    fn request(&mut self, client: usize, attempts: u32, now: Duration) {
        self.gates[client].queue.push_back((now, attempts));
        self.admit(client, now);
    }

    /// Admits the requests that fit, and rejects those that have waited for too long.
    fn admit(&mut self, client: usize, now: Duration) {
        while let Some((arrived, attempts)) = self.gates[client].queue.front().copied() {
            let gate = &mut self.gates[client];
            if now.saturating_sub(arrived) > self.plant.wait {
                gate.queue.pop_front();
                if attempts < self.plant.retries {
                    let delay = seconds(0.1 * (0.5 + self.random.uniform()));
                    let retry = PlantEvent::Retry { client, attempts: attempts.saturating_add(1) };
                    self.schedule(now.saturating_add(delay), retry);
                } else {
                    self.report.rejections.push(now);
                }
                continue;
            }
            if gate.in_use >= gate.limiter.limit() {
                break;
            }
            gate.queue.pop_front();
            gate.in_use = gate.in_use.saturating_add(1);
            gate.limiter.admitted(now);
            self.in_server = self.in_server.saturating_add(1);
            let work = PlantWork { client, admitted: now };
            let soon = now.saturating_add(Duration::from_millis(1));
            if self.random.uniform() < self.plant.errors {
                self.schedule(soon, PlantEvent::Fail(work));
            } else if self.in_server > self.plant.most {
                self.schedule(soon, PlantEvent::Refuse(work));
            } else if self.plant.front > Duration::ZERO {
                self.schedule(now.saturating_add(self.plant.front), PlantEvent::Reach(work));
            } else {
                self.reach(work, now);
            }
        }
        let gate = &mut self.gates[client];
        gate.limiter.record_in_flight(gate.in_use, u32::try_from(gate.queue.len()).unwrap_or(u32::MAX));
    }

    /// Passes a request to the workers.
    fn reach(&mut self, work: PlantWork, now: Duration) {
        if self.plant.shared.is_none() {
            self.queue.push_back(work);
            self.start_workers(now);
        } else {
            self.advance_shared(now);
            self.number = self.number.saturating_add(1);
            let done = Seconds(self.shared_work + self.draw_service(now));
            self.sharing.push(Reverse(InOrder { key: done, number: self.number, item: work }));
            self.plan_shared(now);
        }
    }

    fn start_workers(&mut self, now: Duration) {
        while self.working < self.plant.workers.at(now) {
            let Some(work) = self.queue.pop_front() else { break };
            self.working = self.working.saturating_add(1);
            let time = seconds(self.draw_service(now));
            self.schedule(now.saturating_add(time), PlantEvent::Finish(work));
        }
    }

    /// Brings the work done by a shared server up to date.
    fn advance_shared(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.shared_at).as_secs_f64();
        self.shared_work += passed * self.shared_speed(now);
        self.shared_at = now;
    }

    fn plan_shared(&mut self, now: Duration) {
        self.shared_version = self.shared_version.wrapping_add(1);
        if let Some(Reverse(first)) = self.sharing.peek() {
            let left = (first.key.0 - self.shared_work).max(0.0) / self.shared_speed(now);
            let version = self.shared_version;
            self.schedule(now.saturating_add(seconds(left)), PlantEvent::FinishShared { version });
        }
    }

    /// Returns how fast each request in a shared server proceeds.
    fn shared_speed(&self, now: Duration) -> f64 {
        let workers = f64::from(self.plant.workers.at(now));
        let requests = f64::from(u32::try_from(self.sharing.len().max(1)).unwrap_or(u32::MAX));
        let above = (requests - workers).max(0.0);
        (workers / requests).min(1.0) / (1.0 + self.plant.shared.unwrap_or(0.0) * above)
    }

    /// Draws the time of a unit of work, in seconds.
    fn draw_service(&mut self, now: Duration) -> f64 {
        match self.plant.service.at(now) {
            ServiceSpread::Fixed(mean) => mean.as_secs_f64(),
            ServiceSpread::Exponential(mean) => mean.as_secs_f64() * self.random.exponential(),
            ServiceSpread::LogNormal(sigma, mean) => {
                mean.as_secs_f64() * (sigma * self.random.normal() - sigma * sigma / 2.0).exp()
            }
        }
    }

    fn end(&mut self, work: PlantWork, outcome: Outcome, now: Duration) {
        let latency = now.saturating_sub(work.admitted);
        self.in_server = self.in_server.saturating_sub(1);
        let gate = &mut self.gates[work.client];
        gate.in_use = gate.in_use.saturating_sub(1);
        gate.limiter.record(latency, outcome, now);
        if outcome == Outcome::Success {
            self.report.latencies.push((now, latency));
            let count = &mut self.report.successes[work.client];
            *count = count.saturating_add(1);
        }
        self.step(work.client, now);
        self.admit(work.client, now);
    }

    fn step(&mut self, client: usize, now: Duration) {
        let limiter = &mut self.gates[client].limiter;
        limiter.step(now);
        let limit = limiter.limit();
        if client == 0 && self.report.limits.last().is_none_or(|(_, last)| *last != limit) {
            self.report.limits.push((now, limit));
        }
    }
}

/// An item that is ordered by its key. Items with equal keys are ordered by their numbers.
#[derive(Clone, Copy, Debug)]
struct InOrder<K, T> {
    key: K,
    number: u64,
    item: T,
}

/// A time in seconds, with the total order of floats.
#[derive(Clone, Copy, Debug)]
struct Seconds(f64);

impl PartialEq for Seconds {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Seconds {}

impl PartialOrd for Seconds {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Seconds {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl<K: Ord, T> PartialEq for InOrder<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord, T> Eq for InOrder<K, T> {}

impl<K: Ord, T> PartialOrd for InOrder<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> Ord for InOrder<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then(self.number.cmp(&other.number))
    }
}

/// Converts seconds to a duration, rounded to nanoseconds, and at most 10^9 seconds.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 1e9)).unwrap_or_default()
}
