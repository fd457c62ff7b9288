//! What is a sample, and what is not.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use concurrency_governor::feedback::{OutcomeCounts, Reason};
use concurrency_governor::plan::{Measurement, Quantity};
use concurrency_governor::probe::{ProbeError, ResourceProbe};
use concurrency_governor::{AcquireError, Keys};
use tokio::time::Instant;

use super::*;

/// The latency is that of the work: waiting in the queue of the gate is no part of it.
#[tokio::test(start_paused = true)]
async fn waiting_in_the_queue_is_no_latency() {
    let governor = Governor::builder().gate(UPSTREAM).probe(cpu(8)).build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    call(&governor.gate(UPSTREAM).unwrap(), 500, 20, Outcome::Success, 1.1).await;
    let feedback = feedback_of(&governor, UPSTREAM);
    let observed = feedback.history.iter().next().unwrap().observed();
    assert!(observed.reached && observed.waiting >= 400, "{observed:?}");
    assert_eq!((observed.mean.as_millis(), observed.p90.as_millis()), (20, 20));
}

/// Work that is dropped, panics, or whose request is cancelled, expired or rejected, is no sample. Neither is a permit without
/// an outcome.
#[tokio::test(start_paused = true)]
async fn what_has_no_outcome_is_no_sample() {
    const ONE: GateSpec = GateSpec::new("upstream", Formula::fixed(1)).queue(1).adaptive(Adaptive::latency());
    let governor = Governor::builder().gate(ONE).build().await.unwrap();
    let gate = governor.gate(ONE).unwrap();
    let second = Duration::from_secs(1);

    // The work is dropped.
    let work = gate.request().observe(std::future::pending::<()>(), |()| Outcome::Success);
    assert!(timeout(second, work).await.is_err());
    // The work panics, and so does the classification.
    let panicking = gate.clone();
    let work = async move { panicking.request().observe(async { panic!() }, |()| Outcome::Success).await };
    assert!(tokio::spawn(work).await.unwrap_err().is_panic());
    let panicking = gate.clone();
    let work = async move { panicking.request().observe(async {}, |()| panic!()).await };
    assert!(tokio::spawn(work).await.unwrap_err().is_panic());
    // A permit, and an attempt, without an outcome.
    drop(gate.acquire().await.unwrap());
    drop(gate.acquire().await.unwrap().attempt());
    drop(gate.acquire_owned().await.unwrap().attempt());
    // A request that waits until it expires, one that is cancelled, and one that is rejected.
    let held = gate.acquire().await.unwrap();
    let expired = gate.request().max_wait(second).observe(async {}, |()| Outcome::Success).await;
    assert!(matches!(expired, Err(AcquireError::DeadlineExceeded { .. })), "{expired:?}");
    let cancelled = gate.request().observe(async {}, |()| Outcome::Success);
    assert!(timeout(second, cancelled).await.is_err());
    let waiting = tokio::spawn(gate.acquire_owned());
    tokio::task::yield_now().await;
    let rejected = gate.request().observe(async {}, |()| Outcome::Success).await;
    assert!(matches!(rejected, Err(AcquireError::QueueFull { .. })), "{rejected:?}");
    drop(held);
    drop(waiting.await.unwrap());

    governor.refresh().await.unwrap();
    let feedback = feedback_of(&governor, ONE);
    assert_eq!((feedback.outcomes, feedback.history.iter().len()), (OutcomeCounts::default(), 0));
    assert_eq!((gate.in_use(), gate.waiting()), (0, 0));

    // And work with an outcome is one, also if the permit is kept.
    let attempt = gate.acquire().await.unwrap().attempt();
    let kept = attempt.report(Outcome::Success);
    assert_eq!(gate.in_use(), 1);
    drop(kept);
    gate.acquire_owned().await.unwrap().attempt().finish(Outcome::Overload);
    gate.try_acquire().unwrap().attempt().finish(Outcome::Ignore);
    governor.refresh().await.unwrap();
    let outcomes = feedback_of(&governor, ONE).outcomes;
    assert_eq!((outcomes.successes, outcomes.overloads, outcomes.ignored), (1, 1, 1));
}

