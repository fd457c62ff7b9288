//! Wrong input: exit code 2, nothing on standard output, and one line that says what was given and what is allowed.

#[cfg(unix)]
use std::ffi::OsStr;

#[cfg(unix)]
use crate::support::succeed;
use crate::support::{TestDirectory, explain, fail, fail_with_lines, program};

/// A wrong argument is reported on one line with what was given and what is allowed.
#[test]
fn wrong_arguments_are_reported_on_one_line() {
    const COMMANDS: &str = if cfg!(any(feature = "redis", feature = "postgres")) {
        "explain, check, capture, diff, watch, simulate, fleet, completions, man, help"
    } else {
        "explain, check, capture, diff, watch, simulate, completions, man, help"
    };
    const FLAGS: &str = "--preset NAME, --plan FILE, --set GATE=N, --adaptive GATE=RULE, --env-prefix PREFIX, --reading RESOURCE=READING, --root DIR, --brief, --json";

    for (arguments, given, allowed) in [
        (&[][..], "no command is given", COMMANDS),
        (&["explian"], "unknown command `explian`", COMMANDS),
        (&["--plan", "x", "explain"], "`--plan`; write it after `explain`", "explain"),
        (&["explain", "--jsno"], "`--jsno`; did you mean `--json`?", "--json"),
        (&["explain", "--gates"], "`--gates`", FLAGS),
        (&["explain", "--gates"], "`--gates`", "see `concurrency-governor explain --help`"),
        (&["watch", "more"], "`more`", "--preset NAME"),
        (&["explain", "oi", "io", "wp"], "the plan declares no gate oi, wp", "(allowed: blocking, io, pool)"),
        (&["explain", "Io"], "\"Io\" is not a gate name", "a letter first"),
        (&["explain", "--json", "--brief"], "`--brief`", "one of them"),
        (&["explain", "-x"], "`-x`", "--preset NAME"),
        (&["explain", "--preset", "mars"], "`--preset mars`", "astrid"),
        (&["explain", "--preset"], "`--preset <NAME>` needs a value", "allowed: astrid"),
        (&["explain", "--preset", "astrid", "--plan", "x"], "`--preset <NAME>`", "one of them"),
        (&["explain", "--json", "--json"], "`--json` is given twice", "once"),
        (&["explain", "--json=yes"], "`yes`", "the flag alone"),
        (&["explain", "--color", "blue"], "`--color blue`", "auto, always, never"),
        (&["explain", "--reading"], "`--reading <RESOURCE=READING>` needs a value", "explain --help"),
        (
            &["explain", "--reading", "cpu"],
            "`--reading cpu`",
            "cpu=2, memory=512Mi, fd=unlimited or cpu=unknown",
        ),
        (
            &["explain", "--reading", "cpu=-1"],
            "`--reading cpu=-1`: \"-1\"",
            "`unlimited` and `unknown` are also allowed",
        ),
        (&["explain", "--reading", "cpu=-1"], "negative", "`512Mi`"),
        (&["explain", "--reading", "cpu=many"], "\"many\"", "`512Mi`"),
        (&["explain", "--reading", "CPU=1"], "\"CPU\"", "a-z"),
        (&["explain", "--reading", "cpu=1", "--reading", "cpu=2"], "`--reading` names `cpu` twice", "once"),
        (
            &["explain", "--reading", "cpus=2", "--reading", "fds=5"],
            "--reading gives cpus, fds, which no gate of the plan reads",
            "(allowed: cpu, fd, memory, tasks, pressure.cpu, pressure.memory, pressure.io, memory.available, memory.high)",
        ),
        (&["watch", "--reading", "cpus=2"], "--reading gives cpus", "allowed: cpu, fd"),
        (&["simulate", "--reading", "cpus=2"], "--reading gives cpus", "allowed: cpu, fd"),
        (&["explain", "--set", "io"], "`--set io`", "GATE=N"),
        (&["explain", "--set", "io=-1"], "\"-1\"", "0 to 18446744073709551615"),
        (&["explain", "--set", "io=1.5"], "\"1.5\"", "0 to 18446744073709551615"),
        (&["explain", "--set", "oi=1"], "`oi`", "blocking, io, pool"),
        (&["explain", "--set", "io=1", "--set", "io=2"], "`--set` names `io` twice", "once"),
        (&["explain", "--set", "i\no=1"], "\"i\\no\"", "a-z"),
        (&["explain", "--\u{1b}[31mred"], "`--\\u{1b}[31mred`", "--preset NAME"),
        (&["explain", "--plan", "/nonexistent"], "/nonexistent", "a TOML file"),
        (&["explain", "--plan", "/"], "plan file /: ", "a TOML file"),
    ] {
        let line = fail(program().args(arguments));
        assert!(line.contains(given), "the error for {arguments:?} should name {given}: {line}");
        assert!(line.contains(allowed), "the error for {arguments:?} should allow {allowed}: {line}");
    }
}

