//! The service on a real socket, under load from a second process, while its limits change.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::probe::OpenFiles;

const PROGRAM: &str = env!("CARGO_BIN_EXE_axum-service");

/// While more load arrives than the gate admits, clients see no error other than 503 with `Retry-After`. A lowered limit holds
/// as soon as its debt is paid, and a raised limit is used. The gate counts the same requests as the clients.
#[test]
fn limits_change_under_load_without_errors() {
    let service = ServiceProcess::start(16);
    assert_eq!(service.metrics().sum("limit"), 16.0, "set by the environment");
    let mut load = service.start_load("/work/20", 200, 4);
    wait_until("16 permits are in use", || service.metrics().sum("in_use") == 16.0);

    service.set_limit(2);
    let line = service.wait_for_log("limit 16 -> 2");
    assert!(line.contains("live = 2 decides"), "{line}");
    wait_until("the debt is paid", || service.metrics().sum("debt") == 0.0);
    for _ in 0..20 {
        let metrics = service.metrics();
        assert!(metrics.sum("in_use") <= 2.0);
        assert_eq!(metrics.sum("limit"), 2.0);
    }
    wait_until("requests are rejected", || service.metrics().sum("rejected_total") > 0.0);
    service.set_limit(32);
    wait_until("32 permits are in use", || service.metrics().sum("in_use") == 32.0);
    assert!(load.is_running(), "the load must last until here");

    let [answered, rejected, failed] = load.wait_for_report();
    assert_eq!(failed, 0.0);
    assert!(answered > 100.0 && rejected > 0.0, "answered {answered}, rejected {rejected}");
    let metrics = service.metrics();
    assert_eq!([metrics.sum("in_use"), metrics.sum("waiting"), metrics.sum("debt")], [0.0; 3]);
    assert_eq!([metrics.sum("admitted_total"), metrics.sum("rejected_total")], [answered, rejected]);
    assert_eq!([metrics.sum("resized_total"), metrics.sum("cancelled_total")], [2.0, 0.0]);
    assert_eq!(metrics.sum("hold_seconds_count"), answered);
}

/// A streamed body holds its permit until it ends or its client disconnects. Meanwhile, other requests get 503 with
/// `Retry-After`, and the routes outside of the gate respond.
#[test]
fn a_body_holds_its_permit_until_it_ends() {
    let service = ServiceProcess::start(1);
    let mut reader = TcpStream::connect(&service.address).unwrap();
    write!(reader, "GET /stream/100000 HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut head = [0; 12];
    reader.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200", "the body has begun");
    assert_eq!(service.metrics().sum("in_use"), 1.0);

    let (status, response) = service.request("GET", "/work/1");
    assert_eq!(status, 503, "{response}");
    assert!(response.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{response}");
    assert!(response.ends_with("the service is busy: try again in 1 s\n"), "{response}");
    assert_eq!(service.request("GET", "/limits").0, 200);
    assert_eq!(service.request("PUT", "/limits/other/2").0, 400, "the plan has no gate `other`");

    drop(reader);
    wait_until("the permit is returned", || service.metrics().sum("in_use") == 0.0);
    assert_eq!(service.request("GET", "/work/1").0, 200);
    assert_eq!(service.request("GET", "/stream/3").0, 200);
    assert_eq!(service.request("GET", "/block/1").0, 200, "blocking work uses the permit of its request");
    assert_eq!(service.metrics().sum("in_use"), 0.0, "the body was read to its end");
}

/// While 999 requests of one tenant wait, a request of another tenant is served by the next release.
#[test]
fn a_flood_of_one_tenant_delays_another_by_one_release() {
    // A descriptor for each connection. The service inherits the limit.
    OpenFiles::raise_soft_limit(8192).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "127.0.0.1:0"]).env("APP_WORK", "1").env("APP_MAX_WAIT_MS", "600000");
    let service = ServiceProcess::start_program(&mut command);

    // A streamed body holds the only permit until its client disconnects.
    let mut flood = vec![service.start_request("/stream/1000000", Some("a"))];
    let mut head = [0; 12];
    flood[0].read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    flood.extend((1..1000).map(|_| service.start_request("/stream/1000000", Some("a"))));
    wait_until("999 requests of the flood wait", || service.metrics().sum("waiting") == 999.0);
    let mut other = service.start_request("/work/1", Some("b"));
    wait_until("the other request waits", || service.metrics().sum("waiting") == 1000.0);
    let (status, tenants) = service.request("GET", "/tenants");
    assert_eq!(status, 200);
    assert!(tenants.ends_with("\r\n\r\na: 1 in use, 999 waiting\nb: 0 in use, 1 waiting\n"), "{tenants}");
    assert_eq!([service.metrics().sum("busy_keys"), service.metrics().sum("admitted_total")], [2.0, 1.0]);

    // One release. If it admitted another request of the flood, that one would never end, and the other tenant would get no response.
    drop(flood.remove(0));
    let mut response = String::new();
    other.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("worked for 1 ms\n"), "{response}");
    wait_until("the flood has the permit again", || service.metrics().sum("admitted_total") == 3.0);
    assert!(
        service.request("GET", "/tenants").1.ends_with("a: 1 in use, 998 waiting\n"),
        "b is not busy any more"
    );
}

