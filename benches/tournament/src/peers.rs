//! Limiters of other crates, each with its defaults, the start of the row and the bounds of all.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use concurrency_governor::feedback::Outcome;
use concurrency_governor::testing::plant::PlantLimiter;
use congestion_limiter::aggregation::Average;
use congestion_limiter::limiter::{self, DefaultLimiter, Limiter, Token};
use congestion_limiter::limits::{self, LimitAlgorithm};
use futures_util::FutureExt as _;
use tower_resilience_adaptive::ConcurrencyAlgorithm;

use crate::contestants::{Contestant, LEAST, MOST, Start};

pub fn contestants() -> Vec<Contestant> {
    let (least, most) = (LEAST as usize, MOST as usize);
    let limit = |start: Start| start.limit as usize;
    vec![
        Contestant::new("tower-resilience aimd", move |start| {
            let aimd = tower_resilience_adaptive::Aimd::builder().initial_limit(limit(start));
            let aimd = aimd.min_limit(least).max_limit(most).latency_threshold(start.threshold());
            TowerResilience::new(aimd.build().expect("the options are valid"))
        }),
        Contestant::new("tower-resilience vegas", move |start| {
            let vegas = tower_resilience_adaptive::Vegas::builder().initial_limit(limit(start));
            TowerResilience::new(
                vegas.min_limit(least).max_limit(most).build().expect("the options are valid"),
            )
        }),
        Contestant::new("tower-resilience gradient2", move |start| {
            let gradient = tower_resilience_adaptive::Gradient2::builder().initial_limit(limit(start));
            let gradient = gradient.min_limit(least).max_limit(most);
            TowerResilience::new(gradient.build().expect("the options are valid"))
        }),
        Contestant::new("tower-acc aimd", move |start| {
            let aimd = tower_acc::Aimd::builder().initial_limit(limit(start)).min_limit(least);
            TowerAcc::new(aimd.max_limit(most).timeout(start.threshold()).build())
        }),
        Contestant::new("tower-acc vegas", move |start| {
            TowerAcc::new(tower_acc::Vegas::builder().initial_limit(limit(start)).max_limit(most).build())
        }),
        Contestant::new("tower-acc gradient2", move |start| {
            let gradient = tower_acc::Gradient2::builder().initial_limit(limit(start));
            TowerAcc::new(gradient.min_limit(least).max_limit(most).build())
        }),
        congestion("congestion-limiter aimd", move |start| limits::Aimd::new(limit(start), least..=most)),
        congestion("congestion-limiter vegas", move |start| {
            limits::Windowed::new(limits::Vegas::new(limit(start), least..=most), Average::default())
        }),
        congestion("congestion-limiter gradient", move |start| {
            limits::Windowed::new(limits::Gradient::new(limit(start), least..=most), Average::default())
        }),
        Contestant::new("little-loadshedder", LittleLoadshedder::new),
    ]
}

/// A limiter of tower-resilience-adaptive. Its service reads the limit of the algorithm for each request.
struct TowerResilience<A> {
    algorithm: A,
    in_use: u32,
}

impl<A> TowerResilience<A> {
    fn new(algorithm: A) -> Self {
        Self { algorithm, in_use: 0 }
    }
}

impl<A: ConcurrencyAlgorithm> PlantLimiter for TowerResilience<A> {
    fn limit(&self) -> u32 {
        self.algorithm.limit() as u32
    }

    fn record_in_flight(&mut self, in_use: u32, _waiting: u32) {
        self.in_use = in_use;
    }

    fn record(&mut self, latency: Duration, outcome: Outcome, _now: Duration) {
        match outcome {
            Outcome::Success => self.algorithm.record_success_with_load(latency, self.in_use as usize),
            // Its service counts each error as a failure.
            Outcome::Overload | Outcome::Ignore => self.algorithm.record_failure(),
        }
    }

    fn step(&mut self, _now: Duration) {}
}

/// A limiter of tower-acc, with its semaphore: a lower limit takes effect only as far as permits are available at that moment
/// (`Controller::resize`).
struct TowerAcc<A> {
    algorithm: A,
    permits: usize,
    in_use: usize,
    waiting: bool,
}

impl<A: tower_acc::Algorithm> TowerAcc<A> {
    fn new(algorithm: A) -> Self {
        Self { permits: algorithm.max_concurrency(), algorithm, in_use: 0, waiting: false }
    }
}

impl<A: tower_acc::Algorithm> PlantLimiter for TowerAcc<A> {
    fn limit(&self) -> u32 {
        self.permits as u32
    }

    fn record_in_flight(&mut self, in_use: u32, waiting: u32) {
        (self.in_use, self.waiting) = (in_use as usize, waiting > 0);
    }

    fn record(&mut self, latency: Duration, outcome: Outcome, _now: Duration) {
        // Its classifier takes an error of the client as no error.
        self.algorithm.update(latency, self.in_use, outcome == Outcome::Overload, outcome == Outcome::Ignore);
        let wanted = self.algorithm.max_concurrency();
        // The permit of this request is still in use. If requests wait, the next one gets it.
        let available = if self.waiting { 0 } else { self.permits.saturating_sub(self.in_use) };
        self.permits = wanted.max(self.permits - available.min(self.permits.saturating_sub(wanted)));
    }

