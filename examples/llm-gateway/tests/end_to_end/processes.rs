//! Starting and stopping programs, and speaking HTTP with them.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program of this package that serves HTTP. It is killed with this value.
pub struct Server {
    process: Child,
    pub address: String,
}

impl Server {
    /// Starts a program that prints its address, and waits until it listens.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0").args(arguments).stdout(Stdio::piped()).stderr(log_file(program));
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{program}: {line}"));
        Self { process, address: address.to_owned() }
    }

    /// Sends a request, and returns the status and the whole response.
    pub fn request(&self, head: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "{head} HTTP/1.1\r\nHost: here\r\nX-Tenant: test\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        (response.split(' ').nth(1).unwrap().parse().unwrap(), response)
    }
}

impl Server {
    /// Ends the program as an orchestrator does, and waits until it has ended.
    pub fn terminate(&mut self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.process.id().to_string()).status().unwrap();
        assert!(sent.success());
        wait_until("the program has ended", || self.process.try_wait().unwrap().is_some());
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

/// The load generator. It ends with this value: its standard input is closed, even if this process is killed.
pub struct Load {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    streams: usize,
}

impl Load {
    pub fn start(gateways: &str, streams: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
        command.arg(gateways).args(streams).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, input, output: BufReader::new(output), streams: streams.len() }
    }

    /// Returns the numbers of each stream since the last call, in the order of the columns.
    pub fn figures(&mut self) -> Vec<[u64; 5]> {
        writeln!(self.input).unwrap();
        let mut read_line = || {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            line
        };
        read_line();
        let lines = (0..self.streams).map(|_| read_line());
        lines
            .map(|line| {
                let mut numbers = line.split_whitespace().skip(1).map(|number| number.parse().unwrap());
                [(); 5].map(|()| numbers.next().unwrap_or_else(|| panic!("{line}")))
            })
            .collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

/// A redis-server without persistence, on a port of its own.
pub struct Redis {
    program: PathBuf,
    pub port: u16,
    process: Child,
}

impl Redis {
    /// Returns `None`, and says so, if Redis is not installed.
    pub fn start() -> Option<Self> {
        let folders = std::env::var("PATH").unwrap_or_default();
        let mut programs = folders.split(':').map(|folder| Path::new(folder).join("redis-server"));
        let Some(program) = programs.find(|program| program.is_file()) else {
            let is_required = std::env::var("FLEET_ENGINES").is_ok_and(|value| value == "required");
            assert!(!is_required, "redis-server is not installed");
            eprintln!("skipped: redis-server is not installed");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Self::spawn(&program, port);
        Some(Self { program, port, process })
    }

    pub fn kill(&mut self) {
        stop(&mut self.process);
    }

    /// Starts it again after `kill`, on the same port. It has lost its state.
    pub fn restart(&mut self) {
        self.process = Self::spawn(&self.program, self.port);
    }

    fn spawn(program: &Path, port: u16) -> Child {
        let mut command = Command::new(program);
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port.to_string(),
        ]);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        wait_until("Redis accepts connections", || {
            assert!(process.try_wait().unwrap().is_none(), "redis-server has ended");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        process
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Opens the file that has what the programs of this name write to their standard error.
fn log_file(program: &str) -> File {
    let name = Path::new(program).file_name().unwrap().to_str().unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// Evaluates the condition until it is true, or fails after a minute.
pub fn wait_until(description: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "still false: {description}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn stop(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}
