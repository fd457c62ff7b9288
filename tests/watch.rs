//! `watch` as an operator meets it: on a real pseudo-terminal, and in a pipe.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
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

/// On a terminal of 80 columns and 24 lines: everything is there, a plan that is edited is taken up, and q gives the
/// terminal back.
#[test]
fn screen_follows_and_q_quits() {
    let plan = Plan::new("screen", "6");
    let mut terminal = Terminal::start(&["--every", "100ms", "--plan", plan.path()]);
    let screen = terminal.read_until("none yet");
    for text in ["q quits", "Readings", "cpu ", "memory ", "Gates", "uploads  6", "Changes"] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    assert!(terminal.has_own_screen());
    plan.write("5");
    let screen = terminal.read_until("gate uploads: 6 -> 5");
    assert!(screen.contains("uploads  5"), "{screen}");
    terminal.write("q");
    terminal.read_to_end();
    assert!(!terminal.has_own_screen(), "it gives the terminal back");
    assert!(terminal.child.wait().unwrap().success());
}

/// Ctrl-C is a key there, and ends it as well.
#[test]
fn control_c_quits() {
    let mut terminal = Terminal::start(&[]);
    terminal.read_until("q quits");
    terminal.write("\u{3}");
    terminal.read_to_end();
    assert!(!terminal.has_own_screen());
    assert!(terminal.child.wait().unwrap().success());
}

/// Ctrl-Z gives the terminal to the shell for as long as that likes.
#[test]
fn control_z_stops_until_it_goes_on() {
    let mut terminal = Terminal::start(&["--every", "1h"]);
    let pid = Pid::from_raw(terminal.child.id().try_into().unwrap());
    for _ in 0..2 {
        terminal.read_until("q quits");
        terminal.write("\u{1a}");
        let began = Instant::now();
        let stopped = loop {
            match waitpid(pid, Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::StillAlive if began.elapsed() < Duration::from_secs(60) => {
                    thread::sleep(Duration::from_millis(10));
                }
                status => break status,
            }
        };
        assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGTSTP));
        assert_eq!(terminal.modes(), terminal.before);
        terminal.read_all();
        assert!(!terminal.has_own_screen() && !terminal.screen.screen().hide_cursor());
        signal::kill(pid, Signal::SIGCONT).unwrap();
        terminal.read_until("q quits");
        assert!(terminal.has_own_screen());
    }
    terminal.write("q");
    terminal.read_to_end();
    assert!(terminal.child.wait().unwrap().success());
}

/// A signal that ends it gives the terminal back, too: the screen, the echo, the lines.
#[test]
fn signals_give_the_terminal_back() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = Terminal::start(&["--every", "1h"]);
        terminal.read_until("q quits");
        assert_ne!(terminal.modes(), terminal.before);
        let pid = Pid::from_raw(terminal.child.id().try_into().unwrap());
        signal::kill(pid, signal).unwrap();
        assert_eq!(terminal.child.wait().unwrap().signal(), Some(signal as i32), "as ever");
        assert_eq!(terminal.modes(), terminal.before);
        terminal.read_to_end();
        assert!(!terminal.has_own_screen() && !terminal.screen.screen().hide_cursor(), "{signal}");
    }
}

/// Without colours there are none, by flag and by variable; what a terminal cannot draw comes as lines.
#[test]
fn colours_and_screens_are_where_they_are_wanted() {
    let colours = |flags: &[&str], variable: Option<(&str, &str)>| {
        let mut terminal = Terminal::start_with(&[flags, &["--for", "300ms"]].concat(), variable);
        assert!(terminal.child.wait().unwrap().success());
        terminal.read_to_end();
        let printed = String::from_utf8_lossy(&terminal.raw).into_owned();
        assert!(printed.contains("\u{1b}[?1049h"), "it drew a screen: {printed:?}");
        printed.contains("\u{1b}[38;5;")
    };
    let without = Some(("NO_COLOR", "1"));
    assert!(colours(&[], None));
    assert!(!colours(&["--color", "never"], None));
    assert!(!colours(&[], without));
    assert!(colours(&["--color", "always"], without), "a flag stands above a variable");

    let mut terminal = Terminal::start_with(&["--for", "300ms"], Some(("TERM", "dumb")));
    assert!(terminal.child.wait().unwrap().success());
    terminal.read_to_end();
    let printed = String::from_utf8_lossy(&terminal.raw).into_owned();
    assert!(printed.contains(" watching preset astrid") && !printed.contains('\u{1b}'), "{printed:?}");
}

