//! Building a governor.

use std::time::Duration;

use concurrency_governor::plan::Problem;
use concurrency_governor::probe::Fixed;
use concurrency_governor::{AcquireError, OverrideLayer, Overrides, Plan, probe};

use super::*;

/// A failed build reports every problem at once.
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
    let count =
        |wanted: fn(&Problem) -> bool| error.problems().iter().filter(|problem| wanted(problem)).count();
    assert_eq!(count(|problem| matches!(problem, Problem::DuplicateGate { times: 2, .. })), 1);
    assert_eq!(count(|problem| matches!(problem, Problem::NoProbe { .. })), 1);
    assert_eq!(count(|problem| matches!(problem, Problem::DuplicateProbe { times: 2, .. })), 1);
    assert_eq!(count(|problem| matches!(problem, Problem::Cycle { .. })), 1);
    assert_eq!(count(|problem| matches!(problem, Problem::UnknownOperand { .. })), 1);
    assert_eq!(count(|problem| matches!(problem, Problem::UnknownOverride { .. })), 1);
    assert_eq!(error.problems().len(), 6);
    assert_eq!(error.to_string().lines().count(), 1);
}

/// A plan without a gate is a problem, and an invalid plan calls no probe.
#[tokio::test]
async fn an_invalid_plan_calls_no_probe() {
    let probe = cpu(4);
    let error = Governor::builder().probe(probe.clone()).build().await.unwrap_err();
    assert_eq!(error.problems(), [Problem::NoGates]);
    assert_eq!(probe.measures(), 0);
}

/// Gates are found by spec or by name. The error for an unknown name lists the known ones.
#[tokio::test]
async fn gates_are_found_by_spec_or_name() {
    let builder =
        Governor::builder().gate(IO).gate(CACHE).probe(Fixed::new(Resource::CPU, Reading::whole(2)));
    let governor = builder.build().await.unwrap();
    let [cache, io] = governor.gates([CACHE, IO]).unwrap();
    assert_eq!((cache.limit().get(), io.limit().get()), (64, 128));
    let names = [IO.name(), "oi".parse().unwrap()];
    let error = governor.gates(names).unwrap_err();
    assert_eq!(error, governor.resolution().limit(names[1]).unwrap_err().into());
    for part in ["`oi`", "io, cache"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

/// The live gate has the queue bound and the longest wait of its spec.
#[tokio::test(start_paused = true)]
async fn the_queue_of_a_gate_is_as_declared() {
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

/// The live gate measures waits unless its spec says otherwise.
#[tokio::test(start_paused = true)]
async fn waits_are_measured_as_declared() {
    const MEASURED: GateSpec = GateSpec::new("measured", Formula::fixed(1));
    const UNMEASURED: GateSpec = GateSpec::new("unmeasured", Formula::fixed(1)).queue(1).measure_waits(false);
    let governor = Governor::builder().gate(MEASURED).gate(UNMEASURED).build().await.unwrap();
    for (spec, waits) in [(MEASURED, 1), (UNMEASURED, 0)] {
        let gate = governor.gate(spec).unwrap();
        let held = gate.acquire().await.unwrap();
        let (waited, ()) = tokio::join!(gate.acquire(), async { drop(held) });
        drop(waited.unwrap());
        let status = gate.status();
        assert_eq!((status.totals.queue.admitted, status.waits.count()), (1, waits), "{}", gate.name());
    }
}

/// A governor on the real host builds and refreshes, whatever that host is.
#[tokio::test]
async fn a_governor_runs_on_the_real_host() {
    let governor = Governor::builder().gate(IO).gate(CACHE).probes(probe::host()).build().await.unwrap();
    let refreshed = governor.refresh().await.unwrap();
    assert_eq!(refreshed.limit(IO).unwrap(), governor.gate(IO).unwrap().limit());
    assert_eq!(refreshed.readings().iter().len(), 4);
}
