//! Gates within gates in the program: what `explain` and `watch` print, and paths in place of names.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{
    SMALL_HOST, TestDirectory, fail, fail_with_lines, program, succeed, succeed_with_json, text,
};

const PLAN: &str = r#"
[gates.io]
formula = "64"
keys = { max = 4096, cap = "gate io * 1/4", queue = 64 }

[gates.messages]
formula = "gate io * 1/2"
within = "io"
weight = 2
queue = 10

[gates.inbox]
formula = "20"
within = "messages"
keys = { max = 10 }

[overrides]
"io/messages" = 16
"#;

/// The tables show the path of each child, the gate above that binds, the weight and the keys.
#[test]
fn explain_shows_paths_and_the_gate_that_binds() {
    let plan = plan_file(PLAN);
    let printed = succeed(command("explain", &plan).args(["--set", "io=48"]));
    let (_, gates) = printed.split_once("decided by\n").unwrap();
    let (gates, _) = gates.split_once("\n\n").unwrap();
    assert_eq!(
        gates.lines().collect::<Vec<_>>(),
        [
            "io                    48       64  set to 48 by --set",
            "                                   keys: at most 4096 busy, each with at most 12",
            "                                     permits and 64 waiting requests",
            "io/messages           16       24  set to 16 by plan.toml overrides.io/messages",
            "                                   queue: at most 10 requests",
            "                                   weight 2 among the gates within `io`",
            "io/messages/inbox     20       20  `20`",
            "                                   at most 16 at a time, because gate `messages`",
            "                                     above it has 16",
            "                                   keys: at most 10 busy, each with at most 20",
            "                                     permits",
        ]
    );
    assert!(printed.contains("\nio/messages        gate io * 1/2      24  <- would decide"), "{printed}");

    let report = succeed_with_json(command("explain", &plan).args(["--json", "--set", "io=48"]));
    let gates = &report["gates"];
    assert_eq!(
        (&gates["inbox"]["path"], &gates["messages"]["bound_by"]),
        (&json!("io/messages/inbox"), &json!(null))
    );
    assert_eq!(gates["inbox"]["bound_by"], json!({ "gate": "messages", "limit": 16 }));
    assert!(gates["io"].get("path").is_none() && gates["io"].get("bound_by").is_none(), "{gates}");
}

/// `watch` lists each gate below its parent, indented, with the gate above that binds and the bounds of its keys. Siblings are in
/// the order of the plan, also if a child is declared before its parent.
#[test]
fn watch_lists_the_gates_as_a_tree() {
    let (io, children) = PLAN.split_once("[gates.messages]").unwrap();
    let (children, overrides) = children.split_once("[overrides]").unwrap();
    let last = "[gates.files]\nformula = \"1\"\nwithin = \"io\"\nkeys = { max = 2, queue = 1 }\n[gates.cpu-work]\nformula = \"cpu\"\n";
    let plan = plan_file(&format!("[gates.messages]{children}{io}{last}[overrides]{overrides}"));
    let printed = succeed(command("watch", &plan).args(["--for", "150ms"]).stdin(Stdio::null()));
    let gates = printed.lines().map(|line| &line[9..]).filter(|line| line.trim_start().starts_with("gate "));
    assert_eq!(
        gates.collect::<Vec<_>>(),
        [
            "gate io: 64 (`64`; keys: at most 4096 busy, each with at most 16 permits and 64 waiting requests)",
            "  gate messages: 16 (set to 16 by plan.toml overrides.io/messages)",
            "    gate inbox: 20 (`20`; at most 16 at a time, because gate `messages` above it has 16; keys: at most 10 busy, each with at most 20 permits)",
            "  gate files: 1 (`1`; keys: at most 2 busy, each with at most 1 permit and 1 waiting request)",
            "gate cpu-work: 1 (`cpu`)",
        ],
        "{printed}"
    );
}

