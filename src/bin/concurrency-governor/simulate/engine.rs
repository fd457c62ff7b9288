//! The simulation: real gates under a real governor, used by requests that only sleep.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::Gate;
use concurrency_governor::governor::GovernorBuilder;
use concurrency_governor::plan::{BuildError, GateHandleError, QueueSetting};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{
    Adaptive, GateName, GateSpec, Governor, OverrideLayer, Overrides, Plan, Readings, Shed,
};
use tokio::runtime::Builder;
use tokio::task::{self, LocalSet};
use tokio::time::{self, Instant};

use super::change::ChangeAction;
use super::load::RequestLoad;
use super::random::RandomNumbers;
use super::record::GateRecord;

/// Everything that determines a run. In simulated time, equal simulations run identically.
#[derive(Clone, Debug)]
pub(crate) struct Simulation {
    pub(crate) plan: Plan,
    pub(crate) readings: Readings,
    pub(crate) overrides: Overrides,
    pub(crate) load: RequestLoad,
    /// The changes in order of their times.
    pub(crate) changes: Vec<(Duration, ChangeAction)>,
    pub(crate) length: Duration,
    pub(crate) seed: u64,
    pub(crate) clock: SimulationClock,
}

/// How the time of a simulation passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SimulationClock {
    /// As fast as it can be computed: tokio's paused clock.
    Simulated,
    /// At its real speed.
    Real,
}

impl SimulationClock {
    /// Returns the number of tokio's time units for one unit of the simulation.
    ///
    /// The resolution of tokio's timer is a millisecond. Simulated time is stretched, so that the resolution is a
    /// microsecond. This costs nothing, because the paused clock skips the time in which nothing happens.
    const fn scale(self) -> u32 {
        match self {
            Self::Simulated => 1000,
            Self::Real => 1,
        }
    }
}

impl Simulation {
    /// Runs the simulation. Returns its records.
    ///
    /// Calls `progress` with the simulated time that has passed.
    ///
    /// # Errors
    ///
    /// [`SimulationError`] if the governor rejects a setting or a change.
    pub(crate) fn run(&self, progress: impl FnMut(Duration)) -> Result<SimulationRecords, SimulationError> {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(self.clock == SimulationClock::Simulated);
        let runtime = builder.build().map_err(SimulationError::Runtime)?;
        LocalSet::new().block_on(&runtime, self.run_events(progress))
    }

    async fn run_events(
        &self,
        mut progress: impl FnMut(Duration),
    ) -> Result<SimulationRecords, SimulationError> {
        // The host is mocked, so that changes can set its readings.
        let probes: Vec<MockProbe> = self
            .readings
            .iter()
            .map(|(resource, measurement)| MockProbe::new(resource, measurement.reading()))
            .collect();
        let builder = probes.iter().fold(Governor::builder(), |builder, probe| builder.probe(probe.clone()));
        let specs = self.plan.specs().iter().map(|spec| self.simulated_spec(spec));
        let overrides = self.stretch_overrides();
        let governor =
            specs.fold(builder, GovernorBuilder::gate).overrides(overrides.clone()).build().await?;
        let recorder = Rc::new(GateRecorder::new(&governor, self)?);

        // Two streams of events are merged in order of time: the changes and the arrivals.
        let mut random = RandomNumbers::from_seed(self.seed);
        let mut changes = self.changes.iter();
        let mut change = changes.next();
        let mut change_layer = OverrideLayer::new("--change");
        let schedule = self.load.schedule;
        let mut arrival = schedule.draw_arrival(Duration::ZERO, &mut random);
        loop {
            let next = change.map_or(arrival, |(at, _)| arrival.min(*at));
            if next > self.length {
                break;
            }
            recorder.sleep_until(next).await;
            progress(recorder.now());
            match change {
                Some((at, action)) if *at <= arrival => {
                    change_layer = self.apply(*action, change_layer, &overrides, &governor, &probes).await?;
                    recorder.record_limits();
                    change = changes.next();
                }
                _ => {
                    // All random numbers are drawn here, in order of arrival. If the requests drew them, the numbers
                    // would depend on the order of admission, and a change of a limit would change the load.
                    if let Some(gate) = self.load.draw_gate(&mut random) {
                        let tenant = self.load.draw_tenant(&mut random);
                        let service = self.load.service(gate).draw(&mut random);
                        task::spawn_local(Rc::clone(&recorder).run_request(gate, tenant, service));
                    }
                    arrival = schedule.draw_arrival(arrival, &mut random);
                }
            }
        }
        recorder.sleep_until(self.length).await;
        progress(self.length);
        Ok(recorder.finish(self.length))
    }

