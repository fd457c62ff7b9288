//! `watch` on a real pseudo-terminal and in a pipe.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{self, Signal};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::support::{TestDirectory, fail, program, succeed};

const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();

/// A terminal of 80 columns and 24 lines shows everything and follows an edited plan. `q` quits and restores the terminal.
#[test]
fn screen_follows_the_plan_and_q_quits() {
    let plan = PlanUnderEdit::new("6");
    let mut terminal = TestTerminal::start(&["--every", "100ms", "--plan", plan.path()]);
    let screen = terminal.read_until("none yet");
    for text in ["q quits", "Readings", "cpu ", "memory ", "Gates", "uploads  6", "Changes"] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    assert!(terminal.is_alternate_screen());
    plan.write("5");
    let screen = terminal.read_until("gate uploads: 6 -> 5");
    assert!(screen.contains("uploads  5"), "{screen}");
    terminal.press("q");
    terminal.read_to_end();
    assert!(!terminal.is_alternate_screen(), "the terminal is restored");
    assert!(terminal.child.wait().unwrap().success());
}

/// On the screen, a gate within another one stands below it, indented, also after its parent was edited.
#[test]
fn screen_shows_the_gates_as_a_tree() {
    let plan = PlanUnderEdit::new("6\"\n[gates.thumbnails]\nformula = \"2\"\nwithin = \"uploads");
    let mut terminal = TestTerminal::start(&["--every", "100ms", "--plan", plan.path()]);
    let screen = terminal.read_until("none yet");
    assert!(screen.contains("\nuploads       6") && screen.contains("\n  thumbnails  2"), "{screen}");
    plan.write("5\"\n[gates.thumbnails]\nformula = \"2");
    let screen = terminal.read_until("gate uploads: 6 -> 5");
    assert!(screen.contains("\nuploads     5") && screen.contains("\nthumbnails  2"), "{screen}");
    terminal.press("q");
    terminal.read_to_end();
}

/// Ctrl-C quits and restores the terminal.
#[test]
fn control_c_quits() {
    let mut terminal = TestTerminal::start(&[]);
    terminal.read_until("q quits");
    terminal.press("\u{3}");
    terminal.read_to_end();
    assert!(!terminal.is_alternate_screen());
    assert!(terminal.child.wait().unwrap().success());
}

/// Ctrl-Z restores the terminal and suspends the program. SIGCONT continues it.
#[test]
fn control_z_suspends_until_continued() {
    let mut terminal = TestTerminal::start(&["--every", "1h"]);
    let pid = Pid::from_raw(terminal.child.id().try_into().unwrap());
    for _ in 0..2 {
        terminal.read_until("q quits");
        terminal.press("\u{1a}");
        let start = Instant::now();
        let stopped = loop {
            match waitpid(pid, Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::StillAlive if start.elapsed() < Duration::from_secs(60) => {
                    thread::sleep(Duration::from_millis(10));
                }
                status => break status,
            }
        };
        assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGTSTP));
        assert_eq!(terminal.modes(), terminal.initial_modes);
        terminal.read_available();
        assert!(!terminal.is_alternate_screen() && !terminal.screen.screen().hide_cursor());
        signal::kill(pid, Signal::SIGCONT).unwrap();
        terminal.read_until("q quits");
        assert!(terminal.is_alternate_screen());
    }
    terminal.press("q");
    terminal.read_to_end();
    assert!(terminal.child.wait().unwrap().success());
}

/// A signal that ends the program restores the screen, the modes and the cursor first.
#[test]
fn signals_restore_the_terminal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = TestTerminal::start(&["--every", "1h"]);
        terminal.read_until("q quits");
        assert_ne!(terminal.modes(), terminal.initial_modes);
        let pid = Pid::from_raw(terminal.child.id().try_into().unwrap());
        signal::kill(pid, signal).unwrap();
        let status = terminal.child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal as i32), "the signal still ends the program");
        assert_eq!(terminal.modes(), terminal.initial_modes);
        terminal.read_to_end();
        assert!(!terminal.is_alternate_screen() && !terminal.screen.screen().hide_cursor(), "{signal}");
    }
}

