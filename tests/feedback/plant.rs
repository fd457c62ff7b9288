//! Servers and their clients in virtual time: the same seed gives the same run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::feedback::{Band, Feedback, Observed, Opinion, Outcome, Rule, WindowTerms};

use crate::random::Random;
use crate::report::Report;
use crate::timed::Timed;

/// How long one unit of work takes a worker, relative to its mean.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spread {
    Fixed,
    Exponential,
    /// Log-normal with mean 1: the standard deviation of the logarithm.
    LogNormal(f64),
}

/// How work shares the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Discipline {
    /// Each worker serves one request at a time; the others queue, first come, first served.
    Workers,
    /// All requests share the workers. Each request above their number slows all by this fraction.
    Shared { slowdown: f64 },
}

/// A server. `Default` is ten workers that take 10 ms each, exponentially distributed.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) discipline: Discipline,
    /// The number of workers from an instant on, in seconds.
    pub(crate) workers: Vec<(f64, usize)>,
    /// The mean time of a unit of work in seconds, from an instant on.
    pub(crate) service: Vec<(f64, f64)>,
    pub(crate) spread: Spread,
    /// The time in front of the workers, which depends on no load, in seconds.
    pub(crate) front: f64,
    /// The fraction of requests that fail at once because of their content.
    pub(crate) content_errors: f64,
    /// The server rejects requests above this number in it, and says that it is overloaded.
    pub(crate) most: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            discipline: Discipline::Workers,
            workers: vec![(0.0, 10)],
            service: vec![(0.0, 0.010)],
            spread: Spread::Exponential,
            front: 0.0,
            content_errors: 0.0,
            most: usize::MAX,
        }
    }
}

/// The clients of a server: each has a gate of its own, and an equal part of the load.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) count: usize,
    /// Requests per second of all clients together, from an instant on.
    pub(crate) rate: Vec<(f64, f64)>,
    /// How long a request waits at its gate before it is rejected, in seconds.
    pub(crate) max_wait: f64,
    /// How often a rejected request is tried again, and after how many seconds.
    pub(crate) retries: u32,
    pub(crate) backoff: f64,
    pub(crate) start: u64,
    pub(crate) band: Band,
}

impl Clients {
    pub(crate) fn new(rate: f64) -> Self {
        Self {
            count: 1,
            rate: vec![(0.0, rate)],
            max_wait: 0.05,
            retries: 0,
            backoff: 0.1,
            start: 16,
            band: Band::new(Limit::new(4), Limit::new(1000)),
        }
    }
}

/// Runs a server and its clients for a number of seconds.
pub(crate) fn run(
    server: &Server,
    clients: &Clients,
    make_rule: &dyn Fn() -> Box<dyn Rule>,
    seconds: f64,
    seed: u64,
) -> Report {
    let mut simulation = Simulation {
        server,
        clients,
        random: Random(seed),
        events: BinaryHeap::new(),
        number: 0,
        gates: (0..clients.count)
            .map(|_| GateModel {
                feedback: Feedback::new(
                    BoxedRule(make_rule()),
                    Limit::saturating(clients.start),
                    clients.band,
                    Duration::ZERO,
                ),
                in_use: 0,
                queue: VecDeque::new(),
            })
            .collect(),
        queue: VecDeque::new(),
        working: 0,
        shared: BinaryHeap::new(),
        shared_work: 0.0,
        shared_at: 0.0,
        in_server: 0,
        shared_version: 0,
        report: Report { successes: vec![0.0; clients.count], ..Report::default() },
    };
    simulation.run(seconds);
    simulation.report
}

/// A rule that was chosen at run time.
#[derive(Debug)]
struct BoxedRule(Box<dyn Rule>);

