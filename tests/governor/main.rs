//! The governor: building, refreshing, overrides, gates within gates, and probes that misbehave.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod add;
mod background;
mod build;
mod close;
mod concurrency;
mod ends;
mod events;
mod feedback;
mod nested;
mod overrides;
mod probes;
mod refresh;
mod stalls;

use std::sync::{Arc, Mutex};

use concurrency_governor::testing::MockProbe;
use concurrency_governor::{Event, Formula, GateName, GateSpec, Governor, Reading, Resource};

const IO: GateSpec = GateSpec::new("io", Formula::of(Resource::CPU.times(64).assume(2)));
const CACHE: GateSpec = GateSpec::new("cache", Formula::of(IO.fraction(1, 2)));

fn cpu(cores: u64) -> MockProbe {
    MockProbe::new(Resource::CPU, Reading::whole(cores))
}

/// The events so far, each as its line of text.
#[derive(Clone, Default)]
struct EventLog(Arc<Mutex<Vec<String>>>);

impl EventLog {
    fn observer(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let lines = Arc::clone(&self.0);
        move |event: &Event| lines.lock().unwrap().push(event.to_string())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Builds a governor with the gates `io` and `cache`.
async fn build_governor(probe: &MockProbe, log: &EventLog) -> Governor {
    let builder = Governor::builder().gate(IO).gate(CACHE).probe(probe.clone()).observer(log.observer());
    builder.build().await.unwrap()
}

/// Returns the limit of a gate, after a check that gate and resolution agree.
fn limit_of(governor: &Governor, gate: impl Into<GateName>) -> u32 {
    let gate = gate.into();
    let limit = governor.gate(gate).unwrap().limit();
    assert_eq!(governor.resolution().limit(gate).unwrap(), limit, "gate and resolution agree");
    limit.get()
}
