//! Sets the flag that the sources test for the checker of this build. A flag in RUSTFLAGS would apply to every dependency, so each
//! checker would build tokio again.

use std::env;

/// Each feature of this package with the flag that it sets.
const FLAGS: [(&str, &str); 3] =
    [("LOOM", "gate_loom"), ("SHUTTLE", "gate_shuttle"), ("TURMOIL", "fleet_turmoil")];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (feature, flag) in FLAGS {
        println!("cargo::rustc-check-cfg=cfg({flag})");
        if env::var_os(format!("CARGO_FEATURE_{feature}")).is_some() {
            println!("cargo::rustc-cfg={flag}");
        }
    }
}
