//! Notifications of stalled tasks: by a PSI trigger of the kernel, or by polling.

use std::fs;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::ResourceProbe;
use concurrency_governor::probe::Pressure;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::support::{ChangingHost, LONG, SHORT, assert_no_notification};
use crate::support::child::skip;
use crate::support::poll_once;

/// If this kernel reports pressure, it notifies of stalled tasks. If it rejects the trigger, the probe polls,
/// and the measurement has a note.
#[tokio::test]
async fn the_kernel_notifies_of_stalls() {
    const WINDOW: Duration = Duration::from_secs(2);

    let Ok(Some(_)) = Pressure::on_cpu().sample() else {
        return skip("watch::stalls::the_kernel_notifies_of_stalls", "this kernel reports no pressure");
    };
    let without_trigger = Pressure::on_cpu();
    assert_eq!(poll_once(without_trigger.changed()), Poll::Pending);
    // With more threads than CPUs, some threads always wait.
    let busy = BusyThreads::start();
    for (stall, is_rejected) in [(Duration::from_millis(1), false), (WINDOW.saturating_mul(2), true)] {
        let pressure = Pressure::on_cpu().when_stalled(stall, WINDOW);
        let patience = if is_rejected { WINDOW.saturating_mul(2) } else { LONG };
        let outcome = timeout(patience, pressure.changed()).await;
        assert_eq!(outcome.is_err(), is_rejected, "a stall of {stall:?} in a window of {WINDOW:?}");
        let notes = pressure.measure().await.unwrap().notes().join("; ");
        assert_eq!(notes.contains("no pressure notification"), is_rejected, "{notes}");
    }
    drop(busy);
}

/// Without a trigger, the probe polls the stalls once per window. It never writes to the file of a captured
/// host.
#[tokio::test]
async fn without_a_trigger_stalls_are_polled() {
    let host = ChangingHost::new();
    let set_total = |microseconds: u32| {
        let averages = "avg10=0.00 avg60=0.00 avg300=0.00";
        host.write("proc/pressure/memory", &format!("some {averages} total={microseconds}\n"));
    };
    set_total(1000);
    let (stall, window) = (Duration::from_millis(5), Duration::from_millis(20));
    let memory = Pressure::on_memory().with_roots(host.roots()).when_stalled(stall, window);
    let note = "no pressure notification (the host is not running); polled every 20ms";
    assert_no_notification(&memory, "nothing stalls").await;
    assert!(memory.measure().await.unwrap().notes().contains(&note.to_owned()));
    set_total(5000);
    assert_no_notification(&memory, "a stall of 4 ms is shorter than 5 ms").await;
    set_total(10_000);
    timeout(LONG, memory.changed()).await.expect("a stall between two calls counts");
    assert_no_notification(&memory, "a stall counts once").await;
    let mut changed = pin!(memory.changed());
    assert!(timeout(SHORT, &mut changed).await.is_err());
    set_total(15_000);
    timeout(LONG, changed).await.unwrap();
    assert!(fs::read_to_string(host.path("proc/pressure/memory")).unwrap().contains("total=15000"));
}

/// Without a trigger and without a timer nothing is polled, and the note says so.
#[test]
fn without_a_trigger_and_a_timer_nothing_is_polled() {
    let host = ChangingHost::new();
    host.write("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    let (stall, window) = (Duration::from_millis(5), Duration::from_millis(20));
    let memory = Pressure::on_memory().with_roots(host.roots()).when_stalled(stall, window);
    Builder::new_current_thread().build().unwrap().block_on(async {
        assert_eq!(poll_once(memory.changed()), Poll::Pending);
        let notes = memory.measure().await.unwrap().notes().join("; ");
        let note = "no pressure notification (the host is not running) and no polling";
        assert!(notes.contains(note), "{notes}");
    });
}

/// Two threads for each CPU that are busy until they are dropped.
struct BusyThreads {
    is_running: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl BusyThreads {
    fn start() -> Self {
        let is_running = Arc::new(AtomicBool::new(true));
        let cpus = thread::available_parallelism().unwrap().get();
        let threads = (0..cpus * 2).map(|_| {
            let is_running = Arc::clone(&is_running);
            thread::spawn(move || while is_running.load(Ordering::Relaxed) {})
        });
        let threads = threads.collect();
        Self { is_running, threads }
    }
}

impl Drop for BusyThreads {
    fn drop(&mut self) {
        self.is_running.store(false, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}
