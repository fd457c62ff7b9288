//! More connections than a process has descriptors for.

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
use tokio::runtime::Builder;
use tokio::task::{JoinSet, yield_now};

const CONNECTIONS: usize = 400;
const DESCRIPTORS: u32 = 64;

/// Behind a gate whose limit is derived from the descriptors, every connection is made and none fails.
#[test]
fn gated_connections_never_run_out_of_descriptors() {
    let served =
        beside_a_server("faults::descriptors::gated_connections_never_run_out_of_descriptors", |server| {
            let runtime = Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let governor = CapsuleRuntimeLimits::governor().build().await.unwrap();
                let io = governor.gate(IO).unwrap();
                assert_eq!(io.limit(), Limit::new(DESCRIPTORS / 2));
                let held = io.try_acquire_many(io.limit().get()).unwrap();
                let mut visits = JoinSet::new();
                for _ in 0..CONNECTIONS {
                    let io = io.clone();
                    visits.spawn(async move { io.run_blocking(move || visit(server, || ())).await.unwrap() });
                }
                while io.status().waiting < CONNECTIONS {
                    yield_now().await;
                }
                drop(held);
                let outcomes = visits.join_all().await;
                let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
                assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
                let status = io.status();
                assert_eq!((status.in_use, status.waiting), (0, 0));
                assert_eq!(status.totals.queue.admitted, CONNECTIONS as u64);
            });
        });
    assert!(served.is_none_or(|served| served == CONNECTIONS), "{served:?}");
}

/// Without a gate most of the same connections fail: so the descriptors do run out.
#[test]
fn ungated_connections_run_out_of_descriptors() {
    let served =
        beside_a_server("faults::descriptors::ungated_connections_run_out_of_descriptors", |server| {
            let all_have_tried = Barrier::new(CONNECTIONS);
            let outcomes: Vec<_> = thread::scope(|scope| {
                let visit = || visit(server, || _ = all_have_tried.wait());
                let visits: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(visit)).collect();
                visits.into_iter().map(|visit| visit.join().unwrap()).collect()
            });
            let errors = outcomes.into_iter().filter_map(Result::err);
            let out_of_descriptors =
                errors.map(|error| error.raw_os_error()).filter(|&raw| raw == Some(EMFILE));
            assert!(out_of_descriptors.count() >= CONNECTIONS - DESCRIPTORS as usize);
        });
    assert!(served.is_none_or(|served| (1..DESCRIPTORS as usize).contains(&served)), "{served:?}");
}

/// Opens a connection, keeps it until `meanwhile` is over, asks and is answered.
fn visit(server: SocketAddr, meanwhile: impl FnOnce()) -> io::Result<()> {
    let connection = TcpStream::connect(server);
    meanwhile();
    let mut connection = connection?;
    connection.write_all(b"?")?;
    connection.read_exact(&mut [0])
}

/// Runs the body of the test of this name in a process of its own that has few descriptors, and here a server for it;
/// gives how many were served.
fn beside_a_server(test: &str, body: impl FnOnce(SocketAddr)) -> Option<usize> {
    const SERVER: &str = "CONCURRENCY_GOVERNOR_TEST_SERVER";

    if let Ok(server) = env::var(SERVER) {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.into(), hard).unwrap();
        body(server.parse().unwrap());
        return None;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = Arc::new(AtomicUsize::new(0));
    let serving = Arc::clone(&served);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, served) = (connection.unwrap(), Arc::clone(&serving));
            thread::spawn(move || {
                if connection.read_exact(&mut [0]).is_ok() {
                    served.fetch_add(1, Ordering::SeqCst);
                    connection.write_all(b"!").unwrap();
                }
            });
        }
    });
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(SERVER, address).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && printed.contains("1 passed");
    assert!(passed, "{printed}{}", String::from_utf8_lossy(&output.stderr));
    Some(served.load(Ordering::SeqCst))
}

const EMFILE: i32 = Errno::EMFILE as i32;
