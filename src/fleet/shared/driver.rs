//! The thread that renews the lease of a shared gate.
//!
//! It has a runtime and a connection of its own, so that a blocked runtime of the program does not delay a renewal.

use std::io;
use std::pin::pin;
use std::sync::Arc;
#[cfg(not(fleet_turmoil))]
use std::thread;
use std::time::Duration;

#[cfg(not(fleet_turmoil))]
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};

use super::core::{NextStep, SharedCore};
use crate::catch_panic::{catch_panic, catch_panic_async};
use crate::fleet::ledger::{Ledger, LedgerError};
use crate::fleet::step::{Ask, Grant};

/// Starts the thread. It ends after the last handle and permit of the gate.
#[cfg(not(fleet_turmoil))]
pub(in crate::fleet) fn start(core: Arc<SharedCore>, ledger: &dyn Ledger) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name("lease".to_owned());
    let ledger = ledger.with_own_connection();
    thread.spawn(move || runtime.block_on(renew(&core, &*ledger)))?;
    Ok(())
}

/// Starts a task of the simulated host, because a thread would leave the simulation.
#[cfg(fleet_turmoil)]
#[expect(clippy::unnecessary_wraps, reason = "the thread can fail to start")]
pub(in crate::fleet) fn start(core: Arc<SharedCore>, ledger: &dyn Ledger) -> io::Result<()> {
    let ledger = ledger.with_own_connection();
    tokio::spawn(async move { renew(&core, &*ledger).await });
    Ok(())
}

/// Makes exchanges with the ledger until the gate ends. Wakers and ledgers can be code of the program. The thread must survive their
/// panics, because the lease is not renewed without it.
async fn renew(core: &SharedCore, ledger: &dyn Ledger) {
    loop {
        let round_began = Instant::now();
        let _ = catch_panic(|| core.lapse_if_due());
        // Read before `begin`: if the gate ends later, there is another round, which returns the block.
        let is_stopped = core.is_stopped();
        match core.begin() {
            NextStep::Exchange(ask) => {
                let begun = Instant::now();
                let answer = exchange(core, ledger, ask).await;
                let _ = catch_panic(|| core.finish(ask.seq, answer, begun.elapsed()));
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

/// Makes one exchange. If the lease ends before the answer, notes that at the deadline.
async fn exchange(core: &SharedCore, ledger: &dyn Ledger, ask: Ask<'_>) -> Result<Grant, LedgerError> {
    let call = async { ledger.exchange(core.name(), ask).await };
    let mut answer = pin!(timeout(EXCHANGE_TIMEOUT, catch_panic_async(call)));
    let answer = loop {
        let _ = catch_panic(|| core.lapse_if_due());
        match core.time_to_lapse() {
            None => break answer.as_mut().await,
            Some(time) => {
                if let Ok(answer) = timeout(time, answer.as_mut()).await {
                    break answer;
                }
            }
        }
    };
    let failed = |source| Err(LedgerError::Engine { engine: "the ledger", source });
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(message)) => failed(format!("its exchange has panicked: {message}").into()),
        Err(elapsed) => failed(elapsed.into()),
    }
}

/// The time after which an exchange has failed. In the ledgers of this crate, each call to a server fails after 1 s.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The shortest time between two rounds of the loop, if a handle wakes the thread.
const SHORTEST_ROUND: Duration = Duration::from_millis(10);
