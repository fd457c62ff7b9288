//! Child processes for tests that change their own process, so that they do not disturb the tests that run in
//! parallel.
//!
//! A child process is this test binary, run with `--exact` and the name of one test, so that it runs no other
//! test. In the child process, [`is_child`] returns `true`.

use std::env;
use std::io::Write as _;
use std::process::{Command, Output};

/// Runs the body of a test in a child process, and asserts that the test passes there.
///
/// `test` is the name of the calling test with its modules. A wrong name fails, since the child process then
/// runs no test.
pub(crate) fn run_in_child(test: &str, body: impl FnOnce()) {
    if is_child() {
        return body();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().unwrap();
    assert_passed(&output);
    // The child process may have skipped a part of the test.
    let stderr = String::from_utf8_lossy(&output.stderr);
    stderr.lines().filter(|line| line.starts_with(SKIPPED)).for_each(print_uncaptured);
}

/// Returns whether this process is the child process of a test.
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Returns a shell command that runs `script` in new namespaces. `namespaces` are options of `unshare`;
/// without options, the shell stays in the namespaces of this process.
///
/// The script replaces the shell with the child process of `test` by [`RUN_TEST`].
pub(crate) fn shell(namespaces: &[&str], script: &str, test: &str) -> Command {
    let mut command = if namespaces.is_empty() {
        Command::new("sh")
    } else {
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["--", "sh"]);
        command
    };
    let program = env::current_exe().unwrap();
    command.args(["-c", script]).env("PROGRAM", program).env("TEST", test).env(CHILD, "1");
    command
}

/// The shell command that starts the child process in a script of [`shell`].
pub(crate) const RUN_TEST: &str = r#""$PROGRAM" --exact "$TEST" --nocapture"#;

/// Asserts that a child process ran one test, and that the test passed.
#[track_caller]
pub(crate) fn assert_passed(output: &Output) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let has_passed = output.status.success() && stdout.contains("1 passed");
    assert!(has_passed, "{stdout}{}", String::from_utf8_lossy(&output.stderr));
}

/// Reports that a test is skipped, and why.
pub(crate) fn skip(test: &str, reason: &str) {
    print_uncaptured(&format!("{SKIPPED}{test}: {reason}"));
}

/// Prints a line to the standard error stream. The test harness does not capture it, unlike the output of
/// `eprintln!`.
pub(crate) fn print_uncaptured(line: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "{line}").unwrap();
}

const CHILD: &str = "CONCURRENCY_GOVERNOR_TEST_CHILD";
const SKIPPED: &str = "skipped: ";
