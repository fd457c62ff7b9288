//! The governor: what it promises about probes that misbehave, settings that are refused, and limits that move.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::event::ProbeFault;
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::plan::{Measurement, Policy, Problem};
use concurrency_governor::probe::{Fixed, ProbeError, async_trait};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{
    AcquireError, Event, Formula, GateName, GateSpec, Governor, Limit, OverrideLayer, Overrides, Plan,
    Reading, Resource, ResourceProbe, probe,
};

const IO: GateSpec = GateSpec::new("io", Formula::of(Resource::CPU.times(64).assume(2)));
const CACHE: GateSpec = GateSpec::new("cache", Formula::of(IO.fraction(1, 2)));

fn cpu(cores: u64) -> MockProbe {
    MockProbe::new(Resource::CPU, Reading::whole(cores))
}

/// Every event as its line of text, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn observer(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let lines = Arc::clone(&self.0);
        move |event: &Event| lines.lock().unwrap().push(event.to_string())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn governor_of(probe: &MockProbe, log: &Log) -> Governor {
    let builder = Governor::builder().gate(IO).gate(CACHE).probe(probe.clone()).observer(log.observer());
    builder.build().await.unwrap()
}

fn limit_of(governor: &Governor, gate: impl Into<GateName>) -> u32 {
    let gate = gate.into();
    let limit = governor.gate(gate).unwrap().limit();
    assert_eq!(governor.resolution().limit(gate).unwrap(), limit, "gate and resolution agree");
    limit.get()
}

/// Lets virtual time pass, and what is due happen.
async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Building reports every problem at once, each of its own kind.
#[tokio::test]
async fn build_reports_every_problem() {
    const GPU: Resource = Resource::new("gpu");
    let error = Governor::builder()
        .plan(Plan::new([IO]).unwrap())
        .gate(IO)
        .gate(GateSpec::new("gpu-jobs", Formula::scale(GPU, 1).at_most(GPU.times(2))))
        .gate(GateSpec::new("a", Formula::of(GateName::new("b").times(1))))
        .gate(GateSpec::new("b", Formula::of(GateName::new("a").times(1))))
        .gate(GateSpec::new("c", Formula::of(GateName::new("d").times(1))))
        .probe(cpu(1))
        .probe(cpu(2))
        .overrides(Overrides::new().then(OverrideLayer::new("cli").set(GateName::new("oi"), 1)))
        .build()
        .await
        .unwrap_err();
    let has =
        |wanted: fn(&Problem) -> bool| error.problems().iter().filter(|problem| wanted(problem)).count();
    assert_eq!(has(|problem| matches!(problem, Problem::DuplicateGate { times: 2, .. })), 1);
    assert_eq!(has(|problem| matches!(problem, Problem::NoProbe { .. })), 1);
    assert_eq!(has(|problem| matches!(problem, Problem::DuplicateProbe { times: 2, .. })), 1);
    assert_eq!(has(|problem| matches!(problem, Problem::Cycle { .. })), 1);
    assert_eq!(has(|problem| matches!(problem, Problem::UnknownOperand { .. })), 1);
    assert_eq!(has(|problem| matches!(problem, Problem::UnknownOverride { .. })), 1);
    assert_eq!(error.problems().len(), 6);
    assert_eq!(error.to_string().lines().count(), 1);
}

/// No gate is a problem, too, and nothing is measured for a governor that cannot be.
#[tokio::test]
async fn nothing_is_measured_for_a_broken_plan() {
    let probe = cpu(4);
    let error = Governor::builder().probe(probe.clone()).build().await.unwrap_err();
    assert_eq!(error.problems(), [Problem::NoGates]);
    assert_eq!(probe.measures(), 0);
}

/// The limits follow the readings, gate-from-gate formulas included, and each change is told once.
#[tokio::test]
async fn refresh_follows_the_host() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (256, 128));
    assert_eq!(log.take(), [""; 0]);

    probe.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (64, 32));
    assert_eq!(log.take(), ["cpu: 4 -> 1", "gate io: limit 256 -> 64", "gate cache: limit 128 -> 32"]);

    probe.set(Reading::whole(8));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 512, "an explicit refresh believes a rise at once");
}

