//! One model of a formula's text for fuzzing, its corpus and property tests: any bytes are read as a formula, and what
//! comes of it is held to the laws of the text.

use concurrency_governor::plan::Operand;
use concurrency_governor::{
    Formula, GateName, GateSpec, Overrides, Plan, Quantity, Reading, Readings, Resource,
};

use crate::resolution;

/// Reads `bytes` as a formula; panics where a law does not hold.
pub(crate) fn drive(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<Formula>() {
        Ok(formula) => {
            let written = formula.to_string();
            assert_eq!(written.parse::<Formula>().as_ref(), Ok(&formula), "{text:?} as {written:?}");
            evaluate(&formula);
        }
        Err(error) => {
            let column = error.column().expect("a text has columns");
            assert!((1..=text.chars().count() + 1).contains(&column), "column {column} of {text:?}");
            let message = error.to_string();
            assert!(message.starts_with(&format!("formula {text:?}, column {column}: ")), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}

/// Resolves the formula on hosts that read nothing, little, much, unlimited and unknown.
fn evaluate(formula: &Formula) {
    let mut resources = Vec::new();
    let mut gates = Vec::new();
    for operand in formula.operands() {
        match operand {
            Operand::Resource(resource) => resources.push(resource),
            Operand::Gate(gate) => gates.push(gate),
            other => panic!("no such operand: {other}"),
        }
    }
    gates.sort_unstable();
    gates.dedup();
    let name = ["z", "zz", "zzz", "zzzz", "zzzzz", "zzzzzz", "zzzzzzz", "y", "yy", "yyy"];
    let name = name.map(GateName::new).into_iter().find(|name| !gates.contains(name)).unwrap();
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
        resolution::hold(&plan, &readings, &Overrides::new());
    }
}
