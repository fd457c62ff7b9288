//! `simulate --hosts`: a fleet in simulated time, with faults.

use std::process::Command;

use serde_json::Value;

use crate::support::{fail, program, succeed};

fn simulate(flags: &[&str]) -> Command {
    let mut command = program();
    command.arg("simulate").args(flags);
    command
}

fn simulate_json(flags: &[&str]) -> Value {
    serde_json::from_str(&succeed(simulate(flags).arg("--json"))).unwrap()
}

/// A lease and a hold that are short, so that a span is 4.55 s.
const SHORT: [&str; 8] =
    ["--ttl", "2s", "--max-hold", "500ms", "--hold", "uniform(10ms, 500ms)", "--for", "40s"];

/// P70, P72: a restart without the state admits nothing above the limit. The same seed gives the same report.
#[test]
fn a_restart_of_the_ledger_keeps_the_limit() {
    let flags = ["--hosts", "40", "--for", "2m", "--fault", "redis-restart@20s"];
    let report = simulate_json(&flags);
    assert_eq!((&report["limit"], &report["most_in_flight"]), (&80.into(), &80.into()));
    assert!(report["utilisation"].as_f64().unwrap() > 0.95, "{report}");
    assert_eq!(report["faults"][0]["fault"], "redis-restart@20s");
    assert!(report["faults"][0]["recovery_ms"].is_u64(), "{report}");
    let [lowest, highest] =
        ["lowest", "highest"].map(|key| report["permits_of_a_host"][key].as_f64().unwrap());
    assert!(lowest > 1.8 && highest < 2.2, "hosts with equal wants have equal shares: {report}");
    assert_eq!(report["seconds"].as_array().unwrap().len(), 120);

    let printed = succeed(&mut simulate(&flags));
    assert!(printed.starts_with("Simulation of a fleet of 40 hosts\nlimit       80\n"), "{printed}");
    assert!(printed.contains("in flight   at most 80 of 80\n"), "{printed}");
    assert_eq!(succeed(&mut simulate(&flags)), printed);
    assert_ne!(succeed(simulate(&flags).args(["--seed", "2"])), printed);
}

/// The report for programs is the one that docs/simulate-hosts.schema.json describes.
#[test]
fn json_has_the_documented_shape() {
    let flags = ["--hosts", "3", "--limit", "12", "--demand", "6", "--ttl", "2s", "--max-hold", "500ms"];
    let run = ["--hold", "200ms", "--for", "3s", "--fault", "crash=50%@1s", "--json"];
    let printed = succeed(simulate(&flags).args(run));
    assert_eq!(printed, include_str!("fleet_simulation.json"));
}

/// P74: each fault keeps the limit, takes permits out of use, and is over within a span and some exchanges.
#[test]
fn faults_recover_within_a_span() {
    for (fault, shows) in [
        ("crash=25%@10s", true),
        ("crash@10s..12s", true),
        ("partition@10s..16s", true),
        ("pause=10%@10s..11s", false), // they continue before their leases expire
        ("redis-restart@10s..16s", true),
        ("postgres-restart@10s", false),
        ("flush@10s", false),
    ] {
        let mut flags = vec!["--hosts", "40", "--limit", "100", "--fault", fault];
        flags.extend(SHORT);
        let report = simulate_json(&flags);
        assert_eq!(report["most_in_flight"], 100, "{fault}: {report}");
        let recovery = report["faults"][0]["recovery_ms"].as_u64();
        // The longest fault lasts for 6 s, and a span is 4.55 s.
        assert!(recovery.is_some_and(|recovery| recovery <= 12_000), "{fault}: {recovery:?}");
        assert!(!shows || recovery > Some(0), "{fault} has an effect");
    }
}

/// A fault that begins within a longer one of its kind does not end the longer one.
#[test]
fn overlapping_faults_last_until_the_later_end() {
    for fault in ["redis-restart", "partition=100%", "pause=100%", "crash=100%"] {
        let (long, short) = (format!("{fault}@10s..20s"), format!("{fault}@12s..13s"));
        let mut flags = vec!["--hosts", "4", "--limit", "8", "--fault", &long, "--fault", &short];
        flags.extend(SHORT);
        let report = simulate_json(&flags);
        let exchanges: Vec<u64> = report["seconds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|second| second["exchanges"].as_u64().unwrap())
            .collect();
        assert!(exchanges[9] > 0 && exchanges[22] > 0, "{fault}: {exchanges:?}");
        assert_eq!(exchanges[13..20], [0; 7], "{fault}: {exchanges:?}");
    }
}

/// P75: a host whose lease suffices calls the ledger three times in a ttl.
#[test]
fn exchanges_follow_from_the_hosts() {
    let flags = ["--hosts", "100", "--limit", "1000", "--demand", "2", "--for", "1m"];
    let report = simulate_json(&flags);
    let exchanges = report["exchanges_per_second"]["mean"].as_f64().unwrap();
    assert!((28.0..32.0).contains(&exchanges), "{report}");
}

/// The simulation shows what a broken condition does: work that is held for longer than the grace, while its host is cut off.
#[test]
fn a_broken_condition_shows() {
    let flags = ["--hosts", "10", "--ttl", "1s", "--max-hold", "1s", "--hold", "20s", "--for", "1m"];
    let printed = succeed(simulate(&flags).args(["--fault", "partition@10s..40s"]));
    assert!(printed.contains(" of 20: above it, because a permit was held for longer than"), "{printed}");
}

/// Flags that do not fit are reported.
#[test]
fn wrong_flags_are_reported() {
    for (flags, expected) in [
        (&["--hosts", "0"][..], "not a number of hosts (allowed: 1 to 1000000)"),
        (&["--hosts", "9", "--limit", "0"], "not a limit (allowed: 1 to "),
        (&["--hosts", "9", "--demand", "0"], "not a number of requests (allowed: 1 to 1000000)"),
        (&["--hosts", "9", "--ttl", "soon"], "not a duration (allowed: such as 500ms or 10s)"),
        (&["--hosts", "9", "--ttl", "1ms"], "the ttl of a lease is 1ms, and must be in 100ms to 86400s"),
        (&["--hosts", "9", "--fault", "flood@1s"], "`flood` is not a fault (allowed: redis-restart, "),
        (&["--hosts", "9", "--fault", "flush@1m"], "`--fault flush@1m`: the run ends before the fault does"),
        (&["--hosts", "9", "--limit", "1000000", "--hold", "1ms"], "give too many requests and exchanges"),
        (&["--hosts", "9", "--plan", "x"], "cannot be used together with"),
        (&["--hosts", "9", "--rate", "9/s"], "cannot be used together with"),
        (&["--fault", "flush@1s"], "`--fault` has no effect without `--hosts N`"),
        (&["--json"], "`--json` has no effect without `--hosts N`"),
    ] {
        let error = fail(&mut simulate(flags));
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
}
