//! What the report of an outcome adds to a permit.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use concurrency_governor::feedback::Outcome;
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::{Adaptive, Formula, Gate, GateName, GateSpec, Governor, Limit};
use congestion_limiter::aggregation::Average;
use congestion_limiter::limiter::{self, DefaultLimiter, Limiter as _};
use congestion_limiter::limits;
use little_loadshedder::LoadShed;
use tokio::runtime;
use tower::{Layer as _, Service, service_fn};
use tower_resilience_adaptive::AdaptiveLimiterLayer;

use crate::harness::{Contestant, Row, Runner};
use crate::rows::RUN;

const UPSTREAM: GateSpec = GateSpec::new("upstream", Formula::fixed(1000)).adaptive(Adaptive::latency());

pub fn rows() -> Vec<Row> {
    let permit = || Contestant { name: "permit alone", make: permit_alone };
    let row = |id, title, make, counted| Row {
        id,
        title,
        contestants: vec![Contestant { name: "gate", make }, permit()],
        base: "permit alone",
        ahead_of: &[],
        run: RUN,
        step: 64,
        counted,
    };
    vec![
        row(
            "outcome-undeclared",
            "permit + outcome at a gate that is not adaptive",
            on_plain_gate as fn() -> Runner,
            10_000,
        ),
        // Not counted, because the thread that reads the samples is counted, too.
        row("outcome", "permit + outcome at an adaptive gate", on_adaptive_gate, 0),
        Row {
            contestants: vec![
                Contestant { name: "gate", make: call_through_gate },
                Contestant { name: "tower-acc", make: call_through_tower_acc },
                Contestant { name: "tower-resilience", make: call_through_tower_resilience },
                Contestant { name: "congestion-limiter", make: call_through_congestion_limiter },
                Contestant { name: "little-loadshedder", make: call_through_little_loadshedder },
            ],
            base: "tower-acc",
            ..row("outcome-call", "call of ready work through an adaptive limiter", call_through_gate, 0)
        },
    ]
}

fn permit_alone() -> Runner {
    let gate = Gate::new(GateName::new("plain"), Limit::new(1000));
    Box::new(move |times| {
        let start = Instant::now();
        for _ in 0..times {
            drop(black_box(black_box(&gate).try_acquire().expect("permits are available")));
        }
        start.elapsed()
    })
}

fn on_plain_gate() -> Runner {
    report_at(Gate::new(GateName::new("plain"), Limit::new(1000)))
}

fn on_adaptive_gate() -> Runner {
    report_at(adaptive_gate())
}

/// Returns a gate whose outcomes are read by the governor, as in a service.
fn adaptive_gate() -> Gate {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = Box::leak(Box::new(runtime.expect("the runtime starts")));
    let governor = runtime.block_on(Governor::builder().gate(UPSTREAM).build()).expect("the gate is valid");
    let _entered = runtime.enter();
    Box::leak(Box::new(governor.spawn_refresh(RefreshPolicy::new())));
    governor.gate(UPSTREAM).expect("the gate is declared")
}

/// The work of each call: it is ready at once, and succeeds.
fn ready_work() -> impl Future<Output = Result<(), Infallible>> {
    std::future::ready(Ok(()))
}

fn call_through_gate() -> Runner {
    let gate = adaptive_gate();
    call_each(move || {
        let classify = |result: &Result<(), Infallible>| match result {
            Ok(()) => Outcome::Success,
            Err(_) => Outcome::Ignore,
        };
        finish(black_box(&gate).request().observe(ready_work(), classify)).expect("the gate is open").is_ok()
    })
}

fn call_through_tower_acc() -> Runner {
    let vegas = tower_acc::Vegas::builder().initial_limit(1000).max_limit(1000).build();
    call_service(tower_acc::ConcurrencyLimit::new(service_fn(|()| ready_work()), vegas))
}

fn call_through_tower_resilience() -> Runner {
    let vegas = tower_resilience_adaptive::Vegas::builder().initial_limit(1000).max_limit(1000).build();
    let layer = AdaptiveLimiterLayer::new(vegas.expect("the options are valid"));
    call_service(layer.layer(service_fn(|()| ready_work())))
}

fn call_through_little_loadshedder() -> Runner {
    call_service(LoadShed::new(service_fn(|()| ready_work()), 0.01, Duration::from_secs(1)))
}

fn call_through_congestion_limiter() -> Runner {
    let vegas = limits::Vegas::new(1000, 4..=1000);
    let limiter = DefaultLimiter::new(limits::Windowed::new(vegas, Average::default()));
    call_each(move || {
        finish(async {
            let token = black_box(&limiter).try_acquire().await.expect("permits are available");
            let result = ready_work().await;
            limiter.release(token, Some(limiter::Outcome::Success)).await;
            result.is_ok()
        })
    })
}

fn call_service<S>(mut service: S) -> Runner
where
    S: Service<()> + 'static,
{
    call_each(move || {
        finish(async {
            let ready = poll_fn(|cx| black_box(&mut service).poll_ready(cx)).await;
            ready.is_ok() && service.call(()).await.is_ok()
        })
    })
}

fn call_each(mut call: impl FnMut() -> bool + 'static) -> Runner {
    Box::new(move |times| {
        let start = Instant::now();
        for _ in 0..times {
            assert!(black_box(call()), "each call is admitted and succeeds");
        }
        start.elapsed()
    })
}

/// Returns the result of a future that is ready at its first poll.
fn finish<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("permits are available, and the work is ready"),
    }
}

fn report_at(gate: Gate) -> Runner {
    Box::new(move |times| {
        let start = Instant::now();
        for _ in 0..times {
            let permit = black_box(&gate).try_acquire().expect("permits are available");
            black_box(permit.attempt()).finish(black_box(Outcome::Success));
        }
        start.elapsed()
    })
}
