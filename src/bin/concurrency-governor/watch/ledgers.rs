//! Queries the ledgers of shared gates on a separate thread.

use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::Limit;

use super::history::RowUpdate;
use crate::output;
use crate::report::{HostReport, LedgerPolicy};
use crate::shares::{self, LedgerAnswer, SharedGateReport};

/// Queries the ledgers at most once per [`INTERVAL`]. A refresh never waits for an answer.
pub(super) struct LedgerPoll {
    policy: LedgerPolicy,
    /// The last answers.
    answers: Vec<SharedGateReport>,
    /// Receives the answers of the query that is under way.
    pending: Option<Receiver<Vec<SharedGateReport>>>,
    /// When the ledgers were last queried.
    asked: Option<Instant>,
}

impl LedgerPoll {
    pub(super) fn new(policy: LedgerPolicy) -> Self {
        Self { policy, answers: Vec::new(), pending: None, asked: None }
    }

    /// Takes the answers that have arrived, starts the next query if it is due, and returns a row for each shared gate of the report.
    pub(super) fn refresh(&mut self, report: &HostReport) -> Vec<RowUpdate> {
        if let Some(pending) = &self.pending {
            match pending.try_recv() {
                Ok(answers) => (self.answers, self.pending) = (answers, None),
                Err(TryRecvError::Disconnected) => self.pending = None,
                Err(TryRecvError::Empty) => {}
            }
        }
        if self.policy == LedgerPolicy::Skip {
            self.answers = SharedGateReport::not_asked(&report.shares, "`--no-ledger` is given");
        } else if !report.shares.is_empty() && self.pending.is_none() && self.is_time() {
            self.asked = Some(Instant::now());
            let (sender, receiver) = mpsc::channel();
            let given = report.shares.clone();
            // The thread ends by itself, because a query has a timeout. If the thread cannot be started, the last answers stay.
            let asking = thread::Builder::new().name("ledgers".to_owned());
            let started = asking.spawn(move || sender.send(shares::ask(&given)));
            self.pending = started.ok().map(|_| receiver);
        }
        let rows = report.shares.iter().map(|(gate, share)| {
            // The plan file may have been edited since the query, so an answer for another declaration is ignored.
            let known = self.answers.iter().find(|known| known.gate == *gate && known.share == *share);
            match (known, report.limit_of(*gate)) {
                (Some(known), Some(local)) => row(known, local),
                _ => RowUpdate::new(gate.to_string(), "asking".to_owned()),
            }
        });
        rows.collect()
    }

    fn is_time(&self) -> bool {
        self.asked.is_none_or(|asked| asked.elapsed() >= INTERVAL)
    }
}

/// The value is the limit of the fleet. The chart shows the permits that are granted.
fn row(known: &SharedGateReport, local: Limit) -> RowUpdate {
    let details = match &known.answer {
        LedgerAnswer::NotAsked(reason) | LedgerAnswer::Failed(reason) => reason.clone(),
        LedgerAnswer::Known(..) => {
            let usable = known.usable(local).map(|usable| format!("may use {usable}"));
            usable.into_iter().chain(known.fleet_lines()).collect::<Vec<_>>().join("; ")
        }
    };
    let number = match &known.answer {
        LedgerAnswer::Known(_, figures) => Some(figures.granted),
        LedgerAnswer::NotAsked(_) | LedgerAnswer::Failed(_) => None,
    };
    let reason = match &known.answer {
        LedgerAnswer::Failed(reason) => Some(output::single_line(reason)),
        LedgerAnswer::NotAsked(_) | LedgerAnswer::Known(..) => None,
    };
    let update = RowUpdate::new(known.gate.to_string(), known.summary());
    RowUpdate { details: output::single_line(&details), number, reason, ..update }
}

/// The shortest time between two queries. Each query reads all processes of a gate.
const INTERVAL: Duration = Duration::from_secs(2);