impl Rule for BoxedRule {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn terms(&self) -> WindowTerms {
        self.0.terms()
    }
    fn decide(&mut self, observed: &Observed, limit: Limit, band: Band) -> Opinion {
        self.0.decide(observed, limit, band)
    }
    fn memory(&self) -> Vec<f64> {
        self.0.memory()
    }
    fn restore(&mut self, memory: &[f64]) {
        self.0.restore(memory);
    }
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Arrive,
    Retry {
        client: usize,
        attempts: u32,
    },
    /// A request comes through the front to the workers.
    Reach(Work),
    Finish(Work),
    /// The shared server finishes its first request, unless it has changed since.
    FinishShared {
        version: u64,
    },
    Fail(Work),
    Reject(Work),
    Look,
}

/// A request in the server.
#[derive(Clone, Copy, Debug)]
struct Work {
    client: usize,
    granted: f64,
}

struct GateModel {
    feedback: Feedback,
    in_use: u32,
    /// When each waiting request arrived, and how often it was tried.
    queue: VecDeque<(f64, u32)>,
}

struct Simulation<'a> {
    server: &'a Server,
    clients: &'a Clients,
    random: Random,
    events: BinaryHeap<Reverse<Timed<Happening>>>,
    number: u64,
    gates: Vec<GateModel>,
    queue: VecDeque<Work>,
    working: usize,
    /// Requests in a shared server, by the amount of shared work at which each is done.
    shared: BinaryHeap<Reverse<Timed<Work>>>,
    shared_work: f64,
    shared_at: f64,
    shared_version: u64,
    in_server: usize,
    report: Report,
}

