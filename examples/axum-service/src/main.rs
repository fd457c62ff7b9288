//! An axum service behind a gate, and a load generator as a second mode of the same program. `README.md` says how to run both:
//!
//! ```text
//! $ axum-service serve 127.0.0.1:8080 &
//! $ axum-service load 127.0.0.1:8080 /work/20 64 10 &
//! $ curl -X PUT http://127.0.0.1:8080/limits/work/4
//! $ curl http://127.0.0.1:8080/limits
//! $ curl -H 'x-tenant: blue' http://127.0.0.1:8080/work/20
//! $ curl http://127.0.0.1:8080/tenants
//! $ curl http://127.0.0.1:8080/metrics
//! ```

mod load;
mod serve;

use std::time::Duration;

use axum::BoxError;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", address] => serve::serve(address.parse()?).await,
        ["load", address, path, connections, seconds] => {
            let duration = Duration::from_secs(seconds.parse()?);
            let report = load::load(address.parse()?, path, connections.parse()?, duration).await?;
            println!("{report}");
            if report.failed > 0 {
                Err("some requests failed with an error other than 503 with Retry-After".into())
            } else {
                Ok(())
            }
        }
        _ => {
            eprintln!(
                "usage: axum-service serve ADDRESS | axum-service load ADDRESS PATH CONNECTIONS SECONDS"
            );
            std::process::exit(2)
        }
    }
}
