//! A shared gate with the answer of its ledger, and what follows from the answer for a process on this host.

use std::time::Duration;

use concurrency_governor::config::ShareConfig;
#[cfg(any(feature = "redis", feature = "postgres"))]
use concurrency_governor::fleet::LedgerStatus;
use concurrency_governor::plan::Unreachable;
use concurrency_governor::{GateName, Limit};
use serde_json::{Value, json};

use crate::output::format_learning;

/// A gate that shares its limit, with the answer of its ledger.
#[derive(Clone, Debug)]
pub(crate) struct SharedGateReport {
    pub(crate) gate: GateName,
    pub(crate) share: ShareConfig,
    pub(crate) answer: LedgerAnswer,
}

/// The result of a query of a ledger.
#[derive(Clone, Debug)]
pub(crate) enum LedgerAnswer {
    /// The ledger was not queried, for this reason.
    NotAsked(String),
    /// The ledger cannot be used, or has not answered, for this reason.
    #[cfg_attr(
        not(any(feature = "redis", feature = "postgres")),
        expect(dead_code, reason = "only a program that can query ledgers can fail")
    )]
    Failed(String),
    /// The ledger has answered: the engine with its address, and the answer.
    #[cfg_attr(
        not(any(feature = "redis", feature = "postgres")),
        expect(dead_code, reason = "only a program that can query ledgers has answers")
    )]
    Known(String, FleetFigures),
}

/// What a ledger knows about a gate.
#[derive(Clone, Debug)]
pub(crate) struct FleetFigures {
    /// The limit with its version. `None` before the first process has reported.
    limit: Option<(Limit, u64)>,
    /// The operator that has set the limit. Empty if it comes from the processes.
    set_by: String,
    /// The permits that are granted to all processes.
    pub(crate) granted: u64,
    processes: usize,
    /// The time for which the ledger still learns.
    learning: Duration,
    epoch: u64,
    exchanges: u64,
}

impl SharedGateReport {
    /// Reports gates whose ledgers are not queried.
    pub(crate) fn not_asked(shares: &[(GateName, ShareConfig)], reason: &str) -> Vec<Self> {
        let report = |(gate, share): &(GateName, ShareConfig)| Self {
            gate: *gate,
            share: share.clone(),
            answer: LedgerAnswer::NotAsked(reason.to_owned()),
        };
        shares.iter().map(report).collect()
    }

    /// Returns the largest number of permits that a process with this local limit can have in use: the limit of the fleet plus the permits
    /// that the process reserves, but at most the local limit. `None` if the ledger has not answered.
    pub(crate) fn usable(&self, local: Limit) -> Option<u64> {
        let LedgerAnswer::Known(_, figures) = &self.answer else { return None };
        let fleet = figures.limit.map_or_else(|| self.leased_limit(), |(limit, _)| u64::from(limit.get()));
        Some(fleet.saturating_add(self.reserved()).min(local.get().into()))
    }

    /// Describes the answer of the ledger in a few words: `200, ready`.
    pub(crate) fn summary(&self) -> String {
        match &self.answer {
            LedgerAnswer::NotAsked(_) => "not asked".to_owned(),
            LedgerAnswer::Failed(_) => "no answer".to_owned(),
            LedgerAnswer::Known(_, figures) => {
                let state = if figures.learning.is_zero() { "ready" } else { "learning" };
                match figures.limit {
                    Some((limit, _)) => format!("{limit}, {state}"),
                    None => "none yet".to_owned(),
                }
            }
        }
    }

    /// Describes the answer of the ledger, and what it means for a process with this local limit, in lines.
    pub(crate) fn lines(&self, local: Limit) -> Vec<String> {
        let name = self.share.name();
        let (server, figures) = match &self.answer {
            LedgerAnswer::NotAsked(reason) => return vec![format!("`{name}`, not asked: {reason}")],
            LedgerAnswer::Failed(_) => {
                let without = match self.share.unreachable() {
                    Unreachable::Closed => "nothing".to_owned(),
                    Unreachable::Reserved { permits, .. } => format!("{permits} permits"),
                    _ => "up to its local limit, so the limit of the fleet is not kept".to_owned(),
                };
                return vec![
                    format!("`{name}`, without an answer of its ledger"),
                    format!("a process that has no lease admits {without}"),
                ];
            }
            LedgerAnswer::Known(server, figures) => (server, figures),
        };
        let mut lines = vec![format!("`{name}` in {server}")];
        lines.extend(self.fleet_lines());
        if figures.limit.is_some() {
            lines.push(match self.reserved() {
                _ if self.usable(local) == Some(local.get().into()) => {
                    format!("the process requests at most its local limit {local}")
                }
                0 => format!("the limit of the fleet is below the local limit {local}"),
                own => format!("the limit of the fleet and {own} reserved are below the local limit {local}"),
            });
            lines.extend(self.fair_share_line(figures, local));
        }
        lines
    }

