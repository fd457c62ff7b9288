//! Replays recorded decisions.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use concurrency_governor::feedback::{Aimd, Arc, FeedbackDecision, History, Latency, ReplayError, Rule};

/// Reads a history of decisions, and replays each decision from its record. Returns one line for each decision.
///
/// # Errors
///
/// [`ReplayFileError`] if the file is not a history, or a decision is not reproduced.
pub(in crate::simulate) fn replay(path: &Path) -> Result<String, ReplayFileError> {
    let file = || path.to_owned();
    let text = fs::read_to_string(path).map_err(|error| ReplayFileError::Read { file: file(), error })?;
    let history: History = text.parse().map_err(|error| ReplayFileError::Parse { file: file(), error })?;
    let mut lines = String::new();
    for decision in history.iter() {
        let mut rule = rule_of(decision)
            .ok_or_else(|| ReplayFileError::UnknownRule { file: file(), rule: decision.rule().to_owned() })?;
        let again = decision.replay(rule.as_mut());
        if again != *decision {
            let (recorded, again) = (decision.to_string(), again.to_string());
            return Err(ReplayFileError::Differs { file: file(), at: decision.at(), recorded, again });
        }
        let seconds = decision.at().as_secs_f64();
        let _: std::fmt::Result = writeln!(lines, "{seconds:>8.1} s  {decision}");
    }
    let count = history.iter().len();
    Ok(format!("{lines}{count} decisions, each reproduced\n"))
}

/// Creates the rule of a decision with its options. They are among the recorded numbers.
fn rule_of(decision: &FeedbackDecision) -> Option<Box<dyn Rule>> {
    match decision.rule() {
        "latency" => Some(Box::new(Latency::new())),
        "arc" => Some(Box::new(Arc::new())),
        "aimd" => {
            let mut numbers = decision.opinion().numbers().iter();
            let (_, millis) = numbers.find(|(name, _)| name == "max_healthy_ms")?;
            Some(Box::new(Aimd::new(Duration::try_from_secs_f64(millis / 1e3).ok()?)))
        }
        _ => None,
    }
}

/// The decisions cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayFileError {
    /// The file cannot be read.
    #[error("cannot read {}: {error} (allowed: a file that `--history` wrote, or a printed `History`)", file.display())]
    Read { file: PathBuf, error: io::Error },
    /// A line is not a decision.
    #[error("{}: {error} (allowed: lines that `--history` wrote, or a printed `History`)", file.display())]
    Parse { file: PathBuf, error: ReplayError },
    /// The program does not have the rule.
    #[error("{}: the rule `{rule}` is not built in (allowed: latency, arc, aimd)", file.display())]
    UnknownRule { file: PathBuf, rule: String },
    /// The rule decides differently.
    #[error("{}: the decision at {at:?} is not reproduced: recorded {recorded}, now {again}", file.display())]
    Differs { file: PathBuf, at: Duration, recorded: String, again: String },
}
