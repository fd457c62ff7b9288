//! The pool beside other pools: deadpool (managed), bb8 and mobc, each as fast as it can be told to be: no timeouts, no
//! lifetimes, no check of a connection that is handed out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use concurrency_governor::pool;
use tokio::runtime::{self, Runtime};
use tokio::task::yield_now;

use crate::harness::{Contestant, Row, Runner, Target};

/// Something that hands out items.
pub trait Pooled: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    type PooledItem<'a>: Send;

    /// With nothing in it.
    fn new(max: u32) -> impl Future<Output = Self> + Send;
    fn checkout(&self) -> impl Future<Output = Self::PooledItem<'_>> + Send;
}

/// Makes items of no size at once, so that all the time and memory is the pool's.
pub struct Nothing;

impl pool::Manager for Nothing {
    type Item = ();
    type Error = Infallible;

    async fn create(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Pooled for pool::Pool<Nothing> {
    const NAME: &'static str = "pool";
    type PooledItem<'a> = pool::PooledItem<Nothing>;

    async fn new(max: u32) -> Self {
        Self::builder(Nothing).max(max).build().await.expect("a pool")
    }
    #[inline]
    async fn checkout(&self) -> Self::PooledItem<'_> {
        self.checkout().await.expect("an item")
    }
}

impl deadpool::managed::Manager for Nothing {
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

impl Pooled for deadpool::managed::Pool<Nothing> {
    const NAME: &'static str = "deadpool";
    type PooledItem<'a> = deadpool::managed::Object<Nothing>;

    async fn new(max: u32) -> Self {
        Self::builder(Nothing).max_size(max as usize).build().expect("a pool")
    }
    #[inline]
    async fn checkout(&self) -> Self::PooledItem<'_> {
        self.get().await.expect("an item")
    }
}

impl bb8::ManageConnection for Nothing {
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

impl Pooled for bb8::Pool<Nothing> {
    const NAME: &'static str = "bb8";
    type PooledItem<'a> = bb8::PooledConnection<'a, Nothing>;

    async fn new(max: u32) -> Self {
        let builder = Self::builder().max_size(max).test_on_check_out(false);
        builder.idle_timeout(None).max_lifetime(None).build(Nothing).await.expect("a pool")
    }
    #[inline]
    async fn checkout(&self) -> Self::PooledItem<'_> {
        self.get().await.expect("an item")
    }
}

#[mobc::async_trait]
impl mobc::Manager for Nothing {
    type Connection = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        Ok(())
    }
    async fn check(&self, (): ()) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Pooled for mobc::Pool<Nothing> {
    const NAME: &'static str = "mobc";
    type PooledItem<'a> = mobc::Connection<Nothing>;

    async fn new(max: u32) -> Self {
        Self::builder().max_open(max.into()).max_idle(max.into()).test_on_check_out(false).build(Nothing)
    }
    #[inline]
    async fn checkout(&self) -> Self::PooledItem<'_> {
        self.get().await.expect("an item")
    }
}

macro_rules! contestants {
    ($make:ident: $($peer:ty),*) => { vec![$(Contestant { name: <$peer as Pooled>::NAME, make: $make::<$peer> }),*] };
}

macro_rules! all {
    ($make:ident) => {
        contestants!($make: pool::Pool<Nothing>, deadpool::managed::Pool<Nothing>, bb8::Pool<Nothing>, mobc::Pool<Nothing>)
    };
}

pub fn rows() -> Vec<Row> {
    let row = |id, title, contestants, target, step| Row {
        id,
        title,
        contestants,
        base: "bb8",
        target: Target { time: target, ..Target::default() },
        run: Duration::from_micros(400),
        step,
        counted: 0,
    };
    vec![
        row("pool-warm", "checkout + return of a warm item", all!(warm), Some(0.6), 64),
        row("pool-one", "64 tasks, 2 items, 1 thread: time per checkout", all!(one), None, TASKS * 64),
        row("pool-two", "64 tasks, 2 items, 2 workers: time per checkout", all!(two), None, TASKS * 64),
        row("pool-cold", "64 tasks, 64 items to be made, 1 thread: time per item", all!(cold), None, TASKS),
    ]
}

const TASKS: u64 = 64;

fn one_thread() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn warm<P: Pooled>() -> Runner {
    let runtime = one_thread();
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

/// Tasks that each hold an item across one yield, so that all others stand in line meanwhile.
async fn tasks<P: Pooled>(pool: &P, each: u64) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..each {
                    let lease = pool.checkout().await;
                    yield_now().await;
                    drop(black_box(lease));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
}

fn handed_on<P: Pooled>(runtime: Runtime) -> Runner {
    let pool = runtime.block_on(P::new(2));
    Box::new(move |times| {
        let began = Instant::now();
        runtime.block_on(tasks(&pool, times / TASKS));
        began.elapsed()
    })
}

fn one<P: Pooled>() -> Runner {
    handed_on::<P>(one_thread())
}

fn two<P: Pooled>() -> Runner {
    let mut runtime = runtime::Builder::new_multi_thread();
    handed_on::<P>(runtime.worker_threads(2).enable_time().build().expect("a runtime"))
}

fn cold<P: Pooled>() -> Runner {
    let runtime = one_thread();
    Box::new(move |times| {
        (0..times / TASKS)
            .map(|_| {
                runtime.block_on(async {
                    let pool = P::new(TASKS as u32).await;
                    let began = Instant::now();
                    tasks(&pool, 1).await;
                    began.elapsed()
                })
            })
            .sum()
    })
}

/// Bytes of a pool with one item idle, and of each further one, apart from the items.
pub fn memory() -> Vec<(&'static str, usize, usize)> {
    COUNTS.store(true, Ordering::Relaxed);
    let bytes = vec![
        bytes::<pool::Pool<Nothing>>(),
        bytes::<deadpool::managed::Pool<Nothing>>(),
        bytes::<bb8::Pool<Nothing>>(),
        bytes::<mobc::Pool<Nothing>>(),
    ];
    COUNTS.store(false, Ordering::Relaxed);
    bytes
}

fn bytes<P: Pooled>() -> (&'static str, usize, usize) {
    const MANY: u32 = 4096; // what grows by doubling is full then
    let runtime = one_thread();
    let filled = |items: u32| {
        runtime.block_on(async {
            let before = allocated();
            let pool = P::new(items).await;
            let mut leases = Vec::with_capacity(items as usize);
            for _ in 0..items {
                leases.push(pool.checkout().await);
            }
            drop(leases);
            for _ in 0..4 {
                yield_now().await; // for the tasks that made them to be gone
            }
            let bytes = allocated() - before;
            drop(pool);
            for _ in 0..4 {
                yield_now().await;
            }
            bytes
        })
    };
    filled(1); // what is allocated once
    let (one, many) = (filled(1), filled(MANY));
    (P::NAME, one, (many - one).div_ceil(MANY as usize - 1))
}

/// The system's allocator, which counts what it has given out once it is asked.
pub struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if COUNTS.load(Ordering::Relaxed) {
            ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        unsafe { System.dealloc(memory, layout) }
    }
}
