//! Load: so many connections, each sending one request after another.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::http::{Request, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Failure;

/// What came of the requests.
#[derive(Debug, Default)]
pub struct Report {
    /// Answered with 200.
    answered: u64,
    /// Answered with 503 and a `Retry-After`.
    shed: u64,
    /// Anything else.
    pub failed: u64,
    longest: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, shed, failed, longest } = self;
        write!(f, "answered {answered} shed {shed} failed {failed} longest {} ms", longest.as_millis())
    }
}

/// Sends requests until the time is over, and waits for the answers of the last ones.
pub async fn load(
    address: SocketAddr,
    path: &str,
    connections: usize,
    lasts: Duration,
) -> Result<Report, Failure> {
    let until = Instant::now() + lasts;
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(address, path.to_owned(), until));
    }
    let mut report = Report::default();
    while let Some(client) = clients.join_next().await {
        let client = client?;
        report.answered += client.answered;
        report.shed += client.shed;
        report.failed += client.failed;
        report.longest = report.longest.max(client.longest);
    }
    Ok(report)
}

async fn client(address: SocketAddr, path: String, until: Instant) -> Report {
    let mut report = Report::default();
    let mut connection = None;
    while Instant::now() < until {
        let sent = Instant::now();
        match exchange(&mut connection, address, &path).await {
            Ok(Answer::Done) => report.answered += 1,
            Ok(Answer::Shed) => {
                report.shed += 1;
                // A client that does as it is told would wait for a second.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(failure) => {
                eprintln!("{failure}");
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
    Shed,
}

/// One request and the whole of its answer, over a connection that is kept.
async fn exchange(
    connection: &mut Option<SendRequest<Empty<Bytes>>>,
    address: SocketAddr,
    path: &str,
) -> Result<Answer, Failure> {
    let sender = match connection {
        Some(sender) => sender,
        None => connection.insert(connect(address).await?),
    };
    sender.ready().await?;
    let request = Request::get(path).header("host", address.to_string()).body(Empty::new())?;
    let answer = sender.send_request(request).await?;
    let (status, retry_after) = (answer.status(), answer.headers().contains_key(RETRY_AFTER));
    answer.into_body().collect().await?;
    match status {
        StatusCode::OK => Ok(Answer::Done),
        StatusCode::SERVICE_UNAVAILABLE if retry_after => Ok(Answer::Shed),
        status => Err(format!("{path}: {status}, Retry-After: {retry_after}").into()),
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, Failure> {
    let (sender, connection) = handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
