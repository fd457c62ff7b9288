//! Signals that end or suspend the program while it draws on the terminal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, raise};

use super::terminal::{self, WatchTerminal};

/// Makes each signal that ends the program restore the terminal first.
///
/// Without this, the shell would have no echo and no cursor afterwards. A second signal ends the program immediately, in
/// case the terminal blocks.
pub(super) fn restore_terminal_on_signals() -> io::Result<()> {
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in TERMINATING {
        register_conditional_default(signal, Arc::clone(&is_second))?;
    }
    let mut signals = Signals::new(TERMINATING)?;
    let handle = move || {
        for signal in signals.forever() {
            // Relaxed: the flag guards no other data.
            is_second.store(true, Ordering::Relaxed);
            // This fails if the terminal has been closed. Then there is nothing to restore.
            let _: [io::Result<()>; 2] = [terminal::restore(), emulate_default_handler(signal)];
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(handle)?;
    Ok(())
}

/// Restores the terminal and suspends the program. Takes the terminal again after the shell continues the program.
pub(super) fn suspend(terminal: &mut WatchTerminal) -> io::Result<()> {
    terminal::restore()?;
    // Returns when the program continues. Returns immediately in an orphaned process group, where the kernel ignores SIGTSTP
    // because no shell could continue the program.
    raise(SIGTSTP)?;
    terminal.enter()
}

const TERMINATING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
