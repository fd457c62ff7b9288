//! What `poll_ready` promises.

use std::pin::pin;

use concurrency_governor::integration::tower::GateLayer;
use tower::Layer;

use super::*;

/// Clones that are ready but not called take no permit and block no other request, not even at a limit of 1.
#[test]
fn idle_clones_hold_no_permit() {
    let gate = gate(1);
    let service = GateLayer::new(gate.clone()).layer(echo());
    let mut idle: Vec<_> = (0..1000).map(|_| service.clone()).collect();
    assert!(idle.iter_mut().all(is_ready));
    assert_eq!(in_use_and_waiting(&gate), (0, 0));

    let unpolled: Vec<_> = idle.iter_mut().map(|service| service.call(7)).collect();
    assert_eq!(in_use_and_waiting(&gate), (0, 0), "a future that was never polled made no request");
    assert_eq!(gate.status().totals.admitted, 0);
    drop(unpolled);

    let mut called = service;
    assert!(is_ready(&mut called), "the idle clones do not block this one");
    assert_eq!(poll(pin!(called.call(7))), Poll::Ready(Ok(7)));
}

/// The service is ready while the gate is full, and not ready while the inner service is not.
#[test]
fn readiness_is_that_of_the_inner_service() {
    #[derive(Clone)]
    struct NeverReady;
    impl Service<()> for NeverReady {
        type Response = ();
        type Error = &'static str;
        type Future = std::future::Ready<Result<(), &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Pending
        }

        fn call(&mut self, (): ()) -> Self::Future {
            panic!("`call` before the service was ready")
        }
    }

    let gate = gate(1);
    let permit = gate.try_acquire().unwrap();
    assert!(is_ready(&mut GateLayer::new(gate.clone()).layer(echo())));
    assert!(!is_ready(&mut GateLayer::new(gate.clone()).layer(NeverReady)));
    drop(permit);
}

/// The instance that was polled ready is the one that is called after the wait, because its clone is not ready.
#[test]
fn the_ready_instance_is_called() {
    #[derive(Debug, Default)]
    struct ReadyFlag(bool);
    impl Clone for ReadyFlag {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl Service<()> for ReadyFlag {
        type Response = bool;
        type Error = Infallible;
        type Future = std::future::Ready<Result<bool, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            std::future::ready(Ok(self.0))
        }
    }

    let gate = gate(1);
    let permit = gate.try_acquire().unwrap();
    let mut service = GateLayer::new(gate.clone()).layer(ReadyFlag(false));
    assert!(is_ready(&mut service));
    let mut response = pin!(service.call(()));
    assert!(poll(response.as_mut()).is_pending());
    drop(permit);
    assert_eq!(poll(response), Poll::Ready(Ok(true)));
}