/// The screen has colours unless a flag or a variable forbids them. A dumb terminal gets plain lines.
#[test]
fn colours_follow_flags_and_variables() {
    let has_colours = |flags: &[&str], variable: Option<(&str, &str)>| {
        let mut terminal = TestTerminal::start_with(&[flags, &["--for", "300ms"]].concat(), variable);
        assert!(terminal.child.wait().unwrap().success());
        terminal.read_to_end();
        let printed = String::from_utf8_lossy(&terminal.raw).into_owned();
        assert!(printed.contains("\u{1b}[?1049h"), "it drew a screen: {printed:?}");
        printed.contains("\u{1b}[38;5;")
    };
    let no_color = Some(("NO_COLOR", "1"));
    assert!(has_colours(&[], None));
    assert!(!has_colours(&["--color", "never"], None));
    assert!(!has_colours(&[], no_color));
    assert!(has_colours(&["--color", "always"], no_color), "the flag wins over the variable");

    let mut terminal = TestTerminal::start_with(&["--for", "300ms"], Some(("TERM", "dumb")));
    assert!(terminal.child.wait().unwrap().success());
    terminal.read_to_end();
    let printed = String::from_utf8_lossy(&terminal.raw).into_owned();
    assert!(printed.contains(" watching preset astrid") && !printed.contains('\u{1b}'), "{printed:?}");
}

