//! Capsules: how an instance is created, and the functions that the host provides to it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use concurrency_governor::pool::{Manager, Verdict};
use concurrency_governor::preset::astrid::CapsuleGates;
use concurrency_governor::{AcquireError, Gate};
use futures_util::future;
use wasmtime::{Caller, Engine, InstancePre, Linker, Memory, Module, Store, TypedFunc};

use crate::peak::ConcurrencyPeak;
use crate::server::{self, FetchError};

/// The host functions of capsules. Each class of work passes its gate.
#[derive(Debug)]
pub struct CapsuleHost {
    /// The gates of the process. Each call passes the gates of its principal, which are these or keys of these.
    pub gates: CapsuleGates,
    pub reads: ConcurrencyPeak,
    pub fetches: ConcurrencyPeak,
    /// All instances that exist, also those that the pool has discarded but not yet dropped.
    pub instances: ConcurrencyPeak,
    /// The server that capsules may call.
    pub server: SocketAddr,
    /// The directory of the files that capsules may read.
    pub directory: PathBuf,
}

impl CapsuleHost {
    /// Reads a file on a blocking thread, under the gate `blocking`. Returns the sum of its bytes.
    async fn read_file(self: Arc<Self>, blocking: Gate, name: String) -> Result<i64, HostError> {
        let path = self.path_of(&name)?;
        let host = Arc::clone(&self);
        let read = move || {
            let _running = host.reads.enter();
            fs::read(path)
        };
        let bytes = blocking.run_blocking(read).await??;
        Ok(sum(&bytes))
    }

    /// Calls the server several times at once, under the gate `io`. Returns the sum of the bytes of all responses.
    async fn fetch(self: Arc<Self>, io: Gate, path: String, times: u16) -> Result<i64, HostError> {
        let call_server = || {
            io.run(async {
                let _running = self.fetches.enter();
                server::get(self.server, &path).await
            })
        };
        let sums = future::try_join_all(
            (0..times).map(|_| async { Ok::<_, HostError>(sum(&call_server().await??)) }),
        );
        Ok(sums.await?.into_iter().fold(0, i64::wrapping_add))
    }

    /// Returns the path of a file in the capsules' directory. Rejects names that could lead out of it.
    fn path_of(&self, name: &str) -> Result<PathBuf, HostError> {
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(file)), None) => Ok(self.directory.join(file)),
            _ => Err(HostError::Forbidden { name: name.to_owned() }),
        }
    }
}

/// What the host functions know about the instance that calls them.
pub struct CapsuleState {
    host: Arc<CapsuleHost>,
    /// The gates of the principal whose request the instance handles.
    gates: CapsuleGates,
}

impl CapsuleState {
    fn new(host: Arc<CapsuleHost>) -> Self {
        let gates = host.gates.clone();
        Self { host, gates }
    }
}

/// A failed host call. It ends the capsule's request.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Rejected(#[from] AcquireError),
    #[error("cannot read the file: {0}")]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("capsules may not read {name:?} (allowed: a file name without a directory)")]
    Forbidden { name: String },
    #[error("the {length} bytes at {at} of the capsule's memory are out of bounds or not UTF-8")]
    InvalidText { at: i32, length: i32 },
}

/// Creates instances of one capsule for the pool.
pub struct CapsuleManager {
    capsule: InstancePre<CapsuleState>,
    host: Arc<CapsuleHost>,
}

