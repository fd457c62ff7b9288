//! Starting and stopping the servers.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A server that was started by a test. It ends with this value.
#[derive(Debug)]
pub(crate) struct TestServer {
    name: String,
    command: Command,
    process: Child,
    pub(crate) port: u16,
    folder: PathBuf,
}

impl TestServer {
    /// Starts a program in a new folder, and waits until it accepts connections. `command` gets the folder and the port.
    pub(crate) fn start(name: &str, command: impl FnOnce(&Path, u16) -> Command) -> Self {
        let port = free_port();
        let folder = new_folder(name);
        let mut command = command(&folder, port);
        let log = fs::File::create(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut server = Self { name: name.to_owned(), command, process, port, folder };
        server.wait_until_ready();
        server
    }

    /// Ends the server by a signal, and starts it again on the same port and folder.
    pub(crate) fn restart(&mut self, signal: Signal) {
        self.signal(signal);
        self.process.wait().unwrap();
        self.process = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        self.wait_until_ready();
    }

    /// Ends the server at once.
    #[cfg(feature = "redis")]
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.process.wait().unwrap();
    }

    /// Returns the number of the process.
    #[cfg(all(target_os = "linux", feature = "redis", feature = "postgres"))]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    fn signal(&self, signal: Signal) {
        // A server that has already ended gets no signal, and is waited for all the same.
        let _ = kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal);
    }

    fn wait_until_ready(&mut self) {
        let (name, started) = (&self.name, Instant::now());
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(self.process.try_wait().unwrap().is_none(), "{name} has ended:\n{log}");
            assert!(started.elapsed() < Duration::from_secs(30), "{name} accepts no connections:\n{log}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // Redis and PostgreSQL end at SIGINT without waiting for their clients.
        let started = Instant::now();
        self.signal(Signal::SIGINT);
        while self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            if started.elapsed() > Duration::from_secs(10) {
                let _ = self.process.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Finds a program in `PATH` and in the other folders. Returns `None`, and says so, if it is not installed.
pub(crate) fn find_program(name: &str, folders: &[&str]) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(folders.iter().copied());
    let found = folders.map(|folder| Path::new(folder).join(name)).find(|program| program.is_file());
    if found.is_none() {
        let is_required = env::var("FLEET_ENGINES").is_ok_and(|value| value == "required");
        assert!(!is_required, "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// Creates an empty folder for one server.
fn new_folder(name: &str) -> PathBuf {
    // Two tests of one process differ in their free port.
    let folder = env::temp_dir().join(format!("fleet-{name}-{}-{}", std::process::id(), free_port()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
