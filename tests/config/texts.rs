//! serde for types with a text form.

use concurrency_governor::plan::Policy;
use concurrency_governor::preset::Preset;
use concurrency_governor::preset::astrid::IO;
use concurrency_governor::{Formula, GateName, Limit, Quantity, Reading, Resource};
use serde_json::{from_value, json, to_value};

/// A type with a text form serializes as that text. The errors are those of its parser.
#[test]
fn types_with_a_text_form_serialize_as_text() {
    assert_eq!(to_value(IO.formula()).unwrap(), json!(IO.formula().to_string()));
    assert_eq!(from_value::<Formula>(json!("cpu * 2")).unwrap(), Formula::scale(Resource::CPU, 2));
    assert_eq!(from_value::<Policy>(json!("clamp")).unwrap(), Policy::Clamp);
    assert_eq!(from_value::<Preset>(json!("astrid")).unwrap(), Preset::Astrid);
    assert_eq!(from_value::<Resource>(json!("fd")).unwrap(), Resource::FD);
    assert_eq!(from_value::<GateName>(json!("io")).unwrap(), IO.name());
    assert_eq!(from_value::<Limit>(json!(7)).unwrap(), Limit::new(7));
    assert_eq!(to_value(Limit::MAX).unwrap(), json!(1_073_741_823));
    for (given, read, written) in [
        (json!("512Mi"), Reading::whole(512 << 20), json!(536_870_912)),
        (json!("1500m"), Reading::Finite(Quantity::from_thousandths(1500)), json!(1.5)),
        (json!("0.069"), Reading::Finite(Quantity::from_thousandths(69)), json!(0.069)),
        (json!(3), Reading::whole(3), json!(3)),
        (json!("unlimited"), Reading::Unlimited, json!("unlimited")),
        (json!("unknown"), Reading::Unknown, json!("unknown")),
        // A fraction that a floating-point number would change stays a text.
        (
            json!("9999999999999.999"),
            Reading::Finite(Quantity::from_thousandths(9_999_999_999_999_999)),
            json!("9999999999999.999"),
        ),
    ] {
        assert_eq!(from_value::<Reading>(given).unwrap(), read);
        assert_eq!(to_value(read).unwrap(), written);
        assert_eq!(from_value::<Reading>(json!(written)).unwrap(), read);
        if let Reading::Finite(quantity) = read {
            assert_eq!(from_value::<Quantity>(to_value(quantity).unwrap()).unwrap(), quantity);
        }
    }
    for (error, message) in [
        (
            from_value::<Reading>(json!("many")).unwrap_err(),
            "\"many\" is not a quantity: it does not start with a number (allowed: a number such as `2`, `1.5`, `500m`, `64k` or `512Mi`), or `unlimited`, or `unknown`",
        ),
        (
            from_value::<Quantity>(json!(0.0001)).unwrap_err(),
            "\"0.0001\" is not a quantity: it is not a multiple of 0.001",
        ),
        (from_value::<Quantity>(json!(-1)).unwrap_err(), "\"-1\" is not a quantity: it is negative"),
        (from_value::<Quantity>(json!([])).unwrap_err(), "expected a quantity, such as \"512Mi\" or 1.5"),
        (from_value::<Formula>(json!("cpu |")).unwrap_err(), "formula \"cpu |\", column 6: expected a step"),
        (from_value::<Formula>(json!(3)).unwrap_err(), "expected a formula, such as \"cpu * 2 | floor 4\""),
        (from_value::<Policy>(json!("hope")).unwrap_err(), "(allowed: `trust`, `clamp`, `reject`)"),
        (from_value::<Preset>(json!("mars")).unwrap_err(), "\"mars\" is not a preset (allowed: `astrid`)"),
        (
            from_value::<Limit>(json!(0)).unwrap_err(),
            "0 is not a limit (allowed: a whole number from 1 to 1073741823)",
        ),
        (from_value::<GateName>(json!("Io")).unwrap_err(), "\"Io\" is not a gate name"),
    ] {
        assert!(error.to_string().contains(message), "{error}");
    }
}