    /// Describes the share of each process if all processes use their full share. Returns `None` if a process may not use more than that.
    fn fair_share_line(&self, figures: &FleetFigures, local: Limit) -> Option<String> {
        let (limit, _) = figures.limit?;
        let processes = u64::try_from(figures.processes).ok()?;
        let share = u64::from(limit.get()).checked_div(processes)?.saturating_add(self.reserved());
        let is_less = self.usable(local).is_some_and(|usable| share < usable);
        is_less.then(|| format!("if all {processes} processes use their full share, each gets about {share}"))
    }

    /// Describes the fleet, as the ledger has answered, in lines. Empty if the ledger has not answered.
    pub(crate) fn fleet_lines(&self) -> Vec<String> {
        let LedgerAnswer::Known(_, figures) = &self.answer else { return Vec::new() };
        let declared = self.leased_limit();
        let Some((limit, version)) = figures.limit else {
            return vec![format!("no process has reported yet; the first one sets the limit to {declared}")];
        };
        let set_by = if figures.set_by.is_empty() { "the processes" } else { &figures.set_by };
        let differs = u64::from(limit.get()) != declared;
        let declared = if differs { format!("; the plan has {declared}") } else { String::new() };
        let processes = match figures.processes {
            1 => "1 process".to_owned(),
            processes => format!("{processes} processes"),
        };
        vec![
            format!("limit {limit}, set by {set_by} (version {version}){declared}"),
            match figures.granted.checked_sub(limit.get().into()) {
                Some(above @ 1..) => {
                    format!("granted {} to {processes}, {above} above the limit", figures.granted)
                }
                _ => format!("granted {} to {processes}, {} free", figures.granted, figures.free()),
            },
            match figures.learning {
                Duration::ZERO => "state ready".to_owned(),
                left => format!("state {}: no block grows before", format_learning(left)),
            },
        ]
    }

    /// Returns the problem of a ledger that was queried and has not answered.
    pub(crate) fn problem(&self) -> Option<String> {
        match &self.answer {
            LedgerAnswer::Failed(reason) => {
                Some(format!("the ledger of `{}` gives no answer: {reason}", self.share.name()))
            }
            LedgerAnswer::NotAsked(_) | LedgerAnswer::Known(..) => None,
        }
    }

    /// Returns the report as JSON. docs/explain.schema.json describes it.
    pub(crate) fn value(&self, local: Limit) -> Value {
        let (server, figures, reason) = match &self.answer {
            LedgerAnswer::NotAsked(reason) | LedgerAnswer::Failed(reason) => (None, None, Some(reason)),
            LedgerAnswer::Known(server, figures) => (Some(server), Some(figures), None),
        };
        json!({
            "name": self.share.name(),
            "ledger_source": self.share.ledger().to_string(),
            "declared_limit": self.share.limit(),
            "unreachable": self.share.unreachable().to_string(),
            "answer": match self.answer {
                LedgerAnswer::NotAsked(_) => "not_asked",
                LedgerAnswer::Failed(_) => "failed",
                LedgerAnswer::Known(..) => "known",
            },
            "reason": reason,
            "may_use": self.usable(local),
            "ledger": server,
            "fleet": figures.map(FleetFigures::value),
        })
    }

    /// Returns the part of the declared limit that the ledger leases: the limit without the permits that the processes reserve.
    fn leased_limit(&self) -> u64 {
        let reserved = match self.share.unreachable() {
            Unreachable::Reserved { permits, processes } => {
                u64::from(permits).saturating_mul(processes.into())
            }
            _ => 0,
        };
        u64::from(self.share.limit().get()).saturating_sub(reserved)
    }

