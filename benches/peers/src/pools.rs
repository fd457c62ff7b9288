//! The pool compared with other pools: deadpool (managed), bb8 and mobc. Each is configured for speed: no timeouts, no
//! lifetimes, no check of an item at checkout.

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use concurrency_governor::pool;
use tokio::runtime::{self, Runtime};
use tokio::task::yield_now;

use crate::harness::{Contestant, Row, Runner};

/// A pool under test.
pub trait Pooled: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    type PooledItem<'a>: Send;

    /// Creates an empty pool.
    fn new(max: u32) -> impl Future<Output = Self> + Send;
    fn checkout(&self) -> impl Future<Output = Self::PooledItem<'_>> + Send;
}

/// The manager of every pool. Its items have no size and are created without waiting, so that all measured time and memory is
/// the pool's.
pub struct UnitManager;

impl pool::Manager for UnitManager {
    type Item = ();
    type Error = Infallible;

    async fn create(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Pooled for pool::Pool<UnitManager> {
    const NAME: &'static str = "pool";
    type PooledItem<'a> = pool::PooledItem<UnitManager>;

    async fn new(max: u32) -> Self {
        Self::builder(UnitManager).max(max).build().await.expect("the settings are valid")
    }
    #[inline]
    async fn checkout(&self) -> Self::PooledItem<'_> {
        self.checkout().await.expect("creation does not fail")
    }
}

impl deadpool::managed::Manager for UnitManager {
    type Type = ();
    type Error = Infallible;

    async fn create(&self) -> Result<(), Infallible> {
        Ok(())
    }
    async fn recycle(
        &self,
        _: &mut (),
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

impl Pooled for deadpool::managed::Pool<UnitManager> {
    const NAME: &'static str = "deadpool";
    type PooledItem<'a> = deadpool::managed::Object<UnitManager>;

    async fn new(max: u32) -> Self {
        Self::builder(UnitManager).max_size(max as usize).build().expect("the settings are valid")
    }
    #[inline]
    async fn checkout(&self) -> Self::PooledItem<'_> {
        self.get().await.expect("creation does not fail")
    }
}

impl bb8::ManageConnection for UnitManager {
    type Connection = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        Ok(())
    }
    async fn is_valid(&self, (): &mut ()) -> Result<(), Infallible> {
        Ok(())
    }
    fn has_broken(&self, (): &mut ()) -> bool {
        false
    }
}

impl Pooled for bb8::Pool<UnitManager> {
    const NAME: &'static str = "bb8";
    type PooledItem<'a> = bb8::PooledConnection<'a, UnitManager>;

    async fn new(max: u32) -> Self {
        let builder = Self::builder().max_size(max).test_on_check_out(false);
        builder
            .idle_timeout(None)
            .max_lifetime(None)
            .build(UnitManager)
            .await
            .expect("the settings are valid")
    }
    #[inline]
    async fn checkout(&self) -> Self::PooledItem<'_> {
        self.get().await.expect("creation does not fail")
    }
}

#[mobc::async_trait]
impl mobc::Manager for UnitManager {
    type Connection = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        Ok(())
    }
    async fn check(&self, (): ()) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Pooled for mobc::Pool<UnitManager> {
    const NAME: &'static str = "mobc";
    type PooledItem<'a> = mobc::Connection<UnitManager>;

    async fn new(max: u32) -> Self {
        Self::builder().max_open(max.into()).max_idle(max.into()).test_on_check_out(false).build(UnitManager)
    }
    #[inline]
    async fn checkout(&self) -> Self::PooledItem<'_> {
        self.get().await.expect("creation does not fail")
    }
}

macro_rules! contestants {
    ($make:ident: $($peer:ty),*) => { vec![$(Contestant { name: <$peer as Pooled>::NAME, make: $make::<$peer> }),*] };
}

macro_rules! all {
    ($make:ident) => {
        contestants!($make: pool::Pool<UnitManager>, deadpool::managed::Pool<UnitManager>, bb8::Pool<UnitManager>, mobc::Pool<UnitManager>)
    };
}

/// The pools that this crate's pool should be faster than.
const OTHERS: &[&str] = &["deadpool", "bb8", "mobc"];

