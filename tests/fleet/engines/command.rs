//! The commands `fleet status` and `fleet set-limit` on real engines.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::fleet::{
    Ask, Claim, LeaseTerms, Ledger, LimitVersion, PostgresLedger, RedisLedger,
};
use redis::Client;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::postgres;
use super::redis::{start_server, url};

/// The commands show the gates of a ledger and the processes of a gate, and set a limit. The URL comes from the flag, from a file, or
/// from the environment.
#[test]
fn a_limit_is_shown_and_set() {
    let Some(server) = start_server() else { return };
    let url = url(&server);
    let status = ["fleet", "status", "--ledger", &*url];
    assert!(succeed(program().args(status)).contains("It has no gates"));
    let runtime = Runtime::new().unwrap();
    let ledger = RedisLedger::new(&*url).unwrap();
    for gate in ["prod/io", "prod/cpu"] {
        runtime.block_on(exchange(&ledger, gate));
    }

    let gates = succeed(program().args(status));
    let lines: Vec<Vec<&str>> = gates.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ledger", "Redis", "at", &*format!("127.0.0.1:{}", server.port)]);
    assert_eq!(lines[2], ["GATE", "LIMIT", "GRANTED", "PROCESSES", "STATE", "SET", "BY"]);
    assert_eq!(lines[3][..6], ["prod/cpu", "24", "0", "1", "learning", "for"]);
    assert_eq!((lines[4][0], lines.len()), ("prod/io", 5));

    let file = std::env::temp_dir().join(format!("ledger-{}-{}", std::process::id(), server.port));
    fs::write(&file, format!("{url}\n")).unwrap();
    let mut set = program();
    set.args(["fleet", "set-limit", "--ledger-file"]).arg(&file);
    let set = succeed(set.args(["--gate", "prod/io", "7", "--by", "incident 4711"]));
    fs::remove_file(&file).unwrap();
    assert!(set.starts_with("the limit of prod/io is 7, set by incident 4711 (version "), "{set}");
    assert!(set.ends_with("; it was 24\n"), "{set}");

    let mut shown = program();
    shown.args(["fleet", "status", "--gate", "prod/io"]).env(VARIABLE, &url);
    let text = succeed(&mut shown);
    assert!(text.contains("limit      7, set by incident 4711 (version "), "{text}");
    assert!(text.contains("granted    0 to 1 processes") && text.contains("host:1:a"), "{text}");
    let json: Value = serde_json::from_str(&succeed(shown.arg("--json"))).unwrap();
    let gate = &json["gates"]["prod/io"];
    assert_eq!(
        (&json["version"], &gate["limit"], &gate["set_by"]),
        (&1.into(), &7.into(), &"incident 4711".into())
    );
    assert_eq!(
        (&gate["processes"][0]["name"], &gate["processes"][0]["wants"]),
        (&"host:1:a".into(), &30.into())
    );
    assert!(gate["learning_ms"].as_u64().unwrap() > 0);
}

/// The same on PostgreSQL, and what it says before the tables are installed.
#[test]
fn a_limit_is_set_in_postgres() {
    let Some(server) = postgres::start_server() else { return };
    let url = format!("postgres://postgres:secret@127.0.0.1:{}/postgres", server.port);
    let status = ["fleet", "status", "--ledger", &*url];
    let ledger = PostgresLedger::new(url.parse().unwrap());
    Runtime::new().unwrap().block_on(postgres::wait_until_ready(&ledger));
    let missing = fail(program().args(status));
    assert!(missing.contains("its tables are missing"), "{missing}");
    Runtime::new().unwrap().block_on(async {
        exchange(&postgres::installed(server.port).await, "prod/io").await;
    });
    succeed(program().args([
        "fleet",
        "set-limit",
        "--ledger",
        &url,
        "--gate",
        "prod/io",
        "9",
        "--by",
        "ops",
    ]));
    let shown = succeed(program().args(status).args(["--gate", "prod/io"]));
    assert!(shown.starts_with(&format!("ledger     PostgreSQL at 127.0.0.1:{}\n", server.port)), "{shown}");
    assert!(shown.contains("limit      9, set by ops (version "), "{shown}");
    assert!(succeed(program().args(status)).contains("prod/io"));
    let unknown = fail(program().args(status).args(["--gate", "prod/oi"]));
    assert!(unknown.contains("has no gate `prod/oi` (allowed: prod/io)"), "{unknown}");
    Runtime::new().unwrap().block_on(async {
        let client = postgres::connect(server.port).await;
        client.batch_execute("UPDATE concurrency_governor.gate SET layout = 2").await.unwrap();
    });
    let other = fail(program().args(status).args(["--gate", "prod/io"]));
    assert!(other.contains("has the layout 2, and this program knows 1"), "{other}");
}