/// Outcomes of keys and of gates within an adaptive gate count at it, also if these are adaptive themselves.
#[tokio::test(start_paused = true)]
async fn outcomes_within_an_adaptive_gate_count_at_it() {
    const OUTER: GateSpec =
        GateSpec::new("outer", Formula::fixed(64)).keyed(Keys::up_to(10)).adaptive(Adaptive::latency());
    const PLAIN: GateSpec = GateSpec::new("plain", Formula::fixed(64)).within(OUTER);
    const INNER: GateSpec =
        GateSpec::new("inner", Formula::fixed(64)).within(PLAIN).adaptive(Adaptive::latency().start(8));
    let builder = Governor::builder().gate(OUTER).gate(PLAIN).gate(INNER);
    let governor = builder.build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    let [outer, plain, inner] = governor.gates([OUTER, PLAIN, INNER]).unwrap();
    let tenant = outer.key("tenant");
    for gate in [&outer, &plain, &inner, &tenant] {
        call(gate, 1, 10, Outcome::Success, 0.1).await;
    }
    governor.refresh().await.unwrap();
    let counted = [OUTER, INNER].map(|gate| feedback_of(&governor, gate).outcomes.successes);
    assert_eq!(counted, [40, 10]);
    assert!(governor.feedback(PLAIN).unwrap().is_none());

    // The limit of a child follows its own outcomes, within its parent.
    call(&inner, 20, 10, Outcome::Success, 1.1).await;
    assert_eq!(limit_of(&governor, INNER), 16);
    assert_eq!(limit_of(&governor, OUTER), 16);
}

/// A child whose parent has no room has not reached its own limit, so it does not grow.
#[tokio::test(start_paused = true)]
async fn a_full_parent_is_no_reason_to_grow() {
    const OUTER: GateSpec = GateSpec::new("outer", Formula::fixed(4));
    const INNER: GateSpec =
        GateSpec::new("inner", Formula::fixed(64)).within(OUTER).adaptive(Adaptive::latency().start(8));
    let governor = Governor::builder().gate(OUTER).gate(INNER).build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    call(&governor.gate(INNER).unwrap(), 20, 10, Outcome::Success, 3.0).await;
    assert_eq!(limit_of(&governor, INNER), 8);
    assert!(feedback_of(&governor, INNER).history.iter().len() >= 2);
}

/// Several threads report at once, and every outcome is counted.
#[test]
fn outcomes_of_all_threads_are_counted() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let governor = Governor::builder().gate(UPSTREAM).probe(cpu(8)).build().await.unwrap();
        let mut calls = JoinSet::new();
        for _ in 0..16 {
            let gate = governor.gate(UPSTREAM).unwrap();
            calls.spawn(async move {
                for _ in 0..500 {
                    gate.request().observe(tokio::task::yield_now(), |()| Outcome::Success).await.unwrap();
                }
            });
        }
        calls.join_all().await;
        governor.refresh().await.unwrap();
        assert_eq!(feedback_of(&governor, UPSTREAM).outcomes.successes, 16 * 500);
    });
}

/// The future of the work need not be `Send`.
#[tokio::test]
async fn the_work_may_be_local() {
    let governor = Governor::builder().gate(UPSTREAM).probe(cpu(8)).build().await.unwrap();
    let gate = governor.gate(UPSTREAM).unwrap();
    let calls = Rc::new(Cell::new(0));
    let counting = Rc::clone(&calls);
    let work = async move { counting.set(counting.get() + 1) };
    LocalSet::new().run_until(gate.request().observe(work, |()| Outcome::Ignore)).await.unwrap();
    assert_eq!(calls.get(), 1);
}

const PRESSURE: Resource = Resource::new("pressure.cpu");
/// A gate for which a pressure of 20 % is a sign of overload.
const RENDER: GateSpec = GateSpec::new("render", Formula::fixed(64))
    .adaptive(Adaptive::latency().start(64).overload_at(PRESSURE, 20));

/// The pressure on this host counts as overload from the declared share on: each window lowers the limit once. An unknown or lower reading
/// does not, and without the probe the governor is not built.
#[tokio::test(start_paused = true)]
async fn pressure_counts_as_overload() {
    let pressure = MockProbe::new(PRESSURE, Reading::Unknown);
    let governor = Governor::builder().gate(RENDER).probe(pressure.clone()).build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    let gate = governor.gate(RENDER).unwrap();
    let mut overloads = Vec::new();
    for share in [Reading::Unknown, thousandths(199), thousandths(200)] {
        pressure.set(share);
        call(&gate, 100, 20, Outcome::Success, 3.0).await;
        let feedback = feedback_of(&governor, RENDER);
        overloads.push(feedback.history.iter().filter(|decision| decision.observed().pressured).count());
    }
    assert!(overloads[..2] == [0, 0] && overloads[2] >= 2, "{overloads:?}");
    let feedback = feedback_of(&governor, RENDER);
    let pressured = feedback.history.iter().filter(|decision| decision.observed().pressured);
    for decision in pressured {
        assert_eq!(decision.opinion().reason(), Reason::Overload);
        assert!(decision.after() < decision.before(), "{decision}");
    }

    let error = Governor::builder().gate(RENDER).probe(cpu(4)).build().await.unwrap_err().to_string();
    assert_eq!(
        error,
        "gate `render` reads `pressure.cpu`, which no probe measures (there are probes for cpu)"
    );
}

