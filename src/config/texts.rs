//! serde for types with a text form: names, paths, parts, policies and formulas. Limits, quantities and finite readings are numbers.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as DeError, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::plan::{Formula, GateName, GatePath, Limit, Part, Policy, Quantity, Reading, Resource};
use crate::preset::Preset;

/// Implements serde by `Display` and `FromStr`. The errors are those of `FromStr`.
macro_rules! impl_serde_as_text {
    ($($type:ty: $expected:literal),* $(,)?) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor::new($expected, str::parse))
            }
        }
    )*};
}

impl_serde_as_text! {
    Resource: "the name of a resource, such as \"cpu\"",
    GateName: "the name of a gate, such as \"uploads\"",
    GatePath: "the path of a gate, such as \"io/messages\"",
    Part: "a part of a limit, such as \"1/4\"",
    Policy: "\"trust\", \"clamp\" or \"reject\"",
    Preset: "the name of a preset, such as \"astrid\"",
    Formula: "a formula, such as \"cpu * 2 | floor 4\"",
}

/// Accepts text such as `"512Mi"` or `"1.5"`, and a number, unless it is not a multiple of 0.001.
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a quantity, such as \"512Mi\" or 1.5";
        deserialize_number_or_text(deserializer, TextVisitor::new(expected, str::parse))
    }
}

/// Serializes as a number in human-readable formats, such as JSON. Other formats get the digits as text, and so does a
/// fraction that a floating-point number would change.
impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let thousandths = self.thousandths();
        if !serializer.is_human_readable() {
            serializer.collect_str(&self.plain())
        } else if thousandths % 1000 == 0 {
            serializer.serialize_u64(self.floor())
        } else if thousandths <= MAX_EXACT_THOUSANDTHS {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            let thousandths = thousandths as f64;
            serializer.serialize_f64(thousandths / 1000.0)
        } else {
            serializer.collect_str(&self.plain())
        }
    }
}

/// The largest number of thousandths that a floating-point number keeps: every decimal number of 15 digits is printed as it
/// was read.
const MAX_EXACT_THOUSANDTHS: u64 = 1_000_000_000_000_000;

/// Accepts a quantity, `"unlimited"` or `"unknown"`.
impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a quantity such as \"512Mi\" or 1.5, \"unlimited\" or \"unknown\"";
        deserialize_number_or_text(deserializer, TextVisitor::new(expected, parse_reading))
    }
}

/// Serializes a finite reading as a [`Quantity`], and the others as `"unlimited"` and `"unknown"`.
impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Finite(quantity) => quantity.serialize(serializer),
            Self::Unlimited | Self::Unknown => serializer.collect_str(&self.plain()),
        }
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

fn parse_reading(text: &str) -> Result<Reading, String> {
    match text {
        "unlimited" => Ok(Reading::Unlimited),
        "unknown" => Ok(Reading::Unknown),
        text => match text.parse() {
            Ok(quantity) => Ok(Reading::Finite(quantity)),
            Err(error) => Err(format!("{error}, or `unlimited`, or `unknown`")),
        },
    }
}

/// Accepts a number, too, in human-readable formats. Other formats contain the text.
fn deserialize_number_or_text<'de, D, T, P, E>(
    deserializer: D,
    visitor: TextVisitor<T, P>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    P: Fn(&str) -> Result<T, E>,
    E: fmt::Display,
{
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(visitor)
    } else {
        deserializer.deserialize_str(visitor)
    }
}

/// Parses a text, or the decimal text of a number.
struct TextVisitor<T, P> {
    expected: &'static str,
    parse: P,
    parsed: PhantomData<fn() -> T>,
}

impl<T, P> TextVisitor<T, P> {
    fn new(expected: &'static str, parse: P) -> Self {
        Self { expected, parse, parsed: PhantomData }
    }
}

impl<T, P, E> Visitor<'_> for TextVisitor<T, P>
where
    P: Fn(&str) -> Result<T, E>,
    E: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
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
