//! A small WASM capsule host on the Astrid preset.
//!
//! Capsules run in instances from a warm pool, under the preset's gate `pool`. What they ask of the host goes through its
//! other two gates: reading a file pins a thread and passes `blocking`, asking a server frees its thread and passes `io`.
//! A governor derives the three limits from this host and follows it. The program runs many requests of many
//! principals at once, and prints what each gate and the pool have to say about it.

mod args;
mod capsule;
mod engine;
mod load;
mod peak;
mod report;
mod server;
mod settings;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;

use args::{Args, Command};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.command {
        Some(Command::Serve { latency }) => server::serve(*latency).await.map(|()| true),
        None => run(&args).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the load, prints the report, and says whether every request came to the end that it should.
async fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let settings = settings::Settings::of(&args.settings, |name| std::env::var_os(name));
    for fault in &settings.faults {
        eprintln!("error: {fault}; this setting is left out, and all others hold");
    }
    let server = server::Server::start(args.latency).await?;
    let engine = Arc::new(engine::Engine::start(settings.overrides, server.address()).await?);
    let outcomes = load::run(&engine, args).await;
    print!("{}", report::render(&engine, &outcomes));
    Ok(outcomes.are_as_expected())
}
