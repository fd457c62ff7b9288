//! Work that stalls.

use std::fs;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::ResourceProbe;
use concurrency_governor::probe::Pressure;
use tokio::time::timeout;

use crate::support::{LONG, SHORT, Tree, poll_once, skip};

/// The kernel tells of stalled work, where it has pressure to tell of; what it refuses is looked for.
#[tokio::test]
async fn stalls_are_told_of() {
    const WINDOW: Duration = Duration::from_secs(2);

    let Ok(Some(_)) = Pressure::on_cpu().sample() else {
        return skip("stalls::stalls_are_told_of", "this kernel reports no pressure");
    };
    let untold = Pressure::on_cpu();
    assert_eq!(poll_once(pin!(untold.changed())), Poll::Pending);
    // More threads than processors: some of them always wait.
    let busy = Busy::new();
    for (stall, is_refused) in [(Duration::from_millis(1), false), (WINDOW.saturating_mul(2), true)] {
        let pressure = Pressure::on_cpu().when_stalled(stall, WINDOW);
        let patience = if is_refused { WINDOW.saturating_mul(2) } else { LONG };
        let told = timeout(patience, pressure.changed()).await;
        assert_eq!(told.is_err(), is_refused, "no window has longer stalls");
        let notes = pressure.measure().await.unwrap().notes().join("; ");
        assert_eq!(notes.contains("no pressure notification"), is_refused, "{notes}");
    }
    drop(busy);
}

/// Where there is no trigger, stalls are looked for once a window; and a captured file is not written to.
#[tokio::test]
async fn stalls_are_looked_for() {
    let tree = Tree::new("stalls");
    let stalled = |total: u32| {
        let averages = "avg10=0.00 avg60=0.00 avg300=0.00";
        tree.write("proc/pressure/memory", &format!("some {averages} total={total}\n"));
    };
    stalled(1000);
    let (stall, window) = (Duration::from_millis(5), Duration::from_millis(20));
    let memory = Pressure::on_memory().with_roots(tree.roots()).when_stalled(stall, window);
    let note = "no pressure notification (the host is not running); polled every 20ms";
    assert!(timeout(SHORT, memory.changed()).await.is_err());
    assert!(memory.measure().await.unwrap().notes().contains(&note.to_owned()));
    stalled(5000);
    assert!(timeout(SHORT, memory.changed()).await.is_err(), "4 ms are no 5");
    stalled(10_000);
    timeout(LONG, memory.changed()).await.expect("what stalled between two calls counts");
    assert!(timeout(SHORT, memory.changed()).await.is_err(), "it counts once");
    let mut changed = pin!(memory.changed());
    assert!(timeout(SHORT, &mut changed).await.is_err());
    stalled(15_000);
    timeout(LONG, changed).await.unwrap();
    assert!(fs::read_to_string(tree.path("proc/pressure/memory")).unwrap().contains("total=15000"));
}

/// Threads that keep every processor busy, until they are dropped.
struct Busy(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Busy {
    fn new() -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let processors = thread::available_parallelism().unwrap().get();
        let threads = (0..processors.saturating_mul(2)).map(|_| {
            let goes_on = Arc::clone(&goes_on);
            thread::spawn(move || while goes_on.load(Ordering::Relaxed) {})
        });
        Self(Arc::clone(&goes_on), threads.collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
        self.1.drain(..).for_each(|thread| thread.join().unwrap());
    }
}
