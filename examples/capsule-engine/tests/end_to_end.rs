//! The engine as a user runs it: the program, its server process, real files and connections.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::env;
use std::fs;
use std::process::{self, Command, Output};

/// With 256 descriptors, 2000 requests at once with four server calls each complete, because the gate `io` admits calls for at
/// most half of the descriptors.
#[test]
fn many_requests_complete_with_few_descriptors() {
    let output = run_engine_with_descriptors(256, &["--instance-pool-size", "64"]);
    let printed = printed_text(&output);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("2000 completed, 0 trapped, 0 failed"), "{printed}");
    let io = gate_row(&printed, "io");
    let (limit, peak): (usize, usize) = (io[1].parse().unwrap(), io[2].parse().unwrap());
    assert!(limit <= 128, "at most half of the descriptors: {printed}");
    assert!(peak <= limit && peak > limit / 2, "the gate must be used and must hold: {printed}");
    let [pool_limit, pool_peak] =
        [1, 2].map(|column| gate_row(&printed, "pool")[column].parse::<usize>().unwrap());
    assert!(pool_limit == 64 && pool_peak <= 64, "{printed}");
}

/// With the gate wide open, the same process runs out of descriptors. This shows that the test above depends on the gate.
#[test]
fn descriptors_run_out_with_the_gate_wide_open() {
    let wide = [
        "--instance-pool-size",
        "64",
        "--host-io-concurrency",
        "4096",
        "--fetches",
        "16",
        "--latency",
        "50ms",
    ];
    let output = run_engine_with_descriptors(256, &wide);
    let printed = printed_text(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("Too many open files"), "{printed}");
}

/// With `--fair`, each of 11 principals has its key in one tree: all requests complete, and together they stay within the limits.
#[test]
fn principals_share_one_tree_of_gates() {
    let flags = ["--principals", "11", "--fair", "--host-io-concurrency", "16", "--instance-pool-size", "64"];
    let output = run_engine(&flags);
    let printed = printed_text(&output);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("1100 completed, 0 trapped, 0 failed"), "{printed}");
    let [limit, peak] = [1, 2].map(|column| gate_row(&printed, "io")[column].parse::<usize>().unwrap());
    assert!(limit == 16 && peak == 16, "the gate must be used and must hold: {printed}");
}

/// A capsule that traps costs only its instance: the pool creates another one, and all other requests complete.
#[test]
fn the_pool_replaces_instances_that_trap() {
    let output = run_engine(&["--poison", "10", "--latency", "0ms"]);
    let printed = printed_text(&output);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("1800 completed, 200 trapped, 0 failed"), "{printed}");
    assert_eq!(pool_value(&printed, "discarded"), 200, "{printed}");
    assert!(pool_value(&printed, "created") > 200, "{printed}");
    assert!(pool_value(&printed, "peak") <= gate_row(&printed, "pool")[1].parse().unwrap(), "{printed}");
}

/// A gate that is lowered under load fails no request, and its new limit applies.
#[test]
fn a_gate_can_be_lowered_under_load() {
    let output = run_engine(&["--principals", "4", "--lower", "io=2@50ms", "--lower", "pool=3@80ms"]);
    let printed = printed_text(&output);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("400 completed, 0 trapped, 0 failed"), "{printed}");
    assert_eq!((gate_row(&printed, "io")[1], gate_row(&printed, "pool")[1]), ("2", "3"), "{printed}");
    assert!(printed.contains("--lower"), "the explanation names the source of the setting: {printed}");
}

/// An invalid value in the file or in the environment is reported, and all other settings apply.
#[test]
fn an_invalid_setting_is_reported_and_affects_no_other() {
    let file = env::temp_dir().join(format!("capsule-engine-test-{}.toml", process::id()));
    fs::write(&file, "[capsule]\nhost_io_concurrency = \"lots\"\ninstance_pool_size = 5\n").unwrap();
    let output = command(&["--principals", "1", "--config", file.to_str().unwrap()])
        .env("ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY", "3.5")
        .env("ASTRID_CAPSULE_HOST_IO_CONCURRENCY", "7")
        .output()
        .unwrap();
    fs::remove_file(&file).unwrap();
    let printed = printed_text(&output);
    assert!(output.status.success(), "{printed}");
    for name in ["capsule.host_io_concurrency = \"lots\"", "ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY=\"3.5\""]
    {
        assert!(printed.contains(name), "{name} in {printed}");
    }
    assert_eq!((gate_row(&printed, "io")[1], gate_row(&printed, "pool")[1]), ("7", "5"), "{printed}");
}

/// A flag takes precedence over the file, and the file over the environment.
#[test]
fn settings_have_an_order_of_precedence() {
    let file = env::temp_dir().join(format!("capsule-engine-order-{}.toml", process::id()));
    fs::write(&file, "[capsule]\nhost_io_concurrency = 20\ninstance_pool_size = 5\n").unwrap();
    let output =
        command(&["--principals", "1", "--host-io-concurrency", "10", "--config", file.to_str().unwrap()])
            .env("ASTRID_CAPSULE_INSTANCE_POOL_SIZE", "30")
            .env("ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY", "31")
            .output()
            .unwrap();
    fs::remove_file(&file).unwrap();
    let printed = printed_text(&output);
    assert!(output.status.success(), "{printed}");
    assert_eq!(
        ["blocking", "io", "pool"].map(|gate| gate_row(&printed, gate)[1]),
        ["31", "10", "5"],
        "{printed}"
    );
}

/// An invalid flag is rejected by name before the engine starts.
#[test]
fn invalid_flags_are_rejected_by_name() {
    for (flags, named) in [
        (&["--host-io-concurrency", "many"][..], "--host-io-concurrency"),
        (&["--lower", "io"][..], "GATE=N@TIME"),
        (&["--lower", "disk=1@1s"][..], "blocking, io, pool"),
        (&["--lower", "io=x@1s"][..], "\"x\""),
        (&["--lower", "io=1@soon"][..], "\"soon\""),
        (&["--poison", "0"][..], "--poison"),
        (&["--principels", "1"][..], "--principals"),
    ] {
        let output = run_engine(flags);
        let printed = printed_text(&output);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {printed}");
        assert!(printed.contains(named), "{flags:?}: {printed}");
    }
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capsule-engine"));
    command.args(flags);
    command
}

fn run_engine(flags: &[&str]) -> Output {
    command(flags).output().unwrap()
}

/// Runs the engine in a process that may open this many files.
fn run_engine_with_descriptors(descriptors: usize, flags: &[&str]) -> Output {
    let run = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    Command::new("sh").args(["-c", &run, env!("CARGO_BIN_EXE_capsule-engine")]).args(flags).output().unwrap()
}

/// Returns everything that the program printed.
fn printed_text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Returns the row of a gate in the table of gates.
fn gate_row<'t>(printed: &'t str, gate: &str) -> Vec<&'t str> {
    let rows = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut rows = rows.filter(|row| row.len() == 7 && row[0] == gate);
    rows.next().unwrap_or_else(|| panic!("no row of {gate}: {printed}"))
}

/// Returns a value from the section of the pool.
fn pool_value(printed: &str, name: &str) -> usize {
    let line = printed.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next()).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no {name}: {printed}"))
}
