//! The keys of a gate.

use std::fmt;
use std::hash::{Hash, Hasher};
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
#[derive(Clone)]
pub struct Key(KeyValue);

#[derive(Clone)]
enum KeyValue {
    Number(u64),
    /// A short text, which is copied without an allocation.
    Short {
        length: u8,
        bytes: [u8; SHORT],
    },
    Long(Arc<str>),
}

/// The value of a key, however it is stored.
#[derive(PartialEq, Eq)]
enum KeyRef<'k> {
    Number(u64),
    Text(&'k [u8]),
}

/// The longest text that fits into the space of the other variants.
const SHORT: usize = 22;

impl Key {
    fn value(&self) -> KeyRef<'_> {
        match &self.0 {
            KeyValue::Number(number) => KeyRef::Number(*number),
            KeyValue::Short { length, bytes } => {
                KeyRef::Text(bytes.get(..usize::from(*length)).unwrap_or(bytes))
            }
            KeyValue::Long(text) => KeyRef::Text(text.as_bytes()),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.value() {
            KeyRef::Text(text) => state.write(text),
            KeyRef::Number(number) => state.write_u64(number),
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(text.as_bytes());
                Self(KeyValue::Short { length, bytes })
            }
            _ => Self(KeyValue::Long(Arc::from(text))),
        }
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self(KeyValue::Number(number))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            KeyRef::Text(text) => String::from_utf8_lossy(text).fmt(f),
            KeyRef::Number(number) => number.fmt(f),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            KeyRef::Text(text) => write!(f, "Key({:?})", String::from_utf8_lossy(text)),
            KeyRef::Number(number) => write!(f, "Key({number})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of every length compare and print as they are, and a number is not its text.
    #[test]
    fn keys_keep_their_text() {
        assert_eq!(size_of::<Key>(), 24);
        let texts: Vec<String> =
            (0..60).map(|length| "äbcdefghij".chars().cycle().take(length).collect()).collect();
        for text in &texts {
            let key = Key::from(text.as_str());
            assert_eq!((key.to_string(), format!("{key:?}")), (text.clone(), format!("Key({text:?})")));
            assert_eq!(texts.iter().filter(|other| Key::from(other.as_str()) == key).count(), 1);
            assert_eq!(key, Key::from(text.clone()));
        }
        assert_ne!(Key::from("7"), Key::from(7));
        assert_eq!(Key::from(7), Key::from(7));
    }
}
