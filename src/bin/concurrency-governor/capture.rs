//! `capture`: what is measured of this host, copied into a directory.

use std::fmt::Write;

use concurrency_governor::probe::{self, CaptureError};

use crate::args::CaptureArgs;
use crate::plain;

/// Copies it, and says what it wrote.
///
/// # Errors
///
/// [`CaptureError`] if the directory is not empty, or cannot be written.
pub(crate) fn capture(args: &CaptureArgs) -> Result<String, CaptureError> {
    let written = probe::capture(&args.directory)?;
    let directory = plain::line(&args.directory.display().to_string());
    let mut said = format!("Captured this host in {directory}\n");
    for path in &written {
        // A text takes whatever is written to it.
        let _: Result<(), std::fmt::Error> = writeln!(said, "  {}", plain::line(&path.display().to_string()));
    }
    Ok(said)
}
