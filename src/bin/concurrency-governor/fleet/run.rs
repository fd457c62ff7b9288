//! Runs `fleet status` and `fleet set-limit`.

use std::{env, io};

use concurrency_governor::fleet::{EngineLedger, InvalidLedgerUrl, Ledger as _, LedgerError, LedgerStatus};

use super::address::{AddressError, LedgerArgs, LedgerUrl};
use super::args::{FleetArgs, FleetCommand, FleetStatusArgs, SetLimitArgs};
use super::render;

/// Queries the ledger, and sets a limit if the command is `set-limit`.
///
/// # Errors
///
/// [`FleetCommandError`] if the URL is wrong, the ledger cannot be used, or it does not have the gate.
pub(crate) fn run(args: &FleetArgs) -> Result<String, FleetCommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(FleetCommandError::Runtime)?;
    let text = runtime.block_on(async {
        match &args.command {
            FleetCommand::Status(args) => print_status(args).await,
            FleetCommand::SetLimit(args) => set_limit(args).await,
        }
    });
    // A look-up of a host name can still block a thread after its timeout, so the runtime does not wait for it.
    runtime.shutdown_background();
    text
}

async fn print_status(args: &FleetStatusArgs) -> Result<String, FleetCommandError> {
    let ledger = connect(&args.ledger).await?;
    if let Some(gate) = &args.gate {
        let status = find_gate(&ledger, gate).await?;
        return Ok(if args.json {
            render::json(ledger.server(), &[(gate.clone(), Ok(status))])
        } else {
            render::gate(ledger.server(), gate, &status)
        });
    }
    let mut gates = Vec::new();
    for gate in ledger.gates().await.map_err(|error| failed(&ledger, &error))? {
        // A gate with the layout of another version is listed with its problem, so that the other gates are shown.
        let status = match ledger.status(&gate).await {
            Err(error @ LedgerError::Unsuitable { .. }) => Err(ledger.describe(&error)),
            status => Ok(status.map_err(|error| failed(&ledger, &error))?),
        };
        gates.push((gate, status));
    }
    Ok(if args.json { render::json(ledger.server(), &gates) } else { render::gates(ledger.server(), &gates) })
}

async fn set_limit(args: &SetLimitArgs) -> Result<String, FleetCommandError> {
    let ledger = connect(&args.ledger).await?;
    let before = find_gate(&ledger, &args.gate).await?;
    let by = args.by.clone().or_else(|| env::var("USER").ok().filter(|user| !user.is_empty()));
    let by = by.as_deref().unwrap_or("unknown");
    let set = ledger.set_limit(&args.gate, args.limit, by).await;
    let set = set.map_err(|error| failed(&ledger, &error))?;
    Ok(render::new_limit(&args.gate, &before, set, by))
}

/// Opens the ledger, and checks that it can be one.
async fn connect(args: &LedgerArgs) -> Result<EngineLedger, FleetCommandError> {
    let url = LedgerUrl::find(args)?;
    let ledger = EngineLedger::at(url.as_str())
        .map_err(|error| FleetCommandError::Url { origin: LedgerUrl::origin(args), error })?;
    ledger.check().await.map_err(|error| failed(&ledger, &error))?;
    Ok(ledger)
}

/// Returns the status of a gate that the ledger has.
async fn find_gate(ledger: &EngineLedger, gate: &str) -> Result<LedgerStatus, FleetCommandError> {
    let status = ledger.status(gate).await.map_err(|error| failed(ledger, &error))?;
    if status != LedgerStatus::default() {
        return Ok(status);
    }
    let gates = ledger.gates().await.map_err(|error| failed(ledger, &error))?;
    let allowed = if gates.is_empty() {
        "it has none before the first process reports".to_owned()
    } else {
        format!("allowed: {}", gates.join(", "))
    };
    Err(FleetCommandError::UnknownGate { ledger: ledger.server().to_owned(), gate: gate.to_owned(), allowed })
}

fn failed(ledger: &EngineLedger, error: &LedgerError) -> FleetCommandError {
    FleetCommandError::Ledger { ledger: ledger.server().to_owned(), problem: ledger.describe(error) }
}

/// The ledger was not queried, or its answer was an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetCommandError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("{origin} {error}")]
    Url { origin: String, error: InvalidLedgerUrl },
    #[error("{ledger}: {problem}")]
    Ledger { ledger: String, problem: String },
    #[error("{ledger} has no gate `{gate}` ({allowed})")]
    UnknownGate { ledger: String, gate: String, allowed: String },
    #[error("cannot start the runtime of the program: {0}")]
    Runtime(io::Error),
}