    /// Applies a change, as a governor does when the host or an operator changes something.
    ///
    /// `overrides` are the settings that apply from the start. Returns the layer with the limits that changes have set so far.
    async fn apply(
        &self,
        action: ChangeAction,
        change_layer: OverrideLayer,
        overrides: &Overrides,
        governor: &Governor,
        probes: &[MockProbe],
    ) -> Result<OverrideLayer, SimulationError> {
        match action {
            ChangeAction::SetLimit(gate, limit) => {
                let change_layer = change_layer.set(gate, limit);
                let layers = overrides.layers().iter().cloned();
                let overrides = layers.fold(Overrides::new().then(change_layer.clone()), Overrides::then);
                governor.set_overrides(overrides)?;
                Ok(change_layer)
            }
            ChangeAction::SetReading(resource, reading) => {
                let mut measured = probes.iter().zip(self.readings.iter());
                if let Some((probe, _)) = measured.find(|(_, (measured, _))| *measured == resource) {
                    probe.set(reading);
                }
                governor.refresh().await?;
                Ok(change_layer)
            }
        }
    }

    /// Returns the gate of the simulation: its longest wait and the target of its shedding are converted to the time of tokio's clock,
    /// and an adaptive gate needs neither a probe of pressure nor a rule of the application.
    ///
    /// The shortest interval of shedding is a constant that is not converted. So in simulated time, the interval is always four times the
    /// target.
    fn simulated_spec(&self, spec: &GateSpec) -> GateSpec {
        let mut simulated = *spec;
        if let Some(wait) = spec.longest_wait() {
            simulated = simulated.max_wait(self.stretch(wait));
        }
        if let Some(Ok(shed)) = spec.shedding().map(|shed| Shed::try_after(self.stretch(shed.target()))) {
            simulated = simulated.shed(shed);
        }
        // No outcome is recorded, so every rule keeps the initial limit.
        let adaptive = spec.adaptivity();
        simulated.maybe_adaptive(adaptive.map(|adaptive| {
            Adaptive::latency().start_at(adaptive.start_limit()).floor_at(adaptive.floor_limit())
        }))
    }

    /// Converts the longest waits of the settings to the time of tokio's clock.
    fn stretch_overrides(&self) -> Overrides {
        let stretch_layer = |layer: &OverrideLayer| {
            layer.queue_settings().fold(layer.clone(), |stretched, (gate, setting)| match setting {
                QueueSetting::MaxWait(wait) => stretched.set_max_wait(gate, self.stretch(wait)),
                _ => stretched,
            })
        };
        self.overrides.layers().iter().map(stretch_layer).fold(Overrides::new(), Overrides::then)
    }

    fn stretch(&self, time: Duration) -> Duration {
        time.saturating_mul(self.clock.scale())
    }
}

/// What happened in a run.
#[derive(Debug)]
pub(crate) struct SimulationRecords {
    /// One record for each gate, in the order of the plan.
    pub(crate) gates: Vec<GateRecord>,
    /// One record for each tenant, in the order of the load.
    pub(crate) tenants: Vec<GateRecord>,
}

/// The gates of a run with their records, and the time of the simulation.
struct GateRecorder {
    gates: Vec<RecordedGate>,
    /// The gate of each tenant: a key of the gate that they use.
    tenants: Vec<RecordedGate>,
    start: Instant,
    scale: u32,
}

/// A gate with its record.
struct RecordedGate {
    gate: Gate,
    record: RefCell<GateRecord>,
    /// The names of the gates that the gate is within.
    ancestors: Vec<GateName>,
}

impl RecordedGate {
    fn new(name: String, gate: Gate, ancestors: &[GateName], length: Duration) -> Self {
        let record = GateRecord::new(name, gate.limit().get(), length);
        Self { gate, record: RefCell::new(record), ancestors: ancestors.to_vec() }
    }

    /// Takes the record. Requests that are still pending write to the empty record that stays behind.
    fn finish(&self, at: Duration) -> GateRecord {
        let mut record = self.record.replace(GateRecord::new(String::new(), 0, at));
        record.finish(at);
        record
    }
}

impl GateRecorder {
    fn new(governor: &Governor, simulation: &Simulation) -> Result<Self, SimulationError> {
        let Simulation { plan, load, length, .. } = simulation;
        let gates = plan.paths().map(|path| {
            let gate = governor.gate(path.gate())?;
            Ok(RecordedGate::new(gate.name().to_string(), gate, path.parents(), *length))
        });
        // All requests of tenants are for the one gate of the mix.
        let mut tenants = Vec::with_capacity(load.tenants.len());
        if let Some((gate, _)) = load.mix.iter().find(|(_, share)| *share > 0) {
            let gate = governor.gate(*gate)?;
            for tenant in load.tenants.iter().filter(|_| gate.has_keys()) {
                let key = gate.key(&*tenant.name);
                tenants.push(RecordedGate::new(tenant.name.clone(), key, &[], *length));
            }
        }
        Ok(Self {
            gates: gates.collect::<Result<_, SimulationError>>()?,
            tenants,
            start: Instant::now(),
            scale: simulation.clock.scale(),
        })
    }

