//! Random traces of exchanges. Most holders behave well; some report nonsense, replay messages or come back after a lapse. The
//! server's clock steps, the server restarts, and its state is lost.

use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::fleet::{Ask, Claim, Grant, LeaseTerms, LimitVersion};

use crate::random::Random;

/// One step of a trace.
#[derive(Clone, Debug)]
pub(crate) enum TraceStep {
    Exchange { ask: OwnedAsk, now_ms: u64, run: String },
    SetLimit { limit: Limit, now_ms: u64 },
    Flush,
}

/// An [`Ask`] that owns its holder.
#[derive(Clone, Debug)]
pub(crate) struct OwnedAsk {
    pub(crate) index: usize,
    pub(crate) holder: String,
    pub(crate) seq: u64,
    pub(crate) epoch: u64,
    pub(crate) held: u32,
    pub(crate) wants: u32,
    pub(crate) claim: Claim,
    pub(crate) terms: LeaseTerms,
    pub(crate) limit: LimitVersion,
}

impl OwnedAsk {
    pub(crate) fn as_ask(&self) -> Ask<'_> {
        Ask {
            holder: &self.holder,
            seq: self.seq,
            epoch: self.epoch,
            held: self.held,
            wants: self.wants,
            claim: self.claim,
            terms: self.terms,
            limit: self.limit,
        }
    }
}

/// Generates the steps of one run. It needs the answers, because holders report what they were granted.
pub(crate) struct Trace {
    random: Random,
    holders: Vec<TraceHolder>,
    kind: TraceKind,
    now_ms: u64,
    run: u64,
    limit: u32,
    most_wanted: u64,
}

#[derive(Clone, Copy, Default)]
struct TraceHolder {
    seq: u64,
    epoch: u64,
    cap: u32,
    held: u32,
    wants: u32,
    limit: Option<LimitVersion>,
}

/// What the runs of a trace stress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TraceKind {
    /// Few holders, honest reports.
    Few,
    /// More holders than permits.
    Crowd,
    /// Any reports, any numbers, other terms for each holder.
    Hostile,
    /// Holders come and go, so that many expire at once.
    Churn,
}

impl Trace {
    /// Begins the trace with this number.
    pub(crate) fn new(number: u64) -> Self {
        let mut random = Random(number);
        let kind = random.pick(&[TraceKind::Few, TraceKind::Crowd, TraceKind::Hostile, TraceKind::Churn]);
        let (holders, limit, most_wanted) = match kind {
            TraceKind::Few => (random.between(1, 6), random.between(1, 60), random.pick(&[4, 20, 100])),
            TraceKind::Crowd => (random.between(4, 20), random.between(1, 8), 3),
            TraceKind::Hostile => (random.between(1, 8), random.between(1, 40), 60),
            TraceKind::Churn => (random.between(70, 160), random.between(50, 4000), random.pick(&[30, 900])),
        };
        Self {
            now_ms: random.below(1_000_000),
            holders: vec![TraceHolder::default(); holders as usize],
            kind,
            run: 1,
            limit: limit as u32,
            most_wanted,
            random,
        }
    }

    pub(crate) fn next(&mut self) -> TraceStep {
        if self.random.once_in(400) {
            return TraceStep::Flush;
        }
        if self.random.once_in(200) {
            let limit = Limit::new(self.random.between(1, 2 * u64::from(self.limit)) as u32);
            return TraceStep::SetLimit { limit, now_ms: self.now_ms };
        }
        if self.random.once_in(300) {
            self.run += 1;
        }
        self.advance();
        let index = self.random.below(self.holders.len() as u64) as usize;
        let ask = self.ask(index);
        TraceStep::Exchange { ask, now_ms: self.now_ms, run: format!("run{}", self.run) }
    }

    /// Records the answer to an ask.
    pub(crate) fn observe(&mut self, ask: &OwnedAsk, grant: Option<&Grant>) {
        // Some answers are lost.
        if let Some(grant) = grant.filter(|_| !self.random.once_in(20)) {
            let holder = &mut self.holders[ask.index];
            holder.epoch = grant.fence.epoch;
            holder.cap = grant.cap.min(grant.target);
            holder.limit = Some(grant.limit);
        }
    }

    fn advance(&mut self) {
        let crowd = self.holders.len() as u64;
        let step = match self.random.below(100) {
            0 => self.random.below(100_000),
            1 => {
                self.now_ms = self.now_ms.saturating_sub(self.random.below(20_000));
                0
            }
            2..=20 => self.random.below(4000),
            _ => self.random.below(4000 / crowd + 2),
        };
        self.now_ms += step;
    }

    fn ask(&mut self, index: usize) -> OwnedAsk {
        let random = &mut self.random;
        let holder = &mut self.holders[index];
        if random.once_in(4) {
            holder.wants = random.below(self.most_wanted + 1) as u32;
        }
        // A process ends, and another one begins in its place.
        let is_hostile = self.kind == TraceKind::Hostile;
        let claim = if random.once_in(15) { Claim::Lapsed } else { Claim::Current };
        holder.held = match claim {
            Claim::Lapsed => random.below(u64::from(holder.held) + 1) as u32,
            Claim::Current => holder.held.min(holder.cap + random.below(3) as u32).max(holder.cap),
        };
        if random.once_in(40) {
            *holder = TraceHolder { seq: holder.seq, ..TraceHolder::default() };
        }
        let mut ask = OwnedAsk {
            index,
            holder: format!("host-{index}"),
            seq: holder.seq + 1,
            epoch: holder.epoch,
            held: holder.held,
            wants: holder.wants,
            claim,
            terms: terms(4000, 6000, 2000),
            limit: holder.limit.unwrap_or(LimitVersion::configured(Limit::new(self.limit))),
        };
        if is_hostile && random.once_in(3) {
            ask.held = random.pick(&[0, 1, 7, self.limit, u32::MAX]);
            ask.wants = random.pick(&[0, 1, 31, 33, 1000, u32::MAX]);
            ask.seq = random.pick(&[0, ask.seq, ask.seq - 1, ask.seq + 5]);
            ask.epoch = random.pick(&[0, ask.epoch, ask.epoch + 3]);
            ask.terms = random.pick(&[terms(4000, 6000, 2000), terms(100, 0, 0), terms(9000, 30_000, 100)]);
        }
        holder.seq = holder.seq.max(ask.seq);
        ask
    }
}

fn terms(ttl: u64, grace: u64, guard: u64) -> LeaseTerms {
    let [ttl, grace, guard] = [ttl, grace, guard].map(Duration::from_millis);
    LeaseTerms::from_parts(ttl, grace, guard).unwrap()
}
