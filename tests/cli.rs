//! The program as an operator meets it: what it prints, what it refuses, and what it makes of real limits.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test that panics has failed")]

#[path = "cli/clean.rs"]
mod clean;

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use clean::clean;

/// The readings, the gates and the derivations of the default plan, to the letter.
#[test]
fn tables_are_aligned_and_complete() {
    let printed = succeed(&mut explain(SMALL_HOST));
    assert_eq!(printed, include_str!("cli/small_host.txt"));
}

/// The documented shape: every key, the gates in the order of the plan, quantities as texts.
#[test]
fn json_has_the_documented_shape() {
    let printed = succeed(explain(SMALL_HOST).arg("--json"));
    assert_eq!(printed, include_str!("cli/small_host.json"));
}

/// Flag over file over environment over formula; each setting that lost is shown with its origin.
#[test]
fn first_of_four_sources_decides_and_shadows_the_rest() {
    let printed = succeed(&mut four_sources());
    assert_eq!(printed, include_str!("cli/four_sources.txt"));

    let gates = &json(four_sources().arg("--json"))["gates"];
    let set = |origin: &str, value: u64| serde_json::json!({ "origin": origin, "value": value });
    let io_variable = "env ASTRID_CAPSULE_HOST_IO_CONCURRENCY";
    assert_eq!(gates["io"]["decision"]["origin"], "--set");
    assert_eq!(
        gates["io"]["shadowed"],
        serde_json::json!([set("engine.toml overrides.io", 30), set(io_variable, 99)])
    );
    assert_eq!(gates["pool"]["decision"]["origin"], "engine.toml overrides.pool");
    assert_eq!(gates["pool"]["decision"]["standing"], "above_derived");
    assert_eq!(gates["blocking"]["decision"]["origin"], "env ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY");
    assert_eq!(gates["sessions"]["decision"], serde_json::json!({ "kind": "derived" }));
    let order: Vec<&String> = gates.as_object().unwrap().keys().collect();
    assert_eq!(order, ["blocking", "io", "pool", "sessions"]);
}

/// The engine's variables belong to the engine's gates: another plan with a gate of that name does not read them.
#[test]
fn environment_is_read_for_the_preset_alone() {
    let file = Scratch::new("own-io.toml", "[gates.io]\nformula = \"5\"\n");
    let mut own = explain(["--plan"]);
    let gates =
        &json(own.arg(file.path()).arg("--json").env("ASTRID_CAPSULE_HOST_IO_CONCURRENCY", "many"))["gates"];
    assert_eq!(gates["io"]["limit"], 5);
}

/// A policy of the plan file holds for every layer: clamp lowers and says so, reject refuses on one line.
#[test]
fn policies_hold_settings_to_what_is_derived() {
    let clamp = Scratch::new("clamp.toml", "[gates.io]\nformula = \"5\"\npolicy = \"clamp\"\n");
    let clamped = &json(explain(["--json", "--set", "io=9", "--plan"]).arg(clamp.path()))["gates"]["io"];
    assert_eq!(clamped["limit"], 5);
    assert_eq!(clamped["decision"]["standing"], "clamped");

    let reject = Scratch::new("reject.toml", "[gates.io]\nformula = \"5\"\npolicy = \"reject\"\n");
    let line = refuse(explain(["--set", "io=9", "--plan"]).arg(reject.path()));
    assert!(line.contains("--set sets gate `io` to 9") && line.contains("allowed: at most 5"), "{line}");
}

/// The sample in the documentation is a plan.
#[test]
fn sample_plan_is_a_plan() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plan.example.toml");
    let readings =
        ["--json", "--reading", "cpu=8", "--reading", "fd=1024", "--reading", "memory=1Gi", "--plan"];
    let gates = &json(explain(readings).arg(sample))["gates"];
    assert_eq!([&gates["uploads"]["limit"], &gates["uploads"]["derived"]], [32, 64]);
    assert_eq!([&gates["thumbnails"]["limit"], &gates["cache"]["limit"]], [6, 64]);
}

