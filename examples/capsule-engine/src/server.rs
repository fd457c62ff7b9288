//! The server that capsules call: a separate process on loopback, so that it does not use the engine's descriptors.

use std::convert::Infallible;
use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{Request, Response, StatusCode, service};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time;

/// A running server process. Dropping it kills the process.
#[derive(Debug)]
pub struct ServerProcess {
    address: SocketAddr,
    _process: Child,
}

impl ServerProcess {
    /// Starts this program a second time as the server, and waits until it listens.
    pub async fn start(latency: Duration) -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg("serve")
            .arg(format!("{}us", latency.as_micros()))
            .stdin(Stdio::piped()) // the server exits when the engine closes it
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output =
            process.stdout.take().ok_or_else(|| io::Error::other("the server has no standard output"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let address = line
            .trim()
            .parse()
            .map_err(|_| io::Error::other(format!("the server printed {line:?} instead of its address")))?;
        Ok(Self { address, _process: process })
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves one response per connection, each after `latency`, until standard input ends.
pub async fn serve(latency: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    let accept = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Probably out of descriptors: the open connections will end soon.
                time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service::service_fn(move |_| respond(latency)));
            tokio::spawn(connection); // the client reports a failed connection
        }
    };
    let mut rest = Vec::new();
    let mut stdin = tokio::io::stdin();
    tokio::select! {
        () = accept => {}
        _ = stdin.read_to_end(&mut rest) => {}
    }
    Ok(())
}

async fn respond(latency: Duration) -> Result<Response<Full<Bytes>>, Infallible> {
    time::sleep(latency).await;
    Ok(Response::new(Full::new(Bytes::from_static(GREETING))))
}

/// Sends one request on a new connection, and returns the response body.
pub async fn get(address: SocketAddr, path: &str) -> Result<Bytes, FetchError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Path(error.to_string()))?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, body))
    };
    // Drives the connection here instead of in a task, so that its descriptor is closed before the permit is returned.
    let ((status, body), ()) = tokio::try_join!(exchange, connection)?;
    if status == StatusCode::OK { Ok(body) } else { Err(FetchError::Status(status)) }
}

/// A failed call of the server.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot reach the server: {0}")]
    Connect(#[from] io::Error),
    #[error("the connection to the server failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("invalid path: {0}")]
    Path(String),
}

const GREETING: &[u8] = b"hello from the other side";
