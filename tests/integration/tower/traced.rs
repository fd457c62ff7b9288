//! The spans of requests that wait behind a layer.

use concurrency_governor::Keys;
use concurrency_governor::gate::Priority;
use concurrency_governor::integration::tower::GateLayer;
use tower::Layer;

use super::*;
use crate::tracing::Capture;

/// The span of a wait at a key has the name of the gate, and says that it is one of a key. Only with `traced_with_keys`, the span has the
/// text of the key. A normal priority is no field.
#[test]
fn the_span_of_a_wait_says_that_it_has_a_key() {
    let gate = Gate::builder(API, Limit::new(1)).keyed(Keys::up_to(10)).build();
    let _held = gate.try_acquire().unwrap();
    let key_of = |number: &u32| (*number > 0).then(|| format!("tenant-{number}"));
    let priority_of =
        |number: &u32| [Priority::Normal, Priority::Batch, Priority::Critical][*number as usize % 3];
    let capture = Capture::default();
    let _subscriber = tracing::subscriber::set_default(capture.subscriber());

    let layer = GateLayer::new(gate.clone()).by_key(key_of).priority(priority_of);
    for layer in [layer.clone().traced(), layer.clone().traced_with_keys(), layer] {
        for number in [0, 1, 5, 3] {
            let mut service = layer.layer(echo());
            let mut response = Box::pin(service.call(number));
            assert!(poll(response.as_mut()).is_pending());
        }
    }
    let spans = capture.wait_spans();
    let fields: Vec<_> =
        spans.iter().map(|span| ["keyed", "key", "priority"].map(|name| span.field(name))).collect();
    assert_eq!(
        fields,
        [
            ["", "", ""],
            ["true", "", "batch"],
            ["true", "", "critical"],
            ["true", "", ""],
            ["", "", ""],
            ["true", "tenant-1", "batch"],
            ["true", "tenant-5", "critical"],
            ["true", "tenant-3", ""],
        ]
    );
    for span in spans {
        assert_eq!(
            [span.field("gate"), span.field("weight"), span.field("outcome")],
            ["api", "1", "cancelled"]
        );
    }
}
