//! The simulated hosts, the ledger, and the messages between them.

use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::fleet::{Ask, Grant, Lease, LeaseTerms, LedgerServer, LedgerState, LimitVersion};

use super::events::{EventQueue, FleetEvent};
use super::fault::{FleetFault, FleetFaultKind};
use super::record::FleetRecord;
use crate::simulate::load::ServiceTime;
use crate::simulate::random::RandomNumbers;

/// What is simulated.
#[derive(Clone, Debug)]
pub(super) struct FleetModel {
    pub(super) hosts: u32,
    pub(super) limit: Limit,
    /// The requests of each host that are in flight or wait.
    pub(super) demand: u32,
    pub(super) hold: ServiceTime,
    pub(super) terms: LeaseTerms,
    pub(super) faults: Vec<FleetFault>,
    pub(super) length: Duration,
    pub(super) seed: u64,
}

/// The result of the run of a model.
#[derive(Debug)]
pub(super) struct FleetResult {
    pub(super) record: FleetRecord,
    /// The mean number of permits of each host.
    pub(super) permits: Vec<f64>,
}

impl FleetModel {
    /// Returns the time before the run, in which the fleet starts and gets its leases. The report does not include it.
    pub(super) fn warm_up(&self) -> Duration {
        self.terms.ttl().saturating_mul(5)
    }

    /// Runs the simulation. Calls `show` with the simulated time that has passed, the warm-up included.
    pub(super) fn run(&self, show: impl FnMut(Duration)) -> FleetResult {
        FleetRun::new(self).run(show)
    }
}

/// A host with one process.
#[derive(Debug)]
struct SimulatedHost {
    /// The number of its process. It rises with each crash.
    process: u32,
    name: String,
    lease: Lease,
    in_use: u32,
    /// The ask that is under way, without the name of its holder, and the answer.
    ask: Option<Ask<'static>>,
    grant: Option<Grant>,
    /// The instant of the next [`FleetEvent::Wake`]. Wake events of other instants are ignored.
    wake_at: u64,
    /// Until this instant, the host is suspended.
    stopped_until: u64,
    /// Until this instant, the host is cut off from the ledger.
    cut_until: u64,
    /// At this instant, the process starts.
    down_until: u64,
    /// The milliseconds in flight of all its requests, and the instant until which they are added up.
    permit_ms: u64,
    changed: u64,
}

/// A simulation under way. Instants are milliseconds since its start; the run begins at `start`.
struct FleetRun<'a> {
    model: &'a FleetModel,
    start: u64,
    end: u64,
    now: u64,
    queue: EventQueue,
    hosts: Vec<SimulatedHost>,
    ledger: LedgerState,
    /// The number of the server's start, and the instant until which it does not answer.
    server_start: u64,
    server_down_until: u64,
    in_flight: u64,
    random: RandomNumbers,
    record: FleetRecord,
}

impl<'a> FleetRun<'a> {
    fn new(model: &'a FleetModel) -> Self {
        let start = millis(model.warm_up());
        let record = FleetRecord::new(millis(model.length));
        let mut run = Self {
            model,
            start,
            end: start.saturating_add(record.length()),
            now: 0,
            queue: EventQueue::default(),
            hosts: Vec::new(),
            // The fleet is new: there are no leases to learn.
            ledger: LedgerState::without_leases(LedgerServer { now_ms: 1, run: "1" }),
            server_start: 1,
            server_down_until: 0,
            in_flight: 0,
            random: RandomNumbers::from_seed(model.seed),
            record,
        };
        run.hosts = (0..model.hosts).map(|index| run.new_host(index, 0)).collect();
        // The hosts do not start at the same moment.
        for host in 0..model.hosts {
            let at = run.random.draw_below(millis(model.terms.turn()).max(1));
            run.wake_at(host, at);
        }
        for (index, fault) in model.faults.iter().enumerate() {
            run.queue.add(start.saturating_add(millis(fault.from)), FleetEvent::Fault { index });
        }
        run
    }

    fn new_host(&self, index: u32, process: u32) -> SimulatedHost {
        let name = format!("host-{index}:{process}");
        let limit = LimitVersion::configured(self.model.limit);
        SimulatedHost {
            process,
            lease: Lease::new(name.clone(), self.model.terms, limit),
            name,
            in_use: 0,
            ask: None,
            grant: None,
            wake_at: u64::MAX,
            stopped_until: 0,
            cut_until: 0,
            down_until: 0,
            permit_ms: 0,
            changed: 0,
        }
    }

