//! The engine: the live gates of the Astrid preset, and a warm pool of instances under the gate `pool`.

use std::env;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use concurrency_governor::governor::{RefreshPolicy, RefreshTask};
use concurrency_governor::plan::BuildError;
use concurrency_governor::preset::astrid::{CapsuleGates, CapsuleRuntimeLimits, WARM_MIN_IDLE};
use concurrency_governor::probe::{Cpu, OpenFiles};
use concurrency_governor::{Gate, Governor, OverrideLayer, Overrides, Pool};

use crate::args::{LimitChange, Sharing};
use crate::capsule::{CapsuleHost, CapsuleManager};
use crate::peak::ConcurrencyPeak;
use crate::principals;

/// Runs capsules. The number of instances and of concurrent host calls follows the limits of this host.
pub struct Engine {
    pub pool: Pool<CapsuleManager>,
    pub host: Arc<CapsuleHost>,
    /// Requests that an instance is handling.
    pub requests: ConcurrencyPeak,
    governor: Governor,
    settings: Overrides,
    _refresh: RefreshTask, // updates the limits until it is dropped
    _directory: TempDirectory,
}

impl Engine {
    /// Builds the governor, creates the files for capsules, and creates the first instances.
    pub async fn start(
        settings: Overrides,
        sharing: Sharing,
        server: SocketAddr,
    ) -> Result<Self, Box<dyn Error>> {
        let builder = match sharing {
            Sharing::InOrder => CapsuleRuntimeLimits::governor(),
            Sharing::Equal => principals::governor()?.probe(Cpu::new()).probe(OpenFiles::new()),
        };
        let governor = builder.overrides(settings.clone()).build().await?;
        let gates = CapsuleGates::try_from(&governor)?;
        let directory = TempDirectory::new()?;
        fs::write(directory.0.join("motd.txt"), MESSAGE)?;
        let host = Arc::new(CapsuleHost {
            gates: gates.clone(),
            reads: ConcurrencyPeak::default(),
            fetches: ConcurrencyPeak::default(),
            instances: ConcurrencyPeak::default(),
            server,
            directory: directory.0.clone(),
        });
        let pool = Pool::builder(CapsuleManager::new(Arc::clone(&host))?)
            .gate(gates.pool)
            .min_idle(WARM_MIN_IDLE)
            .idle_timeout(IDLE_TIMEOUT)
            .incomplete_by_default() // an instance that trapped is never used again
            .create_timeout(CREATE_TIMEOUT)
            .build()
            .await?;
        let refresh = governor.spawn_refresh(RefreshPolicy::new());
        Ok(Self {
            pool,
            host,
            requests: ConcurrencyPeak::default(),
            governor,
            settings,
            _refresh: refresh,
            _directory: directory,
        })
    }

    /// Returns the three gates in the order of the preset, each with the peak of the work under it.
    pub fn gates(&self) -> [(&Gate, &ConcurrencyPeak); 3] {
        let CapsuleGates { blocking, io, pool } = &self.host.gates;
        [(blocking, &self.host.reads), (io, &self.host.fetches), (pool, &self.requests)]
    }

    /// Returns the gates for the host calls of a principal.
    pub fn gates_of(&self, principal: u64) -> CapsuleGates {
        principals::gates_of(&self.host.gates, principal)
    }

    /// Returns one line per gate that says what decided its limit.
    pub fn decisions(&self) -> Vec<String> {
        self.governor.resolution().explanations().iter().map(ToString::to_string).collect()
    }

    /// Applies limit changes, which take precedence over all other settings.
    pub fn apply(&self, changes: &[LimitChange]) -> Result<(), BuildError> {
        let layer = changes
            .iter()
            .fold(OverrideLayer::new("--lower"), |layer, change| layer.set(change.gate, change.limit));
        let settings =
            self.settings.layers().iter().cloned().fold(Overrides::new().then(layer), Overrides::then);
        self.governor.set_overrides(settings).map(|_| ())
    }
}

/// A directory for the capsules' files. Dropping it removes the directory.
struct TempDirectory(PathBuf);

impl TempDirectory {
    fn new() -> std::io::Result<Self> {
        let directory = env::temp_dir().join(format!("capsule-engine-{}", process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a leftover directory does no harm
    }
}

/// An instance that was idle this long is dropped, to free its memory.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Far longer than an instantiation takes. One that takes longer than this hangs.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

const MESSAGE: &str = "All capsules are equal before the gate.\n";
