//! The thread that renews the lease of a shared gate.
//!
//! It has a runtime and a connection of its own, so that a blocked runtime of the program does not delay a renewal.

use std::io;
use std::sync::Arc;
#[cfg(not(fleet_turmoil))]
use std::thread;
use std::time::Duration;

#[cfg(not(fleet_turmoil))]
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};

use super::core::{NextStep, SharedCore};
use crate::fleet::ledger::{Ledger, LedgerError};

/// Starts the thread. It ends after the last handle and permit of the gate.
#[cfg(not(fleet_turmoil))]
pub(in crate::fleet) fn start(core: Arc<SharedCore>, ledger: Arc<dyn Ledger>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name("lease".to_owned());
    thread.spawn(move || runtime.block_on(renew(&core, &*ledger.with_own_connection())))?;
    Ok(())
}

/// Starts a task of the simulated host, because a thread would leave the simulation.
#[cfg(fleet_turmoil)]
#[expect(clippy::unnecessary_wraps, reason = "the thread can fail to start")]
pub(in crate::fleet) fn start(core: Arc<SharedCore>, ledger: Arc<dyn Ledger>) -> io::Result<()> {
    tokio::spawn(async move { renew(&core, &*ledger.with_own_connection()).await });
    Ok(())
}

/// Makes exchanges with the ledger until the gate ends.
async fn renew(core: &SharedCore, ledger: &dyn Ledger) {
    loop {
        let round_began = Instant::now();
        core.lapse_if_due();
        // Read before `begin`: if the gate ends later, there is another round, which returns the block.
        let is_stopped = core.is_stopped();
        match core.begin() {
            NextStep::Exchange(ask) => {
                let begun = Instant::now();
                let answer = timeout(EXCHANGE_TIMEOUT, ledger.exchange(core.name(), ask)).await;
                let answer = answer.unwrap_or_else(|elapsed| {
                    Err(LedgerError::Engine { engine: "the ledger", source: elapsed.into() })
                });
                core.finish(ask.seq, answer, begun.elapsed());
            }
            NextStep::Wait(time) if !is_stopped => {
                // The usual case is an error: the next exchange is due, and no handle has woken the thread before.
                if timeout(time, core.kicked()).await.is_ok() {
                    // Each request that begins to wait wakes the thread, and each round visits all keys of the gate.
                    sleep(SHORTEST_ROUND.saturating_sub(round_began.elapsed())).await;
                }
            }
            NextStep::Wait(_) => {}
        }
        if is_stopped || core.has_left() {
            return;
        }
    }
}

/// The time after which an exchange has failed. In the ledgers of this crate, each call to a server fails after 1 s.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The shortest time between two rounds of the loop, if a handle wakes the thread.
const SHORTEST_ROUND: Duration = Duration::from_millis(10);