/// Each error is one line that says what is wrong, and none has the password.
#[test]
fn errors_say_what_is_wrong_and_no_secret() {
    let Some(server) = start_server() else { return };
    let url = url(&server);
    let ask =
        |url: &str, gate: &str| fail(program().args(["fleet", "status", "--ledger", url, "--gate", gate]));
    let unknown = ask(&url, "io");
    assert!(unknown.contains("has no gate `io` (it has none before the first process reports)"), "{unknown}");
    Runtime::new().unwrap().block_on(exchange(&RedisLedger::new(&*url).unwrap(), "prod/io"));
    let unknown = fail(program().args(["fleet", "set-limit", "--ledger", &url, "--gate", "io", "3"]));
    assert!(unknown.contains("has no gate `io` (allowed: prod/io)"), "{unknown}");
    let name = ask(&url, "my io");
    assert!(name.contains("gate \"my io\" is not valid"), "{name}");

    let mut connection = Client::open(&*url).unwrap().get_connection().unwrap();
    redis::cmd("HSET").arg("cg:{new}").arg("m").arg(b"\x02\x01\x01").exec(&mut connection).unwrap();
    let other = ask(&url, "new");
    assert!(other.contains("the gate \"new\" has another layout, and this program knows 1"), "{other}");

    redis::cmd("CONFIG").arg(&["SET", "requirepass", "right"]).exec(&mut connection).unwrap();
    let wrong = ask(&format!("redis://:hunter2@127.0.0.1:{}/", server.port), "prod/io");
    assert!(wrong.contains("Redis at 127.0.0.1:") && wrong.to_lowercase().contains("password"), "{wrong}");
    assert!(!wrong.contains("hunter2"), "{wrong}");
    let none = ask(&url, "prod/io");
    assert!(none.contains("NOAUTH") || none.contains("uthentication"), "{none}");
    let right = format!("redis://:right@127.0.0.1:{}/", server.port);
    let listed = succeed(program().args(["fleet", "status", "--ledger", &right]));
    assert!(listed.contains("unreadable") && listed.contains("prod/io"), "{listed}");

    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["redis", "postgres"] {
        let gone = ask(&format!("{scheme}://me:hunter2@127.0.0.1:{port}/"), "io");
        assert!(gone.contains("has failed") && gone.contains("Connection refused"), "{gone}");
        assert!(!gone.contains("hunter2"), "{gone}");
    }
    for url in [
        "hunter2",
        "http://me:hunter2@host/",
        "redis://me:hunter2@host:port/",
        "rediss+unix://me:hunter2@host/",
        "postgres://me:hunter2@host:port/",
    ] {
        let wrong = ask(url, "io");
        assert!(
            wrong.starts_with("error: `--ledger` is not the URL of a ledger") && !wrong.contains("hunter2"),
            "{wrong}"
        );
    }
    let missing = fail(program().args(["fleet", "status"]));
    assert!(missing.contains("no ledger is given (allowed: `--ledger URL`"), "{missing}");
    let file = fail(program().args(["fleet", "status", "--ledger-file", "/does/not/exist"]));
    assert!(file.contains("`--ledger-file /does/not/exist`: "), "{file}");
    let zero = fail(program().args(["fleet", "set-limit", "--ledger", "redis://host/", "--gate", "io", "0"]));
    assert!(zero.starts_with("error: `0`: "), "{zero}");
    let flag = fail(program().args(["fleet", "status", "--jsno"]));
    assert!(flag.contains("`status` has no argument `--jsno`; did you mean `--json`?"), "{flag}");
    let none = fail(program().arg("fleet"));
    assert!(none.contains("no command is given (allowed: status, set-limit;"), "{none}");
    let page = succeed(program().args(["man", "fleet-set-limit"]));
    assert!(page.starts_with(".TH \"CONCURRENCY-GOVERNOR-FLEET-SET-LIMIT\" 1 "), "{page}");
}

pub(super) async fn exchange(ledger: &dyn Ledger, gate: &str) {
    let terms = LeaseTerms::new(Duration::from_secs(10), Duration::from_secs(30)).unwrap();
    let limit = LimitVersion::configured(Limit::new(24));
    let ask =
        Ask { holder: "host:1:a", seq: 1, epoch: 0, held: 0, wants: 30, claim: Claim::Current, terms, limit };
    ledger.exchange(gate, ask).await.unwrap();
}

pub(super) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_concurrency-governor"));
    command.env_remove(VARIABLE).env_remove("CLICOLOR_FORCE");
    command
}

pub(super) fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success() && stderr.is_empty(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn fail(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let error = String::from_utf8(stderr).unwrap();
    assert_eq!(
        (status.code(), &*stdout, error.lines().count()),
        (Some(2), &b""[..], 1),
        "{command:?}: {error}"
    );
    error
}

const VARIABLE: &str = "CONCURRENCY_GOVERNOR_LEDGER";
