//! The simulation itself: real gates under a real governor, driven by requests that only sleep.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::Gate;
use concurrency_governor::governor::GovernorBuilder;
use concurrency_governor::plan::BuildError;
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{GateName, GateSpec, Governor, OverrideLayer, Overrides, Plan, Readings};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Builder;
use tokio::task::{self, LocalSet};
use tokio::time::{self, Instant};

use super::change::What;
use super::load::Load;
use super::record::Record;

/// Everything that a simulation follows from: the same course goes the same way again, in simulated time.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) plan: Plan,
    pub(crate) readings: Readings,
    pub(crate) overrides: Overrides,
    pub(crate) load: Load,
    /// In the order of their times.
    pub(crate) changes: Vec<(Duration, What)>,
    pub(crate) length: Duration,
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
}

/// How time goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// As fast as it can be computed.
    Simulated,
    /// As it does.
    Real,
}

impl Clock {
    /// How much longer everything takes on the runtime's clock. It knows milliseconds; where nobody has to wait for
    /// them, each stands for a microsecond.
    const fn scale(self) -> u32 {
        match self {
            Self::Simulated => 1000,
            Self::Real => 1,
        }
    }
}

impl Course {
    /// Runs it, and gives one record a gate, in the order of the plan. `progress` is told how far it is.
    pub(crate) fn run(&self, progress: impl Fn(Duration)) -> Result<Vec<Record>, DriveError> {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(self.clock == Clock::Simulated);
        let runtime = builder.build().map_err(DriveError::Runtime)?;
        LocalSet::new().block_on(&runtime, self.drive(progress))
    }

    async fn drive(&self, progress: impl Fn(Duration)) -> Result<Vec<Record>, DriveError> {
        let host: Vec<MockProbe> = self
            .readings
            .iter()
            .map(|(resource, measured)| MockProbe::new(resource, measured.reading()))
            .collect();
        let builder = host.iter().fold(Governor::builder(), |builder, probe| builder.probe(probe.clone()));
        let specs = self.plan.specs().iter().map(|spec| self.stretched(spec));
        let governor =
            specs.fold(builder, GovernorBuilder::gate).overrides(self.overrides.clone()).build().await?;
        let stage = Rc::new(Stage::new(&governor, self)?);
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut changes = self.changes.iter();
        let mut change = changes.next();
        let mut settings = OverrideLayer::new("--change");
        let mut arrival = self.load.pause(&mut random);
        loop {
            let next = change.map_or(arrival, |(at, _)| arrival.min(*at));
            if next > self.length {
                break;
            }
            stage.until(next).await;
            progress(stage.now());
            match change {
                Some((at, what)) if *at <= arrival => {
                    settings = self.apply(*what, settings, &governor, &host).await?;
                    stage.note_limits();
                    change = changes.next();
                }
                _ => {
                    // Drawn here, so that what is drawn does not hang on who is admitted when.
                    if let Some(gate) = self.load.gate(&mut random) {
                        let service = self.load.service(gate).draw(&mut random);
                        task::spawn_local(Rc::clone(&stage).request(gate, service));
                    }
                    arrival = arrival.saturating_add(self.load.pause(&mut random));
                }
            }
        }
        stage.until(self.length).await;
        progress(self.length);
        Ok(stage.finish(self.length))
    }

    /// Puts a change in force, as a governor does when the host or an operator changes.
    async fn apply(
        &self,
        what: What,
        settings: OverrideLayer,
        governor: &Governor,
        host: &[MockProbe],
    ) -> Result<OverrideLayer, DriveError> {
        match what {
            What::Setting(gate, limit) => {
                let settings = settings.set(gate, limit);
                let layers = self.overrides.layers().iter().cloned();
                governor
                    .set_overrides(layers.fold(Overrides::new().then(settings.clone()), Overrides::then))?;
                Ok(settings)
            }
            What::Reading(resource, reading) => {
                let probes = host.iter().zip(self.readings.iter());
                let probe = probes.into_iter().find(|(_, (measured, _))| *measured == resource);
                if let Some((probe, _)) = probe {
                    probe.set(reading);
                }
                governor.refresh().await?;
                Ok(settings)
            }
        }
    }

    /// A gate whose waits are as long on the runtime's clock as they are meant to be on this one's.
    fn stretched(&self, spec: &GateSpec) -> GateSpec {
        match spec.longest_wait() {
            Some(wait) => spec.max_wait(wait.saturating_mul(self.clock.scale())),
            None => *spec,
        }
    }
}

/// Where it plays: the gates, what is written down of them, and the time.
struct Stage {
    gates: Vec<(Gate, RefCell<Record>)>,
    began: Instant,
    scale: u32,
}

impl Stage {
    fn new(governor: &Governor, course: &Course) -> Result<Self, DriveError> {
        let gates = course.plan.specs().iter().map(|spec| governor.gate(spec).map_err(DriveError::Gate));
        let gates = gates.map(|gate| {
            let gate = gate?;
            let record = Record::new(gate.name(), gate.limit().get(), course.length);
            Ok((gate, RefCell::new(record)))
        });
        Ok(Self {
            gates: gates.collect::<Result<_, DriveError>>()?,
            began: Instant::now(),
            scale: course.clock.scale(),
        })
    }

    /// One request: it waits, is at work, and is gone.
    async fn request(self: Rc<Self>, gate: GateName, service: Duration) {
        let Some((gate, record)) = self.gates.iter().find(|(known, _)| known.name() == gate) else { return };
        record.borrow_mut().arrive();
        let arrived = self.now();
        let mut acquire = pin!(gate.acquire());
        let outcome = match poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx))).await {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                record.borrow_mut().join(self.now());
                let outcome = acquire.await;
                record.borrow_mut().leave(self.now());
                outcome
            }
        };
        match outcome {
            Ok(permit) => {
                let began = self.now();
                record.borrow_mut().admit(began, began.saturating_sub(arrived));
                time::sleep(service.saturating_mul(self.scale)).await;
                record.borrow_mut().complete(self.now());
                drop(permit);
            }
            Err(error) => record.borrow_mut().refuse(&error),
        }
    }

    fn note_limits(&self) {
        for (gate, record) in &self.gates {
            record.borrow_mut().limit(self.now(), gate.limit().get());
        }
    }

    async fn until(&self, at: Duration) {
        time::sleep_until(self.began.checked_add(at.saturating_mul(self.scale)).unwrap_or(self.began)).await;
    }

    fn now(&self) -> Duration {
        self.began.elapsed().checked_div(self.scale).unwrap_or_default()
    }

    /// What was written down; requests that are still there write nothing more.
    fn finish(&self, at: Duration) -> Vec<Record> {
        let records = self.gates.iter().map(|(gate, record)| {
            let mut record = record.replace(Record::new(gate.name(), gate.limit().get(), at));
            record.end(at);
            record
        });
        records.collect()
    }
}

/// Why a simulation came to no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Gate(concurrency_governor::plan::UnknownGateError),
}
