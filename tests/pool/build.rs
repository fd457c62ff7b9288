//! Building a pool: every problem at once, and the first items.

use std::error::Error;
use std::time::Duration;

use concurrency_governor::pool::{CreateError, Pool, PoolBuildError, PoolProblem};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::time::{Instant, sleep};

use super::support::{Act, Maker, Rejected, assert_at_rest, ms};

/// Everything that is wrong is said at once.
#[tokio::test]
async fn every_problem_is_told_at_once() {
    let gate = Gate::new(GateName::new("closed"), Limit::MIN);
    gate.close();
    let built = Pool::builder(Maker::new())
        .gate(gate)
        .name(GateName::new("other"))
        .idle_timeout(Duration::ZERO)
        .max_lifetime(Duration::ZERO)
        .create_timeout(Duration::ZERO)
        .create_backoff(Duration::ZERO, Duration::ZERO)
        .build()
        .await;
    let error = built.unwrap_err();
    let PoolBuildError::Invalid { problems } = &error else { panic!("{error:?}") };
    assert_eq!(problems.len(), 6, "{problems:?}");
    assert_eq!(
        error.to_string(),
        "`name` is for the gate that `max` makes (given: `other` for gate `closed`); gate `closed` is closed and admits \
         nothing more; `idle_timeout` is zero (allowed: more than that); `max_lifetime` is zero (allowed: more than that); \
         `create_timeout` is zero (allowed: more than that); `create_backoff` is zero (allowed: more than that)"
    );
}

/// A pool has one limit, and it is a limit.
#[tokio::test]
async fn there_is_one_limit() {
    let problems = |builder: concurrency_governor::pool::PoolBuilder<Maker>| async {
        match builder.build().await {
            Err(PoolBuildError::Invalid { problems }) => problems,
            other => panic!("{other:?}"),
        }
    };
    let of = |problem: &[PoolProblem]| problem.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let neither = problems(Pool::builder(Maker::new())).await;
    assert_eq!(of(&neither), "a pool needs `gate` or `max` (given: neither)");
    let gate = Gate::new(GateName::new("one"), Limit::MIN);
    let both = problems(Maker::new().pool(3).gate(gate)).await;
    assert_eq!(of(&both), "a pool takes its limit from `gate` or from `max` (given: both, gate `one` and 3)");
    for (max, given) in [(0, "0"), (u32::MAX, "4294967295")] {
        let none = problems(Maker::new().pool(max)).await;
        assert_eq!(
            of(&none),
            format!("`max`: {given} is no limit (allowed: a whole number from 1 to 1073741823)")
        );
    }
    let backoff = problems(Maker::new().pool(1).create_backoff(ms(10), ms(9))).await;
    assert_eq!(of(&backoff), "`create_backoff` ends at 9ms, below the 10ms it begins with");
}

/// Outside of a runtime there is nobody to make items.
#[test]
fn it_needs_a_runtime() {
    let built = super::support::peek(&mut Box::pin(Maker::new().pool(1).build()));
    let std::task::Poll::Ready(Err(error)) = built else { panic!("{built:?}") };
    assert!(matches!(error, PoolBuildError::NoRuntime { .. }));
    assert_eq!(
        error.to_string(),
        "the pool of gate `pool` needs a tokio runtime to create items on: build it inside one"
    );
}

/// In a runtime without a timer that shows when it is built, and not at the first failure.
#[test]
fn it_needs_a_timer() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let builder = Maker::new().pool(1);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(builder.build())));
    assert!(panics.is_err());
}

/// The first items are made all at once, and are there when the pool is.
#[tokio::test(start_paused = true)]
async fn the_first_items_are_made_at_once() {
    let maker = Maker::new();
    maker.always(Act::Take(ms(100)));
    let began = Instant::now();
    let pool = maker.pool(8).min_idle(4).build().await.unwrap();
    assert_eq!(began.elapsed(), ms(100));
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.idle, status.totals.created, status.totals.reused), (4, 4, 0));
    for _ in 0..4 {
        let _ = pool.try_checkout().unwrap().detach();
    }
}

/// If one of them cannot be made, the pool is not built, the cause is told, and the others are gone.
#[tokio::test(start_paused = true)]
async fn a_failure_among_the_first_is_an_error() {
    for failing in 0..3 {
        let maker = Maker::new();
        maker.next((0..3).map(|at| if at == failing { Act::Fail } else { Act::Take(ms(20)) }));
        let error = maker.pool(3).min_idle(3).build().await.unwrap_err();
        assert!(matches!(error, PoolBuildError::Create(CreateError::Failed { .. })), "{error:?}");
        assert_eq!(error.source().unwrap().downcast_ref::<Rejected>(), Some(&Rejected));
        sleep(ms(50)).await;
        assert_eq!(maker.live(), 0);
    }
    let maker = Maker::new();
    maker.next([Act::Hang]);
    let error = maker.pool(1).min_idle(1).create_timeout(ms(70)).build().await.unwrap_err();
    assert!(matches!(error, PoolBuildError::Create(CreateError::TimedOut { .. })), "{error:?}");
}

/// A gate that is closed meanwhile is told of.
#[tokio::test(start_paused = true)]
async fn a_gate_closed_meanwhile_is_an_error() {
    let gate = Gate::new(GateName::new("shared"), Limit::MIN);
    let maker = Maker::new();
    maker.next([Act::Take(ms(20))]);
    let building = Pool::builder(maker.clone()).gate(gate.clone()).min_idle(1).build();
    let closing = async {
        sleep(ms(10)).await;
        gate.close();
    };
    let (built, ()) = tokio::join!(building, closing);
    assert!(matches!(built, Err(PoolBuildError::Closed { .. })));
    sleep(ms(20)).await;
    assert_eq!(maker.live(), 0);
}
