//! Building a pool: all problems are reported together, and the first items exist.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::pool::{CreateError, Pool, PoolBuildError, PoolBuilder, PoolProblem};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::time::{Instant, sleep};

use super::support::{Creation, ScriptedError, ScriptedManager, assert_quiescent, ms, poll_once, settle};

/// `build` reports every problem of the settings at once.
#[tokio::test]
async fn all_problems_are_reported_at_once() {
    let gate = Gate::new(GateName::new("closed"), Limit::MIN);
    gate.close();
    let built = Pool::builder(ScriptedManager::new())
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
        "`name` names the gate that `max` creates (given: name `other` with gate `closed`): remove `name`; gate `closed` is \
         closed (allowed: an open gate): build the pool before the gate is closed; `idle_timeout` is zero (allowed: any \
         longer duration); `max_lifetime` is zero (allowed: any longer duration); `create_timeout` is zero (allowed: any \
         longer duration); `create_backoff` is zero (allowed: any longer duration)"
    );
}

/// A pool needs exactly one limit, and it must be valid.
#[tokio::test]
async fn exactly_one_valid_limit_is_required() {
    let problems = |builder: PoolBuilder<ScriptedManager>| async {
        match builder.build().await {
            Err(PoolBuildError::Invalid { problems }) => problems,
            other => panic!("{other:?}"),
        }
    };
    let text =
        |problems: &[PoolProblem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");

    let neither = problems(Pool::builder(ScriptedManager::new())).await;
    assert_eq!(
        text(&neither),
        "a pool takes its limit from `max`, `gate` or `group` (given: none of them): call one of them"
    );
    let gate = Gate::new(GateName::new("one"), Limit::MIN);
    let both = problems(ScriptedManager::new().pool(3).gate(gate)).await;
    assert_eq!(
        text(&both),
        "a pool takes its limit from `gate` or from `max` (given: gate `one` and max 3): remove one of them"
    );
    for max in [0, u32::MAX] {
        let invalid = problems(ScriptedManager::new().pool(max)).await;
        let limit_error = Limit::try_new(max.into()).unwrap_err().to_string();
        assert!(
            limit_error.contains(&max.to_string()) && limit_error.contains("1073741823"),
            "{limit_error}"
        );
        assert_eq!(text(&invalid), format!("`max`: {limit_error}"));
    }
    let backoff = problems(ScriptedManager::new().pool(1).create_backoff(ms(10), ms(9))).await;
    assert_eq!(
        text(&backoff),
        "`create_backoff`: the longest delay 9ms is shorter than the first delay (allowed: 10ms or more)"
    );
}

/// Outside a runtime `build` returns an error, because no task could create items.
#[test]
fn building_outside_a_runtime_is_an_error() {
    let built = poll_once(&mut Box::pin(ScriptedManager::new().pool(1).build()));
    let Poll::Ready(Err(error)) = built else { panic!("{built:?}") };
    assert!(matches!(error, PoolBuildError::NoRuntime { .. }));
    assert_eq!(
        error.to_string(),
        "the pool of gate `pool` needs a tokio runtime to create items on: call `build` inside one"
    );
}

/// In a runtime without a timer, `build` panics: the problem does not wait for the first failure.
#[test]
fn building_without_a_timer_panics() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let builder = ScriptedManager::new().pool(1);
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(builder.build())));
    assert!(outcome.is_err());
}

/// The first items are created at the same time, and are idle when `build` returns.
#[tokio::test(start_paused = true)]
async fn first_items_are_created_concurrently() {
    let manager = ScriptedManager::new();
    manager.always(Creation::SucceedAfter(ms(100)));
    let began = Instant::now();
    let pool = manager.pool(8).min_idle(4).build().await.unwrap();
    assert_eq!(began.elapsed(), ms(100));
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, status.totals.created, status.totals.reused), (4, 4, 0));
    for _ in 0..4 {
        let _ = pool.try_checkout().unwrap().detach();
    }
}

/// If one of the first items cannot be created, `build` returns the cause and drops the others.
#[tokio::test(start_paused = true)]
async fn failure_of_a_first_item_fails_the_build() {
    for failing in 0..3 {
        let manager = ScriptedManager::new();
        let outcome = |at| if at == failing { Creation::Fail } else { Creation::SucceedAfter(ms(20)) };
        manager.script((0..3).map(outcome));
        let error = manager.pool(3).min_idle(3).build().await.unwrap_err();
        assert!(matches!(error, PoolBuildError::Create(CreateError::Failed { .. })), "{error:?}");
        assert_eq!(error.source().unwrap().downcast_ref::<ScriptedError>(), Some(&ScriptedError));
        sleep(ms(50)).await;
        assert_eq!(manager.live(), 0);
    }
    let manager = ScriptedManager::new();
    manager.script([Creation::Hang]);
    let error = manager.pool(1).min_idle(1).create_timeout(ms(70)).build().await.unwrap_err();
    assert!(matches!(error, PoolBuildError::Create(CreateError::TimedOut { .. })), "{error:?}");
}

/// If the gate is closed during `build`, `build` returns an error and leaves no item.
#[tokio::test(start_paused = true)]
async fn closing_the_gate_fails_the_build() {
    let gate = Gate::new(GateName::new("shared"), Limit::MIN);
    let manager = ScriptedManager::new();
    manager.script([Creation::SucceedAfter(ms(20))]);
    let building = Pool::builder(manager.clone()).gate(gate.clone()).min_idle(1).build();
    let closing = async {
        sleep(ms(10)).await;
        gate.close();
    };
    let (built, ()) = tokio::join!(building, closing);
    assert!(matches!(built, Err(PoolBuildError::Closed { .. })));
    sleep(ms(20)).await;
    assert_eq!(manager.live(), 0);
}

/// A limit that falls while the first items are created lowers the minimum, so `build` does not wait for the other items. They are
/// created when the limit rises.
#[tokio::test(start_paused = true)]
async fn limit_that_falls_during_the_build_lowers_the_minimum() {
    for has_started in [false, true] {
        for initial in 0..2 {
            let gate = Gate::new(GateName::new("boats"), Limit::new(3));
            let manager = ScriptedManager::new();
            manager.always(Creation::SucceedAfter(ms(20)));
            let builder = Pool::builder(manager.clone()).gate(gate.clone()).min_idle(3);
            let mut building = Box::pin(builder.initial((0..initial).map(|_| manager.item())).build());
            assert!(poll_once(&mut building).is_pending());
            if has_started {
                settle().await;
            }
            gate.resize(Limit::MIN);
            sleep(ms(100)).await;
            let Poll::Ready(built) = poll_once(&mut building) else { panic!("the build still waits") };
            let pool = built.unwrap();
            assert_eq!(assert_quiescent(&pool, &manager).await.idle, 1);
            gate.resize(Limit::new(3));
            sleep(ms(100)).await;
            assert_eq!(assert_quiescent(&pool, &manager).await.idle, 3);
        }
    }
}