/// A lowered limit takes nothing from its holders, and the event says what is left to be paid.
#[tokio::test]
async fn lowering_leaves_debt() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    let gate = governor.gate(IO).unwrap();
    let held = gate.try_acquire_many(200).unwrap();
    probe.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    assert!(log.take().contains(&"gate io: limit 256 -> 64, 136 permits out above it".to_owned()));
    assert_eq!(gate.status().debt, 136);
    drop(held);
    assert_eq!(gate.status().available, 64);
}

/// Whatever a probe does at the build, the gates open on what the formulas assume.
#[tokio::test(start_paused = true)]
async fn misbehaving_probe_does_not_fail_the_build() {
    let (fails, hangs, panics) = (cpu(4), cpu(4), cpu(4));
    fails.fail("on fire");
    hangs.hang();
    panics.panic("ouch");
    for (probe, told) in [
        (fails, "cpu: cannot measure cpu: on fire; unknown holds"),
        (hangs, "cpu: the probe did not answer within 1s; unknown holds"),
        (panics, "cpu: the probe panicked: ouch; unknown holds"),
    ] {
        let log = Log::default();
        let governor = governor_of(&probe, &log).await;
        assert_eq!(limit_of(&governor, IO), 128);
        assert_eq!(log.take(), [told]);
        let measured = governor.resolution().readings().get(Resource::CPU).cloned().unwrap();
        assert!(measured.staleness().is_some());
    }
}

/// The last good reading stays, marked stale, for as long as the probe misbehaves; told once a fault, and once when it
/// is over.
#[tokio::test(start_paused = true)]
async fn last_good_reading_stays() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    let staleness = || {
        let resolution = governor.resolution();
        resolution.readings().get(Resource::CPU).unwrap().staleness().map(str::to_owned)
    };

    probe.fail("on fire");
    governor.refresh().await.unwrap();
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 256);
    assert_eq!(staleness().as_deref(), Some("cannot measure cpu: on fire"));
    assert_eq!(log.take(), ["cpu: cannot measure cpu: on fire; 4 holds"]);

    probe.hang();
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 256);
    assert_eq!(log.take(), ["cpu: the probe did not answer within 1s; 4 holds"]);

    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 128);
    assert_eq!(staleness(), None);
    assert_eq!(
        log.take(),
        ["cpu: measured again, 2", "cpu: 4 -> 2", "gate io: limit 256 -> 128", "gate cache: limit 128 -> 64"]
    );
}

/// One probe that hangs costs the others nothing: they are asked at the same time and count at once.
#[tokio::test(start_paused = true)]
async fn hanging_probe_holds_up_no_other() {
    const WORKERS: GateSpec = GateSpec::new("workers", Formula::scale(Resource::TASKS, 1));
    let (stuck, tasks) = (cpu(4), MockProbe::new(Resource::TASKS, Reading::whole(9)));
    stuck.hang();
    let builder = Governor::builder().gate(IO).gate(WORKERS).probe(stuck).probe(tasks.clone());
    let started = tokio::time::Instant::now();
    let governor = builder.probe_deadline(Duration::from_millis(50)).build().await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_millis(50));
    assert_eq!(limit_of(&governor, WORKERS), 9);
}

/// A refresh that is dropped half-way has changed nothing, and the next one works.
#[tokio::test(start_paused = true)]
async fn dropped_refresh_changes_nothing() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    let before = governor.resolution();
    probe.hang();
    let cut_off = tokio::time::timeout(Duration::from_millis(10), governor.refresh()).await;
    assert!(cut_off.is_err());
    assert!(Arc::ptr_eq(&before, &governor.resolution()));
    assert_eq!(log.take(), [""; 0]);

    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 128);
}

