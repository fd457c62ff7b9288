//! A process that forks with a gate.

#![expect(unsafe_code, reason = "there is no other way to fork")]

use std::ffi::{CStr, CString};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::abort;

use concurrency_governor::Limit;
use concurrency_governor::gate::{Gate, OwnedPermit};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, execv, fork};

use super::support::{assert_at_rest, gate, wait};

/// After a fork there are two gates with the same permits out: what either process does to its own, the other's does
/// not notice.
#[test]
fn a_forked_child_has_a_gate_of_its_own() {
    let gate = gate(3);
    let held = gate.try_acquire_owned().unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let endings = [false, true].map(ending);
    // SAFETY: the child of a process with other threads may only do what is safe in a signal handler. It changes a gate
    // that no other thread knows, where nobody waits: atomic operations and a lock that is free. It reads a byte, and
    // replaces itself; it allocates nothing and does not unwind.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop(ours); // with two ends of its own it would wait for ever for a parent that is gone
            let went_well = in_child(&gate, held, theirs);
            end(&endings[usize::from(went_well)])
        }
    };
    // What the parent does before the child's last look is not the child's.
    let ours_too = gate.try_acquire_many(2).unwrap();
    ours.write_all(b".").unwrap();
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0), "1: its books are wrong");

    assert!(!gate.is_closed());
    let status = gate.status();
    assert_eq!((status.limit, status.in_use, status.totals.admitted), (Limit::new(3), 3, 2));
    let mut waiting = wait(gate.acquire());
    drop(held);
    assert!(super::support::peek(&mut waiting).is_ready());
    drop(ours_too);
    assert_at_rest(&gate);
}

/// Whether the child's copy holds what was held at the fork, takes what is left, gives all of it back, and closes.
fn in_child(gate: &Gate, held: OwnedPermit, mut parent: UnixStream) -> bool {
    let had = parent.read_exact(&mut [0]).is_ok();
    let (Ok(one), Ok(two)) = (gate.try_acquire(), gate.try_acquire_owned()) else { return false };
    let full = gate.try_acquire().is_err();
    drop((held, one, two));
    let empty = gate.try_acquire_many(3).is_ok();
    let resized = gate.resize(Limit::new(7)).debt == 0 && gate.limit() == Limit::new(7);
    gate.close();
    had && full && empty && resized && gate.try_acquire().is_err()
}

/// A program that ends well or not, and the words to run it with. Made before the fork.
fn ending(well: bool) -> [CString; 3] {
    ["/bin/sh", "-c", if well { "exit 0" } else { "exit 1" }].map(|word| CString::new(word).unwrap())
}

/// Leaves without the destructors and handlers of the process that this was copied from.
fn end(words: &[CString; 3]) -> ! {
    let words: [&CStr; 3] = words.each_ref().map(CString::as_c_str);
    let _not_there = execv(words[0], &words);
    abort()
}
