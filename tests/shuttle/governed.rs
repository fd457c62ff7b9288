//! Two gates whose limits one change moves together.

use concurrency_governor::{Formula, GateSpec, Governor, OverrideLayer, Overrides};
use shuttle::thread;

use super::scene::{Scene, below, check};

const FEW: GateSpec = GateSpec::new("few", Formula::fixed(1));
const MANY: GateSpec = GateSpec::new("many", Formula::fixed(2));

/// Both gates are held at once, in one order, by threads that wait for both, while a governor moves both limits: nobody
/// is forgotten at either, and both have the newest limit in the end.
#[test]
fn two_gates_resized_by_one_change() {
    check(|| {
        // Built before the threads, and used by one only: its own lock is none of the scheduler's.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let governor = runtime.block_on(Governor::builder().gate(FEW).gate(MANY).build()).unwrap();
        let scenes = [FEW, MANY].map(|spec| Scene::of(governor.gate(spec).unwrap(), 4));
        let flyers = [1, 2, 1].map(|weight| {
            let [few, many] = scenes.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let held = few.block_on(few.acquire(1)).unwrap();
                    let _ = many.fly(weight); // may be too large by now
                    drop(held);
                }
            })
        });
        for _ in 0..2 {
            let layer = OverrideLayer::new("operator")
                .set(FEW, 1 + below(3) as usize)
                .set(MANY, 1 + below(4) as usize);
            governor.set_overrides(Overrides::new().then(layer)).unwrap();
        }
        governor.set_overrides(Overrides::new()).unwrap();
        for thread in flyers {
            thread.join().unwrap();
        }
        assert_eq!(scenes.each_ref().map(|scene| scene.gate.limit().get()), [1, 2]);
        drop(governor);
        scenes.into_iter().for_each(Scene::finish);
    });
}