/// A resource that nothing measures is unknown and says how to give it; one that no gate uses is marked.
#[test]
fn unmeasured_and_unused_resources_are_told_apart() {
    let file = Scratch::new("gpu.toml", "[gates.jobs]\nformula = \"(gpu or 3) * 2\"\n");
    let printed = succeed(explain(SMALL_HOST).arg("--plan").arg(file.path()));
    let says = |line: &str| printed.lines().any(|printed| printed.split_whitespace().eq(line.split(' ')));
    assert!(says("gpu unknown note: nothing measures it here; --reading gpu=N gives it"), "{printed}");
    assert!(says("cpu 1.5 (no gate of this plan uses it)"), "{printed}");
    let given = json(explain(["--json", "--reading", "gpu=8", "--plan"]).arg(file.path()));
    assert_eq!(given["gates"]["jobs"]["limit"], 16);
    assert_eq!(given["readings"]["gpu"]["sources"][0]["path"], "--reading");
}

/// Unlimited and unknown are answers of their own: the clamp is skipped and says so, the assumption stands in.
#[test]
fn unlimited_and_unknown_are_no_numbers() {
    let gates =
        &json(&mut explain(["--json", "--reading", "cpu=unknown", "--reading", "fd=unlimited"]))["gates"];
    assert_eq!(gates["io"]["limit"], 128);
    assert_eq!(gates["io"]["derivation"][0]["assumed"], "2");
    assert_eq!(gates["io"]["derivation"][2]["effect"], "skipped");
    assert_eq!(gates["io"]["derivation"][2]["remark"], "skipped: fd is unlimited");
}

/// Whatever is wrong: exit code 2, nothing on standard output, one line that has what was given and what is allowed.
#[test]
fn wrong_arguments_are_refused_on_one_line() {
    for (arguments, given, allowed) in [
        (&[][..], "no command", "explain, capture, watch, simulate, completions, man, help"),
        (&["explian"], "`explian`", "explain, capture, watch, simulate, completions, man, help"),
        (&["--plan", "x", "explain"], "`--plan`, it belongs after `explain`", "explain"),
        (&["explain", "--jsno"], "`--jsno`, did you mean `--json`?", "--json"),
        (
            &["explain", "--gates"],
            "`--gates`",
            "--preset NAME, --plan FILE, --reading RESOURCE=READING, --set GATE=N, --env-prefix PREFIX, --root DIR, --json",
        ),
        (&["explain", "more"], "`more`", "--preset NAME"),
        (&["explain", "-x"], "`-x`", "--preset NAME"),
        (&["explain", "--preset", "mars"], "`--preset mars`", "astrid"),
        (&["explain", "--preset"], "`--preset <NAME>` has no value", "astrid"),
        (&["explain", "--preset", "astrid", "--plan", "x"], "`--preset <NAME>`", "one of them"),
        (&["explain", "--json", "--json"], "`--json` is given twice", "once"),
        (&["explain", "--json=yes"], "`yes`", "the flag alone"),
        (&["explain", "--color", "blue"], "`--color blue`", "auto, always, never"),
        (&["explain", "--reading"], "`--reading <RESOURCE=READING>` has no value", "one"),
        (
            &["explain", "--reading", "cpu"],
            "`--reading cpu`",
            "cpu=2, memory=512Mi, fd=unlimited, cpu=unknown",
        ),
        (
            &["explain", "--reading", "cpu=-1"],
            "\"-1\" is no quantity: it is negative",
            "`unlimited`, or `unknown`",
        ),
        (&["explain", "--reading", "cpu=many"], "\"many\"", "`512Mi`"),
        (&["explain", "--reading", "CPU=1"], "\"CPU\"", "a-z"),
        (&["explain", "--reading", "cpu=1", "--reading", "cpu=2"], "--reading gives `cpu` twice", "once"),
        (&["explain", "--set", "io"], "`--set io`", "GATE=N"),
        (&["explain", "--set", "io=-1"], "\"-1\"", "0 to 18446744073709551615"),
        (&["explain", "--set", "io=1.5"], "\"1.5\"", "0 to 18446744073709551615"),
        (&["explain", "--set", "oi=1"], "`oi`", "blocking, io, pool"),
        (&["explain", "--set", "io=1", "--set", "io=2"], "--set gives `io` twice", "once"),
        (&["explain", "--set", "i\no=1"], "\"i\\no\"", "a-z"),
        (&["explain", "--\u{1b}[31mred"], "`--\\u{1b}[31mred`", "--preset NAME"),
        (&["explain", "--plan", "/nonexistent"], "/nonexistent", "a TOML file"),
        (&["explain", "--plan", "/"], "plan file /: ", "a TOML file"),
    ] {
        let line = refuse(program().args(arguments));
        assert!(line.contains(given), "{arguments:?} should name {given}: {line}");
        assert!(line.contains(allowed), "{arguments:?} should allow {allowed}: {line}");
    }
}