    fn step(&mut self, _now: Duration) {}
}

/// A limiter of congestion-limiter. It measures latencies itself, with tokio's clock.
struct Congestion<T> {
    limiter: DefaultLimiter<T>,
    /// The tokens of the requests, by the instant at which they were admitted.
    tokens: BTreeMap<Duration, Vec<Token>>,
    clock: Rc<Cell<Duration>>,
}

/// Creates a contestant that runs under tokio's paused clock.
fn congestion<T>(name: &'static str, create: impl Fn(Start) -> T + 'static) -> Contestant
where
    T: LimitAlgorithm + Sync + std::fmt::Debug + 'static,
{
    Contestant::special(name, move |plant, start, length, seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime starts").block_on(async {
            let clock = Rc::new(Cell::new(Duration::ZERO));
            let limiter = || Congestion {
                limiter: DefaultLimiter::new(create(start)),
                tokens: BTreeMap::new(),
                clock: Rc::clone(&clock),
            };
            plant.run(limiter, length, seed).0
        })
    })
}

impl<T> Congestion<T> {
    /// Sets tokio's clock to an instant of the run.
    fn advance(&self, now: Duration) {
        let passed = now.saturating_sub(self.clock.replace(now));
        if passed > Duration::ZERO {
            // The first poll advances the clock. The rest only yields.
            let _ = tokio::time::advance(passed).now_or_never();
        }
    }
}

impl<T: LimitAlgorithm + Sync + std::fmt::Debug> PlantLimiter for Congestion<T> {
    fn limit(&self) -> u32 {
        self.limiter.state().limit() as u32
    }

    fn record_in_flight(&mut self, _in_use: u32, _waiting: u32) {}

    fn admitted(&mut self, now: Duration) {
        self.advance(now);
        if let Some(Some(token)) = self.limiter.try_acquire().now_or_never() {
            self.tokens.entry(now).or_default().push(token);
        }
    }

    fn record(&mut self, latency: Duration, outcome: Outcome, now: Duration) {
        self.advance(now);
        let admitted = now.saturating_sub(latency);
        let Some(tokens) = self.tokens.get_mut(&admitted) else { return };
        let token = tokens.pop();
        if tokens.is_empty() {
            self.tokens.remove(&admitted);
        }
        let outcome = match outcome {
            Outcome::Success => Some(limiter::Outcome::Success),
            Outcome::Overload => Some(limiter::Outcome::Overload),
            Outcome::Ignore => None,
        };
        if let Some(token) = token {
            let _ = self.limiter.release(token, outcome).now_or_never();
        }
    }

    fn step(&mut self, _now: Duration) {}
}

/// The rule of little-loadshedder 0.2.0 (`LoadShedConf::stop`), restated: the crate reads the clock of the system, which cannot be virtual,
/// and offers its rule only within a service. It starts at 1 and has no bounds.
struct LittleLoadshedder {
    target: f64,
    average_latency: f64,
    concurrency: u32,
    previous_concurrency: u32,
    previous_throughput: f64,
    last_changed: Duration,
    in_use: u32,
}

impl LittleLoadshedder {
    /// The weight of a new latency in its example.
    const EWMA: f64 = 0.01;

    fn new(start: Start) -> Self {
        let target = start.threshold().as_secs_f64();
        Self {
            target,
            average_latency: target,
            concurrency: 1,
            previous_concurrency: 0,
            previous_throughput: 0.0,
            last_changed: Duration::ZERO,
            in_use: 0,
        }
    }
}

impl PlantLimiter for LittleLoadshedder {
    fn limit(&self) -> u32 {
        self.concurrency
    }

    fn record_in_flight(&mut self, in_use: u32, _waiting: u32) {
        self.in_use = in_use;
    }

    fn record(&mut self, latency: Duration, _outcome: Outcome, now: Duration) {
        let available = self.concurrency.saturating_sub(self.in_use);
        let is_at_limit = available <= (self.concurrency / 10).max(1);
        self.average_latency = self.average_latency * (1.0 - Self::EWMA) + Self::EWMA * latency.as_secs_f64();
        let since = now.saturating_sub(self.last_changed).as_secs_f64();
        if since <= self.average_latency / Self::EWMA / 10.0 || !is_at_limit {
            return;
        }
        let current = self.concurrency - available;
        let throughput = f64::from(current) / self.average_latency;
        let is_negative = (throughput > self.previous_throughput) ^ (current > self.previous_concurrency);
        let before = f64::from(self.concurrency);
        if is_negative || self.average_latency > self.target {
            self.concurrency = (self.concurrency - 1).max(1);
        } else {
            self.concurrency += 1;
        }
        self.average_latency *= f64::from(self.concurrency) / before;
        (self.previous_throughput, self.previous_concurrency) = (throughput, current);
        self.last_changed = now;
    }

    fn step(&mut self, _now: Duration) {}
}