/// A probe that blocks its thread past the deadline is not asked again, or it would block one thread after another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_probe_is_asked_once() {
    struct Blocking {
        asked: Arc<AtomicUsize>,
        gate: Arc<Mutex<()>>,
    }

    #[async_trait]
    impl ResourceProbe for Blocking {
        fn resource(&self) -> Resource {
            Resource::CPU
        }

        async fn measure(&self) -> Result<Measurement, ProbeError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            drop(self.gate.lock());
            Ok(Reading::whole(4).into())
        }
    }

    let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(())));
    let faults = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&faults);
    let builder = Governor::builder().gate(IO).probe_deadline(Duration::from_millis(20));
    let builder = builder.probe(Blocking { asked: Arc::clone(&asked), gate: Arc::clone(&gate) });
    let builder = builder.observer(move |event: &Event| {
        if let Event::ProbeFailed { fault, .. } = event {
            noted.lock().unwrap().push(matches!(fault, ProbeFault::Stuck));
        }
    });

    let (blocked, unblock) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
    let holder = thread::spawn(move || {
        let _held = gate.lock().unwrap();
        blocked.0.send(()).unwrap();
        unblock.1.recv().unwrap();
    });
    blocked.1.recv().unwrap();
    let governor = builder.build().await.unwrap();
    governor.refresh().await.unwrap();
    governor.refresh().await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(*faults.lock().unwrap(), [false, true], "first late, then stuck, each told once");
    assert_eq!(limit_of(&governor, IO), 128);

    unblock.0.send(()).unwrap();
    holder.join().unwrap();
    while limit_of(&governor, IO) != 256 {
        governor.refresh().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// Settings change as a whole or not at all.
#[tokio::test]
async fn refused_settings_change_nothing() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    let good = Overrides::new().then(OverrideLayer::new("cli").set(IO, 10));
    assert_eq!(governor.set_overrides(good).unwrap().limit(IO).unwrap(), Limit::new(10));
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (10, 5));
    let before = governor.resolution();
    log.take();

    let stranger = GateName::new("oi");
    for bad in [
        OverrideLayer::new("cli").set(CACHE, 3).set(stranger, 5),
        OverrideLayer::new("cli").set(CACHE, 3).set(IO, 257).policy(Policy::Reject),
    ] {
        assert!(governor.set_overrides(Overrides::new().then(bad)).is_err());
        assert!(Arc::ptr_eq(&before, &governor.resolution()));
        assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (10, 5));
    }
    assert_eq!(log.take(), [""; 0]);
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 10, "the settings before are still in force");
    governor.set_overrides(Overrides::new()).unwrap();
    assert_eq!(limit_of(&governor, IO), 256);
}

/// Readings under which a setting is to be rejected are refused as a whole, and told; a setting that fits them is then
/// taken.
#[tokio::test]
async fn refresh_that_rejects_a_setting_changes_nothing() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    let strict =
        |value| Overrides::new().then(OverrideLayer::new("cli").set(IO, value).policy(Policy::Reject));
    governor.set_overrides(strict(200)).unwrap();
    log.take();

    probe.set(Reading::whole(1));
    let error = governor.refresh().await.unwrap_err();
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (200, 100));
    assert_eq!(log.take(), ["cpu: 4 -> 1".to_owned(), format!("new readings refused: {error}")]);

    assert!(governor.set_overrides(strict(65)).is_err(), "settings are held to the newest readings");
    governor.set_overrides(strict(64)).unwrap();
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (64, 32));
}

/// Receivers see the last resolution, and nothing when nothing changed.
#[tokio::test]
async fn subscribers_see_changes_only() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    let mut receiver = governor.subscribe();
    governor.refresh().await.unwrap();
    assert!(!receiver.has_changed().unwrap());

    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    probe.set(Reading::whole(3));
    governor.refresh().await.unwrap();
    assert!(receiver.has_changed().unwrap());
    assert_eq!(receiver.borrow_and_update().limit(IO).unwrap(), Limit::new(192));
    assert!(!receiver.has_changed().unwrap());
}

/// A gate that was resized by hand is put back by the next refresh.
#[tokio::test]
async fn refresh_puts_a_gate_back() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    governor.gate(IO).unwrap().resize(Limit::new(3));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 256);
    assert_eq!(log.take(), ["gate io: limit 3 -> 256"]);
}