    /// Returns the number of permits that each process reserves.
    fn reserved(&self) -> u64 {
        match self.share.unreachable() {
            Unreachable::Reserved { permits, .. } => permits.into(),
            _ => 0,
        }
    }
}

impl FleetFigures {
    /// Returns the permits that are granted to no process.
    fn free(&self) -> u64 {
        self.limit.map_or(0, |(limit, _)| u64::from(limit.get()).saturating_sub(self.granted))
    }

    fn value(&self) -> Value {
        json!({
            "limit": self.limit.map(|(limit, _)| limit),
            "limit_version": self.limit.map(|(_, version)| version),
            "set_by": Some(&self.set_by).filter(|by| !by.is_empty()),
            "granted": self.granted,
            "free": self.free(),
            "processes": self.processes,
            "learning_ms": u64::try_from(self.learning.as_millis()).unwrap_or(u64::MAX),
            "epoch": self.epoch,
            "exchanges": self.exchanges,
        })
    }
}

#[cfg(any(feature = "redis", feature = "postgres"))]
impl From<LedgerStatus> for FleetFigures {
    fn from(status: LedgerStatus) -> Self {
        Self {
            limit: status.limit.map(|limit| (limit.limit, limit.version)),
            set_by: status.set_by,
            granted: status.granted,
            processes: status.holders.len(),
            learning: Duration::from_millis(status.learning_ms),
            epoch: status.epoch,
            exchanges: status.exchanges,
        }
    }
}

#[cfg(test)]
mod tests {
    use concurrency_governor::config::PlanConfig;

    use super::*;

    /// Reports a gate with a declared limit of 100, as its ledger has it.
    fn report(unreachable: &str, limit: u32, granted: u64, processes: usize) -> SharedGateReport {
        let plan = json!({ "gates": { "io": { "formula": "8", "share": {
            "name": "prod/io", "ledger_env": "LEDGER", "limit": 100, "unreachable": unreachable,
        } } } });
        let plan: PlanConfig = serde_json::from_value(plan).unwrap();
        let figures = FleetFigures {
            limit: Some((Limit::new(limit), 7)),
            set_by: "ops".to_owned(),
            granted,
            processes,
            learning: Duration::ZERO,
            epoch: 1,
            exchanges: 1,
        };
        SharedGateReport {
            gate: GateName::new("io"),
            share: plan.share(GateName::new("io")).unwrap().clone(),
            answer: LedgerAnswer::Known("Redis at h:1".to_owned(), figures),
        }
    }

    /// The lower one of both limits counts, and permits that a process has reserved are its own.
    #[test]
    fn the_lower_limit_counts() {
        for (unreachable, limit, local, usable) in [
            ("closed", 100, 64, 64),
            ("closed", 100, 128, 100),
            ("local", 100, 128, 100),
            ("reserved 2 for 15", 70, 128, 72),
            ("reserved 2 for 15", 70, 71, 71),
        ] {
            let report = report(unreachable, limit, 0, 1);
            assert_eq!(report.usable(Limit::new(local)), Some(usable), "{unreachable} {limit} {local}");
        }
    }

    /// The lines say what is free or above the limit, and what each process gets if all use their full share.
    #[test]
    fn the_lines_say_what_the_numbers_mean() {
        let local = Limit::new(64);
        let lines = report("closed", 100, 30, 2).lines(local);
        assert_eq!(
            lines,
            [
                "`prod/io` in Redis at h:1",
                "limit 100, set by ops (version 7)",
                "granted 30 to 2 processes, 70 free",
                "state ready",
                "the process requests at most its local limit 64",
                "if all 2 processes use their full share, each gets about 50",
            ]
        );
        let lines = report("closed", 20, 30, 1).lines(local);
        assert_eq!(
            lines[1..],
            [
                "limit 20, set by ops (version 7); the plan has 100",
                "granted 30 to 1 process, 10 above the limit",
                "state ready",
                "the limit of the fleet is below the local limit 64",
            ]
        );
        // If processes reserve permits, the ledger has the rest of the limit. This rest is not reported as a difference from the plan.
        let lines = report("reserved 2 for 15", 70, 0, 0).lines(Limit::new(128));
        assert_eq!(lines[1], "limit 70, set by ops (version 7)");
        assert_eq!(lines[4..], ["the limit of the fleet and 2 reserved are below the local limit 128"]);
    }
}
