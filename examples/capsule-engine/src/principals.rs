//! One tree of gates for all capsules of a process: each principal is a key of the gates of host calls.
//!
//! Semaphores that are created for each capsule multiply their limits: on two cores, 11 capsules with 128 permits each may hold 1408,
//! where 128 are right. And one semaphore for all capsules is first come, first served: the calls of one principal wait behind all
//! earlier calls of the others. Here all capsules share the gates of one governor, so the limits hold for the process, and the next
//! permit goes to the principal with the fewest in use.

use concurrency_governor::governor::GovernorBuilder;
use concurrency_governor::plan::BuildError;
use concurrency_governor::preset::astrid::{BLOCKING, CapsuleGates, IO, POOL};
use concurrency_governor::{Gate, GateSpec, Governor, Keys, Plan};

/// The gates of the preset, with their names, formulas and limits. The two gates of host calls have a key for each principal.
///
/// No principal has a cap: one that is alone may use the whole limit. Add `.cap(Part::of(1, 4))` to keep room for others.
const GATES: [GateSpec; 3] = [BLOCKING.keyed(PRINCIPALS), IO.keyed(PRINCIPALS), POOL];

/// An idle principal takes no memory, so this bounds only those with a call that runs or waits.
const PRINCIPALS: Keys = Keys::up_to(100_000);

/// Returns a builder of a governor for these gates. The caller adds the probes.
pub fn governor() -> Result<GovernorBuilder, BuildError> {
    Ok(Governor::builder().plan(Plan::new(GATES)?))
}