/// A URL in a wrong place is an error that shows neither its user nor its password.
#[test]
fn no_error_contains_the_password_of_a_url() {
    const URL: &str = "redis://operator:p=w,hunter2@h/";
    let directory = TestDirectory::new();
    let set = format!("io={URL}");
    let plan = format!("--plan={URL}");
    let mut cases = vec![
        vec!["explain", URL],
        vec!["explain", "--set", URL],
        vec!["explain", "--set", &set],
        vec!["explain", "--plan", URL],
        vec!["explain", &plan],
        vec!["explain", "--jsno", URL],
        vec!["simulate", "--tenants", URL],
        vec!["man", URL],
        vec![URL],
    ];
    if cfg!(any(feature = "redis", feature = "postgres")) {
        cases.extend([
            vec!["fleet", "status", URL],
            vec!["fleet", URL],
            vec!["fleet", "status", "--ledger", URL, URL],
            vec!["fleet", "status", "--ledger-file", URL],
            vec!["fleet", "set-limit", "--gate", "io", URL],
        ]);
    }
    for arguments in cases {
        let line = fail(program().args(&arguments));
        let shown = ["operator", "p=w", "hunter2"].into_iter().find(|part| line.contains(part));
        assert_eq!(shown, None, "{arguments:?}: {line}");
        let names_url = line.contains("redis://***") || arguments.contains(&"--jsno");
        assert!(names_url, "the error for {arguments:?} should name the URL: {line}");
    }
    let plan = directory.write("plan.toml", format!("[gates.io.share]\nledger_env = {URL}\n"));
    let line = fail(explain(["--plan"]).arg(plan));
    assert!(line.contains("ledger_env = redis://***") && !line.contains("hunter2"), "{line}");
}

/// Each error in a plan file names the line, the key, its value and what is allowed. An error in a formula names the column.
#[test]
fn errors_in_plan_files_name_the_line() {
    let gate = "[gates.io]\nformula = \"cpu\"\n";
    for (text, line, given, allowed) in [
        ("", "", "declares no gate", "one or more"),
        ("gates = 3", "line 1", "gates = 3", "[gates]"),
        ("\n[gates\n", "line 2", "in \"[gates\"", "`]`"),
        (
            "[gates.io]\nformula = \"cpu\"\nformula = \"fd\"",
            "line 3",
            "duplicate key, in \"formula = \\\"fd\\\"\"",
            "",
        ),
        (&format!("{gate}[extra]\n"), "line 3", "extra", "preset, gates, overrides"),
        ("preset = \"mars\"\n", "line 1", "preset = \"mars\"", "`astrid`"),
        (
            "preset = \"astrid\"\n[gates.io]\nformula = \"cpu\"\n",
            "line 2",
            "gates.io: preset `astrid` declares a gate of this name",
            "another name",
        ),
        (
            &format!("{gate}colour = 1\n"),
            "line 3",
            "gates.io.colour",
            "formula, queue, max_wait, shed, policy, measure_waits",
        ),
        ("[gates.Io]\nformula = \"cpu\"\n", "line 1", "\"Io\"", "a-z"),
        ("[gates.io]\n", "line 1", "gates.io has no formula", "formula = \"cpu * 2\""),
        ("[gates.io]\nformula = 3\n", "line 2", "gates.io.formula = 3", "text"),
        ("[gates.io]\nformula = \"cpu | flor 2\"\n", "line 2", "column 7", "`floor N`"),
        ("[gates.io]\nformula = \"gate oi\"\n", "line 1", "`oi`", "io"),
        ("[gates.a]\nformula = \"gate a\"\n", "line 1", "a reads a", ""),
        (&format!("{gate}queue = -1\n"), "line 3", "gates.io.queue = -1", "0 to 18446744073709551615"),
        (
            &format!("{gate}queue = \"many\"\n"),
            "line 3",
            "gates.io.queue = \"many\"",
            "0 to 18446744073709551615",
        ),
        (&format!("{gate}max_wait = \"soon\"\n"), "line 3", "gates.io.max_wait = \"soon\"", "\"250ms\""),
        (&format!("{gate}max_wait = 250\n"), "line 3", "gates.io.max_wait = 250", "\"250ms\""),
        (
            &format!("{gate}policy = \"hope\"\n"),
            "line 3",
            "gates.io.policy = \"hope\"",
            "\"trust\", \"clamp\" or \"reject\"",
        ),
        (&format!("{gate}[overrides]\noi = 3\n"), "line 4", "overrides.oi", "it declares io"),
        (
            &format!("{gate}[overrides]\nio = 1.5\n"),
            "line 4",
            "overrides.io = 1.5",
            "0 to 18446744073709551615",
        ),
    ] {
        let directory = TestDirectory::new();
        let plan = directory.write("wrong.toml", text);
        let printed = fail(explain(["--plan"]).arg(plan));
        for part in ["wrong.toml", line, given, allowed] {
            assert!(printed.contains(part), "the error for {text:?} should contain {part:?}: {printed}");
        }
    }
}

