//! `capture`: copies the files that the probes read into a directory.

use std::fmt::Write;
use std::path::PathBuf;

use concurrency_governor::probe::{self, CaptureError};

use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct CaptureArgs {
    /// An empty directory, or one that does not exist yet
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

/// Copies the files and returns the list of what was written.
///
/// # Errors
///
/// [`CaptureError`] if the directory is not empty or cannot be written.
pub(crate) fn run(args: &CaptureArgs) -> Result<String, CaptureError> {
    let written = probe::capture(&args.directory)?;
    let directory = output::single_line(&args.directory.display().to_string());
    let mut text = format!("Captured this host in {directory}\n");
    for path in &written {
        // Writing to a `String` cannot fail.
        let _: std::fmt::Result = writeln!(text, "  {}", output::single_line(&path.display().to_string()));
    }
    Ok(text)
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  concurrency-governor capture host
  concurrency-governor explain --root host";

pub(crate) const NOTES: &str = "\
What is captured:
  Only the files of /proc and /sys that the probes read, each at its own path
  below DIR: the status and limits of this process, its mounts, the names and
  limits of its control groups, and the memory and processors of the host.
  The files name mounts and control groups. Read them before you share them.

What `explain --root DIR` does with them:
  It reads the files below DIR instead of those of this host, and queries
  nothing else from this host: the processors come from proc/self/status, and
  the limits of the process from proc/self/limits. The number of open file
  descriptors is unknown.";
