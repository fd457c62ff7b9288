//! The metrics of gates that have children or keys.

use std::collections::BTreeSet;

use concurrency_governor::gate::{Gate, Key};
use concurrency_governor::integration::metrics::{ADMITTED, BUSY_KEYS, IN_USE, Metrics, REJECTED, WAITING};
use concurrency_governor::{Keys, Limit};

use super::*;

const IO: GateName = GateName::new("io");

/// Records the metrics once, and returns the scrape.
fn scrape_of(metrics: &Metrics) -> String {
    let (recorder, handle) = recorder();
    metrics::with_local_recorder(&recorder, || metrics.record());
    handle.render()
}

/// The series of a gate with keys are those of any gate, with one more: the number of busy keys. What happens to the requests of its
/// keys is in its totals. However many keys there are, no key becomes a label.
#[test]
fn a_gate_with_keys_has_totals_and_no_series_per_key() {
    let gate = Gate::builder(IO, Limit::new(40)).queue(60).keyed(Keys::up_to(100)).build();
    let metrics = Metrics::builder().gate(&gate).build().unwrap();
    let labels_of =
        |scrape: &str| -> BTreeSet<String> { series(scrape).into_keys().map(str::to_owned).collect() };
    let idle = labels_of(&scrape_of(&metrics));
    let without_keys = Gate::builder(IO, Limit::new(40)).queue(60).build();
    let of_gate_without_keys =
        labels_of(&scrape_of(&Metrics::builder().gate(&without_keys).build().unwrap()));
    let difference: Vec<_> = idle.symmetric_difference(&of_gate_without_keys).collect();
    assert_eq!(difference, [&format!("{BUSY_KEYS}{{gate=\"io\"}}")]);

    let mut requests: Vec<_> =
        (0..100_u64).map(|tenant| Box::pin(gate.key(format!("tenant-{tenant}")).acquire_owned())).collect();
    let polled: Vec<_> = requests.iter_mut().map(|request| poll(request.as_mut())).collect();
    assert_eq!(polled.iter().filter(|polled| polled.is_ready()).count(), 40);
    gate.key("one-too-many").try_acquire().unwrap_err();

    let scrape = scrape_of(&metrics);
    let value = |name: &str| series(&scrape)[&*format!("{name}{{gate=\"io\"}}")];
    assert_eq!([value(BUSY_KEYS), value(IN_USE), value(WAITING), value(ADMITTED)], [100.0, 40.0, 60.0, 40.0]);
    let rejected = |scrape: &str, reason: &str| {
        series(scrape)[&*format!("{REJECTED}{{gate=\"io\",reason=\"{reason}\"}}")]
    };
    assert_eq!([rejected(&scrape, "too_many_keys"), rejected(&scrape, "pushed_out")], [1.0, 0.0]);
    assert_eq!(labels_of(&scrape), idle);
    assert!(!scrape.contains("tenant"), "{scrape}");

    // The queue is full. One key that floods it loses a request when a key arrives that has none.
    drop((polled, requests));
    let _held = gate.try_acquire_many(40).unwrap();
    let flood = gate.key("flood");
    let mut flooding: Vec<_> = (0..60).map(|_| Box::pin(flood.acquire())).collect();
    assert!(flooding.iter_mut().all(|request| poll(request.as_mut()).is_pending()));
    let mut other = Box::pin(gate.key("other").acquire_owned());
    assert!(poll(other.as_mut()).is_pending());
    let scrape = scrape_of(&metrics);
    assert_eq!([rejected(&scrape, "pushed_out"), rejected(&scrape, "queue_full")], [1.0, 0.0]);
    assert_eq!(gate.busiest_keys(1)[0].key, Key::from("flood"), "the key with the most requests");
}

/// A child has the label of its own name. Its permits and its waiting requests are also counted at its parent. A gate without keys
/// has no number of busy keys.
#[test]
fn a_child_has_its_own_label() {
    let parent = Gate::builder(IO, Limit::new(2)).with_children().build();
    let child = Gate::builder(UPLOADS, Limit::new(1)).within(&parent).unwrap().build();
    let metrics = Metrics::builder().gate(&parent).gate(&child).build().unwrap();
    let _held = child.try_acquire().unwrap();
    let mut waiting = Box::pin(child.acquire());
    assert!(poll(waiting.as_mut()).is_pending());
    let _direct = parent.try_acquire().unwrap();

    let scrape = scrape_of(&metrics);
    let values =
        |name: &str| ["io", "uploads"].map(|gate| series(&scrape)[&*format!("{name}{{gate=\"{gate}\"}}")]);
    assert_eq!([values(IN_USE), values(WAITING), values(ADMITTED)], [[2.0, 1.0], [1.0, 1.0], [1.0, 1.0]]);
    assert!(!series(&scrape).keys().any(|name| name.starts_with(BUSY_KEYS)), "{scrape}");
}

/// A key has the name of its gate, and no totals of its own that last. Adding one is an error, once for each gate.
#[test]
fn keys_cannot_be_added() {
    let gate = Gate::builder(IO, Limit::new(2)).keyed(Keys::up_to(10)).build();
    let error = Metrics::builder().gate(&gate).gate(&gate.key("a")).gate(&gate.key("b")).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "a key of gate `io` is added (allowed: gates): add the gate, whose totals include those of its keys"
    );
    assert!(Metrics::builder().gate(&gate).build().is_ok());
}
