//! Capsules: how an instance comes about, and what it may ask of the host.

use std::fs;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use concurrency_governor::pool::{Manager, Verdict};
use concurrency_governor::{AcquireError, Gate};
use futures_util::future;
use wasmtime::{Caller, Engine, InstancePre, Linker, Memory, Module, Store, TypedFunc};

use crate::peak::Peak;
use crate::server::{self, FetchError};

/// What capsules ask of the host, each class of work behind its gate.
#[derive(Debug)]
pub struct Host {
    pub blocking: Gate,
    pub io: Gate,
    pub reading: Peak,
    pub fetching: Peak,
    /// Instances that exist, whether or not the pool knows of them.
    pub alive: Peak,
    /// The server that they may ask.
    pub server: SocketAddr,
    /// The files that they may read.
    pub directory: PathBuf,
}

impl Host {
    /// Reads a file on a thread that may block; gives the sum of its bytes.
    async fn read_file(self: Arc<Self>, name: String) -> Result<i64, HostError> {
        let path = self.path_of(&name)?;
        let host = Arc::clone(&self);
        let read = move || {
            let _at_work = host.reading.enter();
            fs::read(path)
        };
        let bytes = self.blocking.run_blocking(read).await??;
        Ok(sum(&bytes))
    }

    /// Asks the server several times at once; gives the sum of the answers' bytes.
    async fn fetch(self: Arc<Self>, path: String, times: u16) -> Result<i64, HostError> {
        let one = || {
            self.io.run(async {
                let _at_work = self.fetching.enter();
                server::get(self.server, &path).await
            })
        };
        let answers =
            future::try_join_all((0..times).map(|_| async { Ok::<_, HostError>(sum(&one().await??)) }));
        Ok(answers.await?.into_iter().fold(0, i64::wrapping_add))
    }

    /// A file of the capsules' directory, and no other.
    fn path_of(&self, name: &str) -> Result<PathBuf, HostError> {
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(file)), None) => Ok(self.directory.join(file)),
            _ => Err(HostError::Forbidden { name: name.to_owned() }),
        }
    }
}

/// Why the host did not do what a capsule asked for. The capsule's request ends with it.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Rejected(#[from] AcquireError),
    #[error("cannot read the file: {0}")]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{name:?} is no file of the capsule's (allowed: a name without a directory)")]
    Forbidden { name: String },
    #[error("a text of {length} bytes at {at} is not in the capsule's memory, or is not UTF-8")]
    NoText { at: i32, length: i32 },
}

/// Makes instances of one capsule: what the pool needs to know.
pub struct Capsules {
    capsule: InstancePre<Arc<Host>>,
    host: Arc<Host>,
}

impl Capsules {
    /// Compiles the capsule, and links what it may ask of the host.
    pub fn new(host: Arc<Host>) -> wasmtime::Result<Self> {
        let engine = Engine::default();
        let module = Module::new(&engine, include_str!("guest.wat"))?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap_async("host", "read_file", |mut caller, (at, length): (i32, i32)| {
            Box::new(async move {
                let name = text(&mut caller, at, length)?;
                let host = Arc::clone(caller.data());
                host.read_file(name).await.map_err(wasmtime::Error::new)
            })
        })?;
        linker.func_wrap_async("host", "fetch", |mut caller, (at, length, times): (i32, i32, i32)| {
            Box::new(async move {
                let path = text(&mut caller, at, length)?;
                let host = Arc::clone(caller.data());
                let times = u16::try_from(times).unwrap_or(u16::MAX);
                host.fetch(path, times).await.map_err(wasmtime::Error::new)
            })
        })?;
        Ok(Self { capsule: linker.instantiate_pre(&module)?, host })
    }
}

impl Manager for Capsules {
    type Item = Instance;
    type Error = InstantiateError;

    async fn create(&self) -> Result<Instance, InstantiateError> {
        let alive = Alive::new(Arc::clone(&self.host));
        let mut store = Store::new(self.capsule.module().engine(), Arc::clone(&self.host));
        let instance = self.capsule.instantiate_async(&mut store).await?;
        let handle = instance.get_typed_func(&mut store, "handle")?;
        let memory = instance.get_memory(&mut store, "memory").ok_or(InstantiateError::NoMemory)?;
        Ok(Instance { store, handle, memory, _alive: alive })
    }

    /// The next principal sees nothing of the last one: what a request may have written is wiped.
    fn recycle(&self, instance: &mut Instance) -> Verdict {
        match instance.memory.data_mut(&mut instance.store).get_mut(..WRITTEN) {
            Some(written) => {
                written.fill(0);
                Verdict::Keep
            }
            None => Verdict::Discard,
        }
    }
}

/// Why a capsule has no further instance.
#[derive(Debug, thiserror::Error)]
pub enum InstantiateError {
    #[error("cannot instantiate the capsule: {0:#}")]
    Engine(wasmtime::Error),
    #[error("the capsule exports no memory")]
    NoMemory,
}

impl From<wasmtime::Error> for InstantiateError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}

/// An instance of the capsule: a store of its own, and a mebibyte of memory.
pub struct Instance {
    store: Store<Arc<Host>>,
    handle: TypedFunc<(i32, i32), i64>,
    memory: Memory,
    _alive: Alive, // dropped last: until then there is a store
}

impl Instance {
    /// Handles one request. After an error the instance is good for nothing more.
    pub async fn handle(&mut self, fetches: u16, is_poisoned: bool) -> wasmtime::Result<i64> {
        self.handle.call_async(&mut self.store, (i32::from(fetches), i32::from(is_poisoned))).await
    }
}

/// Counts an instance for as long as it exists.
struct Alive(Arc<Host>);

impl Alive {
    fn new(host: Arc<Host>) -> Self {
        host.alive.add();
        Self(host)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.remove();
    }
}

/// A text in a capsule's memory.
fn text(caller: &mut Caller<'_, Arc<Host>>, at: i32, length: i32) -> Result<String, HostError> {
    let no_text = || HostError::NoText { at, length };
    let memory = caller.get_export("memory").and_then(wasmtime::Extern::into_memory).ok_or_else(no_text)?;
    let (start, length) = (usize::try_from(at).ok(), usize::try_from(length).ok());
    let range = start.zip(length).and_then(|(start, length)| Some(start..start.checked_add(length)?));
    let bytes = range.and_then(|range| memory.data(&caller).get(range));
    bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).ok_or_else(no_text)
}

fn sum(bytes: &[u8]) -> i64 {
    bytes.iter().map(|&byte| i64::from(byte)).sum()
}

/// The bytes at the start of its memory that a capsule writes.
const WRITTEN: usize = 16;
