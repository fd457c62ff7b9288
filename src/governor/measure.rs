//! Measuring every probe at once, whatever each of them does.

use std::any::Any;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

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
    /// A measurement that outlived its deadline: it was aborted, but blocks a thread.
    stuck: Option<Measuring>,
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
            Track { resource, probe, stuck: None, damper: None, fault: None }
        };
        Self { deadline, tracks: probes.into_iter().map(track).collect() }
    }

    /// The probes, in order.
    pub(super) fn probes(&self) -> Vec<Arc<dyn ResourceProbe>> {
        self.tracks.iter().map(|track| Arc::clone(&track.probe)).collect()
    }

    /// Asks every probe at once, each in a task of its own, so that one that blocks or panics harms no other; one
    /// outcome a probe, in their order.
    ///
    /// Dropping the future aborts the measurements under way.
    pub(super) async fn measure(&mut self) -> Vec<Outcome> {
        let deadline = Instant::now().checked_add(self.deadline);
        let under_way: Vec<Option<Measuring>> = self.tracks.iter_mut().map(Track::start).collect();
        let mut outcomes = Vec::with_capacity(under_way.len());
        for (track, measuring) in self.tracks.iter_mut().zip(under_way) {
            outcomes.push(match measuring {
                Some(measuring) => track.finish(measuring, deadline, self.deadline).await,
                None => Err(ProbeFault::Stuck),
            });
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
    /// Starts a measurement, unless the last one still blocks a thread.
    fn start(&mut self) -> Option<Measuring> {
        if self.stuck.as_ref().is_some_and(|measuring| !measuring.0.is_finished()) {
            return None;
        }
        self.stuck = None;
        let probe = Arc::clone(&self.probe);
        Some(Measuring(tokio::spawn(async move { probe.measure().await })))
    }

    async fn finish(
        &mut self,
        mut measuring: Measuring,
        deadline: Option<Instant>,
        after: Duration,
    ) -> Outcome {
        let joined = match deadline {
            Some(deadline) => timeout_at(deadline, &mut measuring.0).await,
            None => Ok((&mut measuring.0).await),
        };
        match joined {
            Ok(Ok(Ok(measurement))) => Ok(measurement),
            Ok(Ok(Err(error))) => Err(ProbeFault::Failed(error)),
            Ok(Err(error)) => Err(ProbeFault::Panicked {
                message: error
                    .try_into_panic()
                    .map_or_else(|error| error.to_string(), |panic| message_of(&*panic)),
            }),
            Err(_) => {
                measuring.0.abort();
                self.stuck = Some(measuring);
                Err(ProbeFault::TimedOut { after })
            }
        }
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
                events.push(Event::RiseHeld { resource, held: to, seen, remaining })
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
struct Measuring(JoinHandle<Result<Measurement, ProbeError>>);

impl Drop for Measuring {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The message of a panic, where it is a text.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
