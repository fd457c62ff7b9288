//! Processes that execute this test binary.

use std::env;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a child does.
#[derive(Clone, Copy)]
pub(super) enum ChildRole {
    Auditor,
    Lease,
    Ticket,
}

impl ChildRole {
    /// Returns the role of this process, if it is a child. Such a process ends with its parent.
    pub(super) fn of_this_process() -> Option<Self> {
        let role = match &*env::var(ROLE).ok()? {
            "auditor" => Self::Auditor,
            "lease" => Self::Lease,
            "ticket" => Self::Ticket,
            other => panic!("{other} is no role"),
        };
        thread::spawn(|| {
            // The pipe ends with the parent.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        Some(role)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Lease => "lease",
            Self::Ticket => "ticket",
        }
    }
}

/// A child. It is killed with this value.
pub(super) struct ChildProcess {
    process: Child,
}

impl ChildProcess {
    pub(super) fn worker(role: ChildRole, redis: u16, auditor: u16) -> Self {
        Self::start(role, &[(REDIS, redis), (AUDITOR, auditor)])
    }

    pub(super) fn auditor(port: u16) -> Self {
        Self::start(ChildRole::Auditor, &[(AUDITOR, port)])
    }

    fn start(role: ChildRole, ports: &[(&str, u16)]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "engines::chaos::child_process", "--ignored", "--nocapture"]);
        command.env(ROLE, role.name()).envs(ports.iter().map(|(name, port)| (name, port.to_string())));
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self { process: command.spawn().unwrap() }
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    /// Ends the process at once, stopped or not.
    pub(super) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a port that the parent has given.
pub(super) fn given_port(name: &str) -> u16 {
    env::var(name).unwrap().parse().unwrap()
}

const ROLE: &str = "FLEET_CHAOS_ROLE";
pub(super) const REDIS: &str = "FLEET_CHAOS_REDIS";
pub(super) const AUDITOR: &str = "FLEET_CHAOS_AUDITOR";
