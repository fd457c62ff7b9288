//! A configuration value of any format. The rules of plans and settings are applied to it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A configuration value of any format, with its line if that is known.
///
/// serde deserializes it from any self-describing format, without lines. A parser that knows lines creates it by hand; the
/// errors of [`PlanConfig::read`](super::PlanConfig::read) then contain them:
///
/// ```
/// use concurrency_governor::config::{ConfigKey, PlanConfig, Value};
///
/// let gate = Value::table([(ConfigKey::new("formula").at_line(2), Value::whole(8).at_line(2))]);
/// let gates = Value::table([(ConfigKey::new("io").at_line(1), gate.at_line(1))]);
/// let error = PlanConfig::read(&Value::table([(ConfigKey::new("gates"), gates)])).unwrap_err();
/// assert!(error.to_string().starts_with("line 2: gates.io.formula = 8 is not a formula"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Value {
    pub(super) kind: ValueKind,
    pub(super) line: Option<usize>,
}

/// The kinds of values that plans and settings distinguish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// The null of JSON and YAML. It counts as a missing key.
    Null,
    Bool(bool),
    Whole(u64),
    Text(String),
    Table(Vec<(ConfigKey, Value)>),
    /// A value that no key accepts, as text for the error: a fraction, a negative number, a list, a date.
    Other(String),
}

impl Value {
    /// Creates a null, which counts as a missing key.
    pub fn nothing() -> Self {
        Self::of(ValueKind::Null)
    }

    /// Creates a boolean.
    pub fn truth(truth: bool) -> Self {
        Self::of(ValueKind::Bool(truth))
    }

    /// Creates a whole number.
    pub fn whole(number: u64) -> Self {
        Self::of(ValueKind::Whole(number))
    }

    /// Creates a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(ValueKind::Text(text.into()))
    }

    /// Creates a table of keys and values, in this order.
    pub fn table(entries: impl IntoIterator<Item = (ConfigKey, Self)>) -> Self {
        Self::of(ValueKind::Table(entries.into_iter().collect()))
    }

    /// Creates any other value, such as a fraction, a negative number, a list or a date. Errors show the given text.
    pub fn other(written: impl Into<String>) -> Self {
        Self::of(ValueKind::Other(written.into()))
    }

    /// Sets the line where the value starts, counted from 1.
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    fn of(kind: ValueKind) -> Self {
        Self { kind, line: None }
    }

    /// Formats the value as TOML on one line.
    fn to_toml(&self) -> String {
        match &self.kind {
            ValueKind::Null => "null".to_owned(),
            ValueKind::Bool(truth) => truth.to_string(),
            ValueKind::Whole(number) => number.to_string(),
            ValueKind::Text(text) => format!("{text:?}"),
            ValueKind::Other(written) => written.clone(),
            ValueKind::Table(entries) if entries.is_empty() => "{}".to_owned(),
            ValueKind::Table(entries) => {
                let entries = entries.iter().map(|(key, value)| format!("{key} = {}", value.to_toml()));
                format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Formats the value as TOML on one line, truncated to 60 characters.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_toml();
        match text.char_indices().nth(MAX_DISPLAY_CHARS) {
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

/// A key of a table, with its line if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ConfigKey {
    pub(super) text: String,
    pub(super) line: Option<usize>,
}

impl ConfigKey {
    /// Creates a key.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), line: None }
    }

    /// Sets the line of the key, counted from 1.
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }
}

/// Formats the key as in TOML, quoted where TOML needs it.
impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !self.text.is_empty() && self.text.chars().all(is_bare) {
            f.write_str(&self.text)
        } else {
            write!(f, "{:?}", self.text)
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, a text, a whole number or a boolean")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::truth(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(u64::try_from(number).map_or_else(|_| Value::other(number.to_string()), Value::whole))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(u64::try_from(number).map_or_else(|_| Value::other(number.to_string()), Value::whole))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::whole(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(u64::try_from(number).map_or_else(|_| Value::other(number.to_string()), Value::whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::other(format!("{number:?}"))) // 2.0 is shown as a fraction, not as 2
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::other(format!("{} bytes", bytes.len())))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::nothing())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::nothing())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(value) = list.next_element::<Value>()? {
            elements.push(value.to_toml());
        }
        Ok(Value::other(format!("[{}]", elements.join(", "))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Value, Value>()? {
            let text = match key.kind {
                ValueKind::Text(text) => text,
                _ => key.to_toml(), // YAML allows keys that are not text
            };
            entries.push((ConfigKey::new(text), value));
        }
        // The crate `toml` passes a date or a time as a map with this one key.
        if let [(key, Value { kind: ValueKind::Text(date), .. })] = &entries[..] {
            if key.text == "$__toml_private_datetime" {
                return Ok(Value::other(date));
            }
        }
        Ok(Value::table(entries))
    }
}

/// Long enough to identify a wrong value in an error.
const MAX_DISPLAY_CHARS: usize = 60;
