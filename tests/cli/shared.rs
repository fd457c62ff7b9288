//! What `explain` and `watch` show of gates that share their limits, without an engine: it is not asked, or gives no answer.

use std::process::Command;

use serde_json::json;

use crate::support::{SMALL_HOST, TestDirectory, explain, succeed, succeed_with_json};

const PLAN: &str = "\
[gates.io]
formula = \"cpu * 64\"
[gates.io.share]
name = \"prod/io\"
ledger_env = \"SHARED_TEST_LEDGER\"
limit = 200
[gates.mail]
formula = \"4\"
";

fn explain_shared(directory: &TestDirectory) -> Command {
    let mut command = explain(SMALL_HOST);
    command.current_dir(directory.path()).args(["--plan", "plan.toml"]).env_remove(VARIABLE);
    command
}

/// A ledger that is not asked is shown with the reason, and is no problem. All else is shown as without it.
#[test]
fn a_ledger_that_is_not_asked_is_no_problem() {
    let directory = TestDirectory::new();
    directory.write("plan.toml", PLAN);
    let not_set = if cfg!(any(feature = "redis", feature = "postgres")) {
        "environment variable SHARED_TEST_LEDGER is not set, or is not UTF-8"
    } else {
        "this program was built without the features `redis` and `postgres`"
    };
    for (flags, reason) in [(&[][..], not_set), (&["--no-ledger"], "`--no-ledger` is given")] {
        let printed = succeed(explain_shared(&directory).args(flags));
        let section = printed.split("\n\n").find(|section| section.starts_with("Shared gates\n")).unwrap();
        let section = section.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            section,
            format!("Shared gates gate may use in the fleet io unknown `prod/io`, not asked: {reason}")
        );
        assert!(!printed.contains("Problems"), "{printed}");
        assert!(printed.contains("How each limit is derived"), "{printed}");
        let report = succeed_with_json(explain_shared(&directory).args(flags).arg("--json"));
        assert_eq!(
            report["gates"]["io"]["share"],
            json!({
                "name": "prod/io",
                "ledger_source": "environment variable SHARED_TEST_LEDGER",
                "declared_limit": 200,
                "unreachable": "closed",
                "answer": "not_asked",
                "reason": reason,
                "may_use": null,
                "ledger": null,
                "fleet": null,
            })
        );
        assert_eq!(report["gates"]["mail"].get("share"), None);
    }
    let mail = succeed(explain_shared(&directory).arg("mail"));
    assert!(!mail.contains("Shared gates"), "{mail}");
}

/// A ledger that cannot be used, refuses the connection, or does not respond is one problem. The exit code is 0, all else is shown, and
/// nothing shows the user or the password.
#[cfg(feature = "redis")]
#[test]
fn a_ledger_without_an_answer_is_a_problem() {
    use std::net::TcpListener;

    let directory = TestDirectory::new();
    directory.write("plan.toml", PLAN);
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = listen().local_addr().unwrap().port();
    let silent = listen(); // the kernel accepts connections, and nothing answers
    let silent_port = silent.local_addr().unwrap().port();
    for (url, reason) in [
        (format!("redis://operator:hunter2@127.0.0.1:{refused}/"), "Connection refused"),
        (format!("redis://operator:hunter2@127.0.0.1:{silent_port}/"), "timed out"),
        ("redis://operator:hunter2@127.0.0.1:port/".to_owned(), "is not the URL of a ledger"),
        ("oracle://operator:hunter2@host/".to_owned(), "is not the URL of a ledger"),
    ] {
        let mut command = explain_shared(&directory);
        let printed = succeed(command.env(VARIABLE, &url));
        assert!(printed.contains("`prod/io`, without an answer of its ledger"), "{printed}");
        assert!(printed.contains("a process that has no lease admits nothing"), "{printed}");
        assert!(printed.contains("How each limit is derived"), "{printed}");
        let json = succeed_with_json(command.arg("--json"));
        let problems = json["problems"].as_array().unwrap();
        assert_eq!((problems.len(), &problems[0]["what"]), (1, &json!("gate io")));
        let problem = problems[0]["problem"].as_str().unwrap();
        assert!(problem.starts_with("the ledger of `prod/io` gives no answer: "), "{problem}");
        assert!(problem.contains(reason) && !problem.contains('\n'), "{problem}");
        assert_eq!(json["gates"]["io"]["share"]["answer"], "failed");
        assert_eq!(json["gates"]["io"]["limit"], 96);
        for text in [printed, json.to_string()] {
            assert!(!text.contains("hunter2") && !text.contains("operator"), "{text}");
        }
    }
}

/// Several ledgers that do not respond, and several gates of one such ledger, take no longer than one ledger.
#[cfg(feature = "redis")]
#[test]
fn silent_ledgers_share_one_deadline() {
    use std::fmt::Write as _;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    const GATES: usize = 10;
    /// One after the other, the ledgers would take at least 12 s.
    const BOUND: Duration = Duration::from_secs(7);

    let directory = TestDirectory::new();
    let silent: Vec<_> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut command = explain(SMALL_HOST);
    let mut plan = String::new();
    for gate in 0..GATES {
        let ledger = gate % silent.len();
        writeln!(plan, "[gates.g{gate}]\nformula = \"4\"\n[gates.g{gate}.share]\nname = \"prod/g{gate}\"")
            .unwrap();
        writeln!(plan, "limit = 20\nledger_env = \"SILENT_LEDGER_{ledger}\"").unwrap();
        let port = silent[ledger].local_addr().unwrap().port();
        command.env(format!("SILENT_LEDGER_{ledger}"), format!("redis://127.0.0.1:{port}/"));
    }
    directory.write("plan.toml", plan);
    command.current_dir(directory.path()).args(["--plan", "plan.toml", "--json"]);
    let started = Instant::now();
    let report = succeed_with_json(&mut command);
    assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), GATES);
    assert!(
        problems.iter().all(|problem| problem["problem"].as_str().unwrap().contains("timed out")),
        "{report}"
    );
}

/// `watch` shows its values before a ledger has answered, and reports that it gives no answer with the reason.
#[cfg(feature = "redis")]
#[test]
fn watch_does_not_wait_for_a_ledger() {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::process::Stdio;

    use crate::support::program;

    let directory = TestDirectory::new();
    directory.write("plan.toml", PLAN);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = program();
    command.current_dir(directory.path()).args(["watch", "--plan", "plan.toml", "--every", "100ms"]);
    command.env(VARIABLE, format!("redis://operator:hunter2@127.0.0.1:{port}/")).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.find(|line| line.contains("fleet of ")).unwrap();
    assert!(first.ends_with(" fleet of io: asking"), "{first}");
    let change = lines.find(|line| line.contains("fleet of ")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(change.contains(&format!("asking -> no answer (Redis at 127.0.0.1:{port}: ")), "{change}");
    assert!(!change.contains("hunter2") && !change.contains("operator"), "{change}");

    let mut command = program();
    command.current_dir(directory.path()).args([
        "watch",
        "--plan",
        "plan.toml",
        "--no-ledger",
        "--for",
        "1ms",
    ]);
    let printed = succeed(&mut command);
    assert!(printed.contains("fleet of io: not asked (`--no-ledger` is given)"), "{printed}");
}

const VARIABLE: &str = "SHARED_TEST_LEDGER";
