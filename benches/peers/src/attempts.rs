//! What the report of an outcome adds to a permit.

use std::hint::black_box;
use std::time::Instant;

use concurrency_governor::feedback::Outcome;
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::{Adaptive, Formula, Gate, GateName, GateSpec, Governor, Limit};
use tokio::runtime;

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
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = Box::leak(Box::new(runtime.expect("the runtime starts")));
    let governor = runtime.block_on(Governor::builder().gate(UPSTREAM).build()).expect("the gate is valid");
    let _entered = runtime.enter();
    Box::leak(Box::new(governor.spawn_refresh(RefreshPolicy::new())));
    report_at(governor.gate(UPSTREAM).expect("the gate is declared"))
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
