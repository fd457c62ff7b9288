//! Requests that run their work under a span and a recorded hold time.

#![expect(clippy::float_cmp, reason = "a scrape has whole numbers as floats, which are exact")]

use std::cell::Cell;
use std::future::pending;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::feedback::Outcome;
use concurrency_governor::gate::{AcquireError, Gate};
use concurrency_governor::integration::ObservedRequest;
use concurrency_governor::integration::metrics::HOLD;
use concurrency_governor::{GateName, Limit};
use metrics_exporter_prometheus::PrometheusRecorder;
use tokio::time::Instant;

use crate::metrics::{recorder, series};
use crate::support::{complete, poll};
use crate::tracing::Capture;

const JOBS: GateName = GateName::new("jobs");
const MAX_WAIT: Duration = Duration::from_millis(40);

/// The ways to observe a request, in each order.
fn observed(gate: &Gate) -> [(ObservedRequest<'_>, bool, bool); 4] {
    let request = || gate.request().max_wait(MAX_WAIT);
    [
        (request().timed(), true, false),
        (request().traced(), false, true),
        (request().timed().traced(), true, true),
        (request().traced().timed(), true, true),
    ]
}

/// What was recorded while `work` ran: the number of hold times, and the outcomes of the waits.
async fn observe(work: impl AsyncFnOnce()) -> (f64, Vec<String>) {
    let (recorder, scrape) = recorder();
    let capture = Capture::default();
    {
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let _subscriber = tracing::subscriber::set_default(capture.subscriber());
        work().await;
    }
    let scrape = scrape.render();
    let holds = series(&scrape).get(&*format!("{HOLD}_count{{gate=\"jobs\"}}")).copied().unwrap_or_default();
    (holds, capture.wait_spans().iter().map(|span| span.field("outcome").to_owned()).collect())
}

/// Work that is run is timed, traced or both, whichever setting comes first, and the other settings of the request hold. A
/// rejected request runs nothing and records no hold time.
#[tokio::test(start_paused = true)]
async fn run_is_timed_and_traced() {
    let gate = Gate::new(JOBS, Limit::new(1));
    for (request, timed, traced) in observed(&gate) {
        let (holds, outcomes) = observe(async || {
            let held = gate.try_acquire().unwrap();
            let start = Instant::now();
            let rejected = request.run(async { panic!("the work of a rejected request") }).await;
            assert_eq!(start.elapsed(), MAX_WAIT);
            assert!(matches!(rejected, Err::<(), _>(AcquireError::DeadlineExceeded { .. })), "{rejected:?}");
            let mut admitted = pin!(request.run(async { gate.status().in_use }));
            assert!(poll(admitted.as_mut()).is_pending());
            drop(held);
            assert_eq!(poll(admitted.as_mut()), Poll::Ready(Ok(1)));
            assert_eq!(gate.status().in_use, 0, "released before the future is dropped");

            assert_eq!(request.run(async { 7 }).await, Ok(7), "without a wait there is no span");
        })
        .await;
        assert_eq!(holds, if timed { 2.0 } else { 0.0 });
        assert_eq!(outcomes, if traced { vec!["expired", "admitted"] } else { vec![] });
    }
}

/// Blocking work is timed and traced, too. The hold time ends with the work, and the thread that it ran on records it.
#[test]
fn run_blocking_is_timed_and_traced() {
    let (recorder, scrape) = recorder();
    let recorder: &PrometheusRecorder = Box::leak(Box::new(recorder));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // Also on the threads for blocking work. Each thread keeps the recorder until it ends.
    builder.on_thread_start(|| mem::forget(metrics::set_default_local_recorder(recorder)));
    let runtime = builder.enable_time().build().unwrap();
    runtime.block_on(async {
        let gate = Gate::new(JOBS, Limit::new(1));
        for (request, _, traced) in observed(&gate) {
            let (_, outcomes) = observe(async || {
                let held = gate.try_acquire().unwrap();
                let gate_of_work = gate.clone();
                let mut admitted = pin!(request.run_blocking(move || gate_of_work.status().in_use));
                assert!(poll(admitted.as_mut()).is_pending());
                drop(held);
                assert_eq!(complete(admitted).await, Ok(1));
                complete(gate.drained()).await;
            })
            .await;
            assert_eq!(outcomes, if traced { vec!["admitted"] } else { vec![] });
        }
        gate.close();
        for (request, ..) in observed(&gate) {
            let rejected = request.run_blocking(|| panic!("the work of a rejected request")).await;
            assert_eq!(rejected, Err::<(), _>(AcquireError::Closed { gate: JOBS }));
        }
    });
    drop(runtime); // waits for the threads
    let scrape = scrape.render();
    let holds = series(&scrape)[&*format!("{HOLD}_count{{gate=\"jobs\"}}")];
    assert_eq!(holds, 3.0, "one for each request that is timed");
}

/// A panic of the work and a dropped future release the permit and record the hold time.
#[tokio::test]
async fn interrupted_work_is_recorded() {
    /// Notes the permits in use at its drop.
    struct NoteInUse<'n>(&'n Gate, &'n Cell<u32>);
    impl Drop for NoteInUse<'_> {
        fn drop(&mut self) {
            self.1.set(self.0.status().in_use);
        }
    }

    let gate = Gate::new(JOBS, Limit::new(1));
    let in_use_at_drop = Cell::new(0);
    let (holds, outcomes) = observe(async || {
        let request = gate.request().timed().traced();
        let mut panics: Pin<Box<_>> = Box::pin(request.run(async { panic!("in the work") as u32 }));
        catch_unwind(AssertUnwindSafe(|| poll(panics.as_mut()).is_ready())).unwrap_err();
        assert_eq!(gate.status().in_use, 0);

        let resource = NoteInUse(&gate, &in_use_at_drop);
        let mut dropped = Box::pin(request.run(async move {
            let _resource = &resource;
            pending::<()>().await;
        }));
        assert!(poll(dropped.as_mut()).is_pending());
        let mut cancelled = Box::pin(request.run(async {}));
        assert!(poll(cancelled.as_mut()).is_pending());
        drop(cancelled);
        drop(dropped);
        assert_eq!((in_use_at_drop.get(), gate.status().in_use), (1, 0), "the work is dropped first");
    })
    .await;
    assert_eq!((holds, outcomes), (2.0, vec!["cancelled".to_owned()]));
}

