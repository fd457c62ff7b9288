//! The processes of the fleet.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use concurrency_governor::fleet::Share;
use concurrency_governor::{GateName, Limit};
use tokio::task::JoinSet;

use crate::audit::Audit;
use crate::ledger::SimulatedLedger;
use crate::random::Random;

pub(crate) const TTL: Duration = Duration::from_secs(2);
pub(crate) const MAX_HOLD: Duration = Duration::from_millis(500);
/// `TTL`, a grace of 1.55 s, and a guard of half of `TTL`.
pub(crate) const SPAN: Duration = Duration::from_millis(4550);
/// The longest time from an admission to the end of the work, suspensions included. Less than `MAX_HOLD` and a second, by two ticks.
const LONGEST_MS: u64 = 1480;

/// Makes requests with as many tasks, until the host crashes.
pub(crate) async fn work(
    tasks: u64,
    limit: u32,
    audit: Audit,
    random: Arc<Mutex<Random>>,
) -> turmoil::Result {
    let share = Share::of(SimulatedLedger::default(), "turmoil").limit(Limit::new(limit));
    let gate = share.ttl(TTL).max_hold(MAX_HOLD).open(GateName::new("turmoil"))?;
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (gate, audit, random) = (gate.clone(), audit.clone(), Arc::clone(&random));
        running.spawn(async move {
            loop {
                let permit = gate.acquire().await.unwrap();
                let hold = Duration::from_millis({
                    let mut random = random.lock().unwrap();
                    // Sometimes the process is suspended between the admission and the end of the work.
                    if random.once_in(20) { random.below(LONGEST_MS) } else { random.below(500) }
                });
                let begin = turmoil::sim_elapsed().unwrap();
                audit.note(begin, begin + hold);
                tokio::time::sleep(hold).await;
                drop(permit);
            }
        });
    }
    // A task ends only by a panic.
    match running.join_next().await {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}
