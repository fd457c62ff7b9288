//! A service with axum whose requests pass a gate, and the load to try it with, as a second process of this program:
//!
//! ```text
//! $ axum-service serve 127.0.0.1:8080 &
//! $ axum-service load 127.0.0.1:8080 /work/20 64 10 &
//! $ curl -X PUT http://127.0.0.1:8080/limits/work/4
//! $ curl http://127.0.0.1:8080/limits
//! $ curl http://127.0.0.1:8080/metrics
//! ```

mod load;
mod serve;

use std::error::Error;
use std::time::Duration;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", address] => serve::serve(address.parse()?).await,
        ["load", address, path, connections, seconds] => {
            let lasts = Duration::from_secs(seconds.parse()?);
            let report = load::load(address.parse()?, path, connections.parse()?, lasts).await?;
            println!("{report}");
            if report.failed > 0 {
                Err("some requests failed other than by being shed".into())
            } else {
                Ok(())
            }
        }
        _ => {
            Err("usage: axum-service serve ADDRESS | axum-service load ADDRESS PATH CONNECTIONS SECONDS"
                .into())
        }
    }
}