/// In a pipe: everything once, and then each change, a line each, with nothing that only a terminal understands.
#[test]
fn pipe_gets_plain_lines() {
    let plan = Plan::new("pipe", "6");
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
    let fault = lines.find(|line| line.contains("not looked")).unwrap();
    assert!(fault.contains("gates.uploads.formula"), "what is wrong, and where: {fault}");
    plan.write("4");
    let change = lines.find(|line| line.contains("gate uploads")).unwrap();
    assert!(change.ends_with("gate uploads: 5 -> 4"), "and it goes on: {change}");

    drop(lines); // the reader is gone, and the next line has no place
    plan.write("3");
    assert!(child.wait().unwrap().success());
}

/// It ends by itself where it is told when; and what is wrong is refused before anything is shown.
#[test]
fn it_ends_and_refuses_as_it_is_told() {
    let output = watch(&["--for", "250ms", "--every", "100ms"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("gate io: "));
    for (flags, says) in [
        (["--every", "1ms"], "100ms to 24h"),
        (["--every", "often"], "100ms to 24h"),
        (["--for", "0s"], "1ms to 24h"),
        (["--plan", "/nowhere.toml"], "/nowhere.toml"),
    ] {
        let output = watch(&flags).stdin(Stdio::null()).output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(output.stdout.is_empty() && line.lines().count() == 1 && line.contains(says), "{line}");
    }
}

fn watch(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_concurrency-governor"));
    command.arg("watch").args(flags).env_remove("NO_COLOR");
    command
}

/// The program on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    /// What it prints, as it comes.
    printed: mpsc::Receiver<Vec<u8>>,
    /// All that it printed.
    raw: Vec<u8>,
    /// What a person would see of it.
    screen: vt100::Parser,
    /// Its modes before the program came.
    before: LocalFlags,
    /// Keeps the terminal there when the program has gone.
    slave: Option<OwnedFd>,
}

impl Terminal {
    fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, None)
    }

    fn start_with(flags: &[&str], variable: Option<(&str, &str)>) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&master).unwrap().local_flags;
        let mut command = watch(flags);
        command.env("TERM", "xterm-256color").envs(variable);
        let end = || slave.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end());
        // A group of its own, in the test's session: so a stop is not ignored.
        let child = command.process_group(0).spawn().unwrap();
        drop(command);
        let mut output = File::from(master.try_clone().unwrap());
        let (sender, printed) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let screen = vt100::Parser::new(24, 80, 0);
        Self { child, keys: File::from(master), printed, raw: Vec::new(), screen, before, slave: Some(slave) }
    }

    fn write(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// The screen as soon as this stands on it, which must not take long.
    fn read_until(&mut self, text: &str) -> String {
        let late = Instant::now().checked_add(Duration::from_secs(60)).unwrap();
        loop {
            let seen = self.screen.screen().contents();
            if seen.contains(text) {
                return seen;
            }
            let more = self.printed.recv_timeout(late.saturating_duration_since(Instant::now()));
            self.take(&more.unwrap_or_else(|error| panic!("{error}: no {text:?} in {seen}")));
        }
    }

    /// What there is by now.
    fn read_all(&mut self) {
        while let Ok(printed) = self.printed.recv_timeout(Duration::from_millis(200)) {
            self.take(&printed);
        }
    }

    /// What is left, once the program has gone.
    fn read_to_end(&mut self) {
        self.hang_up();
        while let Ok(printed) = self.printed.recv() {
            self.take(&printed);
        }
    }

    fn take(&mut self, printed: &[u8]) {
        self.screen.process(printed);
        self.raw.extend(printed);
    }

    /// Closes the last end of the terminal that is the test's.
    fn hang_up(&mut self) {
        self.slave = None;
    }

    /// Whether keys are echoed, lines edited and the like.
    fn modes(&self) -> LocalFlags {
        tcgetattr(&self.keys).unwrap().local_flags
    }

    /// Whether it draws where nothing of the terminal's past is lost.
    fn has_own_screen(&self) -> bool {
        self.screen.screen().alternate_screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill(); // where the test failed before it ended
        let _ = self.child.wait();
    }
}

/// A plan of one gate, gone when the test is over.
struct Plan {
    path: PathBuf,
}

impl Plan {
    fn new(name: &str, formula: &str) -> Self {
        let path = std::env::temp_dir().join(format!("watch-{name}-{}.toml", std::process::id()));
        let plan = Self { path };
        plan.write(formula);
        plan
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// In one step, so that nobody sees half of it.
    fn write(&self, formula: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, format!("[gates.uploads]\nformula = \"{formula}\"\n")).unwrap();
        fs::rename(new, &self.path).unwrap();
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
