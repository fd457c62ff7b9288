//! What `explain` prints.

use serde_json::json;

use crate::support::{
    SMALL_HOST, TestDirectory, explain, explain_four_sources, fail, succeed, succeed_with_json,
};

/// The tables show the readings, the gates and the derivations of the default plan, letter by letter.
#[test]
fn tables_are_aligned_and_complete() {
    let printed = succeed(&mut explain(SMALL_HOST));
    assert_eq!(printed, include_str!("small_host.txt"));
}

/// A reading of each resource that has a probe can be given, whether or not the plan reads it.
#[test]
fn readings_of_all_probes_can_be_given() {
    let printed =
        succeed(&mut explain(["--reading", "memory.high=1Gi", "--reading", "memory.available=2Gi"]));
    assert!(printed.contains("memory.high") && printed.contains("memory.available"), "{printed}");
}

/// The answer comes first: the gates with what decides each, and then the problems. `--brief` prints only the answer.
#[cfg(target_os = "linux")]
#[test]
fn answer_comes_first() {
    let root =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernel-6.1-cgroup-v2/v2-cgroupns-own-mount");
    let arguments = ["--set", "io=200", "--set", "pool=0", "--root", root];
    let printed = succeed(&mut explain(arguments));
    let answer = "\
Gates of preset astrid
gate      limit  derived  decided by
blocking      2        2  `floor 2`
io          200       64  set to 200 by --set (above the derived limit)
pool          1        8  set to 0 by --set (raised to 1)

Problems
what       problem
cpu        it may be lower than the reading: groups above /sys/fs/cgroup are
             hidden, and may set limits
fd         the soft limit is low, 1024: the hard limit is 4096, which the soft
             one may be raised to
gate io    --set sets 200, above the derived limit 64
gate pool  --set sets 0, which counts as 1: a gate of 0 would admit nothing
";
    let rest = printed.strip_prefix(answer).unwrap_or_else(|| panic!("{printed}"));
    let titles =
        ["\nReadings of ", "\nSettings, highest precedence first\n", "\nHow each limit is derived\n"];
    let places: Vec<_> = titles.iter().map(|title| rest.find(title)).collect();
    assert!(places[0] == Some(0) && places.is_sorted(), "{places:?}: {rest}");
    assert_eq!(succeed(explain(arguments).arg("--brief")), answer);

    let problems = &succeed_with_json(explain(arguments).arg("--json"))["problems"];
    assert_eq!(problems.as_array().unwrap().len(), 4);
    assert_eq!(
        problems[2],
        json!({ "what": "gate io", "problem": "--set sets 200, above the derived limit 64" })
    );
}

/// A setting of a queue or a wait is shown with its layer and with its gate, in the tables and in JSON.
#[test]
fn settings_of_queues_are_shown() {
    let explain_plan = || {
        let mut command = explain(SMALL_HOST);
        command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli")).args([
            "--plan",
            "queues.toml",
            "--set",
            "uploads=9",
        ]);
        command
    };
    let printed = succeed(&mut explain_plan());
    let gates = "
Gates of plan queues.toml
gate     limit  derived  decided by
uploads      9        4  set to 9 by --set (above the derived limit)
                         queue: at most 5 requests, each for at most 250ms
                         the bound of the queue is set by queues.toml
                           overrides.uploads.queue
                         the longest wait is set by queues.toml
                           overrides.uploads.max_wait
reports      7        3  set to 7 by queues.toml overrides.reports (above the
                           derived limit)
                         queue: at most 6 requests
";
    assert!(printed.starts_with(&gates[1..]), "{printed}");
    let layers = "
order  layer        sets
    1  --set        uploads = 9
    2  queues.toml  reports = 7, uploads queue = 5, uploads max_wait = 250ms
    3  formulas     nothing
";
    assert!(printed.contains(layers), "{printed}");
    assert_eq!(succeed(explain_plan().arg("--json")), include_str!("queues.json"));
}