    fn run(mut self, mut show: impl FnMut(Duration)) -> FleetResult {
        while let Some((at, events)) = self.queue.take_next().filter(|(at, _)| *at < self.end) {
            if self.now < self.start && at >= self.start {
                self.record.set_in_flight(0, self.in_flight);
            }
            self.now = at;
            show(Duration::from_millis(at));
            for event in events {
                self.handle(event);
            }
        }
        self.now = self.end;
        self.record.advance(self.end.saturating_sub(self.start));
        let length = self.end.saturating_sub(self.start).max(1);
        let start = self.start;
        let permits = self.hosts.iter_mut().map(|host| {
            host.advance(self.end, start);
            ratio(host.permit_ms, length)
        });
        FleetResult { permits: permits.collect(), record: self.record }
    }

    fn handle(&mut self, event: FleetEvent) {
        let (index, process) = match event {
            FleetEvent::Fault { index } => return self.begin_fault(index),
            FleetEvent::Wake { host, process }
            | FleetEvent::Ask { host, process, .. }
            | FleetEvent::Answer { host, process, .. }
            | FleetEvent::Failure { host, process, .. }
            | FleetEvent::Done { host, process } => (host, process),
        };
        let now = self.now;
        let Some(host) = host_of(&mut self.hosts, index) else { return };
        if host.process != process {
            // The work of a crashed process continues at the upstream service.
            if let FleetEvent::Done { .. } = event {
                self.end_request();
            }
            return;
        }
        // The events of a suspended host happen when it continues. An ask that is under way still reaches the ledger.
        if now < host.stopped_until && !matches!(event, FleetEvent::Ask { .. }) {
            if let FleetEvent::Wake { .. } = event {
                host.wake_at = host.stopped_until;
            }
            let at = host.stopped_until;
            return self.queue.add(at, event);
        }
        match event {
            FleetEvent::Wake { .. } if host.wake_at == now => {
                host.wake_at = u64::MAX;
                self.exchange_if_due(index);
            }
            FleetEvent::Wake { .. } | FleetEvent::Fault { .. } => {}
            FleetEvent::Ask { seq, .. } => self.answer(index, seq),
            FleetEvent::Answer { seq, .. } => {
                if host.grant.take().is_some_and(|grant| host.lease.finish(seq, &grant)) {
                    self.admit(index);
                    self.plan_exchange(index);
                }
            }
            FleetEvent::Failure { seq, .. } => {
                host.lease.fail(seq);
                self.plan_exchange(index);
            }
            FleetEvent::Done { .. } => {
                host.advance(now, self.start);
                host.in_use = host.in_use.saturating_sub(1);
                self.end_request();
                self.admit(index);
                self.plan_exchange(index);
            }
        }
    }

    /// Begins an exchange, if one is due.
    fn exchange_if_due(&mut self, index: u32) {
        let (now, demand) = (self.now, self.model.demand);
        let latency = self.latency();
        let Some(host) = host_of(&mut self.hosts, index) else { return };
        let clock = Duration::from_millis(now);
        if host.lease.next_exchange(host.in_use, demand).is_none_or(|due| due > clock) {
            return self.plan_exchange(index);
        }
        let ask = host.lease.begin(clock, host.in_use, demand);
        let (seq, ask) = (ask.seq, Ask { holder: "", ..ask });
        host.ask = Some(ask);
        let process = host.process;
        if now < host.cut_until {
            self.queue.add(now.saturating_add(TIMEOUT_MS), FleetEvent::Failure { host: index, process, seq });
        } else {
            self.queue.add(now.saturating_add(latency), FleetEvent::Ask { host: index, process, seq });
        }
    }

    /// Makes the exchange of an ask that has arrived, and sends the answer.
    fn answer(&mut self, index: u32, seq: u64) {
        let latency = self.latency();
        let Some(host) = host_of(&mut self.hosts, index) else { return };
        let process = host.process;
        let ask = host.ask.take().filter(|_| self.now >= self.server_down_until);
        let Some(ask) = ask else {
            // A server that is down refuses the connection.
            let event = FleetEvent::Failure { host: index, process, seq };
            return self.queue.add(self.now.saturating_add(latency), event);
        };
        let run = self.server_start.to_string();
        let server = LedgerServer { now_ms: self.now.saturating_add(1), run: &run };
        host.grant = self.ledger.exchange(&Ask { holder: &host.name, ..ask }, server).ok();
        if let Some(now) = self.now.checked_sub(self.start) {
            self.record.count_exchange(now);
        }
        if self.now >= host.cut_until && host.grant.is_some() {
            let event = FleetEvent::Answer { host: index, process, seq };
            self.queue.add(self.now.saturating_add(latency), event);
        } else {
            let event = FleetEvent::Failure { host: index, process, seq };
            self.queue.add(self.now.saturating_add(TIMEOUT_MS), event);
        }
    }

