//! What has a text form is that text to serde: names, quantities, readings, policies, formulas. A limit is a number.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as DeError, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::plan::{Formula, GateName, Limit, Policy, Quantity, Reading, Resource};
use crate::preset::Preset;

/// Written by `Display`, read by `FromStr`, whose error says what was given and what is allowed.
macro_rules! as_text {
    ($($type:ty: $wanted:literal),* $(,)?) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text { wanted: $wanted, parse: str::parse, made: PhantomData })
            }
        }
    )*};
}

as_text! {
    Resource: "the name of a resource, such as \"cpu\"",
    GateName: "the name of a gate, such as \"uploads\"",
    Policy: "\"trust\", \"clamp\" or \"reject\"",
    Preset: "the name of a preset, such as \"astrid\"",
    Formula: "a formula, such as \"cpu * 2 | floor 4\"",
}

/// `"512Mi"`, `"1.5"`; a number is understood too, unless it is finer than a thousandth.
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text =
            Text { wanted: "a quantity, such as \"512Mi\" or 1.5", parse: str::parse, made: PhantomData };
        number_or_text(deserializer, text)
    }
}

/// As digits without a suffix, in a text: a number of JSON would lose what a quantity holds.
impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.plain())
    }
}

/// A quantity, `"unlimited"` or `"unknown"`.
impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wanted = "a quantity such as \"512Mi\" or 1.5, \"unlimited\" or \"unknown\"";
        number_or_text(deserializer, Text { wanted, parse: reading, made: PhantomData })
    }
}

impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.plain())
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.get())
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_new(u64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn reading(text: &str) -> Result<Reading, String> {
    match text {
        "unlimited" => Ok(Reading::Unlimited),
        "unknown" => Ok(Reading::Unknown),
        text => match text.parse() {
            Ok(quantity) => Ok(Reading::Finite(quantity)),
            Err(error) => Err(format!("{error}, or `unlimited`, or `unknown`")),
        },
    }
}

/// Formats that do not describe themselves hold the text alone.
fn number_or_text<'de, D, T, P, E>(deserializer: D, text: Text<T, P>) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    P: Fn(&str) -> Result<T, E>,
    E: fmt::Display,
{
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(text)
    } else {
        deserializer.deserialize_str(text)
    }
}

/// Makes a value of its text, or of the text that a number would have.
struct Text<T, P> {
    wanted: &'static str,
    parse: P,
    made: PhantomData<fn() -> T>,
}

impl<T, P, E> Visitor<'_> for Text<T, P>
where
    P: Fn(&str) -> Result<T, E>,
    E: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted)
    }

    fn visit_str<F: DeError>(self, text: &str) -> Result<T, F> {
        (self.parse)(text).map_err(F::custom)
    }

    fn visit_u64<F: DeError>(self, number: u64) -> Result<T, F> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<F: DeError>(self, number: i64) -> Result<T, F> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<F: DeError>(self, number: f64) -> Result<T, F> {
        self.visit_str(&number.to_string())
    }
}