/// A path stands for the gate wherever the program takes a name.
#[test]
fn a_path_names_a_gate_in_every_flag() {
    let plan = plan_file(PLAN);
    for name in ["inbox", "io/messages/inbox"] {
        let set = format!("{name}=3");
        let report = succeed_with_json(command("explain", &plan).args([name, "--set", &set, "--json"]));
        assert_eq!(report["gates"].as_object().unwrap().keys().collect::<Vec<_>>(), ["inbox"]);
        assert_eq!(report["gates"]["inbox"]["limit"], 3);

        let output = command("check", &plan).args(["--require", &format!("{name}>=20")]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(
            text(&output.stdout).contains(": io/messages/inbox = 20: derived, `20` decides"),
            "{output:?}"
        );

        let mut simulate = command("simulate", &plan);
        simulate.args(["--for", "1s", "--mix", &format!("{name}=1"), "--service", &format!("{name}=1ms")]);
        let printed = succeed(simulate.args(["--change", &format!("{name}=5@500ms")]));
        assert!(printed.contains("inbox") && printed.contains("20 > 5"), "{printed}");
    }
    for variable in ["APP_INBOX", "APP_IO__MESSAGES__INBOX"] {
        let mut explain = command("explain", &plan);
        let report = succeed_with_json(explain.args(["--env-prefix", "APP_", "--json"]).env(variable, "7"));
        let decision = &report["gates"]["inbox"]["decision"];
        assert_eq!((&decision["value"], &decision["origin"]), (&json!(7), &json!(format!("env {variable}"))));
    }
}

/// A path whose parents are wrong is an error that shows the right path, in every flag and in the plan file.
#[test]
fn a_wrong_path_is_an_error_with_the_right_path() {
    let plan = plan_file(PLAN);
    let right = "gate `inbox` is at `io/messages/inbox` (allowed: `inbox` or `io/messages/inbox`)\n";
    let no_gate = format!("`io/inbox` is not a gate of the plan: {right}");
    for (arguments, message) in [
        (&["explain", "--set", "io/inbox=3"][..], format!("error: --set sets `io/inbox`, but {right}")),
        (&["explain", "io/inbox"], format!("error: {no_gate}")),
        (&["check", "--require", "io/inbox>=3"], format!("error: `--require io/inbox >= 3`: {no_gate}")),
        (&["simulate", "--mix", "io/inbox=3"], format!("error: `--mix io/inbox`: {no_gate}")),
        (&["simulate", "--service", "io/inbox=3ms"], format!("error: `--service io/inbox`: {no_gate}")),
        (&["simulate", "--change", "io/inbox=3@1s"], format!("error: `--change io/inbox=3@1s`: {no_gate}")),
        (
            &["explain", "--set", "inbox=1", "--set", "io/messages/inbox=2"],
            "error: `--set` names `inbox` twice (allowed: once; remove one of them)\n".to_owned(),
        ),
    ] {
        assert_eq!(fail(command(arguments[0], &plan).args(&arguments[1..])), message, "{arguments:?}");
    }
    let error = fail_with_lines(command("explain", &plan).args(["--set", "io//inbox=3"])).join(" ");
    assert!(error.contains("\"io//inbox\" is not the path of a gate: \"\" is not a gate name"), "{error}");

    let plan = plan_file(&PLAN.replace("\"io/messages\" = 16", "\"io/inbox\" = 16"));
    let error = fail(&mut command("explain", &plan));
    assert_eq!(error, format!("error: plan file plan.toml: line 18: overrides.\"io/inbox\": {right}"));
}

/// Returns a directory with a plan file.
fn plan_file(content: &str) -> TestDirectory {
    let directory = TestDirectory::new();
    directory.write("plan.toml", content);
    directory
}

/// Returns a command of the program on a small host with the plan file of this directory.
fn command(name: &str, directory: &TestDirectory) -> Command {
    let mut command = program();
    command.current_dir(directory.path()).arg(name).args(SMALL_HOST).args(["--plan", "plan.toml"]);
    command
}