/// Each mistake in a plan file is told with its line, key, value and what is allowed; a formula's with its column.
#[test]
fn wrong_plan_files_are_refused_with_the_line() {
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
            "`io` is declared 2 times",
            "once",
        ),
        (
            &format!("{gate}colour = 1\n"),
            "line 3",
            "gates.io.colour",
            "formula, queue, max_wait, policy, measure_waits",
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
        let file = Scratch::new("wrong.toml", text);
        let printed = refuse(explain(["--plan"]).arg(file.path()));
        for part in ["wrong.toml", line, given, allowed] {
            assert!(printed.contains(part), "{text:?} should be refused with {part:?}: {printed}");
        }
    }
}

/// A plan file in JSON is the same plan, and its mistakes are told by key; which format it is, its name says.
#[test]
fn plan_files_may_be_json() {
    let text =
        r#"{"gates": {"io": {"formula": "5", "queue": 9, "measure_waits": false}}, "overrides": {"io": 3}}"#;
    let file = Scratch::new("plan.json", text);
    let said = json(explain(["--json", "--plan"]).arg(file.path()));
    assert_eq!(said["gates"]["io"]["limit"], 3);
    let origin = said["gates"]["io"]["decision"]["origin"].as_str().unwrap();
    assert!(origin.ends_with("plan.json overrides.io"), "{origin}");

    for (text, given, allowed) in [
        ("{", "not JSON: EOF", "line 1 column 1"),
        ("3", "3 is no table", "keys and values"),
        (r#"{"gates": {"io": {"formula": "5", "queue": -1}}}"#, "gates.io.queue = -1", "0 to "),
        (
            r#"{"gates": {"io": {"formula": "5"}, "io": {"formula": "6"}}}"#,
            "gates.io is given twice",
            "allowed: once",
        ),
        (r#"{"gates": {"io": {"formula": ["5"]}}}"#, "gates.io.formula = [\"5\"]", "text such as"),
    ] {
        let file = Scratch::new("wrong.json", text);
        let printed = refuse(explain(["--plan"]).arg(file.path()));
        for part in ["wrong.json", given, allowed] {
            assert!(printed.contains(part), "{text:?} should be refused with {part:?}: {printed}");
        }
    }
}

/// Variables with a prefix set gates of any plan, below the plan file and above what a preset reads.
#[test]
fn variables_with_a_prefix_set_gates() {
    let mut command = four_sources();
    command
        .args(["--env-prefix", "APP_LIMIT_", "--json"])
        .env("APP_LIMIT_IO", "8")
        .env("APP_LIMIT_SESSIONS", "9");
    let said = json(&mut command);
    let names: Vec<_> = said["layers"].as_array().unwrap().iter().map(|layer| &layer["name"]).collect();
    assert_eq!(names, ["--set", "engine.toml", "env", "env"]);
    assert_eq!(said["layers"][2]["sets"], serde_json::json!({ "io": 8, "sessions": 9 }));
    let shadowed = said["gates"]["io"]["shadowed"].as_array().unwrap().iter().map(|one| &one["origin"]);
    let shadowed: Vec<_> = shadowed.map(|origin| origin.as_str().unwrap()).collect();
    let variable = "env ASTRID_CAPSULE_HOST_IO_CONCURRENCY";
    assert_eq!(shadowed, ["engine.toml overrides.io", "env APP_LIMIT_IO", variable]);
    assert_eq!(said["gates"]["sessions"]["decision"]["origin"], "env APP_LIMIT_SESSIONS");

    let line = refuse(command.env("APP_LIMIT_OI", "8"));
    assert!(line.contains("APP_LIMIT_OI in the environment is the variable of no gate"), "{line}");
    assert!(line.contains("APP_LIMIT_BLOCKING, APP_LIMIT_IO, APP_LIMIT_POOL, APP_LIMIT_SESSIONS"), "{line}");
    let line = refuse(&mut explain(["--env-prefix", ""]));
    assert!(line.contains("such as APP_LIMIT_"), "{line}");
}

/// Every mistake of a file is told at once, in the order of the lines.
#[test]
fn all_mistakes_of_a_plan_file_are_told_at_once() {
    let file =
        Scratch::new("two.toml", "[gates.io]\nqueue = -1\nformula = \"cpu |\"\n[overrides]\nio = \"x\"\n");
    let line = refuse(explain(["--plan"]).arg(file.path()));
    let places: Vec<_> = ["line 2: ", "line 3: ", "line 5: "].map(|place| line.find(place)).to_vec();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{line}");
}

/// Every shell gets a script that knows each command, and bash takes it.
#[test]
fn completions_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeed(program().args(["completions", shell]));
        for word in ["explain", "watch", "simulate", "env-prefix", "real-time"] {
            assert!(script.contains(word), "{word} in that of {shell}");
        }
    }
    let script = Scratch::new("completions.bash", succeed(program().args(["completions", "bash"])));
    let complete = "source \"$1\"; COMP_WORDS=(\"${@:2}\"); COMP_CWORD=$(($# - 2))
        $(complete -p concurrency-governor | sed -E 's/.*-F ([^ ]+) .*/\\1/') \"$2\" \"${@: -1}\" \"${@: -2:1}\"
        echo \"${COMPREPLY[*]}\"";
    for (words, completed) in [
        (&["wat"][..], "watch"),
        (&["watch", "--ev"], "--every"),
        (&["explain", "--color", ""], "auto always never"),
        (&["explain", "--preset", ""], "astrid"),
        (&["completions", "z"], "zsh"),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", complete, "bash"])
            .arg(script.path())
            .arg("concurrency-governor")
            .args(words);
        let Ok(output) = bash.output() else { break }; // there is no bash here
        assert_eq!(text(&output.stdout).trim_end(), completed, "{words:?}: {}", text(&output.stderr));
    }
    let line = refuse(program().args(["completions", "tcsh"]));
    assert!(line.contains("tcsh") && line.contains("allowed: bash, elvish, fish"), "{line}");
}

