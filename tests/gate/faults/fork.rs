//! A process that forks while it holds permits.

#![expect(unsafe_code, reason = "`fork` is unsafe")]

use std::ffi::{CStr, CString};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::abort;

use concurrency_governor::Limit;
use concurrency_governor::gate::{Gate, OwnedPermit};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, execv, fork};

use crate::support::{assert_idle, gate, poll_once, start_waiting};

/// After a fork each process has its own copy of the gate with the same permits in use. Changes in one
/// process do not affect the other.
#[test]
fn a_forked_child_has_a_gate_of_its_own() {
    let gate = gate(3);
    let held = gate.try_acquire_owned().unwrap();
    let (mut parent_end, child_end) = UnixStream::pair().unwrap();
    let exit_commands = [false, true].map(exit_command);
    // SAFETY: the child of a process with several threads may only do what is safe in a signal handler. It
    // changes a gate that no other thread uses and whose queue is empty, so it needs only atomic operations
    // and a free lock. Then it reads a byte and replaces itself. It does not allocate and does not unwind.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop(parent_end); // otherwise the child would wait for ever if the parent dies
            let has_passed = check_gate_in_child(&gate, held, child_end);
            exit(&exit_commands[usize::from(has_passed)])
        }
    };
    // The parent changes its gate before the child checks its own.
    let more_held = gate.try_acquire_many(2).unwrap();
    parent_end.write_all(b".").unwrap();
    let status = waitpid(child, None).unwrap();
    assert_eq!(status, WaitStatus::Exited(child, 0), "exit code 1: the child's gate is wrong");

    assert!(!gate.is_closed());
    let status = gate.status();
    assert_eq!((status.limit, status.in_use, status.totals.admitted), (Limit::new(3), 3, 2));
    let (mut waiting, _) = start_waiting(gate.acquire());
    drop(held);
    assert!(poll_once(&mut waiting).is_ready());
    drop(more_held);
    assert_idle(&gate);
}

/// Returns `true` if the child's gate still has the permit in use that was held at the fork, admits the rest
/// of the limit, takes all permits back, can be resized and can be closed.
fn check_gate_in_child(gate: &Gate, held: OwnedPermit, mut parent: UnixStream) -> bool {
    let parent_has_changed = parent.read_exact(&mut [0]).is_ok();
    let (Ok(one), Ok(two)) = (gate.try_acquire(), gate.try_acquire_owned()) else { return false };
    let is_full = gate.try_acquire().is_err();
    drop((held, one, two));
    let is_empty = gate.try_acquire_many(3).is_ok();
    let is_resized = gate.resize(Limit::new(7)).debt == 0 && gate.limit() == Limit::new(7);
    gate.close();
    parent_has_changed && is_full && is_empty && is_resized && gate.try_acquire().is_err()
}

/// Returns the arguments of a program that exits with code 0 or 1. They have to be allocated before the fork.
fn exit_command(success: bool) -> [CString; 3] {
    ["/bin/sh", "-c", if success { "exit 0" } else { "exit 1" }].map(|word| CString::new(word).unwrap())
}

/// Replaces the process, so that no destructor or exit handler of the parent runs in the child.
fn exit(command: &[CString; 3]) -> ! {
    let arguments: [&CStr; 3] = command.each_ref().map(CString::as_c_str);
    let _error = execv(arguments[0], &arguments);
    abort()
}