/// A pipe gets all values once, and then one line for each change, without escape sequences. A plan file with an error is
/// reported, and the program continues.
#[test]
fn pipe_gets_plain_lines() {
    let plan = PlanUnderEdit::new("6");
    let mut child = watch(&["--every", "100ms", "--reading", "cpu=2", "--plan", plan.path()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first: Vec<String> = lines.by_ref().take_while(|line| !line.contains("gate uploads: 6")).collect();
    assert!(first[0].contains(" watching plan "), "{first:?}");
    assert!(first.iter().any(|line| line.ends_with(" cpu: 2")), "{first:?}");
    assert!(first.iter().all(|line| !line.contains('\u{1b}')), "{first:?}");

    plan.write("5");
    let change = lines.find(|line| line.contains("gate uploads")).unwrap();
    assert!(change.ends_with("gate uploads: 6 -> 5"), "{change}");
    plan.write("nonsense *");
    let error = lines.find(|line| line.contains("refresh failed: ")).unwrap();
    assert!(error.contains("gates.uploads.formula"), "the error names the key: {error}");
    plan.write("4");
    let change = lines.find(|line| line.contains("gate uploads")).unwrap();
    assert!(change.ends_with("gate uploads: 5 -> 4"), "the program continues: {change}");

    drop(lines); // closes the pipe, so that the next line cannot be written
    plan.write("3");
    assert!(child.wait().unwrap().success());
}

/// A pipe gets each change, however many there are in one refresh.
#[test]
fn pipe_gets_all_changes_of_a_refresh() {
    let gates = |limit: u32| {
        let gates = (0..250).map(|gate| format!("\"\n[gates.g{gate}]\nformula = \"{limit}"));
        format!("{limit}{}", gates.collect::<String>())
    };
    let plan = PlanUnderEdit::new(&gates(6));
    let flags = ["--every", "100ms", "--reading", "cpu=2", "--plan", plan.path()];
    let mut child = watch(&flags).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.ends_with("gate g249: 6 (`6`)")).unwrap();
    plan.write(&gates(5));
    let first = lines.find(|line| line.contains("6 -> 5")).unwrap();
    assert!(first.ends_with("gate uploads: 6 -> 5"), "{first}");
    for gate in 0..250 {
        let line = lines.next().unwrap();
        assert!(line.ends_with(&format!("gate g{gate}: 6 -> 5")), "{line}");
    }
    drop(lines);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The program ends when its reader does, as in `watch | head -1`, although nothing changes any more.
#[test]
fn closed_pipe_ends_the_program() {
    let plan = PlanUnderEdit::new("6");
    let flags = ["--every", "1h", "--reading", "cpu=2", "--plan", plan.path()];
    let mut child = watch(&flags).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    assert!(first.contains(" watching plan "), "{first}");
    drop(reader);
    assert!(child.wait().unwrap().success());
}

/// A plan with errors is shown whole: each problem on a line of its own, on the screen and in a pipe.
#[test]
fn every_problem_of_a_broken_plan_is_shown() {
    let broken = "nonsense *\"\nqueue = \"many\"\nmax_wait = \"soon";
    let plan = PlanUnderEdit::new("6");
    let mut terminal = TestTerminal::start(&["--every", "100ms", "--plan", plan.path()]);
    terminal.read_until("none yet");
    plan.write(broken);
    let screen = terminal.read_until("gates.uploads.max_wait");
    let on_one_line = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [
        "refresh failed: plan file ",
        "plan.toml: 3 problems",
        "line 2: gates.uploads.formula: ",
        "line 3: gates.uploads.queue = \"many\" is not a whole number (allowed: 0 to 18446744073709551615)",
        "line 4: gates.uploads.max_wait = \"soon\"",
    ] {
        assert!(on_one_line.contains(text), "{text}: {screen}");
    }
    terminal.press("q");
    terminal.read_to_end();

    let plan = PlanUnderEdit::new("6");
    let flags = ["--every", "100ms", "--plan", plan.path()];
    let mut child = watch(&flags).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("gate uploads: 6")).unwrap();
    plan.write(broken);
    let first = lines.find(|line| line.contains("refresh failed: ")).unwrap();
    assert!(first.ends_with("plan.toml: 3 problems"), "{first}");
    for place in ["  line 2: ", "  line 3: ", "  line 4: "] {
        let problem = lines.next().unwrap();
        assert!(problem[8..].starts_with(&format!(" {place}")), "{problem}");
    }
    drop(lines);
    assert!(child.wait().unwrap().success());
}

/// The program ends after `--for`.
#[test]
fn run_ends_after_its_length() {
    let printed = succeed(watch(&["--for", "250ms", "--every", "100ms"]).stdin(Stdio::null()));
    assert!(printed.contains("gate io: "), "{printed}");
}

/// Wrong input is reported before anything is shown.
#[test]
fn wrong_flags_are_reported_on_one_line() {
    for (flags, part) in [
        (["--every", "1ms"], "100ms to 24h"),
        (["--every", "often"], "100ms to 24h"),
        (["--for", "0s"], "1ms to 24h"),
        (["--plan", "/nowhere.toml"], "/nowhere.toml"),
    ] {
        let line = fail(watch(&flags).stdin(Stdio::null()));
        assert!(line.contains(part), "{line}");
    }
}

fn watch(flags: &[&str]) -> Command {
    let mut command = program();
    command.arg("watch").args(flags);
    command
}

/// The program on its own pseudo-terminal.
struct TestTerminal {
    child: Child,
    /// The controlling side of the pseudo-terminal.
    master: File,
    /// What the program writes, as it arrives.
    output: mpsc::Receiver<Vec<u8>>,
    /// Everything that the program has written.
    raw: Vec<u8>,
    /// What a user would see.
    screen: vt100::Parser,
    /// The modes before the program started.
    initial_modes: LocalFlags,
    /// Keeps the pseudo-terminal open after the program has ended.
    slave: Option<OwnedFd>,
}

impl TestTerminal {
    fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, None)
    }

    fn start_with(flags: &[&str], variable: Option<(&str, &str)>) -> Self {
        let size = Winsize { ws_row: ROWS.get(), ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let initial_modes = tcgetattr(&master).unwrap().local_flags;
        let mut command = watch(flags);
        command.env("TERM", "xterm-256color").envs(variable);
        let slave_end = || slave.try_clone().unwrap();
        command.stdin(slave_end()).stdout(slave_end()).stderr(slave_end());
        // A process group of its own, in the session of the test: an orphaned group would ignore SIGTSTP.
        let child = command.process_group(0).spawn().unwrap();
        drop(command);
        let mut reader = File::from(master.try_clone().unwrap());
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            master: File::from(master),
            output,
            raw: Vec::new(),
            screen: vt100::Parser::new(ROWS, COLUMNS, 0),
            initial_modes,
            slave: Some(slave),
        }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen contains a text. Returns the content of the screen.
    fn read_until(&mut self, text: &str) -> String {
        let deadline = Instant::now().checked_add(Duration::from_secs(60)).unwrap();
        loop {
            let content = self.screen.screen().contents();
            if content.contains(text) {
                return content;
            }
            let more = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            self.process(&more.unwrap_or_else(|error| panic!("{error}: no {text:?} in {content}")));
        }
    }

    /// Reads what the program has written so far.
    fn read_available(&mut self) {
        while let Ok(output) = self.output.recv_timeout(Duration::from_millis(200)) {
            self.process(&output);
        }
    }

    /// Reads the rest of the output. The reader ends when no process has the pseudo-terminal open any more.
    fn read_to_end(&mut self) {
        self.slave = None;
        while let Ok(output) = self.output.recv() {
            self.process(&output);
        }
    }

    fn process(&mut self, output: &[u8]) {
        self.screen.process(output);
        self.raw.extend(output);
    }

    /// Returns the local modes, such as echo and line editing.
    fn modes(&self) -> LocalFlags {
        tcgetattr(&self.master).unwrap().local_flags
    }

    fn is_alternate_screen(&self) -> bool {
        self.screen.screen().alternate_screen()
    }
}

