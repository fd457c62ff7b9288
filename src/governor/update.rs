//! Changes of readings and overrides: the step under the lock, and its announcement without the lock.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use super::feedback::FeedbackProbe;
use super::prober::RefreshScope;
use super::shares::Shares;
use super::{DeclaredGates, Governor, GovernorState};
use crate::event::Event;
use crate::gate::WakeList;
use crate::plan::{BuildError, Plan, Resolution};

/// The part of a change that must run without a lock, because it calls foreign code. [`Governor::announce`] runs it.
#[must_use = "`announce` notifies subscribers, waiters and observers"]
pub(super) struct Announcement {
    /// The events in their order.
    events: Vec<Event>,
    /// The number of the first event. The numbers of the others follow.
    first_number: u64,
    /// Dropping a list wakes the waiters of one gate.
    wake_lists: Vec<WakeList>,
}

impl Governor {
    /// Refreshes. All readings take effect together, after the slowest measurement, at most after the deadline of the probes. A rise takes
    /// effect when it has lasted for `rise_after`.
    pub(super) async fn refresh_damped(
        &self,
        scope: &RefreshScope,
        rise_after: Duration,
    ) -> (Result<Arc<Resolution>, BuildError>, Announcement) {
        let mut prober = self.0.prober.lock().await;
        let results = prober.measure(scope).await;
        // No await from here on: a refresh that is dropped has changed nothing.
        let (readings, mut events) = prober.apply(results, rise_after);
        // A decision is reported with the refresh that applies it.
        let declared = self.declared();
        let is_measured = |feedback: &&Arc<FeedbackProbe>| prober.has_in_scope(scope, feedback.resource());
        for feedback in declared.feedbacks.iter().filter(is_measured) {
            let gate = feedback.gate_name();
            let decided = |decision| Event::FeedbackDecided { gate, decision: Box::new(decision) };
            events.extend(feedback.take_unreported().into_iter().map(decided));
        }
        self.update(events, |plan, state, events| {
            state.readings = readings;
            let resolved = plan.resolve(&state.readings, &state.overrides);
            let status = &mut state.status;
            status.probes = prober.statuses();
            status.refreshes = status.refreshes.saturating_add(1);
            if let Err(error) = &resolved {
                status.rejected = status.rejected.saturating_add(1);
                events.push(Event::RefreshRejected { error: error.clone() });
            }
            resolved
        })
    }

    /// Resolves again, and resizes the gates. An error changes neither gates nor resolution.
    ///
    /// `events` are those of the change so far. All of its events get their numbers here, under the lock, so that numbers
    /// are in the order of the changes.
    pub(super) fn update(
        &self,
        mut events: Vec<Event>,
        resolve: impl FnOnce(&Plan, &mut GovernorState, &mut Vec<Event>) -> Result<Resolution, BuildError>,
    ) -> (Result<Arc<Resolution>, BuildError>, Announcement) {
        let mut wake_lists = Vec::new();
        let mut state = self.state();
        let declared = Arc::clone(&state.declared);
        let resolved = resolve(&declared.plan, &mut state, &mut events).map(|resolution| {
            if resolution != *state.resolution {
                declared.bound_queues(&state.resolution, &resolution);
                state.resolution = Arc::new(resolution);
            }
            declared.resize_gates(&self.0.shares, &state.resolution, &mut events, &mut wake_lists);
            declared.follow_ceilings(&state.resolution);
            Arc::clone(&state.resolution)
        });
        let first_number = state.events.saturating_add(1);
        state.events = state.events.saturating_add(events.len() as u64);
        (resolved, Announcement { events, first_number, wake_lists })
    }

