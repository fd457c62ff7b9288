//! A value of a configuration, whatever its format: what the rules of plans and settings are applied to.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value of a configuration, whatever its format, with the line where it stands if that is known.
///
/// Serde makes it of any format that describes itself, without lines. A reader that knows them makes it by hand, and has
/// them in the errors of [`PlanConfig::read`](super::PlanConfig::read):
///
/// ```
/// use concurrency_governor::config::{Key, PlanConfig, Value};
///
/// let gate = Value::table([(Key::new("formula").at_line(2), Value::whole(8).at_line(2))]);
/// let gates = Value::table([(Key::new("io").at_line(1), gate.at_line(1))]);
/// let error = PlanConfig::read(&Value::table([(Key::new("gates"), gates)])).unwrap_err();
/// assert!(error.to_string().starts_with("line 2: gates.io.formula = 8 is no formula"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Value {
    pub(super) kind: Kind,
    pub(super) line: Option<usize>,
}

/// What a value is, as far as plans and settings tell values apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What JSON and YAML call null: as if it was not there.
    Nothing,
    Truth(bool),
    Whole(u64),
    Text(String),
    Table(Vec<(Key, Value)>),
    /// Whatever nothing here takes, as it is written: a fraction, a negative number, a list, a date.
    Other(String),
}

impl Value {
    /// No value, as if its key was not there.
    pub fn nothing() -> Self {
        Self::of(Kind::Nothing)
    }

    /// A truth value.
    pub fn truth(truth: bool) -> Self {
        Self::of(Kind::Truth(truth))
    }

    /// A whole number.
    pub fn whole(number: u64) -> Self {
        Self::of(Kind::Whole(number))
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Kind::Text(text.into()))
    }

    /// A table of keys and values, in their order.
    pub fn table(entries: impl IntoIterator<Item = (Key, Self)>) -> Self {
        Self::of(Kind::Table(entries.into_iter().collect()))
    }

    /// Anything else, as it is written: a fraction, a negative number, a list, a date. Errors show it.
    pub fn other(written: impl Into<String>) -> Self {
        Self::of(Kind::Other(written.into()))
    }

    /// The same with the line where it starts, counted from 1.
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    fn of(kind: Kind) -> Self {
        Self { kind, line: None }
    }
}

/// As TOML would have it on one line; long ones are cut.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = self.written();
        match written.char_indices().nth(MAX_WRITTEN) {
            Some((end, _)) => write!(f, "{}…", &written[..end]),
            None => f.write_str(&written),
        }
    }
}

impl Value {
    fn written(&self) -> String {
        match &self.kind {
            Kind::Nothing => "null".to_owned(),
            Kind::Truth(truth) => truth.to_string(),
            Kind::Whole(number) => number.to_string(),
            Kind::Text(text) => format!("{text:?}"),
            Kind::Other(written) => written.clone(),
            Kind::Table(entries) if entries.is_empty() => "{}".to_owned(),
            Kind::Table(entries) => {
                let entries = entries.iter().map(|(key, value)| format!("{key} = {}", value.written()));
                format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A key of a table, with the line where it stands if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Key {
    pub(super) text: String,
    pub(super) line: Option<usize>,
}

impl Key {
    /// A key.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), line: None }
    }

    /// The same with the line where it stands, counted from 1.
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }
}

/// As it stands in TOML: quoted where it must be.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !self.text.is_empty() && self.text.chars().all(plain) {
            f.write_str(&self.text)
        } else {
            write!(f, "{:?}", self.text)
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, a text, a whole number or a truth value")
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
        Ok(Value::other(format!("{number:?}"))) // 2.0 stays what it is: no whole number
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
        let mut written = Vec::new();
        while let Some(value) = list.next_element::<Value>()? {
            written.push(value.written());
        }
        Ok(Value::other(format!("[{}]", written.join(", "))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Value, Value>()? {
            let text = match key.kind {
                Kind::Text(text) => text,
                _ => key.written(), // YAML has keys that are no texts
            };
            entries.push((Key::new(text), value));
        }
        Ok(Value::table(entries))
    }
}

/// So many characters of a wrong value tell which one it is.
const MAX_WRITTEN: usize = 60;
