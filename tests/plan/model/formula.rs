//! A model of the text format of formulas: any bytes are parsed as a formula, and the result is checked against the laws of
//! the format.

use concurrency_governor::plan::Operand;
use concurrency_governor::{
    Formula, GateName, GateSpec, Overrides, Plan, Quantity, Reading, Readings, Resource,
};

use super::resolution;

/// Parses `bytes` as a formula. Panics if a law is broken.
///
/// - A formula prints as a text that parses to the same formula, and its resolutions equal those of the oracle.
/// - An error has one line, and a column within the text or just behind it.
pub(crate) fn check_bytes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<Formula>() {
        Ok(formula) => {
            let printed = formula.to_string();
            assert_eq!(printed.parse::<Formula>().as_ref(), Ok(&formula), "{text:?} printed as {printed:?}");
            check_resolutions(&formula);
        }
        Err(error) => {
            let column = error.column().expect("the error of a text has a column");
            assert!((1..=text.chars().count() + 1).contains(&column), "column {column} of {text:?}");
            let message = error.to_string();
            assert!(message.starts_with(&format!("formula {text:?}, column {column}: ")), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}

/// Resolves the formula on hosts whose resources are zero, small, large, greatest, unlimited and unknown.
fn check_resolutions(formula: &Formula) {
    let mut resources = Vec::new();
    let mut gates = Vec::new();
    for operand in formula.operands() {
        match operand {
            Operand::Resource(resource) => resources.push(resource),
            Operand::Gate(gate) => gates.push(gate),
            other => panic!("unexpected operand: {other}"),
        }
    }
    gates.sort_unstable();
    gates.dedup();
    // The formula reads at most nine gates, so one of ten names is free for its own gate.
    let names = ["z", "zz", "zzz", "zzzz", "zzzzz", "zzzzzz", "zzzzzzz", "y", "yy", "yyy"];
    let name = names.map(GateName::new).into_iter().find(|name| !gates.contains(name)).unwrap();
    let read = gates.into_iter().map(|gate| GateSpec::named(gate, Formula::scale(Resource::CPU, 7)));
    let plan = Plan::new(read.chain([GateSpec::named(name, *formula)])).unwrap();
    for reading in [
        Reading::whole(0),
        Quantity::from_thousandths(1500).into(),
        Reading::whole(1 << 20),
        Quantity::MAX.into(),
        Reading::Unlimited,
        Reading::Unknown,
    ] {
        let readings: Readings = resources.iter().map(|resource| (*resource, reading.into())).collect();
        resolution::check(&plan, &readings, &Overrides::new());
    }
}