/// The limit of the calls to another server follows their outcomes: it rises while the server keeps up, and the decisions can be read.
#[test]
fn the_limit_of_a_server_elsewhere_follows_outcomes() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upstream"));
    let service = ServiceProcess::start_program(command.arg("127.0.0.1:0"));
    assert!(
        service
            .request("GET", "/limits")
            .1
            .contains("upstream = 16: derived, `at most feedback.upstream or 16` decides")
    );
    let load = service.start_load("/call/20", 64, 6);
    wait_until("the limit has risen", || {
        service.request("GET", "/limits").1.contains(": 16 -> 32: double (")
    });
    let decisions = service.request("GET", "/decisions").1;
    assert!(decisions.contains(" rule=latency before=16 after=32 "), "{decisions}");
    let [answered, _, failed] = load.wait_for_report();
    assert!(answered > 100.0 && failed == 0.0, "answered {answered}, failed {failed}");
}

/// The program of the cookbook serves a tenant although the waiting requests of another tenant need longer than any request may wait.
#[test]
fn the_program_of_the_cookbook_shares_among_tenants() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenants"));
    let service = ServiceProcess::start_program(command.arg("127.0.0.1:0").env("APP_API", "1"));
    // 100 ms each at a limit of 1, and no request waits longer than 5 s.
    let _flood: Vec<_> = (0..200).map(|_| service.start_request("/report", Some("a"))).collect();
    let waiting = || -> Option<u32> {
        let busiest = service.request("GET", "/busiest").1;
        busiest.lines().last()?.strip_prefix("a: 1 in use, ")?.strip_suffix(" waiting")?.parse().ok()
    };
    wait_until("the flood waits", || waiting().is_some_and(|waiting| waiting > 150));
    for tenant in [Some("b"), None] {
        let mut response = String::new();
        service.start_request("/report", tenant).read_to_string(&mut response).unwrap();
        assert!(response.ends_with("the report\n"), "{response}");
    }
}