impl CapsuleManager {
    /// Compiles the capsule and links the host functions.
    pub fn new(host: Arc<CapsuleHost>) -> wasmtime::Result<Self> {
        let engine = Engine::default();
        let module = Module::new(&engine, include_str!("guest.wat"))?;
        let mut linker: Linker<CapsuleState> = Linker::new(&engine);
        linker.func_wrap_async("host", "read_file", |mut caller, (at, length): (i32, i32)| {
            Box::new(async move {
                let name = read_text(&mut caller, at, length)?;
                let CapsuleState { host, gates } = caller.data();
                let (host, gate) = (Arc::clone(host), gates.blocking.clone());
                host.read_file(gate, name).await.map_err(wasmtime::Error::new)
            })
        })?;
        linker.func_wrap_async("host", "fetch", |mut caller, (at, length, times): (i32, i32, i32)| {
            Box::new(async move {
                let path = read_text(&mut caller, at, length)?;
                let CapsuleState { host, gates } = caller.data();
                let (host, gate) = (Arc::clone(host), gates.io.clone());
                let times = u16::try_from(times).unwrap_or(u16::MAX);
                host.fetch(gate, path, times).await.map_err(wasmtime::Error::new)
            })
        })?;
        Ok(Self { capsule: linker.instantiate_pre(&module)?, host })
    }
}

impl Manager for CapsuleManager {
    type Item = Instance;
    type Error = InstantiateError;

    async fn create(&self) -> Result<Instance, InstantiateError> {
        let counted = InstanceGuard::new(Arc::clone(&self.host));
        let mut store = Store::new(self.capsule.module().engine(), CapsuleState::new(Arc::clone(&self.host)));
        let instance = self.capsule.instantiate_async(&mut store).await?;
        let handle = instance.get_typed_func(&mut store, "handle")?;
        let memory = instance.get_memory(&mut store, "memory").ok_or(InstantiateError::NoMemory)?;
        Ok(Instance { store, handle, memory, _counted: counted })
    }

    /// Clears the memory that a request may have written, so that the next principal cannot read it, and the gates of its principal.
    fn recycle(&self, instance: &mut Instance) -> Verdict {
        instance.store.data_mut().gates = self.host.gates.clone();
        match instance.memory.data_mut(&mut instance.store).get_mut(..WRITABLE_BYTES) {
            Some(memory) => {
                memory.fill(0);
                Verdict::Keep
            }
            None => Verdict::Discard,
        }
    }
}

/// A failed creation of an instance.
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

/// An instance of the capsule, with its own store and 1 MiB of memory.
pub struct Instance {
    store: Store<CapsuleState>,
    handle: TypedFunc<(i32, i32), i64>,
    memory: Memory,
    _counted: InstanceGuard, // the last field, so that it is dropped after the store
}

impl Instance {
    /// Handles one request under the gates of its principal. After an error the instance must not be used again.
    pub async fn handle(
        &mut self,
        gates: CapsuleGates,
        fetches: u16,
        is_poisoned: bool,
    ) -> wasmtime::Result<i64> {
        self.store.data_mut().gates = gates;
        self.handle.call_async(&mut self.store, (i32::from(fetches), i32::from(is_poisoned))).await
    }
}

/// Counts an instance while it exists.
struct InstanceGuard(Arc<CapsuleHost>);

impl InstanceGuard {
    fn new(host: Arc<CapsuleHost>) -> Self {
        host.instances.add();
        Self(host)
    }
}

impl Drop for InstanceGuard {
    fn drop(&mut self) {
        self.0.instances.remove();
    }
}

/// Reads a text from a capsule's memory.
fn read_text(caller: &mut Caller<'_, CapsuleState>, at: i32, length: i32) -> Result<String, HostError> {
    let invalid = || HostError::InvalidText { at, length };
    let memory = caller.get_export("memory").and_then(wasmtime::Extern::into_memory).ok_or_else(invalid)?;
    let (start, length) = (usize::try_from(at).ok(), usize::try_from(length).ok());
    let range = start.zip(length).and_then(|(start, length)| Some(start..start.checked_add(length)?));
    let bytes = range.and_then(|range| memory.data(&caller).get(range));
    bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).ok_or_else(invalid)
}

fn sum(bytes: &[u8]) -> i64 {
    bytes.iter().map(|&byte| i64::from(byte)).sum()
}

/// The number of bytes at the start of its memory that a capsule writes.
const WRITABLE_BYTES: usize = 16;