/// While the probe of the pressure fails, hangs or panics, the rule decides as if there were no pressure.
#[tokio::test(start_paused = true)]
async fn a_misbehaving_probe_of_the_pressure_is_no_overload() {
    let pressure = MockProbe::new(PRESSURE, Reading::Unknown);
    let governor = Governor::builder().gate(RENDER).probe(pressure.clone()).build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    let gate = governor.gate(RENDER).unwrap();
    let misbehave: [fn(&MockProbe); 3] =
        [|probe| probe.panic("ouch"), |probe| probe.fail("on fire"), MockProbe::hang];
    for misbehave in misbehave {
        let before = feedback_of(&governor, RENDER).history.iter().len();
        misbehave(&pressure);
        call(&gate, 100, 20, Outcome::Success, 4.0).await;
        let feedback = feedback_of(&governor, RENDER);
        assert!(feedback.history.iter().len() >= before + 2, "{feedback:?}");
        assert!(feedback.history.iter().all(|decision| !decision.observed().pressured));
    }
    pressure.set(thousandths(200));
    call(&gate, 100, 20, Outcome::Success, 4.0).await;
    assert!(feedback_of(&governor, RENDER).history.iter().any(|decision| decision.observed().pressured));
}

/// Each adaptive gate judges the pressure over its own interval: neither the other gate nor the refresh of the governor, which read
/// the same resource, shortens it.
#[tokio::test(start_paused = true)]
async fn each_gate_has_its_own_interval_of_pressure() {
    const ADAPTIVE: Adaptive = Adaptive::latency().start(8).overload_at(StallShare::RESOURCE, 60);
    const PAGES: GateSpec = GateSpec::new("pages", Formula::fixed(64)).adaptive(ADAPTIVE);
    const IMAGES: GateSpec = GateSpec::new("images", Formula::fixed(64)).adaptive(ADAPTIVE);
    let share = StallShare::new(Arc::default());
    let builder = Governor::builder().gate(PAGES).gate(IMAGES).probe(share.clone());
    let governor = builder.build().await.unwrap();
    let _refresh = governor.spawn_refresh(POLICY);
    let [pages, images] = [PAGES, IMAGES].map(|gate| governor.gate(gate).unwrap());
    let refreshing = async {
        for _ in 0..8 {
            sleep(Duration::from_millis(333)).await;
            governor.refresh().await.unwrap();
        }
    };
    let calls =
        [(&pages, 20), (&images, 30)].map(|(gate, millis)| call(gate, 20, millis, Outcome::Success, 3.0));
    let [calls_of_pages, calls_of_images] = calls;
    tokio::join!(calls_of_pages, calls_of_images, refreshing);
    let own_intervals = share.own_intervals.lock().unwrap();
    assert_eq!(own_intervals.len(), 2);
    for intervals in own_intervals.iter() {
        let intervals = intervals.lock().unwrap();
        let shortest = intervals.iter().min().unwrap();
        assert!(intervals.len() >= 5 && *shortest >= Duration::from_millis(200), "{intervals:?}");
    }
}

type Intervals = Arc<Mutex<Vec<Duration>>>;

/// The pressure of a host, as a share of the time since the last reading. It notes how long that was.
#[derive(Clone)]
struct StallShare {
    last: Arc<Mutex<Instant>>,
    intervals: Intervals,
    /// Those of the probes with an interval of their own.
    own_intervals: Arc<Mutex<Vec<Intervals>>>,
}

impl StallShare {
    const RESOURCE: Resource = Resource::new("pressure.test");

    fn new(own_intervals: Arc<Mutex<Vec<Intervals>>>) -> Self {
        Self { last: Arc::new(Mutex::new(Instant::now())), intervals: Arc::default(), own_intervals }
    }
}

#[async_trait]
impl ResourceProbe for StallShare {
    fn resource(&self) -> Resource {
        Self::RESOURCE
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        let now = Instant::now();
        let last = std::mem::replace(&mut *self.last.lock().unwrap(), now);
        self.intervals.lock().unwrap().push(now.duration_since(last));
        Ok(Measurement::new(thousandths(100)))
    }

    fn with_own_interval(&self) -> Option<Arc<dyn ResourceProbe>> {
        let own = Self::new(Arc::clone(&self.own_intervals));
        self.own_intervals.lock().unwrap().push(Arc::clone(&own.intervals));
        Some(Arc::new(own))
    }
}

fn thousandths(share: u64) -> Reading {
    Reading::Finite(Quantity::from_thousandths(share))
}
