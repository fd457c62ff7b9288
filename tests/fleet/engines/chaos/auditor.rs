//! The upstream, which counts the requests that it works on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::SERVICE_TIME;
use super::child::{AUDITOR, ChildProcess, given};
use crate::engines::server::free_port;

/// The auditor as its parent sees it.
pub(super) struct Auditor {
    _process: ChildProcess,
    connection: TcpStream,
    pub(super) port: u16,
}

/// What the auditor has seen since its start.
pub(super) struct AuditReport {
    /// The most requests in flight at one instant.
    pub(super) most: u64,
    pub(super) completed: u64,
    /// The sum of the times for which requests were in flight.
    pub(super) load: Duration,
    pub(super) elapsed: Duration,
}

impl Auditor {
    pub(super) fn start() -> Self {
        let port = free_port();
        let process = ChildProcess::auditor(port);
        Self { _process: process, connection: connect(port), port }
    }

    pub(super) fn report(&mut self) -> AuditReport {
        self.connection.write_all(&[REPORT]).unwrap();
        let [most, completed, load, elapsed] = [0; 4].map(|_: u8| {
            let mut number = [0; 8];
            self.connection.read_exact(&mut number).unwrap();
            u64::from_le_bytes(number)
        });
        let [load, elapsed] = [load, elapsed].map(Duration::from_micros);
        AuditReport { most, completed, load, elapsed }
    }
}

/// A connection of a worker to the auditor.
pub(super) struct Upstream(TcpStream);

impl Upstream {
    pub(super) fn connect() -> Self {
        Self(connect(given(AUDITOR).parse().unwrap()))
    }

    /// Makes one request, and waits for its end.
    pub(super) fn request(&mut self) {
        self.0.write_all(&[WORK]).unwrap();
        self.0.read_exact(&mut [0]).unwrap();
    }
}

/// Serves until the process is killed.
pub(super) fn serve() {
    let listener = TcpListener::bind(format!("127.0.0.1:{}", given(AUDITOR))).unwrap();
    let counts = Arc::new(Mutex::new(Counts::new()));
    for connection in listener.incoming() {
        let counts = Arc::clone(&counts);
        thread::spawn(move || serve_connection(connection.unwrap(), &counts));
    }
}

/// Answers one connection. A request is worked on to its end although its client has gone.
fn serve_connection(mut connection: TcpStream, counts: &Mutex<Counts>) {
    let mut command = [0];
    while connection.read_exact(&mut command).is_ok() {
        let answered = match command {
            [WORK] => {
                counts.lock().unwrap().begin();
                thread::sleep(SERVICE_TIME);
                // Before the answer: the client may make the next request as soon as it has it.
                counts.lock().unwrap().end();
                connection.write_all(&[WORK])
            }
            _ => connection.write_all(&counts.lock().unwrap().report()),
        };
        if answered.is_err() {
            return;
        }
    }
}

struct Counts {
    in_flight: u64,
    most: u64,
    completed: u64,
    load: Duration,
    started: Instant,
    changed: Instant,
}

impl Counts {
    fn new() -> Self {
        let now = Instant::now();
        Self { in_flight: 0, most: 0, completed: 0, load: Duration::ZERO, started: now, changed: now }
    }

    fn begin(&mut self) {
        self.advance();
        self.in_flight += 1;
        self.most = self.most.max(self.in_flight);
    }

    fn end(&mut self) {
        self.advance();
        self.in_flight -= 1;
        self.completed += 1;
    }

    fn report(&mut self) -> Vec<u8> {
        self.advance();
        let times = [self.load, self.changed - self.started].map(|time| time.as_micros() as u64);
        [self.most, self.completed, times[0], times[1]]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    fn advance(&mut self) {
        let now = Instant::now();
        self.load += (now - self.changed) * self.in_flight as u32;
        self.changed = now;
    }
}

/// Connects to the auditor, which may still be starting.
fn connect(port: u16) -> TcpStream {
    let started = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(connection) => {
                connection.set_nodelay(true).unwrap();
                return connection;
            }
            Err(error) => assert!(started.elapsed() < Duration::from_secs(30), "the auditor: {error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

const WORK: u8 = b'w';
const REPORT: u8 = b'r';
