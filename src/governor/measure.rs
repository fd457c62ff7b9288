//! Measuring every probe at once, whatever each of them does.

use std::any::Any;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::damping::{Damper, Verdict};
use crate::event::{Event, ProbeFault};
use crate::plan::{Measurement, Reading, Readings, Resource};
use crate::probe::{ProbeError, ResourceProbe};

/// The probes, and what is known of each.
pub(super) struct Prober {
    deadline: Duration,
    tracks: Vec<Track>,
}

/// One probe with its history.
struct Track {
    resource: Resource,
    probe: Arc<dyn ResourceProbe>,
    /// Held by a measurement under way. One that blocks its thread holds it beyond its deadline, and while it does the
    /// probe is not asked again, or it would block one thread after another.
    turn: Arc<Mutex<()>>,
    /// What holds; none before the first outcome.
    damper: Option<Damper>,
    /// The fault of the last outcome, as text; told to observers when it changes.
    fault: Option<String>,
}

/// What came of asking one probe.
pub(super) type Outcome = Result<Measurement, ProbeFault>;

impl Prober {
    pub(super) fn new(probes: Vec<Arc<dyn ResourceProbe>>, deadline: Duration) -> Self {
        let track = |probe: Arc<dyn ResourceProbe>| {
            let resource = probe.resource();
            Track { resource, probe, turn: Arc::default(), damper: None, fault: None }
        };
        Self { deadline, tracks: probes.into_iter().map(track).collect() }
    }

    /// The probes, in order.
    pub(super) fn probes(&self) -> Vec<Arc<dyn ResourceProbe>> {
        self.tracks.iter().map(|track| Arc::clone(&track.probe)).collect()
    }

    /// What the probes measure, in order.
    pub(super) fn resources(&self) -> impl Iterator<Item = Resource> {
        self.tracks.iter().map(|track| track.resource)
    }

    /// Asks every probe at once, each in a task of its own, so that one that blocks or panics harms no other; one
    /// outcome a probe, in their order.
    ///
    /// Dropping the future aborts the measurements under way.
    pub(super) async fn measure(&self) -> Vec<Outcome> {
        let deadline = Instant::now().checked_add(self.deadline);
        let under_way: Vec<Measuring> = self.tracks.iter().map(Track::start).collect();
        let mut outcomes = Vec::with_capacity(under_way.len());
        for measuring in under_way {
            outcomes.push(measuring.finish(deadline, self.deadline).await);
        }
        outcomes
    }

    /// Takes the outcomes in; gives the readings that hold now, and what observers are to be told.
    pub(super) fn take_in(
        &mut self,
        outcomes: Vec<Outcome>,
        rise_after: NonZeroU32,
    ) -> (Readings, Vec<Event>) {
        let mut events = Vec::new();
        for (track, outcome) in self.tracks.iter_mut().zip(outcomes) {
            match outcome {
                Ok(measurement) => track.measured(measurement, rise_after, &mut events),
                Err(fault) => track.failed(fault, &mut events),
            }
        }
        let held = |track: &Track| Some((track.resource, track.damper.as_ref()?.held().clone()));
        (self.tracks.iter().filter_map(held).collect(), events)
    }
}

impl Track {
    fn start(&self) -> Measuring {
        let (probe, turn) = (Arc::clone(&self.probe), Arc::clone(&self.turn));
        let asked = Arc::new(AtomicBool::new(false));
        let asking = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let _turn = turn.lock().await;
            asking.store(true, Ordering::Relaxed); // read for the wording of a fault alone
            probe.measure().await
        });
        Measuring { task, asked }
    }

    fn measured(&mut self, measurement: Measurement, rise_after: NonZeroU32, events: &mut Vec<Event>) {
        let resource = self.resource;
        let seen = measurement.reading();
        if self.fault.take().is_some() {
            events.push(Event::ProbeRecovered { resource, reading: seen });
        }
        let Some(damper) = &mut self.damper else {
            self.damper = Some(Damper::new(measurement));
            return;
        };
        let from = damper.held().reading();
        let verdict = damper.see(measurement, rise_after);
        let to = damper.held().reading();
        match verdict {
            Verdict::Held { remaining } => {
                events.push(Event::RiseHeld { resource, held: to, seen, remaining });
            }
            Verdict::Believed if from != to => events.push(Event::ReadingChanged { resource, from, to }),
            Verdict::Believed => {}
        }
    }

    fn failed(&mut self, fault: ProbeFault, events: &mut Vec<Event>) {
        let text = fault.to_string();
        let damper = self.damper.get_or_insert_with(|| Damper::new(Reading::Unknown.into()));
        damper.miss(&text);
        let is_news = self.fault.as_ref() != Some(&text);
        self.fault = Some(text);
        if is_news {
            let kept = damper.held().reading();
            events.push(Event::ProbeFailed { resource: self.resource, fault, kept });
        }
    }
}

/// A measurement under way; aborted when it is dropped.
struct Measuring {
    task: JoinHandle<Result<Measurement, ProbeError>>,
    /// Whether it has had its turn.
    asked: Arc<AtomicBool>,
}

impl Measuring {
    async fn finish(mut self, deadline: Option<Instant>, after: Duration) -> Outcome {
        let joined = match deadline {
            Some(deadline) => timeout_at(deadline, &mut self.task).await,
            None => Ok((&mut self.task).await),
        };
        match joined {
            Ok(Ok(measured)) => measured.map_err(ProbeFault::Failed),
            Ok(Err(error)) => Err(ProbeFault::Panicked {
                message: error
                    .try_into_panic()
                    .map_or_else(|error| error.to_string(), |panic| message_of(&*panic)),
            }),
            Err(_) if self.asked.load(Ordering::Relaxed) => Err(ProbeFault::TimedOut { after }),
            Err(_) => Err(ProbeFault::Stuck),
        }
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The message of a panic, where it is a text.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