impl Simulation<'_> {
    fn run(&mut self, seconds: f64) {
        self.schedule(0.0, Happening::Arrive);
        self.schedule(0.0, Happening::Look);
        while let Some(Reverse(Timed { at: now, what, .. })) = self.events.pop() {
            if now > seconds {
                break;
            }
            match what {
                Happening::Arrive => {
                    let gap = self.random.exponential() / at(&self.clients.rate, now);
                    self.schedule(now + gap, Happening::Arrive);
                    let client = self.random.below(self.gates.len());
                    self.report.arrivals += 1;
                    self.request(client, 0, now);
                }
                Happening::Retry { client, attempts } => self.request(client, attempts, now),
                Happening::Reach(work) => self.reach(work, now),
                Happening::Finish(work) => {
                    self.working -= 1;
                    self.end(work, Outcome::Success, now);
                    self.start_workers(now);
                }
                Happening::FinishShared { version } if version == self.shared_version => {
                    self.advance_shared(now);
                    if let Some(Reverse(Timed { what: work, .. })) = self.shared.pop() {
                        self.end(work, Outcome::Success, now);
                    }
                    self.plan_shared(now);
                }
                Happening::FinishShared { .. } => {}
                Happening::Fail(work) => self.end(work, Outcome::Ignore, now),
                Happening::Reject(work) => self.end(work, Outcome::Overload, now),
                Happening::Look => {
                    self.schedule(now + 0.1, Happening::Look);
                    for client in 0..self.gates.len() {
                        self.grant(client, now);
                        self.step(client, now);
                    }
                    self.start_workers(now);
                }
            }
        }
        self.report.feedbacks =
            std::mem::take(&mut self.gates).into_iter().map(|gate| gate.feedback).collect();
    }

    fn schedule(&mut self, at: f64, what: Happening) {
        self.number += 1;
        self.events.push(Reverse(Timed { at, number: self.number, what }));
    }

    /// A request arrives at the gate of a client.
    fn request(&mut self, client: usize, attempts: u32, now: f64) {
        self.gates[client].queue.push_back((now, attempts));
        self.grant(client, now);
    }

    /// Admits what fits, and rejects what has waited for too long.
    fn grant(&mut self, client: usize, now: f64) {
        while let Some(&(arrived, attempts)) = self.gates[client].queue.front() {
            if now - arrived > self.clients.max_wait {
                self.gates[client].queue.pop_front();
                if attempts < self.clients.retries {
                    let delay = self.clients.backoff * (0.5 + self.random.uniform());
                    self.schedule(now + delay, Happening::Retry { client, attempts: attempts + 1 });
                } else {
                    self.report.rejections.push(now);
                }
                continue;
            }
            let gate = &mut self.gates[client];
            if gate.in_use >= gate.feedback.limit().get() {
                break;
            }
            gate.queue.pop_front();
            gate.in_use += 1;
            self.in_server += 1;
            let work = Work { client, granted: now };
            if self.random.uniform() < self.server.content_errors {
                self.schedule(now + 0.001, Happening::Fail(work));
            } else if self.in_server > self.server.most {
                self.schedule(now + 0.001, Happening::Reject(work));
            } else if self.server.front > 0.0 {
                self.schedule(now + self.server.front, Happening::Reach(work));
            } else {
                self.reach(work, now);
            }
        }
        let gate = &mut self.gates[client];
        gate.feedback.record_in_flight(gate.in_use, u32::try_from(gate.queue.len()).unwrap_or(u32::MAX));
    }

    /// A request comes to the workers.
    fn reach(&mut self, work: Work, now: f64) {
        match self.server.discipline {
            Discipline::Workers => {
                self.queue.push_back(work);
                self.start_workers(now);
            }
            Discipline::Shared { .. } => {
                self.advance_shared(now);
                self.number += 1;
                let done = self.shared_work + self.service_time(now);
                self.shared.push(Reverse(Timed { at: done, number: self.number, what: work }));
                self.plan_shared(now);
            }
        }
    }

    fn start_workers(&mut self, now: f64) {
        while self.working < at(&self.server.workers, now) {
            let Some(work) = self.queue.pop_front() else { break };
            self.working += 1;
            let time = self.service_time(now);
            self.schedule(now + time, Happening::Finish(work));
        }
    }

    /// Brings the work done by a shared server up to date.
    fn advance_shared(&mut self, now: f64) {
        self.shared_work += (now - self.shared_at) * self.shared_speed(now);
        self.shared_at = now;
    }

    fn plan_shared(&mut self, now: f64) {
        self.shared_version += 1;
        if let Some(Reverse(first)) = self.shared.peek() {
            let left = (first.at - self.shared_work).max(0.0) / self.shared_speed(now);
            let version = self.shared_version;
            self.schedule(now + left, Happening::FinishShared { version });
        }
    }

    /// Returns how fast each request in a shared server proceeds.
    fn shared_speed(&self, now: f64) -> f64 {
        let Discipline::Shared { slowdown } = self.server.discipline else { return 1.0 };
        let (workers, requests) = (at(&self.server.workers, now) as f64, self.shared.len().max(1) as f64);
        let above = (requests - workers).max(0.0);
        (workers / requests).min(1.0) / (1.0 + slowdown * above)
    }

    fn service_time(&mut self, now: f64) -> f64 {
        let mean = at(&self.server.service, now);
        mean * match self.server.spread {
            Spread::Fixed => 1.0,
            Spread::Exponential => self.random.exponential(),
            Spread::LogNormal(sigma) => (sigma * self.random.normal() - sigma * sigma / 2.0).exp(),
        }
    }

    fn end(&mut self, work: Work, outcome: Outcome, now: f64) {
        let latency = now - work.granted;
        self.in_server -= 1;
        let gate = &mut self.gates[work.client];
        gate.in_use -= 1;
        gate.feedback.record(Duration::from_secs_f64(latency), outcome);
        if outcome == Outcome::Success {
            self.report.latencies.push((now, latency));
            self.report.successes[work.client] += 1.0;
        }
        self.step(work.client, now);
        self.grant(work.client, now);
    }

    fn step(&mut self, client: usize, now: f64) {
        if let Some(decision) = self.gates[client].feedback.step(Duration::from_secs_f64(now)) {
            if client == 0 {
                self.report.limits.push((now, decision.after().get()));
            }
        }
    }
}

/// Returns the value that is in force at an instant.
fn at<T: Copy>(schedule: &[(f64, T)], now: f64) -> T {
    schedule.iter().rev().find(|(from, _)| *from <= now).unwrap_or(&schedule[0]).1
}
