//! The manager of a run: creations that end when and as the run decides, and items that count themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use concurrency_governor::pool::{CheckoutError, CreateError, FailureVerdict, Manager, Verdict};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How a creation ends. It hangs until the run decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreationEnd {
    Created,
    Failed,
    /// It fails with a permanent error.
    FailedPermanently,
    Panicked,
}

/// Clones share their records.
#[derive(Clone)]
pub(crate) struct ModelManager(Arc<Mutex<Records>>);

/// What exists, counted independently of the pool.
struct Records {
    next_item: u64,
    /// Existing items and when they were created.
    items: BTreeMap<u64, Instant>,
    /// Items of the user.
    unpooled: BTreeMap<u64, Instant>,
    next_creation: u64,
    /// Running creations in the order of their start. The sender is taken when the run decides how the creation ends.
    creations: BTreeMap<u64, Option<oneshot::Sender<CreationEnd>>>,
    /// The most items and creations that may exist at present: the limit, or more while it has been lowered below them.
    allowed: usize,
    limit: usize,
    was_resized: bool,
    /// A violation that was found in code whose panics the pool catches.
    violation: Option<&'static str>,
}

impl ModelManager {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Records {
            next_item: 0,
            items: BTreeMap::new(),
            unpooled: BTreeMap::new(),
            next_creation: 0,
            creations: BTreeMap::new(),
            allowed: limit,
            limit,
            was_resized: false,
            violation: None,
        })))
    }

    /// Ends the n-th of the hanging creations, if it exists.
    pub(crate) fn end_creation(&self, nth: usize, end: CreationEnd) {
        let sender = {
            let mut records = self.records();
            let hanging = records.creations.values_mut().filter(|sender| sender.is_some());
            hanging.skip(nth).find_map(Option::take)
        };
        if let Some(sender) = sender {
            let _ = sender.send(end);
        }
    }

    /// Returns the number of the n-th of the hanging creations.
    pub(crate) fn nth_creation(&self, nth: usize) -> Option<u64> {
        let records = self.records();
        let hanging = records.creations.iter().filter(|(_, sender)| sender.is_some());
        hanging.map(|(number, _)| *number).nth(nth)
    }

    /// Returns how many creations have started. The next one gets this number.
    pub(crate) fn started_creations(&self) -> u64 {
        self.records().next_creation
    }

    /// Creates an item without the pool. It does not count before it is [adopted](Self::adopt).
    pub(crate) fn item_of_the_user(&self) -> ModelItem {
        let mut records = self.records();
        let id = records.next_item;
        records.next_item += 1;
        records.unpooled.insert(id, Instant::now());
        drop(records);
        ModelItem { id, recycle_panics: false, is_unhealthy: false, on_drop: None, manager: self.clone() }
    }

    /// Counts an item of the user, which the pool has taken.
    pub(crate) fn adopt(&self, id: u64) {
        let mut records = self.records();
        // A waiter may have used and dropped it already.
        if let Some(created) = records.unpooled.remove(&id) {
            records.items.insert(id, created);
        }
    }

    pub(crate) fn running_creations(&self) -> usize {
        self.records().creations.len()
    }

    pub(crate) fn existing_items(&self) -> usize {
        self.records().items.len()
    }

    pub(crate) fn exists(&self, id: u64) -> bool {
        self.records().items.contains_key(&id)
    }

    pub(crate) fn age(&self, id: u64) -> Duration {
        self.records().items[&id].elapsed()
    }

    /// Prepares for a change of the limit. Until it is complete, the higher of both limits is allowed.
    pub(crate) fn begin_resize(&self, limit: usize) {
        let mut records = self.records();
        records.allowed = records.allowed.max(limit);
        records.was_resized = true;
    }

    /// Completes a change of the limit. What exists above the limit may stay.
    pub(crate) fn finish_resize(&self, limit: usize) {
        let mut records = self.records();
        records.limit = limit;
        records.allowed = records.allowed.min(limit.max(records.live()));
    }

    /// Asserts that no more exists than is allowed. The allowed number falls with the existing items, down to the limit.
    pub(crate) fn check(&self) {
        let mut records = self.records();
        records.allowed = records.limit.max(records.allowed.min(records.live()));
        assert_eq!(records.violation, None);
        let (live, allowed) = (records.live(), records.allowed);
        assert!(live <= allowed, "{live} items exist or are being created, but only {allowed} are allowed");
    }

    /// Checks the size that the pool reports: at least what exists, and at most the limit if that has never changed.
    pub(crate) fn check_size(&self, size: usize) {
        let mut records = self.records();
        if size < records.live() {
            records.violation = Some("the pool counts fewer items than exist");
        }
        if size > records.limit && !records.was_resized {
            records.violation = Some("the pool counts more items than the limit");
        }
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn live(&self) -> usize {
        self.items.len() + self.creations.len()
    }
}

impl Manager for ModelManager {
    type Item = ModelItem;
    type Error = ModelError;