/// In the background, a probe that reports changes is followed at once, and one that does not by the clock.
#[tokio::test(start_paused = true)]
async fn background_refresh_follows() {
    struct Silent(MockProbe);

    #[async_trait]
    impl ResourceProbe for Silent {
        fn resource(&self) -> Resource {
            Resource::FD
        }

        async fn measure(&self) -> Result<Measurement, ProbeError> {
            self.0.measure().await
        }
    }

    const FILES: GateSpec = GateSpec::new("files", Formula::scale(Resource::FD, 1));
    let (loud, silent) = (cpu(4), MockProbe::new(Resource::FD, Reading::whole(100)));
    let builder = Governor::builder().gate(IO).gate(FILES).probe(loud.clone()).probe(Silent(silent.clone()));
    let governor = builder.build().await.unwrap();
    let refresh = governor.spawn_refresh(RefreshPolicy::new().every(Duration::from_secs(10)));
    pass(Duration::from_millis(1)).await;

    loud.set(Reading::whole(2));
    pass(Duration::from_millis(20)).await;
    assert_eq!(limit_of(&governor, IO), 128);

    silent.set(Reading::whole(50));
    pass(Duration::from_secs(12)).await;
    assert_eq!(limit_of(&governor, FILES), 50);

    assert!(refresh.is_running());
    drop(refresh);
    pass(Duration::from_millis(1)).await;
    let measures = loud.measures();
    loud.set(Reading::whole(1));
    pass(Duration::from_secs(60)).await;
    assert_eq!((limit_of(&governor, IO), loud.measures()), (128, measures), "it stopped when it was dropped");
}

/// A flapping probe does not flap the limits: they fall once and stand, and rise when the rise lasts.
#[tokio::test(start_paused = true)]
async fn flapping_probe_does_not_flap_the_limits() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    let _refresh = governor.spawn_refresh(RefreshPolicy::new().rise_after(3));
    for _ in 0..50 {
        probe.set(Reading::whole(2));
        pass(Duration::from_secs(1)).await;
        assert_eq!(limit_of(&governor, IO), 128);
        probe.set(Reading::whole(4));
        pass(Duration::from_secs(1)).await;
        assert_eq!(limit_of(&governor, IO), 128);
    }
    let told = log.take();
    assert_eq!(told.iter().filter(|line| line.starts_with("gate io")).count(), 1);
    assert!(told.contains(&"cpu: 4 seen, 2 holds until it is seen 2 more times".to_owned()));

    pass(Duration::from_secs(35)).await;
    assert_eq!(limit_of(&governor, IO), 256, "a rise that lasts is followed");
    assert!(log.take().contains(&"cpu: 4 seen, 2 holds until it is seen 1 more time".to_owned()));
}

/// A probe that reports changes without end, or panics over it, neither spins nor stops the refresh.
#[tokio::test(start_paused = true)]
async fn lying_change_reports_are_harmless() {
    struct Liar {
        measured: Arc<AtomicUsize>,
        panics: bool,
    }

    #[async_trait]
    impl ResourceProbe for Liar {
        fn resource(&self) -> Resource {
            Resource::CPU
        }

        async fn measure(&self) -> Result<Measurement, ProbeError> {
            let asked = self.measured.fetch_add(1, Ordering::SeqCst) as u64;
            Ok(Reading::whole(1000_u64.saturating_sub(asked)).into())
        }

        async fn changed(&self) {
            assert!(!self.panics, "no idea");
        }
    }

    for (panics, at_least, at_most) in [(false, 50, 101), (true, 1, 3)] {
        let measured = Arc::new(AtomicUsize::new(0));
        let builder = Governor::builder().gate(IO).probe(Liar { measured: Arc::clone(&measured), panics });
        let governor = builder.build().await.unwrap();
        let policy = RefreshPolicy::new().every(Duration::from_millis(900));
        let _refresh = governor.spawn_refresh(policy);
        pass(Duration::from_secs(1)).await;
        let refreshes = measured.load(Ordering::SeqCst) - 1;
        assert!((at_least..=at_most).contains(&refreshes), "{refreshes} in a second");
    }
}