    /// Runs one request: acquires a permit, holds it for the service time and releases it. The request of a tenant is recorded for
    /// the tenant and for the gate.
    async fn run_request(self: Rc<Self>, gate: GateName, tenant: Option<usize>, service: Duration) {
        let Some(own) = self.gate(gate) else { return };
        let tenant = tenant.and_then(|index| self.tenants.get(index));
        let recorded = || [Some(own), tenant].into_iter().flatten();
        let record = |change: &dyn Fn(&mut GateRecord)| {
            recorded().for_each(|recorded| change(&mut recorded.record.borrow_mut()));
        };
        let record_above = |change: &dyn Fn(&mut GateRecord)| {
            for above in own.ancestors.iter().filter_map(|name| self.gate(*name)) {
                change(&mut above.record.borrow_mut());
            }
        };

        record(&GateRecord::arrive);
        let arrived = self.now();
        // The first poll shows whether the request is admitted at once or enters the queue.
        let mut acquire = pin!(tenant.unwrap_or(own).gate.acquire());
        let outcome = match poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx))).await {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                for RecordedGate { gate, record, .. } in recorded() {
                    record.borrow_mut().enqueue(self.now(), gate.waiting());
                }
                let outcome = acquire.await;
                record(&|record| record.dequeue(self.now()));
                outcome
            }
        };
        match outcome {
            Ok(permit) => {
                let admitted = self.now();
                record(&|record| record.admit(admitted, admitted.saturating_sub(arrived)));
                record_above(&|record| record.admit_within(admitted));
                time::sleep(service.saturating_mul(self.scale)).await;
                let completed = self.now();
                record(&|record| record.complete(completed));
                record_above(&|record| record.complete_within(completed));
                drop(permit);
            }
            Err(error) => record(&|record| record.reject(&error)),
        }
    }

    fn gate(&self, name: GateName) -> Option<&RecordedGate> {
        self.gates.iter().find(|recorded| recorded.gate.name() == name)
    }

    fn record_limits(&self) {
        for RecordedGate { gate, record, .. } in self.gates.iter().chain(&self.tenants) {
            record.borrow_mut().set_limit(self.now(), gate.limit().get());
        }
    }

    async fn sleep_until(&self, at: Duration) {
        time::sleep_until(self.start.checked_add(at.saturating_mul(self.scale)).unwrap_or(self.start)).await;
    }

    fn now(&self) -> Duration {
        self.start.elapsed().checked_div(self.scale).unwrap_or_default()
    }

    /// Takes the records at the end of the run.
    fn finish(&self, at: Duration) -> SimulationRecords {
        let finish = |recorded: &[RecordedGate]| recorded.iter().map(|gate| gate.finish(at)).collect();
        SimulationRecords { gates: finish(&self.gates), tenants: finish(&self.tenants) }
    }
}

/// The simulation cannot run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulationError {
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Gate(#[from] GateHandleError),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use concurrency_governor::Formula;

    use super::*;
    use crate::simulate::rate::ArrivalSchedule;

    /// The target of shedding is one of simulated time: at twice the load, each request that is admitted waits less than about twice the
    /// target, and the gate is used to its limit.
    #[test]
    fn shedding_has_its_target_in_simulated_time() {
        const DESK: GateSpec =
            GateSpec::new("desk", Formula::fixed(10)).shed(Shed::after(Duration::from_millis(50)));
        let simulation = Simulation {
            plan: Plan::new([DESK]).unwrap(),
            readings: Readings::new(),
            overrides: Overrides::new(),
            load: RequestLoad {
                schedule: ArrivalSchedule { rate: "400/s".parse().unwrap(), burst: None },
                mix: vec![(DESK.name(), 1)],
                tenants: Vec::new(),
                services: BTreeMap::from([(DESK.name(), "50ms".parse().unwrap())]),
            },
            changes: Vec::new(),
            length: Duration::from_secs(30),
            seed: 1,
            clock: SimulationClock::Simulated,
        };
        let records = simulation.run(|_| {}).unwrap().gates;
        let (desk, waits) = (&records[0], records[0].waits());
        let p99 = waits.quantile(99, 100).unwrap();
        assert!(p99 < Duration::from_millis(150), "{p99:?}");
        assert!(desk.mean_in_use() > 9.5, "{}", desk.mean_in_use());
        assert!(desk.totals.rejected_early > 5000 && desk.totals.rejected_other == 0, "{:?}", desk.totals);
    }
}
