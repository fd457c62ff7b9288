//! The exchange against its oracle, and what must hold after each exchange whatever the holders report.

use std::env;

use concurrency_governor::fleet::{Grant, LedgerServer, LedgerState};

use crate::oracle::LedgerOracle;
use crate::trace::{Trace, TraceStep};

/// P70, P72, P74, P80: after each of many random steps, the answer and every entry are those of an oracle that adds everything up anew.
///
/// `FLEET_MODEL_STEPS` sets the number of steps, and `FLEET_MODEL_FIRST` the first trace. `.ci/run model` takes 2 * 10^6 steps.
#[test]
fn random_steps_follow_the_oracle() {
    let steps = number_from_env("FLEET_MODEL_STEPS").unwrap_or(200_000);
    let first = number_from_env("FLEET_MODEL_FIRST").unwrap_or(1);
    let (mut checked, mut seen) = (0, Seen::default());
    let mut number = first;
    while checked < steps {
        checked += run_trace(number, &mut seen);
        number += 1;
    }
    eprintln!("fleet model: {checked} steps in the traces {first} to {}: {seen:?}", number - 1);
    // Fewer steps need not reach every rule.
    if checked >= 100_000 {
        seen.assert_reached();
    }
}

/// Runs one trace, and returns the number of its steps.
fn run_trace(number: u64, seen: &mut Seen) -> u64 {
    const STEPS: u64 = 1000;
    let mut trace = Trace::new(number);
    let (mut state, mut oracle) = (LedgerState::new(), LedgerOracle::default());
    for step in 0..STEPS {
        let context = || format!("trace {number}, step {step}");
        match trace.next() {
            TraceStep::Flush => (state, oracle) = (LedgerState::new(), LedgerOracle::default()),
            TraceStep::SetLimit { limit, now_ms } => {
                state.set_limit(limit, "test", LedgerServer { now_ms, run: "" });
                oracle.set_limit(limit, now_ms);
            }
            TraceStep::Exchange { ask, now_ms, run } => {
                let (before, epoch, holders) = (oracle.granted(), oracle.epoch, oracle.holders.len());
                let own = oracle.holders.iter().find(|holder| holder.name == ask.holder);
                let own = own.map_or(0, |own| own.granted + own.reserved);
                let answer = state.exchange(&ask.as_ask(), LedgerServer { now_ms, run: &run });
                let expected = oracle.exchange(&ask.as_ask(), now_ms, &run);
                match (&answer, &expected) {
                    (Ok(grant), Ok(expected)) => {
                        assert_eq!(u64::from(grant.cap), expected.cap, "{}: {ask:?} {grant:?}", context());
                        assert_eq!(
                            u64::from(grant.target),
                            expected.target,
                            "{}: {ask:?} {grant:?}",
                            context()
                        );
                        assert_eq!(grant.learning.as_millis() as u64, expected.learning, "{}", context());
                        let forced = (before - own) + u64::from(ask.held);
                        assert_laws(grant, forced, ask.held, &context());
                        seen.count(grant, ask.held, epoch);
                        seen.dropped += u64::from(oracle.holders.len() < holders);
                    }
                    (Err(replayed), Err(last)) => {
                        assert_eq!(replayed.last, *last, "{}", context());
                        seen.replays += 1;
                    }
                    _ => panic!("{}: {answer:?}, but {expected:?}", context()),
                }
                trace.observe(&ask, answer.as_ref().ok());
            }
        }
        assert_same_state(&state, &oracle, &context());
    }
    STEPS
}

/// What must hold whatever the rules of fairness are. `forced` is what the entries add up to if the holder gets what it holds.
fn assert_laws(grant: &Grant, forced: u64, held: u32, context: &str) {
    let limit = u64::from(grant.limit.limit.get());
    assert!(grant.granted <= limit.max(forced), "{context}: above the limit: {grant:?}");
    assert!(u64::from(grant.cap) <= limit, "{context}: a cap above the limit: {grant:?}");
    assert!(grant.learning.is_zero() || grant.cap <= held, "{context}: a growth while learning: {grant:?}");
}

fn assert_same_state(state: &LedgerState, oracle: &LedgerOracle, context: &str) {
    let status = state.status();
    assert_eq!(status.granted, oracle.granted(), "{context}: the sum of the entries");
    assert_eq!(
        (status.epoch, status.limit, status.exchanges),
        (oracle.epoch, oracle.limit, oracle.exchanges)
    );
    assert_eq!(status.holders.len(), oracle.holders.len(), "{context}");
    for holder in &status.holders {
        let found = oracle.holders.iter().find(|found| found.name == holder.holder);
        let expected = found.unwrap_or_else(|| panic!("{context}: {holder:?} should have been dropped"));
        assert_eq!(
            (holder.granted, holder.reserved, u64::from(holder.wants), holder.seq, holder.short_since),
            (
                expected.granted,
                expected.reserved,
                expected.wants,
                expected.seq,
                expected.short_since.unwrap_or(0)
            ),
            "{context}: {holder:?}"
        );
        assert_eq!(holder.expires_ms, expected.expiry.saturating_sub(oracle.clock), "{context}: {holder:?}");
    }
}

/// How often the steps reached what they are to reach.
#[derive(Debug, Default)]
struct Seen {
    grown: u64,
    full: u64,
    targets_below_caps: u64,
    learning: u64,
    epochs: u64,
    replays: u64,
    dropped: u64,
}

impl Seen {
    fn count(&mut self, grant: &Grant, held: u32, epoch: u64) {
        self.grown += u64::from(grant.cap > held);
        self.full += u64::from(grant.granted == u64::from(grant.limit.limit.get()));
        self.targets_below_caps += u64::from(grant.target < grant.cap);
        self.learning += u64::from(!grant.learning.is_zero());
        self.epochs += u64::from(grant.fence.epoch > epoch && epoch > 0);
    }

    /// A model whose runs never reach a rule does not check it.
    fn assert_reached(&self) {
        let counts = [
            self.grown,
            self.full,
            self.targets_below_caps,
            self.learning,
            self.epochs,
            self.replays,
            self.dropped,
        ];
        assert!(counts.iter().all(|count| *count > 100), "{self:?}");
    }
}

fn number_from_env(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}