/// Without a runtime, blocking work is rejected at once, although its request would have to wait.
#[test]
fn blocking_work_needs_a_runtime() {
    let gate = Gate::new(JOBS, Limit::new(1));
    let held = gate.try_acquire().unwrap();
    let rejected = poll(pin!(gate.request().timed().traced().run_blocking(|| 7)));
    assert_eq!(rejected, Poll::Ready(Err(AcquireError::NoRuntime { gate: JOBS })));
    drop(held);
}

/// The holders name the code that made the request, and not this crate.
#[tokio::test]
async fn holders_name_the_caller() {
    let holders = concurrency_governor::Holders::overdue_after(Duration::from_secs(30));
    let gate = Gate::builder(JOBS, Limit::new(2)).track_holders(holders).build();
    let place = || {
        let holders = gate.holders();
        assert_eq!(holders.len(), 1);
        (holders[0].location.file(), holders[0].location.line())
    };
    let line = line!();
    gate.request().timed().run(async { assert_eq!(place(), (file!(), line + 1)) }).await.unwrap();
    gate.request().traced().run(async { assert_eq!(place(), (file!(), line + 2)) }).await.unwrap();
    let observed = gate.request().timed().observe(async { place() }, |_| Outcome::Ignore).await;
    assert_eq!(observed.unwrap(), (file!(), line + 3));
    let observed = gate.request().observe(async { place() }, |_| Outcome::Ignore).await;
    assert_eq!(observed.unwrap(), (file!(), line + 5));
    let permit = gate.acquire().await.unwrap().timed();
    assert_eq!(place(), (file!(), line + 7));
    drop(permit);
    let probe = gate.clone();
    let place = move || (probe.holders()[0].location.file(), probe.holders()[0].location.line());
    let blocked = gate.request().traced().run_blocking(place).await;
    assert_eq!(blocked.unwrap(), (file!(), line + 12));
}
