//! The processes of the test, and what it does to them.

use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::fleet::{Ledger, RedisLedger};

use crate::processes::{Load, Redis, Server, wait_until};
use crate::table::{Figures, Phase};

/// Two gateways, one Redis, one provider, and the load. All of them end with this value.
pub struct Fleet {
    // Fields are dropped in this order: the load first.
    flood: Option<Load>,
    others: Load,
    gateways: [Server; 2],
    provider: Server,
    redis: Redis,
    /// The most calls in flight in this phase, and in its last interval.
    peak: u64,
    last_peak: u64,
}

/// What the provider counts.
pub struct Stats {
    pub peak: u64,
    pub most: u64,
    pub completed: u64,
}

impl Fleet {
    /// Starts all but the flood, and waits until both gateways are ready. Returns `None` if Redis is not installed.
    pub fn start() -> Option<Self> {
        let redis = Redis::start()?;
        let provider = Server::start(env!("CARGO_BIN_EXE_provider"), &[]);
        let urls = [format!("http://{}", provider.address), format!("redis://127.0.0.1:{}/", redis.port)];
        let gateways =
            [(); 2].map(|()| Server::start(env!("CARGO_BIN_EXE_llm-gateway"), &[&urls[0], &urls[1]]));
        // A new ledger waits for one span, because processes that it does not know could have leases.
        wait_until("both gateways are ready", || {
            gateways.iter().all(|gateway| gateway.request("GET /ready").0 == 200)
        });
        let others = Load::start(
            &addresses(&gateways),
            &["red:critical:5/s", "blue:normal:10/s", "green:normal:10/s"],
        );
        Some(Self { flood: None, others, gateways, provider, redis, peak: 0, last_peak: 0 })
    }

    /// One tenant sends as much as 200 clients can.
    pub fn start_flood(&mut self) {
        self.flood = Some(Load::start(&addresses(&self.gateways), &["red:normal:200"]));
    }

    /// The clients of the flood end without waiting for their answers.
    pub fn kill_flood(&mut self) {
        self.flood = None;
    }

    /// Runs a phase of the test, and returns its figures.
    pub fn phase(&mut self, name: &'static str, run: impl FnOnce(&mut Self)) -> Phase {
        let started = Instant::now();
        self.figures();
        (self.peak, self.last_peak) = (0, 0);
        self.stats();
        run(self);
        self.stats();
        thread::sleep(INTERVAL);
        self.stats();
        let (flood, others) = self.figures();
        let leased = [0, 1].map(|index| self.leased_by(index));
        let (peak, last_peak, length) = (self.peak, self.last_peak, started.elapsed());
        Phase { name, length, peak, last_peak, leased, flood, others }
    }

    /// Waits until the provider has completed this many calls from now on.
    pub fn wait_for_calls(&mut self, calls: u64) {
        let before = self.stats().completed;
        wait_until("calls are completed", || self.stats().completed >= before + calls);
    }

    /// Waits for an interval whose most calls in flight are as wanted.
    pub fn wait_for_peak(&mut self, description: &str, is_wanted: impl Fn(u64) -> bool) {
        self.stats();
        wait_until(description, || {
            thread::sleep(INTERVAL);
            self.stats();
            is_wanted(self.last_peak)
        });
    }

    /// Without Redis, a gateway says that it is not ready, why, and when to retry.
    pub fn check_rejection_without_redis(&self) {
        for gateway in &self.gateways {
            let (status, response) = gateway.request("POST /complete");
            assert_eq!(status, 503, "{response}");
            assert!(response.to_lowercase().contains("\r\nretry-after: "), "{response}");
            let (status, response) = gateway.request("GET /ready");
            assert_eq!(status, 503, "{response}");
            assert!(response.contains("unreachable") && response.contains("Redis has failed"), "{response}");
            for path in ["/limits", "/diagnosis"] {
                let (status, response) = gateway.request(&format!("GET {path}"));
                assert!(
                    status == 200 && response.contains("lease of llm-gateway/provider: 0 of 24"),
                    "{response}"
                );
            }
        }
    }

    pub fn set_provider_capacity(&self, calls: u32) {
        assert_eq!(self.provider.request(&format!("PUT /capacity/{calls}")).0, 200);
    }

    pub fn kill_redis(&mut self) {
        self.redis.kill();
    }

    pub fn start_redis(&mut self) {
        self.redis.restart();
    }

    /// Ends the load, and the gateways as an orchestrator does. Returns the permits that the ledger still counts as granted.
    pub fn terminate(mut self) -> u64 {
        drop(self.others);
        self.gateways.iter_mut().for_each(Server::terminate);
        let ledger = RedisLedger::new(format!("redis://127.0.0.1:{}/", self.redis.port)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ledger.status("llm-gateway/provider")).unwrap().granted
    }

    /// Returns what the provider has counted. Each call begins an interval.
    pub fn stats(&mut self) -> Stats {
        let (_, response) = self.provider.request("GET /stats");
        let number = |name: &str| -> u64 {
            let (_, rest) = response.split_once(name).unwrap();
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        let stats =
            Stats { peak: number(" peak="), most: number(" most="), completed: number(" completed=") };
        self.last_peak = stats.peak;
        self.peak = self.peak.max(stats.peak);
        stats
    }

    /// Returns the figures of the flood and of the others since the last call.
    fn figures(&mut self) -> (Figures, Figures) {
        let flood = self.flood.as_mut().map(|load| Figures::of(&load.figures())).unwrap_or_default();
        (flood, Figures::of(&self.others.figures()))
    }

    /// Returns the permits that a gateway has leased.
    fn leased_by(&self, gateway: usize) -> String {
        let (_, metrics) = self.gateways[gateway].request("GET /metrics");
        let series = r#"concurrency_governor_lease_permits{gate="provider"} "#;
        let permits = metrics.lines().find_map(|line| line.strip_prefix(series));
        permits.unwrap_or_else(|| panic!("{metrics}")).to_owned()
    }
}

/// The length of an interval in which the most calls in flight are counted: a few calls long.
const INTERVAL: Duration = Duration::from_millis(500);

fn addresses(gateways: &[Server]) -> String {
    let addresses: Vec<&str> = gateways.iter().map(|gateway| &*gateway.address).collect();
    addresses.join(",")
}
