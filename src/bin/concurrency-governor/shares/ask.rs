//! Queries the ledgers of shared gates.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use concurrency_governor::GateName;
use concurrency_governor::config::ShareConfig;
use concurrency_governor::fleet::{EngineLedger, Ledger as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::report::{FleetFigures, LedgerAnswer, SharedGateReport};

/// Queries the ledgers of shared gates, all at the same time and each for at most [`TIMEOUT`]. It takes no lease.
pub(crate) fn ask(shares: &[(GateName, ShareConfig)]) -> Vec<SharedGateReport> {
    let mut answers: Vec<Option<LedgerAnswer>> = shares.iter().map(|_| None).collect();
    // Gates with the same URL use one connection.
    let mut ledgers: BTreeMap<String, LedgerQuestions> = BTreeMap::new();
    for (index, ((_, share), answer)) in shares.iter().zip(&mut answers).enumerate() {
        let url = match share.ledger().read() {
            Ok(url) => url,
            Err(error) => {
                *answer = Some(LedgerAnswer::NotAsked(error.to_string()));
                continue;
            }
        };
        match EngineLedger::at(&url) {
            Ok(ledger) => {
                let questions = || LedgerQuestions { ledger, gates: Vec::new() };
                ledgers.entry(url).or_insert_with(questions).gates.push((index, share.name().to_owned()));
            }
            Err(error) => *answer = Some(LedgerAnswer::Failed(format!("{} {error}", share.ledger()))),
        }
    }
    if !ledgers.is_empty() {
        for (index, given) in ask_all(ledgers.into_values()) {
            if let Some(answer) = answers.get_mut(index) {
                *answer = Some(given);
            }
        }
    }
    let reports = shares.iter().zip(answers).map(|((gate, share), answer)| SharedGateReport {
        gate: *gate,
        share: share.clone(),
        answer: answer.unwrap_or_else(|| LedgerAnswer::Failed(NO_RUNTIME.to_owned())),
    });
    reports.collect()
}

/// One ledger, and the gates to query, each with its index in the list of all shared gates.
struct LedgerQuestions {
    ledger: EngineLedger,
    gates: Vec<(usize, String)>,
}

/// Queries all ledgers. A gate without an answer in time has failed. Returns nothing if the runtime cannot be started.
fn ask_all(ledgers: impl Iterator<Item = LedgerQuestions>) -> Vec<(usize, LedgerAnswer)> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let answers = runtime.block_on(async {
        let mut tasks: JoinSet<_> = ledgers.map(ask_one).collect();
        let mut answers = Vec::new();
        while let Some(finished) = tasks.join_next().await {
            answers.extend(finished.into_iter().flatten());
        }
        answers
    });
    // A look-up of a host name can still block a thread after its timeout, so the runtime does not wait for it.
    runtime.shutdown_background();
    answers
}

/// Queries one ledger for its gates, one after the other.
async fn ask_one(questions: LedgerQuestions) -> Vec<(usize, LedgerAnswer)> {
    let LedgerQuestions { ledger, gates } = questions;
    let started = Instant::now();
    let mut answers = Vec::with_capacity(gates.len());
    for (index, gate) in gates {
        let server = ledger.server();
        let left = TIMEOUT.saturating_sub(started.elapsed());
        let answer = match timeout(left, ledger.status(&gate)).await {
            Ok(Ok(status)) => LedgerAnswer::Known(server.to_owned(), FleetFigures::from(status)),
            Ok(Err(error)) => LedgerAnswer::Failed(format!("{server}: {}", ledger.describe(&error))),
            Err(_) => LedgerAnswer::Failed(format!("{server} has timed out: no answer within {TIMEOUT:?}")),
        };
        answers.push((index, answer));
    }
    answers
}

/// The longest time for the answers of a ledger. It is short, because a user waits for them.
const TIMEOUT: Duration = Duration::from_secs(2);

const NO_RUNTIME: &str = "cannot start the runtime that queries the ledger";
