//! The engine as a user runs it: the program, a server in a process of its own, real files and connections.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::env;
use std::fs;
use std::process::{self, Command, Output};

/// 2000 requests at once, each asking the server four times, with 256 descriptors: none fails, since the gate `io` lets
/// at most half of the descriptors be used.
#[test]
fn few_descriptors_are_enough_for_many_requests() {
    let output = engine_with_descriptors(256, &["--instance-pool-size", "64"]);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("2000 completed, 0 trapped, 0 failed"), "{said}");
    let io = row(&said, "io");
    let (limit, peak): (usize, usize) = (io[1].parse().unwrap(), io[2].parse().unwrap());
    assert!(limit <= 128, "half of the descriptors: {said}");
    assert!(peak <= limit && peak > limit / 2, "the gate was put to use, and held: {said}");
    let [pool_limit, pool_peak] = [1, 2].map(|column| row(&said, "pool")[column].parse::<usize>().unwrap());
    assert!(pool_limit == 64 && pool_peak <= 64, "{said}");
}

/// The counterpart, without which the test above would show nothing: with the gate opened wide they run out.
#[test]
fn without_the_gate_descriptors_run_out() {
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
    let output = engine_with_descriptors(256, &wide);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Too many open files"), "{said}");
}

/// A capsule that traps takes its instance along and nothing else: the pool makes another, and all others complete.
#[test]
fn the_pool_recovers_from_capsules_that_trap() {
    let output = engine(&["--poison", "10", "--latency", "0ms"]);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1800 completed, 200 trapped, 0 failed"), "{said}");
    assert_eq!(pool_figure(&said, "discarded"), 200, "{said}");
    assert!(pool_figure(&said, "created") > 200, "{said}");
    assert!(pool_figure(&said, "most alive") <= row(&said, "pool")[1].parse().unwrap(), "{said}");
}

/// A gate lowered under load: nothing fails, and the new limit is what decided in the end.
#[test]
fn a_gate_can_be_lowered_while_it_runs() {
    let output = engine(&["--principals", "4", "--lower", "io=2@50ms", "--lower", "pool=3@80ms"]);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("400 completed, 0 trapped, 0 failed"), "{said}");
    assert_eq!((row(&said, "io")[1], row(&said, "pool")[1]), ("2", "3"), "{said}");
    assert!(said.contains("--lower"), "the explanation names what set it: {said}");
}

/// A bad value in the file or in the environment is named, and everything else that was set holds.
#[test]
fn a_bad_setting_is_named_and_drops_nothing_else() {
    let file = env::temp_dir().join(format!("capsule-engine-test-{}.toml", process::id()));
    fs::write(&file, "[capsule]\nhost_io_concurrency = \"lots\"\ninstance_pool_size = 5\n").unwrap();
    let output = command(&["--principals", "1", "--config", file.to_str().unwrap()])
        .env("ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY", "3.5")
        .env("ASTRID_CAPSULE_HOST_IO_CONCURRENCY", "7")
        .output()
        .unwrap();
    fs::remove_file(&file).unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for named in
        ["capsule.host_io_concurrency = \"lots\"", "ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY=\"3.5\""]
    {
        assert!(said.contains(named), "{named} in {said}");
    }
    assert_eq!((row(&said, "io")[1], row(&said, "pool")[1]), ("7", "5"), "{said}");
}

/// A flag outranks the file, and the file the environment.
#[test]
fn settings_have_their_order() {
    let file = env::temp_dir().join(format!("capsule-engine-order-{}.toml", process::id()));
    fs::write(&file, "[capsule]\nhost_io_concurrency = 20\ninstance_pool_size = 5\n").unwrap();
    let output =
        command(&["--principals", "1", "--host-io-concurrency", "10", "--config", file.to_str().unwrap()])
            .env("ASTRID_CAPSULE_INSTANCE_POOL_SIZE", "30")
            .env("ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY", "31")
            .output()
            .unwrap();
    fs::remove_file(&file).unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(["blocking", "io", "pool"].map(|gate| row(&said, gate)[1]), ["31", "10", "5"], "{said}");
}

/// What cannot be understood is refused by name, before anything runs.
#[test]
fn bad_flags_are_refused_by_name() {
    for (flags, named) in [
        (&["--host-io-concurrency", "many"][..], "--host-io-concurrency"),
        (&["--lower", "io"][..], "GATE=N@TIME"),
        (&["--lower", "disk=1@1s"][..], "blocking, io, pool"),
        (&["--lower", "io=x@1s"][..], "\"x\""),
        (&["--lower", "io=1@soon"][..], "\"soon\""),
        (&["--poison", "0"][..], "--poison"),
        (&["--principels", "1"][..], "--principals"),
    ] {
        let output = engine(flags);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(named), "{flags:?}: {said}");
    }
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capsule-engine"));
    command.args(flags);
    command
}

fn engine(flags: &[&str]) -> Output {
    command(flags).output().unwrap()
}

/// The engine in a process that may have so many descriptors.
fn engine_with_descriptors(descriptors: usize, flags: &[&str]) -> Output {
    let run = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    Command::new("sh").args(["-c", &run, env!("CARGO_BIN_EXE_capsule-engine")]).args(flags).output().unwrap()
}

/// All that the program said.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A row of the table of gates.
fn row<'s>(said: &'s str, gate: &str) -> Vec<&'s str> {
    let rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut rows = rows.filter(|row| row.len() == 7 && row[0] == gate);
    rows.next().unwrap_or_else(|| panic!("no row of {gate}: {said}"))
}

/// A figure of the pool's.
fn pool_figure(said: &str, name: &str) -> usize {
    let line = said.lines().find_map(|line| line.strip_prefix(name));
    let figure = line.and_then(|rest| rest.split_whitespace().next()).and_then(|figure| figure.parse().ok());
    figure.unwrap_or_else(|| panic!("no {name}: {said}"))
}
