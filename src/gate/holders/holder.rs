//! What a gate reports about the holders of its permits.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use tokio::task;
use tokio::time::Instant;

use crate::gate::key::Key;
use crate::plan::GateName;

/// The permits of one request that are in use at a gate that [tracks its holders](crate::gate::GateBuilder::track_holders); from
/// [`Gate::holders`](crate::gate::Gate::holders). It prints as one line, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The gate at which the permits were requested: the gate itself, or one within it.
    pub gate: GateName,
    /// The key of that gate in whose name they were requested.
    pub key: Option<Key>,
    /// The text that [`Permit::label`](crate::gate::Permit::label) has set.
    pub label: Option<Cow<'static, str>>,
    /// Where the permits were requested.
    pub location: &'static Location<'static>,
    /// The tokio task that acquired the permits. The permits may have moved to another task since. `None` outside of tasks.
    pub task: Option<task::Id>,
    /// The number of permits.
    pub weight: u32,
    /// When the request was admitted. If more than 100 000 requests are admitted per second, it may be a tick of the kernel (at most
    /// 10 ms) earlier.
    pub since: Instant,
    /// How long ago that was.
    pub age: Duration,
    /// What has become of the permits.
    pub state: HolderState,
}

/// What has become of the permits of a [`Holder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HolderState {
    /// A permit exists.
    Held,
    /// The request was admitted, and its owner has not taken the permits: its future has not been polled since, or its task had no budget
    /// left. Examples are the loser of a `select!` that is kept, and a task that is blocked. Nothing is released before the future is
    /// polled or dropped.
    GrantedNotPolled,
    /// [`Permit::forget`](crate::gate::Permit::forget) was called: nothing releases the permits.
    Forgotten,
}

/// A gate at which requests wait, and no permit is acquired or released. It prints as one line.
///
/// While the permits in use did not change, a request waited for longer than the gate allows. That may be a request of a key that has
/// reached its own cap.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// The gate that has no room, or one of whose keys has none.
    pub gate: GateName,
    /// The requests that wait there, those of children and keys included.
    pub waiting: usize,
    /// The instant from which a request has waited and no permit was acquired or released.
    pub since: Instant,
    /// How long ago that was.
    pub lasted: Duration,
    /// The permits that have been in use for longest, at most five of them, the oldest first.
    pub suspects: Vec<Holder>,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, wait) = if self.waiting == 1 { ("request", "waits") } else { ("requests", "wait") };
        write!(
            f,
            "gate {}: {} {requests} {wait}, and nothing was acquired or released for {}",
            self.gate,
            self.waiting,
            format_duration(self.lasted)
        )?;
        for (index, suspect) in self.suspects.iter().enumerate() {
            f.write_str(if index == 0 { "; in use: " } else { "; " })?;
            suspect.fmt(f)?;
        }
        Ok(())
    }
}

/// The problems found at one gate: overdue permits, unclaimed permits, a stall.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Permits that are held for too long.
    pub(crate) overdue: Option<LateHolders>,
    /// Granted permits whose futures are not polled.
    pub(crate) unclaimed: Option<LateHolders>,
    pub(crate) stall: Option<Stall>,
}

/// The requests whose permits have been in use for too long.
#[derive(Debug)]
pub(crate) struct LateHolders {
    pub(crate) count: usize,
    pub(crate) oldest: Holder,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permits = if self.weight == 1 { "permit" } else { "permits" };
        write!(f, "{} {permits} of gate {}", self.weight, self.gate)?;
        if let Some(label) = &self.label {
            write!(f, " for {label:?}")?;
        }
        write!(f, ", requested at {}", self.location)?;
        if let Some(task) = self.task {
            write!(f, " by task {task}")?;
        }
        write!(f, ", {} for {}", self.state, format_duration(self.age))
    }
}

impl fmt::Display for HolderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Held => "held",
            Self::GrantedNotPolled => "granted and not polled",
            Self::Forgotten => "forgotten",
        })
    }
}

/// Formats a duration for people: in whole seconds from 10 s on, otherwise in whole milliseconds.
pub(crate) fn format_duration(duration: Duration) -> String {
    let whole = match u64::try_from(duration.as_millis()) {
        Ok(millis) if millis < 10_000 => Duration::from_millis(millis),
        _ => Duration::from_secs(duration.as_secs()),
    };
    format!("{whole:?}")
}
