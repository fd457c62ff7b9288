//! Runs `fleet status` and `fleet set-limit`.

use std::{env, io};

use concurrency_governor::fleet::{LedgerError, LedgerStatus};

use super::address::{AddressError, LedgerArgs, LedgerUrl};
use super::args::{FleetArgs, FleetCommand, FleetStatusArgs, SetLimitArgs};
use super::client::{LedgerClient, LedgerUrlError};
use super::render;

/// Asks the ledger, and changes a limit if that is the command.
///
/// # Errors
///
/// [`FleetCommandError`] if the URL is wrong, the ledger cannot be used, or it does not have the gate.
pub(crate) fn run(args: &FleetArgs) -> Result<String, FleetCommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(FleetCommandError::Runtime)?.block_on(async {
        match &args.command {
            FleetCommand::Status(args) => print_status(args).await,
            FleetCommand::SetLimit(args) => set_limit(args).await,
        }
    })
}

async fn print_status(args: &FleetStatusArgs) -> Result<String, FleetCommandError> {
    let client = connect(&args.ledger).await?;
    if let Some(gate) = &args.gate {
        let status = find_gate(&client, gate).await?;
        return Ok(if args.json {
            render::json(&client.name, &[(gate.clone(), Ok(status))])
        } else {
            render::gate(&client.name, gate, &status)
        });
    }
    let mut gates = Vec::new();
    for gate in client.gates().await.map_err(|error| failed(&client, error))? {
        // A gate of another version does not hide the others.
        let status = match client.ledger().status(&gate).await {
            Err(error @ LedgerError::Unsuitable { .. }) => Err(error.to_string()),
            status => Ok(status.map_err(|error| failed(&client, error))?),
        };
        gates.push((gate, status));
    }
    Ok(if args.json { render::json(&client.name, &gates) } else { render::gates(&client.name, &gates) })
}

async fn set_limit(args: &SetLimitArgs) -> Result<String, FleetCommandError> {
    let client = connect(&args.ledger).await?;
    let before = find_gate(&client, &args.gate).await?;
    let by = args.by.clone().or_else(|| env::var("USER").ok().filter(|user| !user.is_empty()));
    let by = by.as_deref().unwrap_or("unknown");
    let set = client.ledger().set_limit(&args.gate, args.limit, by).await;
    let set = set.map_err(|error| failed(&client, error))?;
    Ok(render::new_limit(&args.gate, &before, set, by))
}

/// Opens the ledger, and checks that it can be one.
async fn connect(args: &LedgerArgs) -> Result<LedgerClient, FleetCommandError> {
    let url = LedgerUrl::find(args)?;
    let client = LedgerClient::open(&url)
        .map_err(|error| FleetCommandError::Url { origin: LedgerUrl::origin(args), error })?;
    client.check().await.map_err(|error| failed(&client, error))?;
    Ok(client)
}

/// Returns the status of a gate that the ledger has.
async fn find_gate(client: &LedgerClient, gate: &str) -> Result<LedgerStatus, FleetCommandError> {
    let status = client.ledger().status(gate).await.map_err(|error| failed(client, error))?;
    if status != LedgerStatus::default() {
        return Ok(status);
    }
    let gates = client.gates().await.map_err(|error| failed(client, error))?;
    let allowed = if gates.is_empty() {
        "it has none before the first process reports".to_owned()
    } else {
        format!("allowed: {}", gates.join(", "))
    };
    Err(FleetCommandError::UnknownGate { ledger: client.name.clone(), gate: gate.to_owned(), allowed })
}

fn failed(client: &LedgerClient, error: LedgerError) -> FleetCommandError {
    FleetCommandError::Ledger { ledger: client.name.clone(), error }
}

/// The ledger was not asked, or its answer was an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetCommandError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("{origin}: {error}")]
    Url { origin: String, error: LedgerUrlError },
    // `Debug` of the error has its causes, and no password.
    #[error("{ledger}: {error:?}")]
    Ledger { ledger: String, error: LedgerError },
    #[error("{ledger} has no gate `{gate}` ({allowed})")]
    UnknownGate { ledger: String, gate: String, allowed: String },
    #[error("cannot start the runtime of the program: {0}")]
    Runtime(io::Error),
}