/// The program of the cookbook rejects the requests of a flood that have waited too long, with 503 and a time to retry. After
/// the flood, the queue is not standing any more.
#[test]
fn the_program_of_the_cookbook_sheds_a_flood() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overload"));
    let service = ServiceProcess::start_program(command.arg("127.0.0.1:0").env("APP_API", "1"));
    let overload = || service.request("GET", "/overload").1.lines().last().unwrap().to_owned();
    // 100 ms each at a limit of 1: they would take 10 s.
    let flood: Vec<_> = (0..100).map(|_| service.start_request("/quote", None)).collect();
    wait_until("the queue is standing", || overload().starts_with("standing: true"));
    let mut shed = 0;
    for mut stream in flood {
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        if response.starts_with("HTTP/1.1 503") {
            let response = response.to_lowercase();
            let (_, seconds) = response.split_once("\r\nretry-after: ").unwrap();
            let seconds: u32 = seconds.split("\r\n").next().unwrap().parse().unwrap();
            assert!((1..=75).contains(&seconds), "at most 60 s, plus a quarter: {response}");
            shed += 1;
        } else {
            assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("the quote\n"), "{response}");
        }
    }
    assert!(shed > 50, "{shed}");
    let status = overload();
    assert!(status.ends_with(&format!(" 0 waiting, {} admitted, {shed} shed", 100 - shed)), "{status}");
    wait_until("the queue is not standing", || overload().starts_with("standing: false"));
    assert_eq!(service.request("GET", "/quote").0, 200);
}

/// A running service. Dropping it kills its process.
struct ServiceProcess {
    process: Child,
    address: String,
    log: Receiver<String>,
}

impl ServiceProcess {
    /// Starts the service with this limit, and waits until it listens.
    fn start(limit: u32) -> Self {
        let mut command = Command::new(PROGRAM);
        Self::start_program(command.args(["serve", "127.0.0.1:0"]).env("APP_WORK", limit.to_string()))
    }

    /// Starts a program that prints its address, and waits until it listens.
    fn start_program(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        let (sender, log) = channel();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Self { process, address, log }
    }

    /// Sends a request of a tenant, and does not wait for the response.
    fn start_request(&self, path: &str, tenant: Option<&str>) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let tenant = tenant.map(|tenant| format!("X-Tenant: {tenant}\r\n")).unwrap_or_default();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\n{tenant}Connection: close\r\n\r\n").unwrap();
        stream
    }

    /// Sends a request, and returns the status and the whole response.
    fn request(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        (response.split(' ').nth(1).unwrap().parse().unwrap(), response)
    }

    fn metrics(&self) -> MetricValues {
        let (status, text) = self.request("GET", "/metrics");
        assert_eq!(status, 200);
        let lines = text.lines().filter(|line| line.starts_with("concurrency_governor_"));
        let values = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        MetricValues(values.collect())
    }

    fn set_limit(&self, limit: u32) {
        let (status, text) = self.request("PUT", &format!("/limits/work/{limit}"));
        assert_eq!(status, 200, "{text}");
    }

    fn start_load(&self, path: &str, connections: u32, seconds: u32) -> LoadProcess {
        let (connections, seconds) = (connections.to_string(), seconds.to_string());
        let process = Command::new(PROGRAM)
            .args(["load", &self.address, path, &connections, &seconds])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        LoadProcess(Some(process.unwrap()))
    }

    /// Waits for a log line that contains this text, and returns the line.
    fn wait_for_log(&self, wanted: &str) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("no line with {wanted:?}"));
            if line.contains(wanted) {
                return line;
            }
        }
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The values of this crate's metrics, by name and labels.
struct MetricValues(BTreeMap<String, f64>);

impl MetricValues {
    /// Returns the sum of a metric over all of its labels.
    fn sum(&self, name: &str) -> f64 {
        let series = format!("concurrency_governor_{name}{{");
        self.0.iter().filter(|(name, _)| name.starts_with(&series)).map(|(_, value)| value).sum()
    }
}

/// A running load generator. Dropping it kills its process.
struct LoadProcess(Option<Child>);

impl LoadProcess {
    /// Waits for the end of the load, and returns the numbers of requests answered, rejected and failed.
    fn wait_for_report(mut self) -> [f64; 3] {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{errors}");
        let words: Vec<&str> = text.split_whitespace().collect();
        ["answered", "rejected", "failed"].map(|name| {
            let at = words.iter().position(|word| *word == name).unwrap();
            words[at + 1].parse().unwrap()
        })
    }

    fn is_running(&mut self) -> bool {
        self.0.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Evaluates the condition until it is true, or fails after 20 s.
fn wait_until(description: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "still false: {description}");
        thread::sleep(Duration::from_millis(20));
    }
}
