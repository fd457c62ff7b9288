//! The load generator: a number of connections, each of which sends one request after another.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::BoxError;
use axum::http::{Request, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The number of requests by result.
#[derive(Debug, Default)]
pub struct Report {
    /// Responses with status 200.
    answered: u64,
    /// Responses with status 503 and `Retry-After`.
    rejected: u64,
    /// Other responses, and errors.
    pub failed: u64,
    /// The longest time from a request to the end of its response.
    longest: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, rejected, failed, longest } = self;
        write!(
            f,
            "answered {answered} rejected {rejected} failed {failed} longest {} ms",
            longest.as_millis()
        )
    }
}

/// Sends requests for `duration`, and waits for the last responses.
pub async fn load(
    address: SocketAddr,
    path: &str,
    connections: usize,
    duration: Duration,
) -> Result<Report, BoxError> {
    let end = Instant::now() + duration;
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(run_client(address, path.to_owned(), end));
    }
    let mut total = Report::default();
    while let Some(report) = clients.join_next().await {
        let report = report?;
        total.answered += report.answered;
        total.rejected += report.rejected;
        total.failed += report.failed;
        total.longest = total.longest.max(report.longest);
    }
    Ok(total)
}

/// Sends one request after another until `end`.
async fn run_client(address: SocketAddr, path: String, end: Instant) -> Report {
    let mut report = Report::default();
    let mut connection = None;
    while Instant::now() < end {
        let sent = Instant::now();
        match send_request(&mut connection, address, &path).await {
            Ok(Answer::Done) => report.answered += 1,
            Ok(Answer::Rejected) => {
                report.rejected += 1;
                // Much less than `Retry-After`, to keep the load high.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => {
                eprintln!("{error}");
                report.failed += 1;
                connection = None;
            }
        }
        report.longest = report.longest.max(sent.elapsed());
    }
    report
}

enum Answer {
    Done,
    Rejected,
}

/// Sends one request and reads the whole response. Opens the connection if there is none, and keeps it open.
async fn send_request(
    connection: &mut Option<SendRequest<Empty<Bytes>>>,
    address: SocketAddr,
    path: &str,
) -> Result<Answer, BoxError> {
    let sender = match connection {
        Some(sender) => sender,
        None => connection.insert(connect(address).await?),
    };
    sender.ready().await?;
    let request = Request::get(path).header("host", address.to_string()).body(Empty::new())?;
    let response = sender.send_request(request).await?;
    let (status, has_retry_after) = (response.status(), response.headers().contains_key(RETRY_AFTER));
    response.into_body().collect().await?;
    match status {
        StatusCode::OK => Ok(Answer::Done),
        StatusCode::SERVICE_UNAVAILABLE if has_retry_after => Ok(Answer::Rejected),
        status => Err(format!("{path}: status {status}, with Retry-After: {has_retry_after}").into()),
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, BoxError> {
    let (sender, connection) = handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
