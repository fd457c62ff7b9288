//! The bound of a gate's queue and its longest wait, as declared or as an operator has set them.

use std::fmt;
use std::time::Duration;

use super::overrides::{Origin, Overrides, QueueSetting};
use super::spec::GateSpec;

/// The bound of a gate's queue and the longest wait there, each with the setting that decided it, if there is one.
///
/// It prints as one line, such as `at most 100 requests wait, set by admin; each for at most 250ms`, or as an empty text without bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    queue: Option<usize>,
    queue_origin: Option<Origin>,
    max_wait: Option<Duration>,
    max_wait_origin: Option<Origin>,
}

impl QueueBounds {
    /// Decides the bounds of a gate: by the first layer that sets one, or else by the declaration.
    pub(super) fn decide(spec: &GateSpec, overrides: &Overrides) -> Self {
        let mut layers = overrides.layers().iter();
        let queue = layers.find_map(|layer| {
            layer.find_queue(spec.name(), |bound| {
                if let QueueSetting::Bound(queue) = bound { Some(queue) } else { None }
            })
        });
        let mut layers = overrides.layers().iter();
        let max_wait = layers.find_map(|layer| {
            layer.find_queue(spec.name(), |bound| {
                if let QueueSetting::MaxWait(wait) = bound { Some(wait) } else { None }
            })
        });
        let (queue_origin, set_queue) = queue.unzip();
        let (max_wait_origin, set_max_wait) = max_wait.unzip();
        Self {
            queue: set_queue.or(spec.queue_bound()).filter(|bound| *bound < usize::MAX),
            queue_origin,
            max_wait: set_max_wait.or(spec.longest_wait()).filter(|wait| *wait < Duration::MAX),
            max_wait_origin,
        }
    }

    /// Returns the largest number of requests that may wait, or `None` if there is no bound.
    #[must_use]
    pub fn queue(&self) -> Option<usize> {
        self.queue
    }

    /// Returns the setting that decided the bound of the queue, or `None` if the declaration did.
    #[must_use]
    pub fn queue_origin(&self) -> Option<&Origin> {
        self.queue_origin.as_ref()
    }

    /// Returns the longest wait, or `None` if there is no such limit.
    #[must_use]
    pub fn max_wait(&self) -> Option<Duration> {
        self.max_wait
    }

    /// Returns the setting that decided the longest wait, or `None` if the declaration did.
    #[must_use]
    pub fn max_wait_origin(&self) -> Option<&Origin> {
        self.max_wait_origin.as_ref()
    }

    /// Returns `true` if there is a bound, or a setting has removed one.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.queue.is_some() || self.max_wait.is_some() || self.is_overridden()
    }

    /// Returns `true` if a setting decided one of them.
    #[must_use]
    pub fn is_overridden(&self) -> bool {
        self.queue_origin.is_some() || self.max_wait_origin.is_some()
    }
}

impl fmt::Display for QueueBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set_by = |f: &mut fmt::Formatter<'_>, origin: Option<&Origin>| {
            origin.map_or(Ok(()), |origin| write!(f, ", set by {origin}"))
        };
        let has_queue = self.queue.is_some() || self.queue_origin.is_some();
        if has_queue {
            match self.queue {
                Some(bound) => write!(f, "at most {bound} requests wait")?,
                None => f.write_str("any number of requests may wait")?,
            }
            set_by(f, self.queue_origin())?;
        }
        if self.max_wait.is_some() || self.max_wait_origin.is_some() {
            f.write_str(if has_queue { "; " } else { "" })?;
            match self.max_wait {
                Some(wait) => write!(f, "each for at most {wait:?}")?,
                None => f.write_str("for any time")?,
            }
            set_by(f, self.max_wait_origin())?;
        }
        Ok(())
    }
}
