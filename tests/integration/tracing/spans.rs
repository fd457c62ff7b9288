//! The span around a wait.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::Priority;
use concurrency_governor::{Gate, GateName, Keys, Limit};

use super::*;

const UPLOADS: GateName = GateName::new("uploads");

/// A request that is admitted or rejected at once opens no span, and neither does a future that is never polled.
#[test]
fn without_a_wait_there_is_no_span() {
    let capture = Capture::default();
    capture.run(|| {
        let gate = Gate::builder(UPLOADS, Limit::new(1)).queue(0).build();
        let Poll::Ready(Ok(permit)) = poll(pin!(gate.acquire().traced())) else { panic!("a permit is free") };
        assert!(matches!(poll(pin!(gate.acquire().traced())), Poll::Ready(Err(_))));
        drop(gate.acquire().traced());
        drop(permit);
    });
    assert_eq!(capture.wait_spans().len(), 0);
}

/// A wait is one span, however often it is polled. Its parent is the span of the first poll, and its fields have the gate,
/// the weight and the outcome.
#[test]
fn a_wait_is_one_span() {
    let capture = Capture::default();
    capture.run(|| {
        let gate = Gate::new(UPLOADS, Limit::new(3));
        let held = gate.try_acquire_many(3).unwrap();
        let mut wait = pin!(gate.acquire_many_owned(2).traced());
        tracing::info_span!("request").in_scope(|| assert!(poll(wait.as_mut()).is_pending()));
        assert!(poll(wait.as_mut()).is_pending());
        let [open] = &capture.wait_spans()[..] else { panic!("{:?}", capture.wait_spans()) };
        assert_eq!((open.level, open.parent, open.closed), (Level::DEBUG, Some("request"), false));
        assert_eq!((open.field("gate"), open.field("weight"), open.field("outcome")), ("uploads", "2", ""));

        drop(held);
        assert!(matches!(poll(wait.as_mut()), Poll::Ready(Ok(_))));
        let [ended] = &capture.wait_spans()[..] else { panic!("{:?}", capture.wait_spans()) };
        assert_eq!(
            (ended.field("outcome"), ended.closed),
            ("admitted", true),
            "the span ends before the future is dropped"
        );
    });
}

/// Each way to end a wait ends its span with the matching outcome.
#[tokio::test(start_paused = true)]
async fn the_outcome_says_how_the_wait_ended() {
    let capture = Capture::default();
    let subscriber = tracing_subscriber::registry().with(capture.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let gate = Gate::new(UPLOADS, Limit::new(2));
    let held = gate.try_acquire_many(2).unwrap();

    gate.request().max_wait(Duration::from_millis(5)).acquire().traced().await.unwrap_err();
    {
        let mut cancelled = pin!(gate.acquire().traced());
        assert!(poll(cancelled.as_mut()).is_pending());
    }
    let mut heavy = pin!(gate.acquire_many(2).traced());
    let mut light = pin!(gate.acquire().traced());
    assert!(poll(heavy.as_mut()).is_pending() && poll(light.as_mut()).is_pending());
    gate.resize(Limit::new(1));
    assert!(poll(heavy.as_mut()).is_ready());
    gate.close();
    assert!(poll(light.as_mut()).is_ready());
    drop(held);

    let outcomes: Vec<_> =
        capture.wait_spans().iter().map(|wait| (wait.field("outcome").to_owned(), wait.closed)).collect();
    let expected = ["expired", "cancelled", "too_large", "closed"];
    assert_eq!(outcomes, expected.map(|outcome| (outcome.to_owned(), true)));
}

/// A traced wait works without a subscriber.
#[test]
fn no_subscriber_is_needed() {
    let gate = Gate::new(UPLOADS, Limit::new(1));
    let held = gate.try_acquire().unwrap();
    let mut wait = pin!(gate.acquire().traced());
    assert!(poll(wait.as_mut()).is_pending());
    drop(held);
    assert!(matches!(poll(wait), Poll::Ready(Ok(_))));
    assert_eq!(gate.status().in_use, 0);
}

/// A request that makes room for one of another key ends its span with the outcome of its error.
#[test]
fn a_pushed_out_wait_ends_as_at_a_full_queue() {
    let capture = Capture::default();
    capture.run(|| {
        let gate = Gate::builder(UPLOADS, Limit::new(1)).queue(2).keyed(Keys::up_to(10)).build();
        let _held = gate.try_acquire().unwrap();
        let mut flood = [0; 2].map(|_| Box::pin(gate.key("a").acquire_owned().traced()));
        assert!(flood.iter_mut().all(|wait| poll(wait.as_mut()).is_pending()));
        let mut other = Box::pin(gate.key("b").acquire_owned().traced());
        assert!(poll(other.as_mut()).is_pending() && poll(flood[1].as_mut()).is_ready());
    });
    let spans = capture.wait_spans();
    let ended: Vec<_> = spans.iter().map(|wait| (wait.field("gate"), wait.field("outcome"))).collect();
    assert_eq!(ended, [("uploads", "cancelled"), ("uploads", "queue_full"), ("uploads", "cancelled")]);
}

/// The span of a wait at a key has the field `keyed`, and the text of the key only after `with_key`. A normal priority is no field.
#[test]
fn the_span_of_a_wait_has_the_key_and_the_priority() {
    let capture = Capture::default();
    capture.run(|| {
        let gate = Gate::builder(UPLOADS, Limit::new(1)).keyed(Keys::up_to(10)).build();
        let _held = gate.try_acquire().unwrap();
        let key = gate.key("tenant");
        let urgent = || key.request().priority(Priority::Critical).acquire();
        for mut wait in
            [gate.acquire().traced(), urgent().traced(), urgent().traced().with_key()].map(Box::pin)
        {
            assert!(poll(wait.as_mut()).is_pending());
        }
    });
    let spans = capture.wait_spans();
    let fields: Vec<_> =
        spans.iter().map(|span| ["keyed", "key", "priority"].map(|name| span.field(name))).collect();
    assert_eq!(fields, [["", "", ""], ["true", "", "critical"], ["true", "tenant", "critical"]]);
}
