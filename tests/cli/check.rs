//! `check`: requirements and exit codes.

use std::process::Command;

use crate::support::{SMALL_HOST, TestDirectory, fail, program, succeed, text};

fn check(requirements: &[&str]) -> Command {
    let mut command = program();
    command.arg("check").args(SMALL_HOST);
    for requirement in requirements {
        command.args(["--require", requirement]);
    }
    command
}

/// The exit code is 0 if the requirement is met, and 1 if not, for each comparison and for gates and resources.
#[test]
fn exit_code_is_0_only_if_the_requirement_is_met() {
    for (requirement, is_met) in [
        ("io>=50", true),
        ("io>=51", false),
        ("io > 49", true),
        ("io > 50", false),
        ("io<=50", true),
        ("io<=49", false),
        ("io<51", true),
        ("io<50", false),
        ("io=50", true),
        ("io = 50.5", false),
        ("cpu>=1.5", true),
        ("cpu>1500m", false),
        ("memory>=1Gi", true),
        ("memory<1Gi", false),
    ] {
        let output = check(&[requirement]).output().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!is_met)), "{requirement}: {output:?}");
        let start = if is_met { "ok      " } else { "failed  " };
        assert!(text(&output.stdout).starts_with(start), "{requirement}: {output:?}");
        assert_eq!(text(&output.stderr), "");
    }
}

/// One line for each requirement, in the order of the flags, says what the limit is and what decides it. One that is not met
/// makes the exit code 1.
#[test]
fn each_requirement_has_a_line() {
    let output = check(&["pool>=8", "io>=64", "fd>=100"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "\
ok      pool >= 8: pool = 8: derived, `floor 8` decides
failed  io >= 64: io = 50: derived, `at most fd * 1/2` decides (fd = 100: 50)
ok      fd >= 100: fd = 100
"
    );
    assert!(succeed(check(&["io>=64"]).args(["--set", "io=64"])).contains("set to 64 by --set"));
}

/// An unlimited reading is more than every number, and an unknown one meets no requirement.
#[test]
fn unlimited_and_unknown_readings_are_compared() {
    let code = |reading: &str, requirement: &str| {
        let mut command = program();
        command.args(["check", "--reading", reading, "--require", requirement]);
        command.output().unwrap().status.code().unwrap()
    };
    assert_eq!(["fd>=5", "fd<5", "fd=5"].map(|requirement| code("fd=unlimited", requirement)), [0, 1, 1]);
    assert_eq!(["fd>=0", "fd<5", "fd=0"].map(|requirement| code("fd=unknown", requirement)), [1, 1, 1]);
}

/// Wrong requirements are wrong input. A gate hides a resource of the same name.
#[test]
fn wrong_requirements_are_reported() {
    for (requirement, part) in [
        ("io", "has no comparison (allowed: NAME>=NUMBER"),
        ("io==64", "`==` is not a comparison (allowed: NAME>=NUMBER"),
        ("io =>64", "`=>` is not a comparison (allowed: NAME>=NUMBER"),
        ("io>=many", "\"many\" is not a quantity"),
        (
            "oi>=1",
            "`oi` is neither a gate of the plan nor a resource that was measured (allowed: blocking, io, pool, cpu, fd",
        ),
        (">=1", "`` is neither"),
    ] {
        let line = fail(&mut check(&[requirement]));
        assert!(line.contains(part), "{line}");
    }
    assert!(fail(program().arg("check")).contains("--require"), "at least one requirement");
    let directory = TestDirectory::new();
    let plan = directory.write("cpu.toml", "[gates.cpu]\nformula = \"7\"\n");
    assert!(succeed(check(&["cpu=7"]).arg("--plan").arg(plan)).contains("cpu = 7: derived"));
}
