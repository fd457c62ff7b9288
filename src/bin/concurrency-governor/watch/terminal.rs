//! The terminal that `watch` draws on.

use std::io::{self, Stdout, Write as _};
use std::panic;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::PrintStyledContent;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::screen::ScreenLine;

/// The alternate screen of the terminal. Dropping it restores the terminal, and so does a panic.
#[derive(Debug)]
pub(super) struct WatchTerminal {
    stdout: Stdout,
    /// The size and the lines of the last drawing.
    drawn: Option<((u16, u16), Vec<ScreenLine>)>,
}

impl WatchTerminal {
    /// Opens the alternate screen.
    pub(super) fn open() -> io::Result<Self> {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // First, so that the message is not lost with the alternate screen.
            let _: io::Result<()> = restore();
            report(info);
        }));
        let mut terminal = Self { stdout: io::stdout(), drawn: None };
        terminal.enter()?;
        Ok(terminal)
    }

    /// Enters raw mode and the alternate screen: at the start, and again after the program was suspended.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.drawn = None;
        enable_raw_mode()?;
        execute!(self.stdout, EnterAlternateScreen, Hide)
    }

    /// Returns the number of columns and of lines.
    pub(super) fn size() -> io::Result<(u16, u16)> {
        size()
    }

    /// Draws the lines that differ from the last drawing. The lines fit the size.
    pub(super) fn draw(&mut self, size: (u16, u16), lines: Vec<ScreenLine>) -> io::Result<()> {
        let drawn = self.drawn.take().filter(|(drawn_size, _)| *drawn_size == size);
        if drawn.is_none() {
            queue!(self.stdout, Clear(ClearType::All))?;
        }
        let before = drawn.map(|(_, lines)| lines).unwrap_or_default();
        for row in 0..size.1 {
            let (old, new) = (before.get(usize::from(row)), lines.get(usize::from(row)));
            if old == new {
                continue;
            }
            queue!(self.stdout, MoveTo(0, row))?;
            for span in new.into_iter().flat_map(|line| &line.0) {
                queue!(self.stdout, PrintStyledContent(span.style().apply(span.content())))?;
            }
            queue!(self.stdout, Clear(ClearType::UntilNewLine))?;
        }
        self.stdout.flush()?;
        self.drawn = Some((size, lines));
        Ok(())
    }
}

impl Drop for WatchTerminal {
    fn drop(&mut self) {
        // If the terminal has been closed, there is nothing to restore.
        let _: io::Result<()> = restore();
    }
}

/// Leaves raw mode and the alternate screen.
pub(super) fn restore() -> io::Result<()> {
    let result = disable_raw_mode();
    execute!(io::stdout(), LeaveAlternateScreen, Show)?;
    result
}
