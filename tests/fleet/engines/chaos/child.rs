//! Processes that execute this test binary.

use std::env;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::clocks::with_boot_clock_ahead;
use super::engine::Workers;

/// What a child does.
#[derive(Clone, Copy)]
pub(super) enum ChildRole {
    Auditor,
    Lease,
    #[cfg(feature = "redis")]
    Ticket,
}

impl ChildRole {
    /// Returns the role of this process, if it is a child. Such a process ends with its parent.
    pub(super) fn of_this_process() -> Option<Self> {
        let role = match &*env::var(ROLE).ok()? {
            "auditor" => Self::Auditor,
            "lease" => Self::Lease,
            #[cfg(feature = "redis")]
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
            #[cfg(feature = "redis")]
            Self::Ticket => "ticket",
        }
    }
}

/// A child. It is killed with this value.
pub(super) struct ChildProcess {
    process: Child,
}

impl ChildProcess {
    /// Starts a worker whose boot clock is ahead by this time.
    pub(super) fn worker(workers: Workers, ledger: &str, auditor: u16, ahead: Duration) -> Self {
        let command = with_boot_clock_ahead(&env::current_exe().unwrap(), ahead);
        let replicas = workers.replicas.to_string();
        let values = [(LEDGER, ledger), (REPLICAS, &replicas), (AUDITOR, &auditor.to_string())];
        Self::start(command, workers.role, &values)
    }

    pub(super) fn auditor(port: u16) -> Self {
        let command = Command::new(env::current_exe().unwrap());
        Self::start(command, ChildRole::Auditor, &[(AUDITOR, &port.to_string())])
    }

    fn start(mut command: Command, role: ChildRole, values: &[(&str, &str)]) -> Self {
        command.args(["--exact", "engines::chaos::child_process", "--ignored", "--nocapture"]);
        command.env(ROLE, role.name()).envs(values.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self { process: command.spawn().unwrap() }
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
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

/// Returns a value that the parent has given.
pub(super) fn given(name: &str) -> String {
    env::var(name).unwrap()
}

const ROLE: &str = "FLEET_CHAOS_ROLE";
/// The URL of the ledger.
pub(super) const LEDGER: &str = "FLEET_CHAOS_LEDGER";
/// The replicas that must have each exchange.
pub(super) const REPLICAS: &str = "FLEET_CHAOS_REPLICAS";
/// The port of the auditor.
pub(super) const AUDITOR: &str = "FLEET_CHAOS_AUDITOR";
