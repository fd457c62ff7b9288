//! Two gates of a governor whose limits change together.

use concurrency_governor::{Formula, GateSpec, Governor, OverrideLayer, Overrides};
use shuttle::thread;

use super::harness::{TestGate, below, check};

const FIRST: GateSpec = GateSpec::new("first", Formula::fixed(1));
const SECOND: GateSpec = GateSpec::new("second", Formula::fixed(2));

/// Threads acquire two gates in the same order while a governor resizes both. No request is lost at either
/// gate, and both gates have their newest limit in the end.
#[test]
fn one_change_of_overrides_resizes_two_gates() {
    check(|| {
        // Built before the threads start, and used by one thread only, because the scheduler does not know
        // the governor's own lock.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let governor = runtime.block_on(Governor::builder().gate(FIRST).gate(SECOND).build()).unwrap();
        let gates = [FIRST, SECOND].map(|spec| TestGate::with_gate(governor.gate(spec).unwrap(), 4));
        let acquiring = [1, 2, 1].map(|weight| {
            let [first, second] = gates.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let permit = first.block_on(first.acquire(1)).unwrap();
                    let _ = second.acquire_and_release(weight); // may be rejected as too large
                    drop(permit);
                }
            })
        });
        for _ in 0..2 {
            let layer = OverrideLayer::new("operator")
                .set(FIRST, 1 + below(3) as usize)
                .set(SECOND, 1 + below(4) as usize);
            governor.set_overrides(Overrides::new().then(layer)).unwrap();
        }
        governor.set_overrides(Overrides::new()).unwrap();
        for thread in acquiring {
            thread.join().unwrap();
        }
        assert_eq!(gates.each_ref().map(|gate| gate.inner.limit().get()), [1, 2]);
        drop(governor);
        gates.into_iter().for_each(TestGate::finish);
    });
}