/// The manual has a page for the program and for each command, with its flags and its examples.
#[test]
fn manual_has_a_page_for_every_command() {
    let page = succeed(program().arg("man"));
    assert!(page.starts_with(".TH \"CONCURRENCY-GOVERNOR\" 1 ") && page.contains("simulate"), "{page}");
    for (command, flag) in [("explain", "root"), ("watch", "every"), ("simulate", "rate")] {
        let page = succeed(program().args(["man", command]));
        assert!(page.starts_with(&format!(".TH \"CONCURRENCY-GOVERNOR-{}\" 1 ", command.to_uppercase())));
        assert!(page.contains(flag) && page.contains(".SH \"EXAMPLES\"\n.nf\n"), "{page}");
    }
    let line = refuse(program().args(["man", "cook"]));
    assert!(line.contains("no command `cook`") && line.contains("allowed: explain"), "{line}");
}

/// A file that is no text, or without end, is refused and not read for ever.
#[cfg(target_os = "linux")]
#[test]
fn endless_and_binary_plan_files_are_refused() {
    let line = refuse(&mut explain(["--plan", "/dev/zero"]));
    assert!(line.contains("/dev/zero: it is longer than 1 MiB"), "{line}");
    let file = Scratch::new("binary.toml", b"[gates.io]\n\xff");
    let line = refuse(explain(["--plan"]).arg(file.path()));
    assert!(line.contains("line 2 is not UTF-8"), "{line}");
}