/// All errors in a plan file are reported together, in the order of the lines.
#[test]
fn all_errors_in_a_plan_file_are_reported_together() {
    let directory = TestDirectory::new();
    let text = "[gates.io]\nqueue = -1\nformula = \"cpu |\"\n[overrides]\nio = \"x\"\n";
    let plan = directory.write("three.toml", text);
    for command in ["explain", "watch", "simulate"] {
        let [first, problems @ ..] = &fail_with_lines(program().args([command, "--plan"]).arg(&plan))[..]
        else {
            panic!("no error")
        };
        assert!(
            first.starts_with("error: plan file ") && first.ends_with("three.toml: 3 problems"),
            "{first}"
        );
        assert_eq!(problems.len(), 3, "{problems:#?}");
        for (problem, place) in problems.iter().zip(["  line 2: ", "  line 3: ", "  line 5: "]) {
            assert!(problem.starts_with(place), "{problem}");
        }
    }
}

/// Several settings that do not fit the plan stand on lines of their own, and none of them can add a line.
#[test]
fn all_settings_that_do_not_fit_are_reported_together() {
    let lines = fail_with_lines(&mut explain(["--set", "oi=1", "--set", "bocking=2"]));
    assert_eq!(lines[0], "error: 2 problems");
    assert!(lines[1].starts_with("  --set sets gate `oi`"), "{lines:#?}");
    assert!(lines[2].starts_with("  --set sets gate `bocking`"), "{lines:#?}");
    let directory = TestDirectory::new();
    let text = r#"{"gates": {"io": {"formula": "5", "a\nb": 1, "c\u001bd": 1}}}"#;
    let lines = fail_with_lines(explain(["--plan"]).arg(directory.write("keys.json", text)));
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(!lines.concat().contains('\u{1b}'), "{lines:#?}");
}

/// A plan file that is not text, or that has no end, is rejected. The program does not read it to the end.
#[cfg(target_os = "linux")]
#[test]
fn endless_and_binary_plan_files_are_rejected() {
    let line = fail(&mut explain(["--plan", "/dev/zero"]));
    assert!(line.contains("/dev/zero: it is larger than 1 MiB"), "{line}");
    let directory = TestDirectory::new();
    let line = fail(explain(["--plan"]).arg(directory.write("binary.toml", b"[gates.io]\n\xff")));
    assert!(line.contains("line 2 is not UTF-8"), "{line}");
}

/// An environment variable that is not a number is reported with its name and value. An empty one counts as not set.
#[test]
fn wrong_environment_variables_are_reported_by_name() {
    for value in ["many", "-1", "1.5", "99999999999999999999"] {
        let line = fail(explain([]).env("ASTRID_CAPSULE_INSTANCE_POOL_SIZE", value));
        assert!(line.contains(&format!("ASTRID_CAPSULE_INSTANCE_POOL_SIZE={value:?}")), "{line}");
        assert!(line.contains("(allowed: 0 to 18446744073709551615)"), "{line}");
    }
    let printed = succeed(explain([]).env("ASTRID_CAPSULE_INSTANCE_POOL_SIZE", ""));
    assert!(!printed.contains("pool = "), "{printed}");
}

/// A variable with the URL of a ledger that is not UTF-8 is not reported as missing.
#[cfg(all(unix, any(feature = "redis", feature = "postgres")))]
#[test]
fn a_variable_that_is_not_utf8_is_reported() {
    use std::os::unix::ffi::OsStrExt as _;

    let mut command = program();
    command
        .args(["fleet", "status"])
        .env("CONCURRENCY_GOVERNOR_LEDGER", OsStr::from_bytes(b"redis://h\xff/"));
    assert!(fail(&mut command).contains("CONCURRENCY_GOVERNOR_LEDGER is not UTF-8"));
}

/// A path does not have to be UTF-8. Another argument that is not UTF-8 is reported by name.
#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf8_are_reported() {
    use std::os::unix::ffi::OsStrExt as _;

    let line = fail(explain(["--set"]).arg(OsStr::from_bytes(b"io=\xff")));
    assert!(line.contains("`io=\u{fffd}` is not UTF-8 (allowed: "), "{line}");
    let line = fail(program().arg(OsStr::from_bytes(b"\xff")));
    assert!(line.contains("`\u{fffd}`"), "{line}");
    let directory = TestDirectory::new();
    let plan = directory.write(OsStr::from_bytes(b"plan-\xff.toml"), "[gates.io]\nformula = \"5\"\n");
    let printed = succeed(explain(["--plan"]).arg(plan));
    assert!(printed.contains("plan-\u{fffd}.toml\n"), "{printed}");
}
