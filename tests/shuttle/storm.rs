//! Threads that come, go, give up, resize and close, all at once.

use concurrency_governor::Limit;
use concurrency_governor::gate::AcquireError;
use shuttle::thread;

use super::scene::{Scene, below, check, gate};

/// Whatever five threads do to a gate, nobody is forgotten, no more is out than was allowed, and nothing is lost.
#[test]
fn storm_of_all() {
    check(|| {
        let scene = Scene::new(2);
        let flyers = [1, 2].map(|weight| {
            scene.spawn(move |scene| {
                for _ in 0..3 {
                    landed(&scene.fly(weight));
                }
            })
        });
        let fickle = scene.spawn(|scene| {
            for _ in 0..3 {
                scene.fly_or_give_up(1 + below(3), below(3));
                drop(scene.try_acquire(1 + below(2)));
            }
        });
        let resizing = scene.spawn(|scene| {
            for _ in 0..3 {
                scene.resize(1 + below(4));
            }
            scene.resize(3);
        });
        let draining = scene.spawn(|scene| scene.block_on(scene.gate.drained()));
        for thread in flyers.into_iter().chain([fickle, resizing, draining]) {
            thread.join().unwrap();
        }
        scene.finish();
    });
}

/// Many for one permit, some of whom give up at every stage: everybody else gets it.
#[test]
fn cancels_in_a_crowd() {
    check(|| {
        let scene = Scene::new(1);
        let flyers = [(), ()].map(|()| {
            scene.spawn(|scene| {
                for _ in 0..3 {
                    scene.fly(1).unwrap();
                }
            })
        });
        let fickle = [(), ()].map(|()| {
            scene.spawn(|scene| {
                for _ in 0..3 {
                    scene.fly_or_give_up(1, below(4));
                }
            })
        });
        for thread in flyers.into_iter().chain(fickle) {
            thread.join().unwrap();
        }
        assert!(scene.flown() >= 6);
        scene.finish();
    });
}

/// The big one is not passed by those who come after it, and does not hold them up once it has given up.
#[test]
fn a_big_one_among_small_ones() {
    check(|| {
        let scene = Scene::new(3);
        let small = [(), ()].map(|()| {
            scene.spawn(|scene| {
                for _ in 0..3 {
                    scene.fly(1).unwrap();
                }
            })
        });
        let big = scene.spawn(|scene| scene.fly(3).unwrap());
        scene.fly_or_give_up(3, 2);
        for thread in small.into_iter().chain([big]) {
            thread.join().unwrap();
        }
        assert!(scene.flown() >= 7);
        scene.finish();
    });
}

/// A limit that falls and rises: the debt is paid before anybody is admitted, and a raised limit calls all who fit.
#[test]
fn the_limit_never_rests() {
    check(|| {
        let scene = Scene::new(4);
        let flyers = [1, 2, 1].map(|weight| {
            scene.spawn(move |scene| {
                for _ in 0..2 {
                    landed(&scene.fly(weight));
                }
            })
        });
        for _ in 0..4 {
            scene.resize(1);
            thread::yield_now();
            scene.resize(2 + below(3));
        }
        for thread in flyers {
            thread.join().unwrap();
        }
        scene.finish();
    });
}

/// Limits that several set at once stand in one order: each change begins where another has ended, and the permits follow.
#[test]
fn limits_meet_each_other() {
    check(|| {
        let scene = Scene::of(gate(2), 6);
        let resizing = [1, 2, 3].map(|nth| {
            scene.spawn(move |scene| [nth, nth + 3].map(|limit| scene.gate.resize(Limit::new(limit))))
        });
        let trying = scene.spawn(|scene| drop([1, 2].map(|weight| scene.try_acquire(weight))));
        let changes: Vec<_> = resizing.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        trying.join().unwrap();
        let status = scene.gate.status();
        let in_order = |mut limits: Vec<Limit>| {
            limits.sort_unstable();
            limits
        };
        let begun = in_order(changes.iter().map(|change| change.from).chain([status.limit]).collect());
        let ended = in_order(changes.iter().map(|change| change.to).chain([Limit::new(2)]).collect());
        assert_eq!(begun, ended);
        let others = changes.iter().filter(|change| change.from != change.to).count();
        assert_eq!(status.resized, others as u64);
        scene.finish();
    });
}

/// Whoever waits when the gate closes is told, and whoever is in goes out in his own time.
#[test]
fn closing_in_a_crowd() {
    check(|| {
        let scene = Scene::new(1);
        let flyers = [(), (), ()].map(|()| {
            scene.spawn(|scene| {
                let flown = scene.fly(1).and_then(|()| scene.fly(1));
                assert!(matches!(flown, Ok(()) | Err(AcquireError::Closed { .. })), "{flown:?}");
            })
        });
        scene.fly_or_give_up(1, below(3));
        scene.gate.close();
        scene.block_on(scene.gate.drained());
        assert!(scene.try_acquire(1).is_none());
        let status = scene.gate.status();
        assert_eq!((status.in_use, status.waiting), (0, 0), "closed and drained, and yet {status:?}");
        for thread in flyers {
            thread.join().unwrap();
        }
        scene.finish();
    });
}

/// Everybody who waits for the gate to be drained hears of the first such moment, while others come and go.
#[test]
fn drained_in_a_crowd() {
    check(|| {
        let scene = Scene::new(2);
        let flyers = [1, 2].map(|weight| {
            scene.spawn(move |scene| {
                for _ in 0..2 {
                    scene.fly(weight).unwrap();
                }
            })
        });
        let drains = [(), ()].map(|()| scene.spawn(|scene| scene.block_on(scene.gate.drained())));
        for thread in flyers.into_iter().chain(drains) {
            thread.join().unwrap();
        }
        scene.finish();
    });
}

fn landed(result: &Result<(), AcquireError>) {
    assert!(matches!(result, Ok(()) | Err(AcquireError::TooLarge { .. })), "{result:?}");
}
