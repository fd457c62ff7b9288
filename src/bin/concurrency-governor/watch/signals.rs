//! Signals that end or stop the program while it has the screen.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, raise};

/// From now on a signal that ends the program gives the screen back first: a shell without echo and cursor is no place to be
/// left in. A second one ends it at once, for a terminal that takes nothing any more.
pub(super) fn give_screen_back() -> io::Result<()> {
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in ENDING {
        register_conditional_default(signal, Arc::clone(&is_second))?;
    }
    let mut signals = Signals::new(ENDING)?;
    let end = move || {
        for signal in signals.forever() {
            is_second.store(true, Ordering::Relaxed);
            // Of a terminal that has hung up there is nothing to give back.
            let _gone: [io::Result<()>; 2] = [execute!(io::stdout(), Show), ratatui::try_restore()];
            let _ended: io::Result<()> = emulate_default_handler(signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(end)?;
    Ok(())
}

/// Gives the screen back and stops, until the shell goes on with the program; then takes the screen again.
pub(super) fn stop(terminal: &mut DefaultTerminal) -> io::Result<()> {
    terminal.show_cursor()?;
    ratatui::try_restore()?;
    raise(SIGTSTP)?; // comes back when it goes on, or at once where nobody could have it go on
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)?;
    terminal.clear()
}

const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
