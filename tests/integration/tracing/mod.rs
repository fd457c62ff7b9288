//! The spans and events, as a subscriber receives them.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod events;
mod spans;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use concurrency_governor::integration::tracing::TARGET;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::support::poll;

/// A span or an event, with its fields as text. The message is the field `message`.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    name: &'static str,
    level: Level,
    fields: BTreeMap<&'static str, String>,
    parent: Option<&'static str>,
    closed: bool,
}

impl Captured {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for Captured {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

/// A subscriber layer that stores spans by their id, and events in order.
#[derive(Clone, Default)]
pub(crate) struct Capture {
    spans: Arc<Mutex<Vec<(u64, Captured)>>>,
    events: Arc<Mutex<Vec<Captured>>>,
}

impl Capture {
    /// Runs `work` on this thread with this capture as the only subscriber.
    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(self.subscriber(), work)
    }

    /// Returns a subscriber that stores into this capture.
    pub(crate) fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::registry().with(self.clone())
    }

    /// Returns the `gate.wait` spans so far.
    pub(crate) fn wait_spans(&self) -> Vec<Captured> {
        let spans = self.spans.lock().unwrap();
        spans.iter().map(|(_, span)| span.clone()).filter(|span| span.name == "gate.wait").collect()
    }

    /// Removes and returns the events so far.
    fn take_events(&self) -> Vec<Captured> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    fn update_span(&self, id: &Id, update: impl FnOnce(&mut Captured)) {
        // The newest span of this id, because the registry reuses the ids of closed spans.
        let mut spans = self.spans.lock().unwrap();
        if let Some((_, span)) = spans.iter_mut().rev().find(|(known, _)| *known == id.into_u64()) {
            update(span);
        }
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> tracing_subscriber::Layer<S> for Capture {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        let metadata = attributes.metadata();
        let parent = context.span(id).and_then(|span| span.parent()).map(|parent| parent.name());
        let mut span = Captured {
            name: metadata.name(),
            level: *metadata.level(),
            fields: BTreeMap::new(),
            parent,
            closed: false,
        };
        attributes.record(&mut span);
        if metadata.name() == "gate.wait" {
            assert_eq!(metadata.target(), TARGET);
        }
        self.spans.lock().unwrap().push((id.into_u64(), span));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: LayerContext<'_, S>) {
        self.update_span(id, |span| values.record(span));
    }

    fn on_close(&self, id: Id, _: LayerContext<'_, S>) {
        self.update_span(&id, |span| span.closed = true);
    }

    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let metadata = event.metadata();
        if metadata.target() != TARGET {
            return;
        }
        let mut captured = Captured {
            name: "event",
            level: *metadata.level(),
            fields: BTreeMap::new(),
            parent: None,
            closed: true,
        };
        event.record(&mut captured);
        self.events.lock().unwrap().push(captured);
    }
}