pub fn rows() -> Vec<Row> {
    let row = |id, title, contestants, ahead_of, step| Row {
        id,
        title,
        contestants,
        base: "bb8",
        ahead_of,
        run: Duration::from_micros(400),
        step,
        counted: 0,
    };
    vec![
        row("pool-warm", "checkout + return of a warm item", all!(warm), OTHERS, 64),
        row(
            "pool-one",
            "64 tasks, 2 items, 1 thread: time per checkout",
            all!(contended_one_thread),
            OTHERS,
            TASKS * 64,
        ),
        row(
            "pool-two",
            "64 tasks, 2 items, 2 workers: time per checkout",
            all!(contended_two_workers),
            OTHERS,
            TASKS * 64,
        ),
        row(
            "pool-cold",
            "64 tasks, 64 items to be created, 1 thread: time per item",
            all!(cold),
            &["mobc"],
            TASKS,
        ),
    ]
}

const TASKS: u64 = 64;

fn current_thread_runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().build().expect("the runtime starts")
}

fn warm<P: Pooled>() -> Runner {
    let runtime = current_thread_runtime();
    let pool = runtime.block_on(P::new(64));
    Box::new(move |times| {
        runtime.block_on(async {
            drop(pool.checkout().await);
            let began = Instant::now();
            for _ in 0..times {
                drop(black_box(black_box(&pool).checkout().await));
            }
            began.elapsed()
        })
    })
}

/// Runs tasks that each hold an item across one yield, so that the other tasks wait for it.
async fn run_tasks<P: Pooled>(pool: &P, checkouts_each: u64) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..checkouts_each {
                    let item = pool.checkout().await;
                    yield_now().await;
                    drop(black_box(item));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the task does not panic");
    }
}

fn contended<P: Pooled>(runtime: Runtime) -> Runner {
    let pool = runtime.block_on(P::new(2));
    Box::new(move |times| {
        let began = Instant::now();
        runtime.block_on(run_tasks(&pool, times / TASKS));
        began.elapsed()
    })
}

fn contended_one_thread<P: Pooled>() -> Runner {
    contended::<P>(current_thread_runtime())
}

fn contended_two_workers<P: Pooled>() -> Runner {
    let mut runtime = runtime::Builder::new_multi_thread();
    contended::<P>(runtime.worker_threads(2).enable_time().build().expect("the runtime starts"))
}

fn cold<P: Pooled>() -> Runner {
    let runtime = current_thread_runtime();
    Box::new(move |times| {
        (0..times / TASKS)
            .map(|_| {
                runtime.block_on(async {
                    let pool = P::new(TASKS as u32).await;
                    let began = Instant::now();
                    run_tasks(&pool, 1).await;
                    began.elapsed()
                })
            })
            .sum()
    })
}

/// Returns, for each pool, its name, the bytes it allocates with one idle item, and the bytes of each further item. The items
/// themselves have no size.
pub fn memory() -> Vec<(&'static str, usize, usize)> {
    IS_COUNTING.store(true, Ordering::Relaxed);
    let bytes = vec![
        bytes::<pool::Pool<UnitManager>>(),
        bytes::<deadpool::managed::Pool<UnitManager>>(),
        bytes::<bb8::Pool<UnitManager>>(),
        bytes::<mobc::Pool<UnitManager>>(),
    ];
    IS_COUNTING.store(false, Ordering::Relaxed);
    bytes
}

/// Runs `measure` while allocations are counted. It gets a function that returns the bytes that are allocated.
pub fn count_bytes<T>(measure: impl FnOnce(fn() -> usize) -> T) -> T {
    IS_COUNTING.store(true, Ordering::Relaxed);
    let result = measure(allocated);
    IS_COUNTING.store(false, Ordering::Relaxed);
    result
}

fn bytes<P: Pooled>() -> (&'static str, usize, usize) {
    const MANY: u32 = 4096; // a power of two: containers that double their capacity are full
    let runtime = current_thread_runtime();
    let bytes_of_filled_pool = |items: u32| {
        runtime.block_on(async {
            let before = allocated();
            let pool = P::new(items).await;
            let mut checked_out = Vec::with_capacity(items as usize);
            for _ in 0..items {
                checked_out.push(pool.checkout().await);
            }
            drop(checked_out);
            for _ in 0..4 {
                yield_now().await; // lets the tasks end that created the items
            }
            let bytes = allocated() - before;
            drop(pool);
            for _ in 0..4 {
                yield_now().await;
            }
            bytes
        })
    };
    bytes_of_filled_pool(1); // warms up: the process allocates some memory only once
    let (one, many) = (bytes_of_filled_pool(1), bytes_of_filled_pool(MANY));
    (P::NAME, one, (many - one).div_ceil(MANY as usize - 1))
}

/// The system allocator with a counter of allocated bytes, which is off by default.
pub struct Counting;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

// SAFETY: every call is forwarded to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_COUNTING.load(Ordering::Relaxed) {
            ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if IS_COUNTING.load(Ordering::Relaxed) {
            ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        unsafe { System.dealloc(memory, layout) }
    }
}