    /// Admits requests while the lease allows it.
    fn admit(&mut self, index: u32) {
        let now = self.now;
        while let Some(host) = host_of(&mut self.hosts, index) {
            let most = host.lease.cap().min(self.model.demand);
            if host.in_use >= most || !host.lease.is_valid(Duration::from_millis(now)) {
                return;
            }
            host.advance(now, self.start);
            host.in_use = host.in_use.saturating_add(1);
            let process = host.process;
            self.begin_request();
            let hold = millis(self.model.hold.draw(&mut self.random)).max(1);
            self.queue.add(now.saturating_add(hold), FleetEvent::Done { host: index, process });
        }
    }

    /// Adds an event that wakes the host when its next exchange is due.
    fn plan_exchange(&mut self, index: u32) {
        let demand = self.model.demand;
        let Some(host) = host_of(&mut self.hosts, index) else { return };
        if let Some(due) = host.lease.next_exchange(host.in_use, demand) {
            let due = millis(due.saturating_add(Duration::from_nanos(999_999))).max(self.now);
            if due < host.wake_at {
                self.wake_at(index, due);
            }
        }
    }

    fn wake_at(&mut self, index: u32, at: u64) {
        let Some(host) = host_of(&mut self.hosts, index) else { return };
        host.wake_at = at;
        self.queue.add(at, FleetEvent::Wake { host: index, process: host.process });
    }

    /// Begins a fault. If a fault of the same kind has not ended yet, the later end counts.
    fn begin_fault(&mut self, index: usize) {
        let Some(fault) = self.model.faults.get(index) else { return };
        let until = self.start.saturating_add(millis(fault.until));
        match fault.kind {
            FleetFaultKind::RedisRestart | FleetFaultKind::PostgresRestart => {
                if fault.kind == FleetFaultKind::RedisRestart {
                    self.ledger = LedgerState::new();
                }
                self.server_start = self.server_start.saturating_add(1);
                self.server_down_until = self.server_down_until.max(until);
            }
            FleetFaultKind::Flush => self.ledger = LedgerState::new(),
            FleetFaultKind::Partition | FleetFaultKind::Crash | FleetFaultKind::Pause => {
                for host in self.hosts_of(fault.share()) {
                    self.begin_fault_of_host(fault.kind, host, until);
                }
            }
        }
    }

    fn begin_fault_of_host(&mut self, kind: FleetFaultKind, index: u32, until: u64) {
        let (now, start) = (self.now, self.start);
        let Some(host) = host_of(&mut self.hosts, index) else { return };
        match kind {
            FleetFaultKind::Partition => host.cut_until = host.cut_until.max(until),
            FleetFaultKind::Pause => host.stopped_until = host.stopped_until.max(until),
            _ => {
                host.advance(now, start);
                let (permit_ms, process) = (host.permit_ms, host.process.saturating_add(1));
                let (cut_until, down_until) = (host.cut_until, host.down_until.max(until));
                let new = self.new_host(index, process);
                let Some(host) = host_of(&mut self.hosts, index) else { return };
                *host = SimulatedHost { permit_ms, changed: now, cut_until, down_until, ..new };
                self.wake_at(index, down_until);
            }
        }
    }

    /// Draws the hosts that have a fault: this percentage of all hosts, at least one.
    fn hosts_of(&mut self, share: u8) -> impl Iterator<Item = u32> + use<> {
        let hosts = self.model.hosts.max(1);
        let first = u32::try_from(self.random.draw_below(hosts.into())).unwrap_or(0);
        let count = u64::from(hosts).saturating_mul(share.into()).div_ceil(100);
        let count = u32::try_from(count).unwrap_or(hosts);
        (0..count).map(move |offset| first.saturating_add(offset).checked_rem(hosts).unwrap_or(0))
    }

    /// Draws the time of a message in milliseconds.
    fn latency(&mut self) -> u64 {
        self.random.draw_below(MAX_LATENCY_MS).saturating_add(1)
    }

    fn begin_request(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
        self.record_in_flight();
    }

    fn end_request(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.record_in_flight();
    }

    fn record_in_flight(&mut self) {
        if let Some(now) = self.now.checked_sub(self.start) {
            self.record.set_in_flight(now, self.in_flight);
        }
    }
}

impl SimulatedHost {
    /// Adds the time of its permits in use since the last call. Time before the start of the run does not count.
    fn advance(&mut self, now: u64, start: u64) {
        let time = now.saturating_sub(self.changed.max(start));
        self.permit_ms = self.permit_ms.saturating_add(time.saturating_mul(self.in_use.into()));
        self.changed = now;
    }
}

fn host_of(hosts: &mut [SimulatedHost], index: u32) -> Option<&mut SimulatedHost> {
    hosts.get_mut(usize::try_from(index).ok()?)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "three digits are enough for a report")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// The longest time of a message.
const MAX_LATENCY_MS: u64 = 3;

/// The time after which a call to the ledger has failed.
const TIMEOUT_MS: u64 = 1000;