/// A problem is shown only if it concerns a shown gate.
#[test]
fn problems_are_those_of_the_shown_gates() {
    let problems = |arguments: &[&str]| {
        let report = succeed_with_json(explain(["--json"]).args(arguments));
        let problems = report["problems"].as_array().unwrap().iter();
        problems.map(|problem| problem["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(problems(&SMALL_HOST).is_empty());
    let unknown = ["--reading", "cpu=2", "--reading", "fd=unknown"];
    assert_eq!(problems(&unknown), ["fd"]);
    assert_eq!(problems(&[&unknown[..], &["io"]].concat()), ["fd"]);
    assert_eq!(problems(&[&unknown[..], &["pool"]].concat()), [""; 0], "pool does not read fd");

    let directory = TestDirectory::new();
    let plan = "[gates.a]\nformula = \"fd\"\npolicy = \"clamp\"\n[gates.b]\nformula = \"gate a\"\n";
    let plan = directory.write("clamp.toml", plan);
    let clamped = ["--plan", plan.to_str().unwrap(), "--reading", "fd=5", "--set", "a=6"];
    assert_eq!(problems(&clamped), ["gate a"]);
    let through_a_gate = ["--plan", plan.to_str().unwrap(), "--reading", "fd=unknown", "b"];
    assert_eq!(problems(&through_a_gate), ["fd"], "b reads a, which reads fd");
}

/// With gates, only these are shown, with the readings that they depend on, in the order of the plan.
#[test]
fn chosen_gates_are_shown_alone() {
    let printed = succeed(explain(SMALL_HOST).args(["pool", "blocking"]));
    assert_eq!(
        printed,
        "\
Gates of preset astrid
gate      limit  derived  decided by
blocking      2        2  `floor 2`
pool          8        8  `floor 8`

Readings of this host
resource  reading  source
cpu       1.5      --reading: 1.5

How each limit is derived
gate      step                  number              reason
blocking  whole cpu or 2             1              cpu = 1.5
          reserve 2                  0
          floor 2                    2  <- decides
pool      (whole cpu or 2) * 2       2              cpu = 1.5
          floor 8                    8  <- decides
          ceiling 64                 8
"
    );
    let report = succeed_with_json(explain(SMALL_HOST).args(["--json", "io"]));
    let keys = |part: &str| report[part].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        (keys("gates"), keys("readings")),
        (vec!["io".to_owned()], vec!["cpu".to_owned(), "fd".to_owned()])
    );
}

/// The tables are as wide as the terminal. Nothing is wrapped that fits.
#[cfg(target_os = "linux")]
#[test]
fn tables_use_the_width_of_the_terminal() {
    use std::io::Read as _;

    use nix::pty::{Winsize, openpty};

    let longest_line = |columns: u16| {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(Some(&size), None).unwrap();
        let mut command = explain_four_sources();
        command.args(["--color", "never"]).stdout(terminal.slave.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        drop((command, terminal.slave)); // reading ends when the program has closed the terminal
        let mut printed = Vec::new();
        // At the end, Linux reports an error.
        let _: std::io::Result<usize> = std::fs::File::from(terminal.master).read_to_end(&mut printed);
        assert!(child.wait().unwrap().success());
        String::from_utf8(printed).unwrap().lines().map(|line| line.trim_end().chars().count()).max().unwrap()
    };
    assert!((70..=78).contains(&longest_line(78)));
    assert!((85..=200).contains(&longest_line(200)));
}

/// The JSON has the documented shape: every key, the gates in the order of the plan, numbers as numbers.
#[test]
fn json_has_the_documented_shape() {
    let printed = succeed(explain(SMALL_HOST).arg("--json"));
    assert_eq!(printed, include_str!("small_host.json"));
}

/// What was read from a file is escaped once: JSON has the text of the file, and the table shows no control character.
#[cfg(target_os = "linux")]
#[test]
fn raw_texts_are_escaped_once() {
    let raw = "0-1 \"\u{1b}[31m";
    let host = TestDirectory::new();
    for directory in ["proc/self", "sys/devices/system/cpu"] {
        std::fs::create_dir_all(host.join(directory)).unwrap();
    }
    host.write("proc/self/status", "Cpus_allowed_list:\t0-1\n");
    host.write("proc/self/cgroup", "0::/\n");
    host.write("proc/self/mountinfo", "");
    host.write("sys/devices/system/cpu/online", format!("{raw}\n"));
    let explain_host = || {
        let mut command = explain(["blocking", "--root"]);
        command.arg(host.path());
        command
    };
    let report = succeed_with_json(explain_host().arg("--json"));
    let sources = report["readings"]["cpu"]["sources"].as_array().unwrap();
    let found: Vec<&str> = sources.iter().map(|source| source["raw"].as_str().unwrap()).collect();
    assert_eq!(found, ["0-1", raw]);
    let printed = succeed(&mut explain_host());
    assert!(printed.contains(r#"online: 0-1 "\u{1b}[31m"#), "{printed}");
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
}

/// A flag wins over the plan file, the file over the environment, and the environment over the formula. Each shadowed
/// setting is shown with its origin.
#[test]
fn first_source_wins_and_shadows_the_others() {
    let printed = succeed(&mut explain_four_sources());
    assert_eq!(printed, include_str!("four_sources.txt"));

    let printed = succeed(explain_four_sources().arg("--json"));
    assert_eq!(printed, include_str!("four_sources.json"));
    let gates = &succeed_with_json(explain_four_sources().arg("--json"))["gates"];
    let setting = |origin: &str, value: u64| json!({ "origin": origin, "value": value });
    let io_variable = "env ASTRID_CAPSULE_HOST_IO_CONCURRENCY";
    assert_eq!(gates["io"]["decision"]["origin"], "--set");
    assert_eq!(
        gates["io"]["shadowed"],
        json!([setting("engine.toml overrides.io", 30), setting(io_variable, 99)])
    );
    assert_eq!(gates["pool"]["decision"]["origin"], "engine.toml overrides.pool");
    assert_eq!(gates["pool"]["decision"]["standing"], "above_derived");
    assert_eq!(gates["blocking"]["decision"]["origin"], "env ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY");
    assert_eq!(gates["sessions"]["decision"], json!({ "kind": "derived" }));
    let order: Vec<&String> = gates.as_object().unwrap().keys().collect();
    assert_eq!(order, ["blocking", "io", "pool", "sessions"]);
}

/// The variables of a preset set only the gates of that preset. Another plan with a gate of the same name ignores them.
#[test]
fn preset_variables_apply_only_to_the_preset() {
    let directory = TestDirectory::new();
    let plan = directory.write("own-io.toml", "[gates.io]\nformula = \"5\"\n");
    let mut command = explain(["--json", "--plan"]);
    command.arg(plan).env("ASTRID_CAPSULE_HOST_IO_CONCURRENCY", "many");
    assert_eq!(succeed_with_json(&mut command)["gates"]["io"]["limit"], 5);
}

/// Variables with the prefix of `--env-prefix` set gates of any plan. They win over the variables of a preset, and the plan
/// file wins over them. A variable with the prefix that belongs to no gate is an error.
#[test]
fn prefixed_variables_set_gates_of_any_plan() {
    let mut command = explain_four_sources();
    command
        .args(["--env-prefix", "APP_LIMIT_", "--json"])
        .env("APP_LIMIT_IO", "8")
        .env("APP_LIMIT_SESSIONS", "9");
    let report = succeed_with_json(&mut command);
    let names: Vec<_> = report["layers"].as_array().unwrap().iter().map(|layer| &layer["name"]).collect();
    assert_eq!(names, ["--set", "engine.toml", "env", "env"]);
    assert_eq!(report["layers"][2]["sets"], json!({ "io": 8, "sessions": 9 }));
    let shadowed = report["gates"]["io"]["shadowed"].as_array().unwrap().iter();
    let origins: Vec<_> = shadowed.map(|setting| setting["origin"].as_str().unwrap()).collect();
    let variable = "env ASTRID_CAPSULE_HOST_IO_CONCURRENCY";
    assert_eq!(origins, ["engine.toml overrides.io", "env APP_LIMIT_IO", variable]);
    assert_eq!(report["gates"]["sessions"]["decision"]["origin"], "env APP_LIMIT_SESSIONS");

    let line = fail(command.env("APP_LIMIT_OI", "8"));
    assert!(line.contains("APP_LIMIT_OI"), "{line}");
    assert!(line.contains("APP_LIMIT_BLOCKING, APP_LIMIT_IO, APP_LIMIT_POOL, APP_LIMIT_SESSIONS"), "{line}");
    let line = fail(&mut explain(["--env-prefix", ""]));
    assert!(line.contains("`--env-prefix`: the prefix is empty"), "{line}");
    assert!(line.contains("such as APP_LIMIT_"), "{line}");
}

/// The policy of a gate applies to the settings of every layer: `clamp` lowers a setting, and `reject` makes it an error.
#[test]
fn policies_apply_to_settings_of_every_layer() {
    let directory = TestDirectory::new();
    let explain_with = |policy: &str, layer: &str| {
        let overrides = if layer == "file" { "[overrides]\nio = 9\n" } else { "" };
        let text = format!("[gates.io]\nformula = \"5\"\npolicy = \"{policy}\"\n{overrides}");
        let mut command = explain(["--env-prefix", "APP_LIMIT_", "--plan"]);
        command.arg(directory.write("plan.toml", text));
        match layer {
            "flag" => command.args(["--set", "io=9"]),
            "environment" => command.env("APP_LIMIT_IO", "9"),
            _ => &mut command,
        };
        command
    };
    for (layer, origin) in
        [("flag", "--set"), ("file", "plan.toml overrides.io"), ("environment", "env APP_LIMIT_IO")]
    {
        let report = succeed_with_json(explain_with("clamp", layer).arg("--json"));
        let clamped = &report["gates"]["io"];
        assert_eq!(clamped["limit"], 5, "{layer}");
        assert_eq!(clamped["decision"]["standing"], "clamped", "{layer}");

        let line = fail(&mut explain_with("reject", layer));
        assert!(line.contains(&format!("{origin} sets gate `io` to 9")), "{line}");
        assert!(line.contains("allowed: at most 5"), "{line}");
    }
}

/// The bounds of a queue are shown below the decision, in each combination.
#[test]
fn queue_bounds_are_shown() {
    let directory = TestDirectory::new();
    for (keys, shown) in [
        ("queue = 0\nmax_wait = \"1s\"\n", Some("no queue: no request waits")),
        ("queue = 9\n", Some("queue: at most 9 requests")),
        ("queue = 9\nmax_wait = \"1s\"\n", Some("queue: at most 9 requests, each for at most 1s")),
        ("max_wait = \"1s\"\n", Some("queue: each request for at most 1s")),
        ("", None),
    ] {
        let plan = directory.write("plan.toml", format!("[gates.io]\nformula = \"5\"\n{keys}"));
        let printed = succeed(explain(SMALL_HOST).arg("--plan").arg(plan));
        let mut lines = printed.lines().map(str::trim).skip_while(|line| !line.starts_with("gate ")).skip(2);
        let below = lines.next().filter(|line| !line.is_empty());
        assert_eq!(below, shown, "{keys}: {printed}");
    }
}

/// The sample plan of the documentation is a valid plan.
#[test]
fn sample_plan_is_valid() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plan.example.toml");
    let readings =
        ["--json", "--reading", "cpu=8", "--reading", "fd=1024", "--reading", "memory=1Gi", "--plan"];
    let gates = &succeed_with_json(explain(readings).arg(sample))["gates"];
    assert_eq!([&gates["uploads"]["limit"], &gates["uploads"]["derived"]], [32, 64]);
    assert_eq!([&gates["thumbnails"]["limit"], &gates["cache"]["limit"]], [6, 64]);
}

/// A plan file may be JSON if its name ends in `.json`. Its errors name the key.
#[test]
fn plan_files_may_be_json() {
    let directory = TestDirectory::new();
    let text =
        r#"{"gates": {"io": {"formula": "5", "queue": 9, "measure_waits": false}}, "overrides": {"io": 3}}"#;
    let plan = directory.write("plan.json", text);
    let report = succeed_with_json(explain(["--json", "--plan"]).arg(plan));
    assert_eq!(report["gates"]["io"]["limit"], 3);
    let origin = report["gates"]["io"]["decision"]["origin"].as_str().unwrap();
    assert!(origin.ends_with("plan.json overrides.io"), "{origin}");

    for (text, given, allowed) in [
        ("{", "not valid JSON: EOF", "line 1 column 1"),
        ("3", "3 is not a table", "keys and values"),
        (r#"{"gates": {"io": {"formula": "5", "queue": -1}}}"#, "gates.io.queue = -1", "0 to "),
        (
            r#"{"gates": {"io": {"formula": "5"}, "io": {"formula": "6"}}}"#,
            "gates.io is given twice",
            "allowed: once",
        ),
        (r#"{"gates": {"io": {"formula": ["5"]}}}"#, "gates.io.formula = [\"5\"]", "text such as"),
    ] {
        let plan = directory.write("wrong.json", text);
        let line = fail(explain(["--plan"]).arg(plan));
        for part in ["wrong.json", given, allowed] {
            assert!(line.contains(part), "the error for {text:?} should contain {part:?}: {line}");
        }
    }
}

/// A resource without a probe is unknown, and a note says how to give its reading. A resource that no gate uses is marked.
#[test]
fn unmeasured_and_unused_resources_are_distinguished() {
    let directory = TestDirectory::new();
    let plan = directory.write("gpu.toml", "[gates.jobs]\nformula = \"(gpu or 3) * 2\"\n");
    let printed = succeed(explain(SMALL_HOST).arg("--plan").arg(&plan));
    let has_line = |line: &str| printed.lines().any(|printed| printed.split_whitespace().eq(line.split(' ')));
    assert!(has_line("gpu unknown note: no probe measures gpu; give it with --reading gpu=N"), "{printed}");
    assert!(has_line("cpu 1.5 (no gate of this plan uses it)"), "{printed}");
    let given = succeed_with_json(explain(["--json", "--reading", "gpu=8", "--plan"]).arg(plan));
    assert_eq!(given["gates"]["jobs"]["limit"], 16);
    assert_eq!(given["readings"]["gpu"]["sources"][0]["path"], "--reading");
}

/// A probe that failed differs from a resource that is unknown for another reason, in the table and in JSON. An unknown
/// reading is never exact.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_probe_is_distinguishable() {
    let directory = TestDirectory::new();
    std::fs::create_dir_all(directory.join("host/proc/self")).unwrap();
    let root = directory.join("host");
    let report = succeed_with_json(explain(["--json", "--reading", "cpu=unknown", "--root"]).arg(&root));
    let readings = &report["readings"];
    for (resource, error) in [
        ("cpu", json!(null)),
        ("memory", json!("cannot measure memory: cannot read /proc/meminfo: entity not found")),
        ("tasks", json!(null)),
    ] {
        let reading = &readings[resource];
        assert_eq!((&reading["value"], &reading["error"]), (&json!("unknown"), &error), "{reading}");
        assert_ne!(reading["bound"], "exact", "{reading}");
    }
    let note = readings["tasks"]["notes"][0].as_str().unwrap();
    assert!(note.ends_with("its limit is not counted, so the true amount may be less"), "{note}");
    let table = succeed(explain(["--root"]).arg(&root));
    assert!(table.contains("failed: cannot measure memory"), "{table}");
}

/// `unlimited` and `unknown` are not numbers: `at most` is skipped with a remark, and the assumption of the formula applies.
#[test]
fn unlimited_and_unknown_are_not_numbers() {
    let report =
        succeed_with_json(&mut explain(["--json", "--reading", "cpu=unknown", "--reading", "fd=unlimited"]));
    let gates = &report["gates"];
    assert_eq!(gates["io"]["limit"], 128);
    assert_eq!(gates["io"]["derivation"][0]["assumed"], 2);
    assert_eq!(gates["io"]["derivation"][2]["effect"], "skipped");
    assert_eq!(gates["io"]["derivation"][2]["remark"], "skipped: fd is unlimited");
}

/// The available memory and the soft limit are measured if the plan reads them, and are shown in bytes.
#[cfg(target_os = "linux")]
#[test]
fn memory_figures_are_measured_if_the_plan_reads_them() {
    let directory = TestDirectory::new();
    let formula = "memory.available per 64Mi | floor 1 | at most memory.high per 64Mi";
    let plan = directory.write("spare.toml", format!("[gates.spare]\nformula = \"{formula}\"\n"));
    let root = "tests/fixtures/kernel-6.1-cgroup-v2/v2-no-limit";
    let mut command = explain(["--root", root, "--plan"]);
    command.arg(plan).current_dir(env!("CARGO_MANIFEST_DIR"));
    let table = succeed(&mut command);
    assert!(table.contains("memory.available  433.90 MiB"), "{table}");
    let report = succeed_with_json(command.arg("--json"));
    assert_eq!(report["readings"]["memory.available"]["value"], 444_320 * 1024);
    assert_eq!(report["readings"]["memory.high"]["value"], "unlimited");
    assert_eq!(report["gates"]["spare"]["limit"], 6);
}

/// A pressure is measured if the plan reads it.
#[cfg(target_os = "linux")]
#[test]
fn pressure_is_measured_if_the_plan_reads_it() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernel-6.1-cgroup-v2/v2-pids-nested");
    let directory = TestDirectory::new();
    let plan = directory.write("calm.toml", "[gates.calm]\nformula = \"pressure.cpu * 100\"\n");
    let report = succeed_with_json(explain(["--json", "--root", root, "--plan"]).arg(plan));
    assert_eq!(report["readings"]["pressure.cpu"]["value"], 0.069);
    assert_eq!(report["gates"]["calm"]["limit"], 6);
}

#[cfg(target_os = "linux")]
mod real_limits {
    use std::process::Command;

    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;
    use serde_json::Value;

    use crate::support::{PROGRAM, clean, succeed_with_json};

    /// With one CPU and with all of them, with few descriptors and with many, the limits follow from the formulas of the
    /// preset for the real cores and descriptors.
    #[test]
    fn limits_follow_affinity_and_descriptors() {
        for descriptors in [None, Some(4), Some(5), Some(50), Some(64), Some(300)] {
            assert_formulas_hold(&succeed_with_json(&mut explain_with_descriptors(descriptors)), descriptors);
        }
        let on_one_cpu = std::thread::spawn(|| {
            pin_to_one_cpu();
            [None, Some(50)].map(|descriptors| {
                (succeed_with_json(&mut explain_with_descriptors(descriptors)), descriptors)
            })
        });
        for (report, descriptors) in on_one_cpu.join().unwrap() {
            assert_eq!(whole_cpus(&report), 1, "{report}");
            assert_formulas_hold(&report, descriptors);
        }
    }

    /// Compares the limits with the formulas of the preset, which are written here a second time.
    fn assert_formulas_hold(report: &Value, descriptors: Option<u64>) {
        let cores = whole_cpus(report);
        let fd = report["readings"]["fd"]["value"].as_u64();
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
        let cores = report["readings"]["cpu"]["value"].as_f64().unwrap_or(2.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of cores is small"
        )]
        let whole = cores.floor() as u64;
        whole.max(1)
    }

    /// Returns `explain --json` with a limit on descriptors.
    ///
    /// Only the standard descriptors are open, because the dynamic loader needs one more for each library it opens.
    fn explain_with_descriptors(descriptors: Option<u64>) -> Command {
        let limit = descriptors.map_or(String::new(), |n| format!("ulimit -n {n}; "));
        let script = format!("exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; {limit}exec \"$0\" explain --json");
        let mut shell = clean(Command::new("sh"));
        shell.args(["-c", &script, PROGRAM]);
        shell
    }

    /// Pins this thread, and the processes that it starts, to the first CPU that is allowed.
    fn pin_to_one_cpu() {
        let this_thread = Pid::from_raw(0);
        let allowed = sched_getaffinity(this_thread).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
        let mut one = CpuSet::new();
        one.set(first).unwrap();
        sched_setaffinity(this_thread, &one).unwrap();
    }
}