/// Returns the gates for the host calls of one principal: its keys, or the gates themselves if they have no keys.
///
/// All principals share the gate of instances.
pub fn gates_of(gates: &CapsuleGates, principal: u64) -> CapsuleGates {
    let key = |gate: &Gate| if gate.has_keys() { gate.key(principal) } else { gate.clone() };
    CapsuleGates { blocking: key(&gates.blocking), io: key(&gates.io), pool: gates.pool.clone() }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use concurrency_governor::preset::astrid::{CapsuleGates, CapsuleRuntimeLimits};
    use concurrency_governor::testing::MockProbe;
    use concurrency_governor::{Governor, Limit, Reading, Readings, Resource};
    use tokio::task::{self, JoinSet};

    use super::{gates_of, governor};
    use crate::peak::ConcurrencyPeak;

    const CAPSULES: u64 = 11;

    /// Returns the gates of a process on this many cores.
    async fn gates_on(cpu: &MockProbe) -> (Governor, CapsuleGates) {
        let fd = MockProbe::new(Resource::FD, Reading::whole(1 << 20));
        let builder = governor().expect("the plan is valid").probe(cpu.clone()).probe(fd);
        let governor = builder.build().await.expect("no setting is rejected");
        let gates = CapsuleGates::try_from(&governor).expect("the plan declares the three gates");
        (governor, gates)
    }

    fn cpu(cores: u64) -> MockProbe {
        MockProbe::new(Resource::CPU, Reading::whole(cores))
    }

    /// Keys change no limit: the gates have those of the preset.
    #[tokio::test]
    async fn the_limits_are_those_of_the_preset() {
        for cores in [1, 2, 8, 64] {
            let (_governor, gates) = gates_on(&cpu(cores)).await;
            let readings = Readings::new()
                .with(Resource::CPU, Reading::whole(cores))
                .with(Resource::FD, Reading::whole(1 << 20));
            let preset = CapsuleRuntimeLimits::resolve_on(&readings, None, None, None).gates();
            assert_eq!(gates.blocking.limit(), preset.blocking.limit());
            assert_eq!(gates.io.limit(), preset.io.limit());
            assert_eq!(gates.pool.limit(), preset.pool.limit());
        }
    }

    /// With a semaphore each, 11 capsules hold 11 times the limit: 1408 permits where 128 are right. In the tree they hold 128.
    #[tokio::test]
    async fn eleven_capsules_hold_no_more_than_the_limit() {
        let readings = Readings::new()
            .with(Resource::CPU, Reading::whole(2))
            .with(Resource::FD, Reading::whole(1 << 20));
        let limits = CapsuleRuntimeLimits::resolve_on(&readings, None, None, None);
        let semaphores: Vec<_> = (0..CAPSULES).map(|_| limits.io_semaphore()).collect();
        let permits = semaphores
            .iter()
            .flat_map(|semaphore| std::iter::from_fn(|| Arc::clone(semaphore).try_acquire_owned().ok()));
        assert_eq!(permits.collect::<Vec<_>>().len(), 1408);

        let (_governor, gates) = gates_on(&cpu(2)).await;
        let capsules: Vec<_> = (0..CAPSULES).map(|capsule| gates_of(&gates, capsule)).collect();
        let permits: Vec<_> = capsules
            .iter()
            .flat_map(|capsule| std::iter::from_fn(|| capsule.io.try_acquire_owned().ok()))
            .collect();
        assert_eq!((permits.len(), gates.io.in_use()), (128, 128));
        assert_eq!(gates.io.limit(), Limit::new(128));
    }

    /// Under load, 11 capsules together reach the limits of both gates, and never exceed them.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn eleven_capsules_never_exceed_the_limits() {
        let (_governor, gates) = gates_on(&cpu(2)).await;
        let (calls, reads) = (Arc::new(ConcurrencyPeak::default()), Arc::new(ConcurrencyPeak::default()));
        let mut tasks = JoinSet::new();
        for capsule in 0..CAPSULES {
            for _ in 0..100 {
                let (gates, calls, reads) =
                    (gates_of(&gates, capsule), Arc::clone(&calls), Arc::clone(&reads));
                tasks.spawn(async move {
                    let call = async {
                        let _running = calls.enter();
                        // As many turns of the runtime as the other tasks need to arrive.
                        for _ in 0..20 {
                            task::yield_now().await;
                        }
                    };
                    gates.io.run(call).await.expect("the gate is open");
                    let read = move || {
                        let _running = reads.enter();
                        thread::yield_now();
                    };
                    gates.blocking.run_blocking(read).await.expect("the gate is open");
                });
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no task panics");
        }
        assert!((65..=128).contains(&calls.highest()), "{}", calls.highest());
        assert!((1..=2).contains(&reads.highest()), "{}", reads.highest());
        assert_eq!((gates.io.in_use(), gates.blocking.in_use()), (0, 0));
        assert_eq!((gates.io.busy_keys(), gates.blocking.busy_keys()), (0, 0), "idle keys do not count");
    }

    /// A limit that falls holds for all capsules together: they get no permit until they have released those above it.
    #[tokio::test]
    async fn a_falling_limit_holds_for_all_capsules_together() {
        let cpu = cpu(2);
        let (governor, gates) = gates_on(&cpu).await;
        let [one, other] = [1, 2].map(|capsule| gates_of(&gates, capsule));
        let held = [&one, &other].map(|capsule| capsule.io.try_acquire_many(60).expect("120 are below 128"));
        cpu.set(Reading::whole(1));
        governor.refresh().await.expect("no setting is rejected");
        assert_eq!((gates.io.limit(), gates.io.status().debt), (Limit::new(64), 56));
        assert!(one.io.try_acquire().is_err() && other.io.try_acquire().is_err());
        drop(held);
        assert!(one.io.try_acquire_many(64).is_ok());
    }

    /// A principal with 1000 waiting calls delays the call of another one by one release.
    #[tokio::test]
    async fn a_crowd_delays_another_principal_by_one_release() {
        let (_governor, gates) = gates_on(&cpu(1)).await;
        let [crowd, other] = [1, 2].map(|principal| gates_of(&gates, principal));
        let mut held: Vec<_> = (0..64).map(|_| crowd.io.try_acquire().expect("the limit is 64")).collect();
        let mut context = Context::from_waker(Waker::noop());
        let mut crowd_calls: Vec<_> = (0..1000).map(|_| Box::pin(crowd.io.acquire())).collect();
        assert!(crowd_calls.iter_mut().all(|call| call.as_mut().poll(&mut context).is_pending()));
        let mut call = pin!(other.io.acquire());
        assert!(call.as_mut().poll(&mut context).is_pending());
        held.pop();
        let Poll::Ready(Ok(permit)) = call.poll(&mut context) else { panic!("the call was not admitted") };
        assert_eq!((crowd.io.waiting(), gates.io.waiting()), (1000, 1000));
        drop(permit);
        assert_eq!(crowd.io.waiting(), 999, "then it is the turn of the crowd again");
    }
}
