//! The load generator: streams of requests to one gateway or several, in turn.
//!
//! ```text
//! $ load 127.0.0.1:8080,127.0.0.1:8081 red:normal:200 red:critical:5/s blue:normal:10/s
//! ```
//!
//! A stream is `TENANT:PRIORITY:RATE`. `10/s` sends ten requests a second, even if earlier ones have no response yet. `200` are as many clients,
//! each of which sends one request after another, and waits as long as `Retry-After` says if it is rejected.
//!
//! Each line on the standard input prints the figures since the last line. The end of the input ends the load.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::BoxError;
use axum::http::{Request, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;
use tokio::time::{interval, sleep, timeout};

type Body = Full<&'static [u8]>;

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [gateways, streams @ ..] = &arguments[..] else {
        eprintln!("usage: load ADDRESS[,ADDRESS..] TENANT:PRIORITY:RATE..");
        std::process::exit(2)
    };
    let gateways: Arc<[String]> = gateways.split(',').map(str::to_owned).collect();
    let runtime = Runtime::new()?;
    let mut running = Vec::new();
    for text in streams {
        let stream = Arc::new(Stream::new(text.parse()?, Arc::clone(&gateways)));
        runtime.spawn(Arc::clone(&stream).run());
        running.push(stream);
    }
    for line in io::stdin().lines() {
        line?;
        print_figures(&running)?;
    }
    print_figures(&running)?;
    Ok(())
}

fn print_figures(streams: &[Arc<Stream>]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "stream", "answered", "rejected", "failed", "p50 ms", "p99 ms"
    )?;
    for stream in streams {
        let mut figures = std::mem::take(&mut *stream.figures.lock().unwrap_or_else(PoisonError::into_inner));
        let [p50, p99] = [50, 99].map(|percent| figures.percentile(percent).as_millis());
        let (answered, rejected, failed) = (figures.latencies.len(), figures.rejected, figures.failed);
        writeln!(out, "{:<24}{answered:>9}{rejected:>9}{failed:>9}{p50:>9}{p99:>9}", stream.spec.name)?;
    }
    out.flush()
}

/// What a stream is: `TENANT:PRIORITY:RATE`.
struct StreamSpec {
    name: String,
    tenant: String,
    priority: String,
    rate: Rate,
}

#[derive(Clone, Copy)]
enum Rate {
    PerSecond(u32),
    Clients(u32),
}

impl FromStr for StreamSpec {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        let parts: Vec<&str> = text.split(':').collect();
        let [tenant, priority, rate] = parts[..] else {
            return Err(format!("{text:?} is not TENANT:PRIORITY:RATE").into());
        };
        let rate = match rate.strip_suffix("/s") {
            Some(number) => Rate::PerSecond(number.parse()?),
            None => Rate::Clients(rate.parse()?),
        };
        let (tenant, priority) = (tenant.to_owned(), priority.to_owned());
        Ok(Self { name: text.to_owned(), tenant, priority, rate })
    }
}

struct Stream {
    spec: StreamSpec,
    gateways: Arc<[String]>,
    /// The number of requests so far: they go to the gateways in turn.
    sent: AtomicUsize,
    client: Client<HttpConnector, Body>,
    figures: Mutex<Figures>,
}

/// The results of the requests of a stream.
#[derive(Default)]
struct Figures {
    /// The latencies of the responses with status 200.
    latencies: Vec<Duration>,
    /// Responses with status 503 and `Retry-After`.
    rejected: u64,
    /// Other responses, and errors.
    failed: u64,
}

impl Figures {
    fn percentile(&mut self, percent: usize) -> Duration {
        self.latencies.sort_unstable();
        let rank = (self.latencies.len() * percent).div_ceil(100).saturating_sub(1);
        self.latencies.get(rank).copied().unwrap_or_default()
    }
}

enum Answer {
    Done,
    Rejected(Duration),
}

impl Stream {
    fn new(spec: StreamSpec, gateways: Arc<[String]>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { spec, gateways, sent: AtomicUsize::new(0), client, figures: Mutex::default() }
    }

    /// Sends requests until the program ends.
    async fn run(self: Arc<Self>) {
        match self.spec.rate {
            Rate::PerSecond(rate) => {
                let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
                loop {
                    ticks.tick().await;
                    let stream = Arc::clone(&self);
                    tokio::spawn(async move { stream.request().await });
                }
            }
            Rate::Clients(clients) => {
                for _ in 0..clients {
                    let stream = Arc::clone(&self);
                    tokio::spawn(async move {
                        loop {
                            let pause = stream.request().await;
                            sleep(pause).await;
                        }
                    });
                }
            }
        }
    }

    /// Makes one request. Returns how long its client should wait before the next one.
    async fn request(&self) -> Duration {
        let started = Instant::now();
        let answer =
            timeout(Duration::from_secs(20), self.send()).await.unwrap_or_else(|late| Err(late.into()));
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(Answer::Done) => {
                figures.latencies.push(started.elapsed());
                Duration::ZERO
            }
            Ok(Answer::Rejected(retry_after)) => {
                figures.rejected += 1;
                retry_after
            }
            Err(error) => {
                figures.failed += 1;
                eprintln!("{}: {error}", self.spec.name);
                Duration::from_secs(1)
            }
        }
    }

    async fn send(&self) -> Result<Answer, BoxError> {
        let turn = self.sent.fetch_add(1, Ordering::Relaxed) % self.gateways.len();
        let request = Request::post(format!("http://{}/complete", self.gateways[turn]))
            .header("x-tenant", &self.spec.tenant)
            .header("x-priority", &self.spec.priority)
            .body(Full::new(&b"why is the sky blue?"[..]))?;
        let response = self.client.request(request).await?;
        let (status, retry_after) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
        let body = response.into_body().collect().await?.to_bytes();
        match (status, retry_after) {
            (StatusCode::OK, _) => Ok(Answer::Done),
            (StatusCode::SERVICE_UNAVAILABLE, Some(seconds)) => {
                Ok(Answer::Rejected(Duration::from_secs(seconds.to_str()?.parse()?)))
            }
            _ => Err(format!("status {status}: {}", String::from_utf8_lossy(&body)).into()),
        }
    }
}
