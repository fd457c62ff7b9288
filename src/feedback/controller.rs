//! Connects a rule, its window and its band to the limit of one gate.

use std::time::Duration;

use crate::plan::Limit;

use super::decision::{FeedbackDecision, History};
use super::rule::{Band, Rule, WindowTerms};
use super::window::{Outcome, OutcomeCounts, Window};

/// The limit of one gate that follows outcomes.
///
/// It enforces these bounds on every rule:
///
/// - The limit is in the band at each instant. A lowered ceiling takes effect immediately.
/// - One window changes the limit by one step: down by at most a tenth (or by one permit), or up to at most twice the
///   limit.
/// - The limit does not grow in a window in which it was never reached.
/// - While a window has too few samples, the limit stays and the window continues.
///
/// [`feedback`](super) has an example.
#[derive(Debug)]
pub struct Feedback {
    rule: Box<dyn Rule>,
    band: Band,
    limit: Limit,
    window: Window,
    /// When the window began.
    began: Duration,
    history: History,
}

impl Feedback {
    /// Creates the limit `start`, or the nearest one in the band. `now` is the caller's clock, since any fixed moment.
    #[must_use]
    pub fn new(rule: impl Rule + 'static, start: Limit, band: Band, now: Duration) -> Self {
        Self {
            rule: Box::new(rule),
            band,
            limit: band.clamp(start),
            window: Window::new(),
            began: now,
            history: History::new(),
        }
    }

    /// Returns the limit in force.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Returns the band in force.
    #[must_use]
    pub fn band(&self) -> Band {
        self.band
    }

    /// Returns the last decisions.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns how long the present window is at least, and how many samples it needs.
    #[must_use]
    pub fn terms(&self) -> WindowTerms {
        self.rule.terms()
    }

    /// Replaces the band, and moves the limit into it at once.
    pub fn set_band(&mut self, band: Band) {
        self.band = band;
        self.limit = band.clamp(self.limit);
    }

    /// Adds an outcome, and the time from the grant of the permit to the outcome. Do not call this method for a permit that was dropped
    /// without an outcome.
    pub fn record(&mut self, latency: Duration, outcome: Outcome) {
        self.window.record(latency, outcome);
    }

    /// Adds the latency of a success without counting it, for callers that sample.
    pub fn record_latency(&mut self, latency: Duration) {
        self.window.record_latency(latency);
    }

    /// Adds outcomes without latencies, for callers that sample.
    pub fn record_counts(&mut self, counts: OutcomeCounts) {
        self.window.record_counts(counts);
    }

    /// Starts a new window without a decision. Call it if the gate had another limit than [`limit`](Self::limit) during the window.
    pub fn discard_window(&mut self, now: Duration) {
        self.window.close(Duration::ZERO);
        self.began = now;
    }

    /// Adds an observation of the gate: how many permits are in use, and how many requests wait.
    pub fn record_in_flight(&mut self, in_use: u32, waiting: u32) {
        self.window.record_in_flight(in_use, waiting, self.limit);
    }

    /// Notes that the host is under the pressure that counts as overload.
    pub fn record_pressure(&mut self) {
        self.window.record_pressure();
    }

    /// Ends the window if it is long enough and has enough samples, and applies the decision of the rule. Returns `None` if the window
    /// continues.
    pub fn step(&mut self, now: Duration) -> Option<&FeedbackDecision> {
        let terms = self.rule.terms();
        let length = now.saturating_sub(self.began);
        if length < terms.min_length || self.window.samples() < u64::from(terms.min_samples) {
            return None;
        }
        let observed = self.window.close(length);
        self.began = now;
        let decision = FeedbackDecision::make(self.rule.as_mut(), now, self.limit, self.band, observed);
        self.limit = decision.after();
        Some(self.history.push(decision))
    }
}