/// A value of the environment that is no number is refused by the variable's name, an empty one included.
#[test]
fn wrong_environment_is_refused_by_name() {
    for value in ["many", "", "-1", "1.5", "99999999999999999999"] {
        let line = refuse(explain([]).env("ASTRID_CAPSULE_INSTANCE_POOL_SIZE", value));
        assert!(line.contains(&format!("ASTRID_CAPSULE_INSTANCE_POOL_SIZE={value:?}")), "{line}");
        assert!(line.contains("(allowed: 0 to 18446744073709551615)"), "{line}");
    }
}

/// Arguments need not be text: a path works as it is, anything else is refused by name.
#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf8_are_named() {
    use std::os::unix::ffi::OsStrExt as _;

    let line = refuse(explain(["--set"]).arg(OsStr::from_bytes(b"io=\xff")));
    assert!(line.contains("`io=\u{fffd}` is not UTF-8 (allowed: "), "{line}");
    let line = refuse(program().arg(OsStr::from_bytes(b"\xff")));
    assert!(line.contains("`\u{fffd}`"), "{line}");
    let file = Scratch::new(OsStr::from_bytes(b"plan-\xff.toml"), "[gates.io]\nformula = \"5\"\n");
    let printed = succeed(explain(["--plan"]).arg(file.path()));
    assert!(printed.contains("plan-\u{fffd}.toml\n"), "{printed}");
}

/// Help and version are what was asked for: on standard output, with exit code 0, within 80 columns.
#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["explain", "--help"],
        &["explain", "-h"],
        &["help", "explain"],
        #[cfg(target_os = "linux")]
        &["capture", "--help"],
        &["watch", "--help"],
        &["watch", "-h"],
        &["simulate", "--help"],
        &["simulate", "-h"],
        &["completions", "-h"],
        &["man", "-h"],
    ] {
        let page = succeed(program().args(arguments));
        assert!(page.contains("Usage: concurrency-governor"), "{page}");
        assert!(page.contains("Examples:\n  concurrency-governor "), "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        assert!(!page.contains('\u{1b}'), "{page}");
    }
    for flag in ["--version", "-V"] {
        assert_eq!(
            succeed(program().arg(flag)),
            concat!("concurrency-governor ", env!("CARGO_PKG_VERSION"), "\n")
        );
    }
}

/// Colour is for terminals, or for who asks; `NO_COLOR` is heeded.
#[test]
fn colour_only_where_it_is_wanted() {
    let coloured = |command: &mut Command| succeed(command).contains('\u{1b}');
    assert!(!coloured(&mut explain([])));
    assert!(coloured(&mut explain(["--color", "always"])));
    assert!(coloured(explain([]).env("CLICOLOR_FORCE", "1")));
    assert!(!coloured(explain([]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")));
    assert!(!coloured(explain(["--color", "never"]).env("CLICOLOR_FORCE", "1")));
    assert!(!coloured(explain(["--json", "--color", "always"]).env("CLICOLOR_FORCE", "1")));
}

/// `| head -1` ends it without a word.
#[cfg(unix)]
#[test]
fn closed_pipe_ends_quietly() {
    use std::os::{fd::OwnedFd, unix::net::UnixStream};

    for arguments in [&["explain"][..], &["--help"]] {
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        let output = program().args(arguments).stdout(Stdio::from(OwnedFd::from(writer))).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output.stderr), "");
    }
}

/// What cannot be written is a failure, though not of the input.
#[cfg(target_os = "linux")]
#[test]
fn full_device_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = explain([]).stdout(Stdio::from(full)).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: cannot write to standard output: "), "{output:?}");
}

