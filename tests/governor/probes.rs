//! Probes that fail, hang, block or panic.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use concurrency_governor::ResourceProbe;
use concurrency_governor::event::ProbeFault;
use concurrency_governor::governor::{GovernorBuilder, ProbeStatus};
use concurrency_governor::plan::Measurement;
use concurrency_governor::probe::{ProbeError, async_trait};
use tokio::time::Instant;

use super::*;

/// Whatever a probe does during the build, the gates open with the assumptions of the formulas.
#[tokio::test(start_paused = true)]
async fn a_misbehaving_probe_does_not_fail_the_build() {
    let (fails, hangs, panics) = (cpu(4), cpu(4), cpu(4));
    fails.fail("on fire");
    hangs.hang();
    panics.panic("ouch");
    for (probe, event) in [
        (fails, "cpu: cannot measure cpu: on fire; keeping unknown"),
        (hangs, "cpu: the probe did not answer within 1s; keeping unknown"),
        (panics, "cpu: the probe panicked: ouch; keeping unknown"),
    ] {
        let log = EventLog::default();
        let governor = build_governor(&probe, &log).await;
        assert_eq!(limit_of(&governor, IO), 128);
        assert_eq!(log.take(), [event]);
        let measured = governor.resolution().readings().get(Resource::CPU).cloned().unwrap();
        assert!(measured.staleness().is_some());
    }
}

/// Probes that hang share one deadline: several of them delay a build and a refresh no longer than one.
#[tokio::test(start_paused = true)]
async fn hung_probes_share_one_deadline() {
    let probes = [Resource::CPU, Resource::FD, Resource::MEMORY, Resource::TASKS]
        .map(|resource| MockProbe::new(resource, Reading::whole(4)));
    probes.iter().for_each(MockProbe::hang);
    let builder = probes.iter().cloned().fold(Governor::builder().gate(IO), GovernorBuilder::probe);
    let deadline = Duration::from_secs(3);
    let start = Instant::now();
    let governor = builder.probe_deadline(deadline).build().await.unwrap();
    assert_eq!(start.elapsed(), deadline);
    governor.refresh().await.unwrap();
    assert_eq!(start.elapsed(), 2 * deadline);
    assert!(governor.status().probes.iter().all(|probe| (probe.measured, probe.failed) == (0, 2)));
}

/// While a probe fails, its last good reading stays in force, marked stale. Each new fault is one event, and so is the
/// recovery.
#[tokio::test(start_paused = true)]
async fn the_last_good_reading_stays_in_force() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let staleness = || {
        let resolution = governor.resolution();
        resolution.readings().get(Resource::CPU).unwrap().staleness().map(str::to_owned)
    };

    probe.fail("on fire");
    governor.refresh().await.unwrap();
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 256);
    assert_eq!(staleness().as_deref(), Some("cannot measure cpu: on fire"));
    assert_eq!(log.take(), ["cpu: cannot measure cpu: on fire; keeping 4"]);

    probe.hang();
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 256);
    assert_eq!(log.take(), ["cpu: the probe did not answer within 1s; keeping 4"]);

    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 128);
    assert_eq!(staleness(), None);
    assert_eq!(
        log.take(),
        ["cpu: measured again, 2", "cpu: 4 -> 2", "gate io: limit 256 -> 128", "gate cache: limit 128 -> 64"]
    );
}

/// The status has the reading in force and the counts of each probe, sorted by resource.
#[tokio::test]
async fn the_status_counts_measurements_and_failures() {
    let (probe, tasks) = (cpu(4), MockProbe::new(Resource::TASKS, Reading::whole(9)));
    let builder = Governor::builder().gate(IO).probe(tasks.clone()).probe(probe.clone());
    let governor = builder.build().await.unwrap();
    probe.fail("on fire");
    governor.refresh().await.unwrap();
    let status = governor.status();
    assert_eq!((status.refreshes, status.rejected), (1, 0));
    let fields =
        |probe: &ProbeStatus| (probe.resource, probe.reading, probe.stale, probe.measured, probe.failed);
    assert_eq!(
        status.probes.iter().map(fields).collect::<Vec<_>>(),
        [(Resource::CPU, Reading::whole(4), true, 1, 1), (Resource::TASKS, Reading::whole(9), false, 2, 0)]
    );
}

/// Probes are measured concurrently: one that hangs delays the build by its deadline only, and the others are used.
#[tokio::test(start_paused = true)]
async fn a_hanging_probe_affects_no_other_probe() {
    const WORKERS: GateSpec = GateSpec::new("workers", Formula::scale(Resource::TASKS, 1));
    let (hangs, tasks) = (cpu(4), MockProbe::new(Resource::TASKS, Reading::whole(9)));
    hangs.hang();
    let builder = Governor::builder().gate(IO).gate(WORKERS).probe(hangs).probe(tasks.clone());
    let start = Instant::now();
    let governor = builder.probe_deadline(Duration::from_millis(50)).build().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(50));
    assert_eq!(limit_of(&governor, WORKERS), 9);
}

/// A measurement that the end of its runtime cancels has not panicked.
#[test]
fn a_measurement_is_cancelled_with_its_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = runtime.block_on(build_governor(&probe, &log));
    probe.hang();
    let refreshing = thread::spawn({
        let (governor, runtime) = (governor.clone(), runtime.handle().clone());
        move || runtime.block_on(governor.refresh())
    });
    while probe.measures() < 2 {
        thread::yield_now();
    }
    runtime.shutdown_background();
    refreshing.join().unwrap().unwrap();
    assert_eq!(log.take(), ["cpu: cannot measure cpu: the runtime has shut down; keeping 4"]);
}

/// A probe that blocks its thread beyond the deadline is not called again until it returns, because each call would block
/// one more thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_probe_is_called_once() {
    struct BlockingProbe {
        calls: Arc<AtomicUsize>,
        lock: Arc<Mutex<()>>,
    }

    #[async_trait]
    impl ResourceProbe for BlockingProbe {
        fn resource(&self) -> Resource {
            Resource::CPU
        }

        async fn measure(&self) -> Result<Measurement, ProbeError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            drop(self.lock.lock());
            Ok(Reading::whole(4).into())
        }
    }

    let (calls, lock) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(())));
    let faults = Arc::new(Mutex::new(Vec::new()));
    let observed_faults = Arc::clone(&faults);
    let builder = Governor::builder().gate(IO).probe_deadline(Duration::from_millis(20));
    let builder = builder.probe(BlockingProbe { calls: Arc::clone(&calls), lock: Arc::clone(&lock) });
    let builder = builder.observer(move |event: &Event| {
        if let Event::ProbeFailed { fault, .. } = event {
            observed_faults.lock().unwrap().push(matches!(fault, ProbeFault::Stuck));
        }
    });

    let (locked, unlock) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
    let lock_holder = thread::spawn(move || {
        let _guard = lock.lock().unwrap();
        locked.0.send(()).unwrap();
        unlock.1.recv().unwrap();
    });
    locked.1.recv().unwrap();
    let governor = builder.build().await.unwrap();
    governor.refresh().await.unwrap();
    governor.refresh().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(*faults.lock().unwrap(), [false, true], "first a timeout, then stuck, one event each");
    assert_eq!(limit_of(&governor, IO), 128);

    unlock.0.send(()).unwrap();
    lock_holder.join().unwrap();
    while limit_of(&governor, IO) != 256 {
        governor.refresh().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}