    async fn create(&self) -> Result<ModelItem, ModelError> {
        let (sender, receiver) = oneshot::channel();
        let creation = {
            let mut records = self.records();
            let number = records.next_creation;
            records.next_creation += 1;
            records.creations.insert(number, Some(sender));
            if records.live() > records.allowed {
                records.violation = Some("the pool creates more items than are allowed");
            }
            RunningCreation { manager: self.clone(), number }
        };
        match receiver.await.unwrap_or(CreationEnd::Failed) {
            CreationEnd::Created => Ok(creation.into_item()),
            CreationEnd::Failed => Err(ModelError::Transient),
            CreationEnd::FailedPermanently => Err(ModelError::Permanent),
            // Bypasses the panic hook, which would print every scripted panic.
            CreationEnd::Panicked => panic::resume_unwind(Box::new("scripted panic")),
        }
    }

    fn judge_failure(&self, error: &ModelError) -> FailureVerdict {
        match error {
            ModelError::Transient => FailureVerdict::Retry,
            ModelError::Permanent => FailureVerdict::GiveUp,
        }
    }

    async fn health(&self, item: &mut ModelItem) -> Verdict {
        if item.is_unhealthy { Verdict::Discard } else { Verdict::Keep }
    }

    fn recycle(&self, item: &mut ModelItem) -> Verdict {
        if item.recycle_panics {
            panic::resume_unwind(Box::new("scripted panic"));
        }
        Verdict::Keep
    }
}

/// A creation that counts until it is dropped or has become an item.
struct RunningCreation {
    manager: ModelManager,
    number: u64,
}

impl RunningCreation {
    fn into_item(self) -> ModelItem {
        let mut records = self.manager.records();
        let id = records.next_item;
        records.next_item += 1;
        records.creations.remove(&self.number);
        records.items.insert(id, Instant::now());
        drop(records);
        ModelItem {
            id,
            recycle_panics: false,
            is_unhealthy: false,
            on_drop: None,
            manager: self.manager.clone(),
        }
    }
}

impl Drop for RunningCreation {
    fn drop(&mut self) {
        self.manager.records().creations.remove(&self.number);
    }
}

/// An item that counts until its drop ends.
pub(crate) struct ModelItem {
    pub(crate) id: u64,
    pub(crate) recycle_panics: bool,
    /// Whether its next health check rejects it.
    pub(crate) is_unhealthy: bool,
    pub(crate) on_drop: Option<Box<dyn FnOnce() + Send>>,
    manager: ModelManager,
}

impl Drop for ModelItem {
    fn drop(&mut self) {
        if let Some(hook) = self.on_drop.take() {
            hook();
        }
        let mut records = self.manager.records();
        if records.items.remove(&self.id).or(records.unpooled.remove(&self.id)).is_none() {
            records.violation = Some("an item was dropped twice");
        }
    }
}

#[derive(Debug)]
pub(crate) enum ModelError {
    Transient,
    Permanent,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted error")
    }
}

impl std::error::Error for ModelError {}

/// How often the runs reached each situation.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) steps: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Coverage {
    pub(crate) fn note(&mut self, situation: &'static str) {
        *self.counts.entry(situation).or_default() += 1;
    }

    pub(crate) fn note_error(&mut self, error: &CheckoutError) {
        self.note(match error {
            CheckoutError::Create(CreateError::Failed { .. }) => "ended by an error",
            CheckoutError::Create(CreateError::Panicked { .. }) => "ended by a panic",
            CheckoutError::Create(_) => "ended by a creation that timed out",
            CheckoutError::DeadlineExceeded(_) => "ended by its deadline",
            CheckoutError::BackingOff { retry_after: Some(_), .. } => "rejected during a backoff",
            CheckoutError::BackingOff { .. } => "rejected after a permanent failure",
            _ => "ended by closing",
        });
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        for (situation, times) in &other.counts {
            *self.counts.entry(situation).or_default() += times;
        }
    }

    /// Returns the required situations that were reached less often than this.
    pub(crate) fn rarer_than(&self, times: u64, required: &[&'static str]) -> Vec<&'static str> {
        let reached = |situation: &&str| self.counts.get(*situation).copied().unwrap_or(0);
        required.iter().copied().filter(|situation| reached(situation) < times).collect()
    }
}

pub(crate) const REQUIRED_SITUATIONS: [&str; 23] = [
    "served at once",
    "waited",
    "served after a wait",
    "served by try_checkout",
    "kept on return",
    "cancelled",
    "cancelled during delivery",
    "resized",
    "closed",
    "waits for an item",
    "evicted",
    "expired",
    "surplus",
    "ended by an error",
    "ended by a panic",
    "ended by a creation that timed out",
    "ended by its deadline",
    "rejected during a backoff",
    "rejected after a permanent failure",
    "tried again at once",
    "failed after a delay without an item",
    "failed after a delay with an item",
    "added",
];

pub(crate) const REQUIRED_SITUATIONS_OF_GROUPS: [&str; 3] =
    ["served in a group after a wait", "waits for a slot in a group", "made room, or above a lowered limit"];