impl Drop for TestTerminal {
    fn drop(&mut self) {
        // The program is still running if the test failed.
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

/// A plan file with one gate that a test edits while the program runs.
struct PlanUnderEdit {
    _directory: TestDirectory,
    path: PathBuf,
}

impl PlanUnderEdit {
    fn new(formula: &str) -> Self {
        let directory = TestDirectory::new();
        let plan = Self { path: directory.join("plan.toml"), _directory: directory };
        plan.write(formula);
        plan
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Replaces the file atomically, so that the program never reads a part of it.
    fn write(&self, formula: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, format!("[gates.uploads]\nformula = \"{formula}\"\n")).unwrap();
        fs::rename(new, &self.path).unwrap();
    }
}

/// With `--diagnosis`, the holders that a process has written are shown: of its tracked gates, with the labels and the places.
#[test]
fn holders_of_a_running_process_are_shown() {
    use concurrency_governor::{Formula, GateSpec, Governor, Holders};

    let directory = TestDirectory::new();
    let file = directory.join("diagnosis.json");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (permits, line) = runtime.block_on(async {
        let tracked = Holders::overdue_after(Duration::from_secs(30));
        let jobs = GateSpec::new("jobs", Formula::fixed(4)).track_holders(tracked);
        let other = GateSpec::new("untracked", Formula::fixed(4));
        let governor = Governor::builder().gate(other).gate(jobs).build().await.unwrap();
        let jobs = governor.gate(jobs).unwrap();
        let (permits, line) = (jobs.try_acquire_many_owned(3).unwrap(), line!());
        permits.label("upload");
        fs::write(&file, serde_json::to_vec(&governor.diagnose()).unwrap()).unwrap();
        (permits, line)
    });
    drop(permits);
    let path = file.to_str().unwrap();
    let lines = succeed(&mut watch(&["--preset", "astrid", "--diagnosis", path, "--for", "100ms"]));
    let holders: Vec<&str> = lines.lines().filter(|line| line.contains("holders of ")).collect();
    let expected = format!("holders of jobs: 3 of 4, 0 wait (3 for \"upload\" at tests/cli/watch.rs:{line}:");
    assert!(holders.len() == 1 && holders[0][9..].starts_with(&expected), "{lines}");
    assert!(holders[0].contains(" since "), "{lines}");

    let mut terminal = TestTerminal::start(&["--preset", "astrid", "--diagnosis", path]);
    let screen = terminal.read_until("none yet");
    assert!(screen.contains("\nHolders\n") && screen.contains("\njobs  3 of 4, 0 wait"), "{screen}");
    terminal.press("q");
    terminal.read_to_end();

    for (text, error) in [
        (None, "cannot read the diagnosis "),
        (Some("{"), " has no JSON (expected: `Governor::diagnose` as JSON): "),
        (Some("{\"gates\": [{}]}"), " has no diagnosis (expected: `Governor::diagnose` as JSON)"),
    ] {
        match text {
            None => fs::remove_file(&file).unwrap(),
            Some(text) => fs::write(&file, text).unwrap(),
        }
        let line = fail(&mut watch(&["--preset", "astrid", "--diagnosis", path]));
        assert!(line.contains(error), "{line}");
    }
}
