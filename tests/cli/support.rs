//! Helpers for all tests of the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_concurrency-governor");

/// Readings of a small host: one and a half cores, a hundred descriptors, a gibibyte, five hundred tasks.
pub(crate) const SMALL_HOST: [&str; 8] =
    ["--reading", "cpu=1.5", "--reading", "fd=100", "--reading", "memory=1Gi", "--reading", "tasks=500"];

/// Removes the environment variables of a developer or a CI that change the output of the program.
pub(crate) fn clean(mut command: Command) -> Command {
    for variable in [
        "ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY",
        "ASTRID_CAPSULE_HOST_IO_CONCURRENCY",
        "ASTRID_CAPSULE_INSTANCE_POOL_SIZE",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(variable);
    }
    command
}

pub(crate) fn program() -> Command {
    clean(Command::new(PROGRAM))
}

pub(crate) fn explain<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = program();
    command.arg("explain").args(arguments);
    command
}

/// Returns `explain` for the preset's gates and one more, with settings from `--set`, the plan file and the environment.
pub(crate) fn explain_four_sources() -> Command {
    let mut command = explain(SMALL_HOST);
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli"))
        .args(["--plan", "engine.toml", "--set", "io=7"])
        .env("ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY", "1")
        .env("ASTRID_CAPSULE_HOST_IO_CONCURRENCY", "99")
        .env("ASTRID_CAPSULE_INSTANCE_POOL_SIZE", "40");
    command
}

/// Runs a command that must succeed without output on standard error. Returns its standard output.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    assert_eq!(text(&output.stderr), "", "{command:?}");
    text(&output.stdout)
}

/// Runs a command that must succeed and print JSON.
#[track_caller]
pub(crate) fn succeed_with_json(command: &mut Command) -> Value {
    serde_json::from_str(&succeed(command)).unwrap()
}

/// Runs a command that must fail with exit code 2 and one line on standard error. Returns the line.
#[track_caller]
pub(crate) fn fail(command: &mut Command) -> String {
    let lines = fail_with_lines(command);
    assert_eq!(lines.len(), 1, "{command:?}: {lines:#?}");
    format!("{}\n", lines[0])
}

/// Runs a command that must fail with exit code 2 and an error on standard error. Returns its lines.
#[track_caller]
pub(crate) fn fail_with_lines(command: &mut Command) -> Vec<String> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let error = text(&stderr);
    assert_eq!(status.code(), Some(2), "{command:?}: {error}");
    assert_eq!(text(&stdout), "", "{command:?}");
    assert!(error.starts_with("error: ") && error.ends_with('\n'), "{command:?}: {error}");
    assert!(!error.contains('\u{1b}'), "{command:?}: {error:?}");
    error.lines().map(str::to_owned).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A directory for one test. Removed on drop.
#[derive(Debug)]
pub(crate) struct TestDirectory {
    path: PathBuf,
}

impl TestDirectory {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);

        // The number is unique in this process, and the process id is unique among processes.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cli-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        // A directory that remains in the build folder does no harm.
        let _: std::io::Result<()> = fs::remove_dir_all(&self.path);
    }
}
