//! The manager of a run: creations that end as they are told, items that count themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use concurrency_governor::gate::AcquireError;
use concurrency_governor::pool::{CheckoutError, CreateError, Manager, Verdict};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How a creation ends; until it is told it hangs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Made,
    Failed,
    Panicked,
}

#[derive(Clone)]
pub(crate) struct Maker(Arc<Mutex<Books>>);

struct Books {
    next: u64,
    /// Items that are there, and when they were made.
    there: BTreeMap<u64, Instant>,
    /// Creations by number, in the order in which they began.
    under_way: BTreeMap<u64, Option<oneshot::Sender<End>>>,
    begun: u64,
    /// As many items may be there or under way.
    allowed: usize,
    limit: usize,
    was_resized: bool,
    /// What is wrong, where a panic would be the pool's to handle, and so nobody's to see.
    wrong: Option<&'static str>,
}

impl Maker {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Books {
            next: 0,
            there: BTreeMap::new(),
            under_way: BTreeMap::new(),
            begun: 0,
            allowed: limit,
            limit,
            was_resized: false,
            wrong: None,
        })))
    }

    /// Ends one that is under way, if there is one.
    pub(crate) fn end(&self, nth: usize, end: End) {
        let ends = {
            let mut books = self.books();
            let waiting = books.under_way.values_mut().filter(|order| order.is_some());
            waiting.skip(nth).find_map(Option::take)
        };
        if let Some(ends) = ends {
            let _ = ends.send(end);
        }
    }

    pub(crate) fn under_way(&self) -> usize {
        self.books().under_way.len()
    }

    pub(crate) fn there(&self) -> usize {
        self.books().there.len()
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        self.books().there.contains_key(&id)
    }

    pub(crate) fn age(&self, id: u64) -> Duration {
        self.books().there[&id].elapsed()
    }

    /// Before the limit changes: what is allowed is the higher one until it has.
    pub(crate) fn limit_falls_to(&self, limit: usize) {
        let mut books = self.books();
        books.allowed = books.allowed.max(limit);
        books.was_resized = true;
    }

    /// Once it has: what is there may stay, and nothing is made before that is less.
    pub(crate) fn limit_is(&self, limit: usize) {
        let mut books = self.books();
        books.limit = limit;
        books.allowed = books.allowed.min(limit.max(books.live()));
    }

    /// What is allowed falls with what is there, down to the limit.
    pub(crate) fn check(&self) {
        let mut books = self.books();
        books.allowed = books.limit.max(books.allowed.min(books.live()));
        books.check();
    }

    /// What the pool counts, which is no less than what is there and being made; and no more than the limit, where that has
    /// never been another.
    pub(crate) fn counts(&self, size: usize) {
        let mut books = self.books();
        if size < books.live() {
            books.wrong = Some("the pool counts less than there is");
        }
        if size > books.limit && !books.was_resized {
            books.wrong = Some("the pool counts more than may be there");
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn live(&self) -> usize {
        self.there.len() + self.under_way.len()
    }

    fn check(&self) {
        assert_eq!(self.wrong, None);
        let (live, allowed) = (self.live(), self.allowed);
        assert!(live <= allowed, "{live} are there or being made, where {allowed} may be");
    }
}

impl Manager for Maker {
    type Item = Item;
    type Error = Rejected;

    async fn create(&self) -> Result<Item, Rejected> {
        let (order, told) = oneshot::channel();
        let under_way = {
            let mut books = self.books();
            let number = books.begun;
            books.begun += 1;
            books.under_way.insert(number, Some(order));
            if books.live() > books.allowed {
                books.wrong = Some("more is being made than may be there");
            }
            UnderWay(self.clone(), number)
        };
        match told.await.unwrap_or(End::Failed) {
            End::Made => {}
            End::Failed => return Err(Rejected),
            End::Panicked => panic::resume_unwind(Box::new("as it was told to")), // past the hook, which would print it
        }
        Ok(under_way.made())
    }

    fn recycle(&self, item: &mut Item) -> Verdict {
        if item.recycled_by_panic {
            panic::resume_unwind(Box::new("as it was told to"));
        }
        Verdict::Keep
    }
}

/// A creation that counts while it is under way.
struct UnderWay(Maker, u64);

impl UnderWay {
    fn made(self) -> Item {
        let mut books = self.0.books();
        let id = books.next;
        books.next += 1;
        books.under_way.remove(&self.1);
        books.there.insert(id, Instant::now());
        drop(books);
        Item { id, recycled_by_panic: false, on_drop: None, maker: self.0.clone() }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.books().under_way.remove(&self.1);
    }
}

pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) recycled_by_panic: bool,
    pub(crate) on_drop: Option<Box<dyn FnOnce() + Send>>,
    maker: Maker,
}

impl Drop for Item {
    fn drop(&mut self) {
        if let Some(hook) = self.on_drop.take() {
            hook();
        }
        let mut books = self.maker.books();
        if books.there.remove(&self.id).is_none() {
            books.wrong = Some("an item was dropped twice");
        }
    }
}

#[derive(Debug)]
pub(crate) struct Rejected;

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Rejected {}

/// How often runs got to what is worth seeing.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) steps: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Seen {
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn refusal(&mut self, error: &CheckoutError<Rejected>) {
        self.note(match error {
            CheckoutError::Create(CreateError::Failed { .. }) => "ended by an error",
            CheckoutError::Create(CreateError::Panicked { .. }) => "ended by a panic",
            CheckoutError::Create(_) => "ended by a creation that hung",
            CheckoutError::Rejected(AcquireError::DeadlineExceeded { .. }) => "ended by its deadline",
            _ => "ended by the closing",
        });
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        for (what, times) in &other.counts {
            *self.counts.entry(what).or_default() += times;
        }
    }

    /// What is worth seeing and was seen less often than this.
    pub(crate) fn rarer_than(&self, times: u64) -> Vec<&'static str> {
        let seen = |what: &&str| self.counts.get(*what).copied().unwrap_or(0);
        WORTH_SEEING.into_iter().filter(|what| seen(what) < times).collect()
    }
}

const WORTH_SEEING: [&str; 17] = [
    "served at once",
    "waited",
    "served after a wait",
    "tried",
    "kept",
    "given up",
    "given up with an item on its way",
    "resized",
    "closed",
    "waits for an item",
    "evicted",
    "expired",
    "surplus",
    "ended by an error",
    "ended by a panic",
    "ended by a creation that hung",
    "ended by its deadline",
];