    /// Notifies subscribers, wakes waiters and calls observers. The caller holds no lock, because a waker and an observer
    /// may call this governor.
    ///
    /// If a waker panics, the rest is done first, and then the panic continues in the caller.
    pub(super) fn announce(&self, announcement: Announcement) {
        let Announcement { events, first_number, wake_lists } = announcement;
        // A woken waiter may read the subscription, so subscribers come first. Observers come last, because a slow one must
        // not keep an admitted waiter asleep.
        let published = panic::catch_unwind(AssertUnwindSafe(|| self.publish_resolution()));
        let woken = panic::catch_unwind(AssertUnwindSafe(|| drop(wake_lists)));
        self.notify_observers(first_number, &events);
        if let Err(payload) = published.and(woken) {
            panic::resume_unwind(payload);
        }
    }

    /// Same as [`announce`](Self::announce), without the panic of a waker. The background refresh must not end by one.
    pub(super) fn announce_ignoring_panics(&self, announcement: Announcement) {
        ignore_panic(|| self.announce(announcement));
    }

    /// Sends the newest resolution to the subscribers unless it was sent already. Of two concurrent changes, the later one
    /// wins, whichever thread sends last.
    pub(super) fn publish_resolution(&self) {
        self.0.resolutions.send_if_modified(|sent| {
            let newest = self.resolution();
            let is_new = !Arc::ptr_eq(sent, &newest);
            *sent = newest;
            is_new
        });
    }

    pub(super) fn notify_observers(&self, first_number: u64, events: &[Event]) {
        for (number, event) in (first_number..).zip(events) {
            for observer in &self.0.observers {
                ignore_panic(|| observer.observe_numbered(number, event));
            }
        }
    }
}

impl DeclaredGates {
    /// Resizes the gates whose limit differs from the resolution. The events are in the order of the plan.
    ///
    /// The falling limits are set first, then the rising ones. Otherwise a parent that rises would admit requests of a child
    /// whose limit is about to fall, and the child would use more than the old and the new limits allow.
    fn resize_gates(
        &self,
        shares: &Shares,
        resolution: &Resolution,
        events: &mut Vec<Event>,
        wake_lists: &mut Vec<WakeList>,
    ) {
        let targets = self.gates.iter().zip(resolution.explanations());
        let (falling, rising): (Vec<_>, Vec<_>) = targets
            .enumerate()
            .map(|(index, (gate, explanation))| (index, gate, explanation, shares.limit_of(gate)))
            .filter(|(_, _, explanation, limit)| *limit != explanation.limit())
            .partition(|(_, _, explanation, limit)| explanation.limit() < *limit);
        let mut changes = Vec::with_capacity(falling.len().saturating_add(rising.len()));
        for (index, gate, explanation, _) in falling.into_iter().chain(rising) {
            let (resize, wake_list) = shares.resize(gate, explanation.limit());
            wake_lists.push(wake_list);
            changes.push((index, gate, explanation, resize));
        }
        changes.sort_by_key(|(index, ..)| *index);
        events.extend(changes.into_iter().map(|(_, gate, explanation, resize)| {
            let (from, to, debt) = (resize.from, resize.to, resize.debt);
            let explanation = Box::new(explanation.clone());
            Event::LimitChanged { gate: gate.name(), from, to, debt, explanation }
        }));
    }

    /// Sets the bounds of the queues that differ from those of the last resolution.
    fn bound_queues(&self, before: &Resolution, resolution: &Resolution) {
        for (gate, explanation) in self.gates.iter().zip(resolution.explanations()) {
            let bounds = explanation.queue_bounds();
            if before.explain(gate.name()).is_ok_and(|before| before.queue_bounds() == bounds) {
                continue;
            }
            gate.set_queue(bounds.queue().unwrap_or(usize::MAX));
            gate.set_max_wait(bounds.max_wait().unwrap_or(Duration::MAX));
        }
    }

    /// Gives the feedback of each adaptive gate the ceiling that is derived now.
    pub(super) fn follow_ceilings(&self, resolution: &Resolution) {
        for feedback in &self.feedbacks {
            if let Ok(explanation) = resolution.explain(feedback.gate_name()) {
                feedback.follow(explanation);
            }
        }
    }
}

/// Runs foreign code whose panic must not stop the governor. The panic hook has reported it.
fn ignore_panic(call: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(call)) {
        mem::forget(payload); // its drop may panic, too
    }
}