/// An observer that panics harms nobody, the observers after it included.
#[tokio::test]
async fn panicking_observer_harms_nobody() {
    let (probe, log) = (cpu(4), Log::default());
    let builder = Governor::builder().gate(IO).gate(CACHE).probe(probe.clone());
    let builder = builder.observer(|_: &Event| panic!("observed too much")).observer(log.observer());
    let governor = builder.build().await.unwrap();
    probe.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 64);
    assert_eq!(log.take().len(), 3);
}

/// A waiter's waker runs with no lock of the governor held: it may come back and change the settings.
#[tokio::test]
async fn waker_may_change_the_settings() {
    struct Meddler(Governor);

    impl Wake for Meddler {
        fn wake(self: Arc<Self>) {
            self.0.set_overrides(Overrides::new().then(OverrideLayer::new("waker").set(IO, 7))).unwrap();
        }
    }

    let (probe, log) = (cpu(1), Log::default());
    let governor = governor_of(&probe, &log).await;
    let gate = governor.gate(IO).unwrap();
    let held = gate.try_acquire_many(64).unwrap();
    let mut waiter = pin!(gate.acquire());
    let waker = Waker::from(Arc::new(Meddler(governor.clone())));
    assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 7);
    assert!(matches!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
    drop(held);
    assert_eq!(
        governor.subscribe().borrow().limit(IO).unwrap(),
        Limit::new(7),
        "the later change was sent last"
    );
}

/// Whoever changes what, at once: in the end gates, resolution and receivers agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_end_in_agreement() {
    let (probe, log) = (cpu(4), Log::default());
    let governor = governor_of(&probe, &log).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_usize {
        let (governor, probe) = (governor.clone(), probe.clone());
        tasks.spawn(async move {
            for round in 0..200_usize {
                if task % 2 == 0 {
                    let overrides =
                        Overrides::new().then(OverrideLayer::new("cli").set(IO, task * 1000 + round + 1));
                    governor.set_overrides(overrides).unwrap();
                } else {
                    probe.set(Reading::whole((task * round) as u64 + 1));
                    governor.refresh().await.unwrap();
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for gate in [IO, CACHE] {
        let limit = limit_of(&governor, gate);
        assert_eq!(governor.subscribe().borrow().limit(gate).unwrap().get(), limit);
    }
}

/// What a spec says of its line holds for the live gate.
#[tokio::test(start_paused = true)]
async fn line_of_a_gate_is_as_declared() {
    const NARROW: GateSpec =
        GateSpec::new("narrow", Formula::fixed(1)).queue(1).max_wait(Duration::from_millis(250));
    let governor = Governor::builder().gate(NARROW).build().await.unwrap();
    let gate = governor.gate(NARROW).unwrap();
    let _held = gate.acquire().await.unwrap();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire_owned().await }
    });
    tokio::task::yield_now().await;
    assert!(matches!(gate.acquire().await, Err(AcquireError::QueueFull { bound: 1, .. })));
    let error = waiting.await.unwrap().unwrap_err();
    assert!(
        matches!(error, AcquireError::DeadlineExceeded { waited, .. } if waited >= Duration::from_millis(250))
    );
}

/// Several gates at once, by spec or by name; an unknown one is named, with those that there are.
#[tokio::test]
async fn gates_are_found_by_key() {
    let builder =
        Governor::builder().gate(IO).gate(CACHE).probe(Fixed::new(Resource::CPU, Reading::whole(2)));
    let governor = builder.build().await.unwrap();
    let [cache, io] = governor.gates([CACHE, IO]).unwrap();
    assert_eq!((cache.limit().get(), io.limit().get()), (64, 128));
    let names = [IO.name(), "oi".parse().unwrap()];
    let error = governor.gates(names).unwrap_err();
    assert_eq!(error.to_string(), "there is no gate `oi` (there are io, cache)");
}

/// On the real host: it builds, refreshes, and an unlimited or odd host is no reason to fail.
#[tokio::test]
async fn real_host_governs() {
    let governor = Governor::builder().gate(IO).gate(CACHE).probes(probe::host()).build().await.unwrap();
    let refreshed = governor.refresh().await.unwrap();
    assert_eq!(refreshed.limit(IO).unwrap(), governor.gate(IO).unwrap().limit());
    assert_eq!(refreshed.readings().iter().len(), 4);
}