/// A captured host is read in place of this one: every captured tree reads as the kernel granted.
#[cfg(target_os = "linux")]
#[test]
fn captured_hosts_are_explained() {
    let fixtures =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernel-6.1-cgroup-v2");
    let expected = std::fs::read_to_string(fixtures.join("EXPECTED.tsv")).unwrap();
    for line in expected.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let root = fixtures.join(cells[0]);
        let report = json(explain(["--json", "--root"]).arg(&root));
        for (resource, at) in [("cpu", 1), ("memory", 3), ("tasks", 5)] {
            let reading = &report["readings"][resource];
            assert_eq!(reading["value"], cells[at], "{line}: {reading}");
            assert_eq!(reading["bound"], cells[at + 1].replace(' ', "_"), "{line}: {reading}");
        }
        let table = succeed(explain(["--root"]).arg(&root));
        // Only the title says where the host is kept: files are named as it has them.
        let title = format!("Readings of {}\n", root.display());
        let rest = table.strip_prefix(&title).unwrap();
        let kept = fixtures.to_str().unwrap();
        assert!(!rest.contains(kept) && !report["readings"].to_string().contains(kept), "{table}");
        assert!(rest.contains(" /proc/meminfo: MemTotal:"), "{table}");
    }
    let line = refuse(explain(["--root"]).arg(fixtures));
    assert!(line.contains("holds no host") && line.contains("(allowed: what `capture` wrote)"), "{line}");
}

/// What is captured of this host is explained as this host is; a directory that holds something is left alone.
#[cfg(target_os = "linux")]
#[test]
fn captured_host_is_explained_as_this_one() {
    let scratch = Scratch::new("there", "");
    let directory = scratch.path().with_file_name("host");
    let said = succeed(program().arg("capture").arg(&directory));
    assert!(said.starts_with(&format!("Captured this host in {}\n", directory.display())), "{said}");
    for path in said.lines().skip(1) {
        assert!(std::path::Path::new(path.trim()).is_file(), "{path}");
    }
    assert!(said.lines().count() > 10, "{said}");
    let there = json(explain(["--json", "--root"]).arg(&directory));
    let here = json(&mut explain(["--json"]));
    for resource in ["cpu", "fd", "memory", "tasks"] {
        for key in ["value", "bound"] {
            assert_eq!(there["readings"][resource][key], here["readings"][resource][key], "{resource}");
        }
    }
    assert_eq!(there["gates"], here["gates"]);
    assert_eq!(there["readings"]["fd"]["figures"]["in_use"]["value"], "unknown");
    let open: u64 = here["readings"]["fd"]["figures"]["in_use"]["value"].as_str().unwrap().parse().unwrap();
    assert!(open >= 3, "{here}");

    for taken in [directory.as_path(), scratch.path().parent().unwrap()] {
        let line = refuse(program().arg("capture").arg(taken));
        assert!(line.contains("is not empty (allowed: an empty directory"), "{line}");
    }
    assert!(refuse(program().arg("capture").arg(scratch.path())).contains("cannot write"));
    assert_eq!(std::fs::read(scratch.path()).unwrap(), b"");
    assert!(refuse(program().arg("capture")).contains("has no `<DIR>` (allowed: one)"));
}

/// A plan that reads a pressure has it measured.
#[cfg(target_os = "linux")]
#[test]
fn pressure_is_measured_where_a_plan_reads_it() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernel-6.1-cgroup-v2/v2-pids-nested");
    let file = Scratch::new("calm.toml", "[gates.calm]\nformula = \"pressure.cpu * 100\"\n");
    let report = json(explain(["--json", "--root", root, "--plan"]).arg(file.path()));
    assert_eq!(report["readings"]["pressure.cpu"]["value"], "0.069");
    assert_eq!(report["gates"]["calm"]["limit"], 6);
}

#[cfg(target_os = "linux")]
mod real_limits {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    use super::*;

    /// On one CPU and on all of them, with few descriptors and with many, the numbers are what the engine's formulas
    /// give for the cores and the descriptors that there are.
    #[test]
    fn numbers_follow_affinity_and_descriptors() {
        for descriptors in [None, Some(4), Some(5), Some(50), Some(64), Some(300)] {
            holds(&json(&mut limited(descriptors)), descriptors);
        }
        let on_one_cpu = std::thread::spawn(|| {
            pin_to_one_cpu();
            [None, Some(50)].map(|descriptors| (json(&mut limited(descriptors)), descriptors))
        });
        for (report, descriptors) in on_one_cpu.join().unwrap() {
            assert_eq!(whole_cpus(&report), 1, "{report}");
            holds(&report, descriptors);
        }
    }

