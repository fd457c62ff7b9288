//! A ledger on a host of the simulation, and its client: the pure step behind a line for each exchange.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use concurrency_governor::Limit;
use concurrency_governor::fleet::{
    Ask, Claim, Fence, Grant, LeaseTerms, Ledger, LedgerError, LedgerServer, LedgerState, LedgerStatus,
    LimitVersion,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;
use turmoil::net::{TcpListener, TcpStream};

pub(crate) const LEDGER: &str = "ledger";
const PORT: u16 = 6379;
/// The time after which a call has failed.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The memory of the server. It is outside of its host, so that a fault decides what a restart keeps.
#[derive(Clone, Default)]
pub(crate) struct ServerMemory {
    pub(crate) state: LedgerState,
    /// Differs after each start.
    pub(crate) run: u64,
    /// The clock of the server is ahead of that of the simulation.
    pub(crate) ahead_ms: u64,
    pub(crate) exchanges: u64,
}

/// Serves until the host crashes.
pub(crate) async fn serve(memory: Arc<Mutex<ServerMemory>>) -> turmoil::Result {
    memory.lock().unwrap().run += 1;
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        let memory = Arc::clone(&memory);
        // A local task: at a crash the tasks of a runtime are dropped in an order that depends on earlier simulations, and so would be
        // the random delays of the messages that end their connections.
        tokio::task::spawn_local(async move {
            let mut connection = BufReader::new(connection);
            let mut line = String::new();
            // The connection ends with its client, or with the network between them.
            while connection.read_line(&mut line).await.is_ok_and(|length| length > 0) {
                let answer = exchange(&line, &memory);
                if connection.get_mut().write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
}

/// Makes the exchange of a line, and returns the line of its answer.
fn exchange(line: &str, memory: &Mutex<ServerMemory>) -> String {
    let (holder, numbers) = line.trim_end().split_once(' ').unwrap();
    let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
    let [seq, epoch, held, wants, lapsed, ttl, grace, guard, limit, version] = numbers[..] else {
        panic!("{line}")
    };
    let [ttl, grace, guard] = [ttl, grace, guard].map(Duration::from_millis);
    let ask = Ask {
        holder,
        seq,
        epoch,
        held: held as u32,
        wants: wants as u32,
        claim: if lapsed == 1 { Claim::Lapsed } else { Claim::Current },
        terms: LeaseTerms::from_parts(ttl, grace, guard).unwrap(),
        limit: LimitVersion { limit: Limit::new(limit as u32), version },
    };
    let mut memory = memory.lock().unwrap();
    memory.exchanges += 1;
    let now_ms = turmoil::sim_elapsed().unwrap().as_millis() as u64 + memory.ahead_ms;
    let run = memory.run.to_string();
    match memory.state.exchange(&ask, LedgerServer { now_ms, run: &run }) {
        Ok(grant) => format!(
            "{} {} {} {} {} {} {} {} {}\n",
            grant.cap,
            grant.target,
            grant.fence.epoch,
            grant.fence.seq,
            grant.learning.as_millis(),
            grant.limit.limit,
            grant.limit.version,
            grant.granted,
            grant.holders
        ),
        Err(replayed) => format!("{}\n", replayed.last),
    }
}

/// A client of the ledger. It connects at the first call, and again after a call that has failed, as the clients of real engines do.
#[derive(Default)]
pub(crate) struct SimulatedLedger {
    connection: tokio::sync::Mutex<Option<BufReader<TcpStream>>>,
}

impl SimulatedLedger {
    async fn call(&self, line: &str) -> io::Result<String> {
        let mut current = self.connection.lock().await;
        // It is taken out, so that a call that fails or is dropped leaves no connection, whose next answer could be a late one.
        let mut connection = match current.take() {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect((LEDGER, PORT)).await?),
        };
        connection.get_mut().write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        if connection.read_line(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *current = Some(connection);
        Ok(answer)
    }
}

#[async_trait]
impl Ledger for SimulatedLedger {
    async fn exchange(&self, _: &str, ask: Ask<'_>) -> Result<Grant, LedgerError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError::Engine {
            engine: "the simulated ledger",
            source,
        };
        let [ttl, grace, guard] =
            [ask.terms.ttl(), ask.terms.grace(), ask.terms.guard()].map(|time| time.as_millis());
        let line = format!(
            "{} {} {} {} {} {} {ttl} {grace} {guard} {} {}\n",
            ask.holder,
            ask.seq,
            ask.epoch,
            ask.held,
            ask.wants,
            u8::from(ask.claim == Claim::Lapsed),
            ask.limit.limit,
            ask.limit.version
        );
        let answer = timeout(TIMEOUT, self.call(&line)).await.map_err(|elapsed| failed(elapsed.into()))?;
        let answer = answer.map_err(|error| failed(error.into()))?;
        let numbers: Vec<u64> = answer.trim_end().split(' ').map(|number| number.parse().unwrap()).collect();
        match numbers[..] {
            [last] => Err(LedgerError::Replayed { last }),
            [cap, target, epoch, seq, learning, limit, version, granted, holders] => Ok(Grant {
                cap: cap as u32,
                target: target as u32,
                fence: Fence { epoch, seq },
                learning: Duration::from_millis(learning),
                limit: LimitVersion { limit: Limit::new(limit as u32), version },
                granted,
                holders,
            }),
            _ => panic!("{answer}"),
        }
    }

    async fn set_limit(&self, _: &str, _: Limit, _: &str) -> Result<LimitVersion, LedgerError> {
        unreachable!("no test sets a limit")
    }

    fn with_own_connection(&self) -> Arc<dyn Ledger> {
        Arc::new(Self::default())
    }

    async fn status(&self, _: &str) -> Result<LedgerStatus, LedgerError> {
        unreachable!("no test asks for a status")
    }
}
