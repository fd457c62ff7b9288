//! The service on a real socket, under load from a second process, its limits changed while it works.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_axum-service");

/// A service in a process of its own, which ends with this.
struct Service {
    process: Child,
    address: String,
    log: Receiver<String>,
}

impl Service {
    fn start(limit: u32) -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["serve", "127.0.0.1:0"])
            .env("APP_WORK", limit.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        let (tell, log) = channel();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        Self { process, address, log }
    }

    /// The status and everything behind it.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    fn metrics(&self) -> Metrics {
        let (status, text) = self.ask("GET", "/metrics");
        assert_eq!(status, 200);
        let lines = text.lines().filter(|line| line.starts_with("concurrency_governor_"));
        let values = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Metrics(values.collect())
    }

    fn set_limit(&self, limit: u32) {
        let (status, text) = self.ask("PUT", &format!("/limits/work/{limit}"));
        assert_eq!(status, 200, "{text}");
    }

    fn load(&self, path: &str, connections: u32, seconds: u32) -> Load {
        let (connections, seconds) = (connections.to_string(), seconds.to_string());
        let process = Command::new(PROGRAM)
            .args(["load", &self.address, path, &connections, &seconds])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Load(Some(process.unwrap()))
    }

    /// Waits until the log has a line with this.
    fn logs(&self, wanted: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("no line with {wanted:?}"));
            if line.contains(wanted) {
                return line;
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// The sum of a metric over all of its labels.
    fn sum(&self, name: &str) -> f64 {
        let series = format!("concurrency_governor_{name}{{");
        self.0.iter().filter(|(name, _)| name.starts_with(&series)).map(|(_, value)| value).sum()
    }
}

/// A load in a process of its own, which ends with this.
struct Load(Option<Child>);

impl Load {
    /// Answered, shed and failed.
    fn report(mut self) -> [f64; 3] {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{errors}");
        let words: Vec<&str> = text.split_whitespace().collect();
        ["answered", "shed", "failed"].map(|name| {
            let at = words.iter().position(|word| *word == name).unwrap();
            words[at + 1].parse().unwrap()
        })
    }

    fn is_running(&mut self) -> bool {
        self.0.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Waits until what is asked is so; it is asked anew each time.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "not so: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Under more load than it lets in, nobody sees an error but 503 with `Retry-After`; a limit lowered then holds from the
/// moment that its debt is paid, and one that is raised is used. What clients counted is what the gate has counted.
#[test]
fn limits_change_under_load_and_nobody_sees_an_error() {
    let service = Service::start(16);
    assert_eq!(service.metrics().sum("limit"), 16.0, "by the environment");
    let mut load = service.load("/work/20", 200, 4);
    wait_until("16 are out", || service.metrics().sum("in_use") == 16.0);

    service.set_limit(2);
    let line = service.logs("limit 16 -> 2");
    assert!(line.contains("live = 2 decides"), "{line}");
    wait_until("the debt is paid", || service.metrics().sum("debt") == 0.0);
    for _ in 0..20 {
        let metrics = service.metrics();
        assert!(metrics.sum("in_use") <= 2.0);
        assert_eq!(metrics.sum("limit"), 2.0);
    }
    service.set_limit(32);
    wait_until("32 are out", || service.metrics().sum("in_use") == 32.0);
    assert!(load.is_running(), "all of this happened under load");

    let [answered, shed, failed] = load.report();
    assert_eq!(failed, 0.0);
    assert!(answered > 100.0 && shed > 0.0, "answered {answered}, shed {shed}");
    let metrics = service.metrics();
    assert_eq!([metrics.sum("in_use"), metrics.sum("waiting"), metrics.sum("debt")], [0.0; 3]);
    assert_eq!([metrics.sum("acquired_total"), metrics.sum("rejected_total")], [answered, shed]);
    assert_eq!([metrics.sum("resized_total"), metrics.sum("cancelled_total")], [2.0, 0.0]);
    assert_eq!(metrics.sum("hold_seconds_count"), answered);
}

/// What is refused is 503 with `Retry-After`, and what is not behind the gate is answered meanwhile. A permit is out until
/// the body has ended, or its client has gone.
#[test]
fn a_body_holds_its_permit() {
    let service = Service::start(1);
    let mut reader = TcpStream::connect(&service.address).unwrap();
    write!(reader, "GET /stream/100000 HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut head = [0; 12];
    reader.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200", "it has answered, and sends");
    assert_eq!(service.metrics().sum("in_use"), 1.0);

    let (status, answer) = service.ask("GET", "/work/1");
    assert_eq!(status, 503, "{answer}");
    assert!(answer.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.ends_with("the service is busy: try again in 1 s\n"), "{answer}");
    assert_eq!(service.ask("GET", "/limits").0, 200);
    assert_eq!(service.ask("PUT", "/limits/other/2").0, 400, "there is no such gate");

    drop(reader);
    wait_until("the permit is back", || service.metrics().sum("in_use") == 0.0);
    assert_eq!(service.ask("GET", "/work/1").0, 200);
    assert_eq!(service.ask("GET", "/stream/3").0, 200);
    assert_eq!(service.metrics().sum("in_use"), 0.0, "a body that was read to its end");
}