    /// The engine's formulas, written out anew.
    fn holds(report: &Value, descriptors: Option<u64>) {
        let cores = whole_cpus(report);
        let fd = report["readings"]["fd"]["value"].as_str().unwrap().parse::<u64>().ok();
        if descriptors.is_some() {
            assert_eq!(fd, descriptors, "{report}");
        }
        let io = (64 * cores).max(64);
        let io = fd.map_or(io, |fd| io.min((fd / 2).max(1)));
        let gates = &report["gates"];
        assert_eq!(gates["blocking"]["limit"], cores.saturating_sub(2).max(2), "{report}");
        assert_eq!(gates["io"]["limit"], io, "{report}");
        assert_eq!(gates["pool"]["limit"], (2 * cores).clamp(8, 64), "{report}");
    }

    fn whole_cpus(report: &Value) -> u64 {
        let cores: f64 = report["readings"]["cpu"]["value"].as_str().unwrap().parse().unwrap_or(2.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of cores is small"
        )]
        let whole = cores.floor() as u64;
        whole.max(1)
    }

    /// `explain --json` with so many descriptors, and only the standard ones open: the program's libraries are opened
    /// one after the other, and need one more.
    fn limited(descriptors: Option<u64>) -> Command {
        let limit = descriptors.map_or(String::new(), |n| format!("ulimit -n {n}; "));
        let script = format!("exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; {limit}exec \"$0\" explain --json");
        let mut shell = clean(Command::new("sh"));
        shell.args(["-c", &script, PROGRAM]);
        shell
    }

    /// This thread, and the processes that it starts, run on the first CPU that is allowed.
    fn pin_to_one_cpu() {
        let this_thread = Pid::from_raw(0);
        let allowed = sched_getaffinity(this_thread).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
        let mut one = CpuSet::new();
        one.set(first).unwrap();
        sched_setaffinity(this_thread, &one).unwrap();
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_concurrency-governor");

/// One and a half cores, a hundred descriptors, a gibibyte, five hundred tasks.
const SMALL_HOST: [&str; 8] =
    ["--reading", "cpu=1.5", "--reading", "fd=100", "--reading", "memory=1Gi", "--reading", "tasks=500"];

fn program() -> Command {
    clean(Command::new(PROGRAM))
}

fn explain<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = program();
    command.arg("explain").args(arguments);
    command
}

/// The engine's gates set by all that can set them: `--set`, the plan file and the environment.
fn four_sources() -> Command {
    let mut command = explain(SMALL_HOST);
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli"))
        .args(["--plan", "engine.toml", "--set", "io=7"])
        .env("ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY", "1")
        .env("ASTRID_CAPSULE_HOST_IO_CONCURRENCY", "99")
        .env("ASTRID_CAPSULE_INSTANCE_POOL_SIZE", "40");
    command
}

/// Runs it to success, and gives what it printed.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    assert_eq!(text(&output.stderr), "", "{command:?}");
    text(&output.stdout)
}

#[track_caller]
fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeed(command)).unwrap()
}

/// Runs it to a refusal, and gives the line.
#[track_caller]
fn refuse(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let line = text(&stderr);
    assert_eq!(status.code(), Some(2), "{command:?}: {line}");
    assert_eq!(text(&stdout), "", "{command:?}");
    assert!(
        line.starts_with("error: ") && line.ends_with('\n') && line.lines().count() == 1,
        "{command:?}: {line}"
    );
    assert!(!line.contains('\u{1b}'), "{command:?}: {line:?}");
    line
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file of this name in a folder of its own, gone when dropped.
struct Scratch {
    folder: std::path::PathBuf,
    path: std::path::PathBuf,
}

impl Scratch {
    fn new(name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);

        // Unique within the process by the count, and among processes by the id.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.join(format!("cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name.as_ref());
        std::fs::write(&path, content).unwrap();
        Self { folder, path }
    }

    fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that stays behind in the build folder harms nobody.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
