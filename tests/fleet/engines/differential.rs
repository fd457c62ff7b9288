//! The same traces through the pure step and through an engine.

use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::fleet::{Fence, Grant, LedgerServer, LedgerState, LedgerStatus, LimitVersion};

use crate::trace::{OwnedAsk, Trace, TraceStep};

/// An engine whose clock and run are given by the trace.
pub(crate) trait TraceEngine {
    /// Makes an exchange. The error is the number of the last exchange of a holder that replays a message.
    fn exchange(&mut self, ask: &OwnedAsk, now_ms: u64, run: &str) -> Result<Grant, u64>;

    fn set_limit(&mut self, limit: Limit, by: &str, now_ms: u64);

    /// Loses the state of the gate.
    fn flush(&mut self);

    fn status(&mut self) -> LedgerStatus;
}

/// Runs traces through the engine and the pure step. Every answer must be the same, and now and then the whole state.
pub(crate) fn assert_same_answers(engine: &mut impl TraceEngine, traces: std::ops::Range<u64>, steps: u64) {
    for number in traces {
        let mut trace = Trace::new(number);
        let mut state = LedgerState::new();
        engine.flush();
        for step in 0..steps {
            let context = format!("trace {number}, step {step}");
            match trace.next() {
                TraceStep::Flush => {
                    state = LedgerState::new();
                    engine.flush();
                }
                TraceStep::SetLimit { limit, now_ms } => {
                    state.set_limit(limit, "test", LedgerServer { now_ms, run: "" });
                    engine.set_limit(limit, "test", now_ms);
                }
                TraceStep::Exchange { ask, now_ms, run } => {
                    let expected = state.exchange(&ask.as_ask(), LedgerServer { now_ms, run: &run });
                    let answer = engine.exchange(&ask, now_ms, &run);
                    assert_eq!(answer, expected.map_err(|replayed| replayed.last), "{context}: {ask:?}");
                    trace.observe(&ask, answer.as_ref().ok());
                }
            }
            if step % 50 == 49 || step + 1 == steps {
                assert_eq!(engine.status(), state.status(), "{context}");
            }
        }
    }
}

/// Reads the answer of an engine to an exchange. The error is the number of the last exchange of a holder that replays a message.
pub(crate) fn read_answer(answer: &[u64]) -> Result<Grant, u64> {
    match *answer {
        [0, last] => Err(last),
        [1, cap, target, epoch, seq, learning, limit, version, granted, holders] => Ok(Grant {
            cap: cap as u32,
            target: target as u32,
            fence: Fence { epoch, seq },
            learning: Duration::from_millis(learning),
            limit: LimitVersion { limit: Limit::new(limit as u32), version },
            granted,
            holders,
        }),
        _ => panic!("{answer:?}"),
    }
}
