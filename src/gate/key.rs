//! The keys of a gate.

use std::fmt;
use std::sync::Arc;

/// Names one of the keys of a gate: a tenant, a user, an address; for [`Gate::key`](super::Gate::key).
///
/// Any text and any number is a key. The text `"7"` and the number 7 are different keys.
///
/// ```
/// use concurrency_governor::gate::Key;
///
/// let tenant = Key::from("tenant-42");
/// assert_eq!(tenant, Key::from(String::from("tenant-42")));
/// assert_eq!(Key::from(7).to_string(), "7");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(KeyValue);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum KeyValue {
    Number(u64),
    Text(Arc<str>),
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(KeyValue::Text(Arc::from(text)))
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(KeyValue::Text(Arc::from(text)))
    }
}

impl From<Arc<str>> for Key {
    fn from(text: Arc<str>) -> Self {
        Self(KeyValue::Text(text))
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self(KeyValue::Number(number))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            KeyValue::Number(number) => number.fmt(f),
            KeyValue::Text(text) => text.fmt(f),
        }
    }
}
