//! A small WASM capsule engine on the Astrid preset.
//!
//! Capsules run in instances from a warm pool, under the preset's gate `pool`. Their host calls pass the other two gates:
//! reading a file pins a thread and passes `blocking`; calling a server frees its thread and passes `io`. A governor
//! derives the three limits from this host and follows it. The program runs many requests of many principals at once, and
//! prints a report of the gates and the pool. With `--fair`, principals share the gates of host calls equally.

mod args;
mod capsule;
mod engine;
mod load;
mod peak;
mod principals;
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

/// Runs the load and prints the report. Returns whether every request ended as expected.
async fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let settings = settings::EngineSettings::collect(&args.settings, |name| std::env::var_os(name));
    for problem in &settings.problems {
        eprintln!("error: {problem}; this is ignored, and all other settings apply");
    }
    let server = server::ServerProcess::start(args.latency).await?;
    let engine = Arc::new(engine::Engine::start(settings.overrides, args.sharing(), server.address()).await?);
    let report = load::run(&engine, args).await;
    print!("{}", report::render(&engine, &report));
    Ok(report.is_as_expected())
}
