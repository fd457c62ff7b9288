//! What happened at the gate of one order.

use std::time::Duration;

use super::order::QueueOrder;
use crate::simulate::record::GateRecord;

/// The record of one order: the record of its gate, and the results of the clients.
#[derive(Debug)]
pub(crate) struct OrderRecord {
    pub(crate) order: QueueOrder,
    /// The queue and the permits over time.
    pub(crate) gate: GateRecord,
    /// What happened in each slice of the time. The slices are those of the record of the gate.
    pub(crate) slices: Vec<ClientSlice>,
    /// The number of clients that got no answer in any of their attempts.
    pub(crate) gave_up: u64,
    /// How the attempts ended, in the order of [`ATTEMPT_ENDS`].
    ends: [u64; ATTEMPT_ENDS.len()],
    /// The waits of the admitted requests. Sorted after the run.
    pub(crate) waits: Vec<Duration>,
    /// For each client that got an answer, the time from its first attempt to the answer. Sorted after the run.
    pub(crate) answer_times: Vec<Duration>,
}

/// One slice of the time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientSlice {
    /// Clients that made their first attempt.
    pub(crate) arrived: u32,
    /// Answers within the timeout.
    pub(crate) answered: u32,
}

/// How an attempt ended at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// Served before the timeout of the client.
    InTime,
    /// Served, but the client had given up.
    Late,
    QueueFull,
    Shed,
    WouldExpire,
    DeadlinePassed,
    OtherRejection,
}

impl OrderRecord {
    pub(super) fn new(order: QueueOrder, limit: u32, length: Duration) -> Self {
        let gate = GateRecord::new(order.name().to_owned(), limit, length);
        let slices = vec![ClientSlice::default(); gate.slices.len()];
        let ends = [0; ATTEMPT_ENDS.len()];
        Self { order, gate, slices, gave_up: 0, ends, waits: Vec::new(), answer_times: Vec::new() }
    }

    pub(super) fn arrive(&mut self, at: Duration) {
        if let Some(slice) = self.slice(at) {
            slice.arrived = slice.arrived.saturating_add(1);
        }
    }

    pub(super) fn admit(&mut self, at: Duration, waited: Duration) {
        self.gate.admit(at, waited);
        self.waits.push(waited);
    }

    /// Records that a client that arrived at one time got its answer at another.
    pub(super) fn answer(&mut self, arrived: Duration, at: Duration) {
        self.answer_times.push(at.saturating_sub(arrived));
        if let Some(slice) = self.slice(at) {
            slice.answered = slice.answered.saturating_add(1);
        }
    }

    pub(super) fn give_up(&mut self) {
        self.gave_up = self.gave_up.saturating_add(1);
    }

    pub(super) fn end_attempt(&mut self, end: AttemptEnd) {
        for (count, (counted, _)) in self.ends.iter_mut().zip(ATTEMPT_ENDS) {
            if counted == end {
                *count = count.saturating_add(1);
            }
        }
    }

    /// Completes the record at the end of the run.
    pub(super) fn finish(&mut self, at: Duration) {
        self.gate.finish(at);
        self.waits.sort_unstable();
        self.answer_times.sort_unstable();
    }

    /// Returns the number of attempts that ended in this way.
    pub(crate) fn ended(&self, end: AttemptEnd) -> u64 {
        self.ends
            .iter()
            .zip(ATTEMPT_ENDS)
            .filter(|(_, (counted, _))| *counted == end)
            .map(|(count, _)| *count)
            .sum()
    }

    /// Returns the number of clients that arrived. Those that neither got an answer nor gave up were still trying at the end.
    pub(crate) fn clients(&self) -> u64 {
        self.slices.iter().map(|slice| u64::from(slice.arrived)).sum()
    }

    /// Returns the answers within the timeout per second, from one time to another.
    pub(crate) fn goodput(&self, from: Duration, until: Duration) -> f64 {
        let middle = |slice: usize| {
            let slice = u32::try_from(slice).unwrap_or(u32::MAX);
            self.gate
                .slice
                .saturating_mul(slice.saturating_mul(2).saturating_add(1))
                .checked_div(2)
                .unwrap_or_default()
        };
        let slices = self.slices.iter().enumerate();
        let within: Vec<u32> = slices
            .filter(|(slice, _)| (from..until).contains(&middle(*slice)))
            .map(|(_, slice)| slice.answered)
            .collect();
        let seconds =
            self.gate.slice.as_secs_f64() * f64::from(u32::try_from(within.len()).unwrap_or(u32::MAX));
        let answered: f64 = within.into_iter().map(f64::from).sum();
        if seconds > 0.0 { answered / seconds } else { 0.0 }
    }

    fn slice(&mut self, at: Duration) -> Option<&mut ClientSlice> {
        let index = at.as_nanos().checked_div(self.gate.slice.as_nanos()).unwrap_or(0);
        let last = self.slices.len().saturating_sub(1);
        self.slices.get_mut(usize::try_from(index).unwrap_or(usize::MAX).min(last))
    }
}

/// Returns the duration that this many percent of the sorted durations do not exceed. `None` if there is none.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let index = sorted.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied()
}

/// How attempts end, each with its heading in the report.
pub(crate) const ATTEMPT_ENDS: [(AttemptEnd, &str); 7] = [
    (AttemptEnd::InTime, "in time"),
    (AttemptEnd::Late, "late"),
    (AttemptEnd::QueueFull, "queue full"),
    (AttemptEnd::Shed, "shed"),
    (AttemptEnd::WouldExpire, "would expire"),
    (AttemptEnd::DeadlinePassed, "expired"),
    (AttemptEnd::OtherRejection, "other"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Percentiles are exact, and goodput counts the answers of its time.
    #[test]
    fn figures_are_exact() {
        let mut record = OrderRecord::new(QueueOrder::OldestFirst, 1, at(240)); // a slice is one second
        assert_eq!(percentile(&record.waits, 99), None);
        for wait in (1..=200).rev() {
            record.admit(at(0), Duration::from_millis(wait));
        }
        record.arrive(at(3));
        record.arrive(at(240));
        for second in [0, 9, 10, 10, 19, 20, 240] {
            record.answer(at(0), at(second));
        }
        record.give_up();
        record.end_attempt(AttemptEnd::Late);
        record.finish(at(240));
        assert_eq!(percentile(&record.waits, 50), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&record.waits, 99), Some(Duration::from_millis(198)));
        for (from, until, goodput) in [(0, 10, 0.2), (10, 20, 0.3), (20, 20, 0.0), (239, 240, 1.0)] {
            assert!((record.goodput(at(from), at(until)) - goodput).abs() < 1e-9, "{from} to {until}");
        }
        assert_eq!(percentile(&record.answer_times, 50), Some(at(10)));
        assert_eq!((record.clients(), record.gave_up, record.ended(AttemptEnd::Late)), (2, 1, 1));
    }
}
