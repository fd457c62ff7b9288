//! The exchange again, computed from the entries alone: every sum is added up anew, and each order is sorted when it is needed. It shares
//! no code with the library.

use concurrency_governor::Limit;
use concurrency_governor::fleet::{Ask, Claim, LimitVersion};

#[derive(Clone, Debug, Default)]
pub(crate) struct LedgerOracle {
    pub(crate) epoch: u64,
    run: String,
    server: u64,
    pub(crate) clock: u64,
    pub(crate) learning_until: u64,
    span: u64,
    guard: u64,
    pub(crate) limit: Option<LimitVersion>,
    pub(crate) exchanges: u64,
    pub(crate) holders: Vec<OracleHolder>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct OracleHolder {
    pub(crate) name: String,
    pub(crate) granted: u64,
    pub(crate) reserved: u64,
    pub(crate) wants: u64,
    pub(crate) seq: u64,
    pub(crate) expiry: u64,
    last_exchange: u64,
    grown: u64,
    pub(crate) short_since: Option<u64>,
}

/// What the oracle says about one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) cap: u64,
    pub(crate) target: u64,
    pub(crate) learning: u64,
}

impl LedgerOracle {
    pub(crate) fn exchange(&mut self, ask: &Ask<'_>, now: u64, run: &str) -> Result<Expected, u64> {
        if let Some(seq) = self.holder(ask.holder).map(|holder| holder.seq).filter(|seq| *seq >= ask.seq) {
            return Err(seq);
        }
        let millis = |time: std::time::Duration| time.as_millis() as u64;
        let (span, guard) = (millis(ask.terms.span()), millis(ask.terms.guard()));
        let is_first = self.epoch == 0;
        let longer = span.max(self.span) - self.span;
        self.span += longer;
        self.guard = if is_first || guard < self.guard { guard } else { self.guard };
        if !is_first && now > self.server {
            self.clock += (now - self.server).min(self.guard);
        }
        self.server = now;
        if is_first || run != self.run || ask.epoch > self.epoch {
            self.epoch = [self.epoch + 1, ask.epoch + 1, now].into_iter().max().unwrap();
            run.clone_into(&mut self.run);
            self.learning_until = self.clock + self.span;
        } else if self.clock < self.learning_until {
            self.learning_until += longer;
        }
        if self.limit.is_none_or(|known| ask.limit.version > known.version) {
            self.limit = Some(ask.limit);
        }
        let limit = u64::from(self.limit.unwrap().limit.get());
        let learning = self.learning_until.saturating_sub(self.clock);
        if learning == 0 {
            for _ in 0..64 {
                self.holders.sort_by_key(|holder| holder.last_exchange);
                if self.holders.first().is_none_or(|oldest| oldest.expiry > self.clock) {
                    break;
                }
                self.holders.remove(0);
            }
        }
        self.exchanges += 1;
        if self.holder(ask.holder).is_none() {
            self.holders.push(OracleHolder { name: ask.holder.to_owned(), ..OracleHolder::default() });
        }
        let others: u64 =
            self.holders.iter().filter(|holder| holder.name != ask.holder).map(OracleHolder::total).sum();
        let room = limit.saturating_sub(others);
        let held = u64::from(ask.held);
        let (clock, exchange, expiry) = (self.clock, self.exchanges, self.clock + self.span);
        let own = self.holder_mut(ask.holder);
        own.wants = ask.wants.into();
        let kept = std::mem::take(&mut own.reserved);
        let (level, spare) = self.level(limit);
        let full = share(ask.wants.into(), level, spare);
        let own = self.holder_mut(ask.holder);
        let mut cap = held.min(room);
        if learning > 0 {
            if ask.claim == Claim::Lapsed {
                cap = 0;
            }
            own.granted = held.max(cap);
        } else {
            for _ in 0..kept.min(limit) {
                if cap < full && cap < room {
                    cap += 1;
                }
            }
            own.short_since = if cap >= full { None } else { own.short_since.or(Some(exchange)) };
            own.granted = held.max(cap);
        }
        (own.seq, own.last_exchange, own.expiry) = (ask.seq, exchange, expiry);
        if learning == 0 {
            for _ in 0..8 {
                let free = limit.saturating_sub(self.holders.iter().map(OracleHolder::total).sum());
                let Some(first) = self.first_in_queue().filter(|_| free > 0) else { break };
                let first = &mut self.holders[first];
                let unmet = share(first.wants, level, spare).saturating_sub(first.total());
                first.reserved += unmet.min(free);
                if unmet <= free {
                    first.short_since = None;
                }
            }
        }
        let is_any_short = self.first_in_queue().is_some();
        let own = self.holder_mut(ask.holder);
        cap += own.reserved;
        own.granted += std::mem::take(&mut own.reserved);
        if cap > held {
            own.grown = clock;
        }
        let mut target = full;
        if let Some(level) = level {
            if cap > level && is_any_short && clock - own.grown >= millis(ask.terms.ttl()) / 3 {
                target = target.min(level);
            }
        }
        Ok(Expected { cap, target, learning })
    }

    pub(crate) fn set_limit(&mut self, limit: Limit, now: u64) {
        let version = self.limit.map_or(0, |limit| limit.version) + 1;
        self.limit = Some(LimitVersion { limit, version: version.max(now) });
    }

    pub(crate) fn granted(&self) -> u64 {
        self.holders.iter().map(OracleHolder::total).sum()
    }

    fn holder(&self, name: &str) -> Option<&OracleHolder> {
        self.holders.iter().find(|holder| holder.name == name)
    }

    fn holder_mut(&mut self, name: &str) -> &mut OracleHolder {
        self.holders.iter_mut().find(|holder| holder.name == name).unwrap()
    }

    fn first_in_queue(&self) -> Option<usize> {
        let short =
            self.holders.iter().enumerate().filter_map(|(at, holder)| Some((holder.short_since?, at)));
        short.min().map(|(_, at)| at)
    }

    /// Returns the level, and the permits that are left over. `None` if all wants fit. The level is an equal part of what the lower cells
    /// leave, for the lowest cell whose holders cannot all have their wants.
    fn level(&self, limit: u64) -> (Option<u64>, u64) {
        let mut cells: Vec<u64> = self.holders.iter().map(|holder| most_in_cell(holder.wants)).collect();
        cells.sort_unstable();
        for cell in cells.into_iter().filter(|cell| *cell > 0) {
            let needed: u64 = self.holders.iter().map(|holder| holder.wants.min(cell)).sum();
            if needed > limit {
                let (lower, others): (Vec<u64>, Vec<u64>) = self
                    .holders
                    .iter()
                    .map(|holder| holder.wants)
                    .partition(|wants| most_in_cell(*wants) < cell);
                let (rest, others) = (limit - lower.iter().sum::<u64>(), others.len() as u64);
                return (Some(rest / others), rest % others);
            }
        }
        (None, 0)
    }
}

impl OracleHolder {
    fn total(&self) -> u64 {
        self.granted + self.reserved
    }
}

fn share(wants: u64, level: Option<u64>, spare: u64) -> u64 {
    level.map_or(wants, |level| wants.min(level + spare.min(1)))
}

/// Returns the largest wants in a cell: a cell is as wide as the highest power of two that is at most a sixteenth of the wants in it.
fn most_in_cell(wants: u64) -> u64 {
    let mut width = 1;
    while wants / width >= 32 {
        width *= 2;
    }
    wants - wants % width + width - 1
}
