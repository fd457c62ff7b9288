//! More connections than the process has file descriptors.

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use concurrency_governor::Limit;
use concurrency_governor::preset::astrid::{CapsuleRuntimeLimits, IO};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::{JoinSet, yield_now};

use crate::support::current_thread_runtime;

const CONNECTIONS: usize = 400;
const DESCRIPTORS: u32 = 64;
const EMFILE: i32 = Errno::EMFILE as i32;

/// Behind a gate whose limit is derived from the file descriptors, every connection succeeds.
#[test]
fn gated_connections_never_run_out_of_descriptors() {
    let test = "faults::descriptors::gated_connections_never_run_out_of_descriptors";
    let served = run_client_beside_server(test, |server| {
        let runtime = current_thread_runtime();
        runtime.block_on(async {
            let governor = CapsuleRuntimeLimits::governor().build().await.unwrap();
            let io = governor.gate(IO).unwrap();
            assert_eq!(io.limit(), Limit::new(DESCRIPTORS / 2));
            let held = io.try_acquire_many(io.limit().get()).unwrap();
            let mut requests = JoinSet::new();
            for _ in 0..CONNECTIONS {
                let io = io.clone();
                requests.spawn(
                    async move { io.run_blocking(move || send_request(server, || ())).await.unwrap() },
                );
            }
            while io.status().waiting < CONNECTIONS {
                yield_now().await;
            }
            drop(held);
            let outcomes = requests.join_all().await;
            let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
            assert!(errors.is_empty(), "{} failed: {:?}", errors.len(), errors.first());
            let status = io.status();
            assert_eq!((status.in_use, status.waiting), (0, 0));
            assert_eq!(status.totals.queue.admitted, CONNECTIONS as u64);
        });
    });
    assert!(served.is_none_or(|served| served == CONNECTIONS), "{served:?}");
}

/// Without a gate most of the same connections fail, so the test above does reach the limit of file
/// descriptors.
#[test]
fn ungated_connections_run_out_of_descriptors() {
    let test = "faults::descriptors::ungated_connections_run_out_of_descriptors";
    let served = run_client_beside_server(test, |server| {
        let all_connected = Barrier::new(CONNECTIONS);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let request = || send_request(server, || _ = all_connected.wait());
            let requests: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(request)).collect();
            requests.into_iter().map(|request| request.join().unwrap()).collect()
        });
        let errors = outcomes.into_iter().filter_map(Result::err);
        let out_of_descriptors = errors.filter(|error| error.raw_os_error() == Some(EMFILE));
        assert!(out_of_descriptors.count() >= CONNECTIONS - DESCRIPTORS as usize);
    });
    assert!(served.is_none_or(|served| (1..DESCRIPTORS as usize).contains(&served)), "{served:?}");
}

/// Opens a connection, holds it until `before_request` returns, sends a request and reads the response.
fn send_request(server: SocketAddr, before_request: impl FnOnce()) -> io::Result<()> {
    let connection = TcpStream::connect(server);
    before_request();
    let mut connection = connection?;
    connection.write_all(b"?")?;
    connection.read_exact(&mut [0])
}

/// Runs the body of the named test in a child process with few file descriptors, and a server for it in this
/// process. Returns the number of requests that were served, or `None` in the child process.
fn run_client_beside_server(test: &str, body: impl FnOnce(SocketAddr)) -> Option<usize> {
    const SERVER: &str = "CONCURRENCY_GOVERNOR_TEST_SERVER";

    // The child process: the parent passes the address of the server.
    if let Ok(server) = env::var(SERVER) {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.into(), hard).unwrap();
        body(server.parse().unwrap());
        return None;
    }

    // The server answers each connection on a thread of its own.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&served);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, served) = (connection.unwrap(), Arc::clone(&counting));
            thread::spawn(move || {
                if connection.read_exact(&mut [0]).is_ok() {
                    served.fetch_add(1, Ordering::SeqCst);
                    connection.write_all(b"!").unwrap();
                }
            });
        }
    });

    // The child process runs this test only, and has to pass it.
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(SERVER, address).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let has_passed = output.status.success() && stdout.contains("1 passed");
    assert!(has_passed, "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    Some(served.load(Ordering::SeqCst))
}
