//! The progress of a simulation, on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

/// One line that shows how far the simulation is. Dropping it removes the line. Without a terminal, nothing is written.
#[derive(Debug)]
pub(super) struct ProgressLine {
    end: Duration,
    is_terminal: bool,
    shown: Option<u128>,
}

impl ProgressLine {
    pub(super) fn new(end: Duration) -> Self {
        Self { end, is_terminal: io::stderr().is_terminal(), shown: None }
    }

    /// Shows the progress, if it has changed by a percent.
    pub(super) fn show(&mut self, now: Duration) {
        let percent = now.as_nanos().saturating_mul(100).checked_div(self.end.as_nanos()).unwrap_or(100);
        if self.is_terminal && self.shown != Some(percent) {
            self.shown = Some(percent);
            // The progress is not worth an error.
            let _: io::Result<()> = write!(io::stderr(), "\rsimulating: {percent} %");
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _: io::Result<()> = write!(io::stderr(), "\r{:20}\r", "");
        }
    }
}
