//! The server that capsules ask: a process of its own on loopback, so that its descriptors are its own, too.

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

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _process: Child,
}

impl Server {
    /// Starts this program once more, as a server, and waits until it listens.
    pub async fn start(latency: Duration) -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg("serve")
            .arg(format!("{}us", latency.as_micros()))
            .stdin(Stdio::piped()) // whose end tells it that nobody is left to serve
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = process.stdout.take().ok_or_else(|| io::Error::other("the server has no output"))?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).await?;
        let address = line.trim().parse().map_err(|_| {
            io::Error::other(format!("the server said {line:?} where its address should stand"))
        })?;
        Ok(Self { address, _process: process })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves until standard input ends: one answer, after a while.
pub async fn serve(latency: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    let accept = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: those that are served will be done soon.
                time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service::service_fn(move |_| answer(latency)));
            tokio::spawn(connection); // whose failure is the client's to tell
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

async fn answer(latency: Duration) -> Result<Response<Full<Bytes>>, Infallible> {
    time::sleep(latency).await;
    Ok(Response::new(Full::new(Bytes::from_static(GREETING))))
}

/// Asks the server once, by a connection of its own, and gives the bytes of its answer.
pub async fn get(address: SocketAddr, path: &str) -> Result<Bytes, FetchError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Path(error.to_string()))?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, body))
    };
    // The connection is driven here, so that it is closed when this is over, before the permit is given back.
    let ((status, body), ()) = tokio::try_join!(answer, connection)?;
    if status == StatusCode::OK { Ok(body) } else { Err(FetchError::Status(status)) }
}

/// Why a capsule got no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot reach the server: {0}")]
    Connect(#[from] io::Error),
    #[error("the server broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("no path to ask for: {0}")]
    Path(String),
}

const GREETING: &[u8] = b"hello from the other side";
