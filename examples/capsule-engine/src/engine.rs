//! The engine: the live Astrid plan, and a warm pool of instances under its gate `pool`.

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
use concurrency_governor::preset::astrid::{BLOCKING, CapsuleRuntimeLimits, IO, POOL};
use concurrency_governor::{Gate, Governor, OverrideLayer, Overrides, Pool};

use crate::args::Change;
use crate::capsule::{Capsules, Host};
use crate::peak::Peak;

/// Capsules on this host, in as many instances and with as many host calls at once as it grants.
pub struct Engine {
    pub pool: Pool<Capsules>,
    pub host: Arc<Host>,
    /// Requests in an instance.
    pub handling: Peak,
    governor: Governor,
    settings: Overrides,
    _refresh: RefreshTask, // follows the host for as long as the engine runs
    _directory: Directory,
}

impl Engine {
    pub async fn start(settings: Overrides, server: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let governor = CapsuleRuntimeLimits::governor().overrides(settings.clone()).build().await?;
        let [blocking, io, instances] = governor.gates([BLOCKING, IO, POOL])?;
        let directory = Directory::new()?;
        fs::write(directory.0.join("motd.txt"), MESSAGE)?;
        let host = Arc::new(Host {
            blocking,
            io,
            reading: Peak::default(),
            fetching: Peak::default(),
            alive: Peak::default(),
            server,
            directory: directory.0.clone(),
        });
        let pool = Pool::builder(Capsules::new(Arc::clone(&host))?)
            .gate(instances)
            .min_idle(MIN_IDLE)
            .idle_timeout(IDLE_TIMEOUT)
            .create_timeout(CREATE_TIMEOUT)
            .build()
            .await?;
        let refresh = governor.spawn_refresh(RefreshPolicy::new());
        Ok(Self {
            pool,
            host,
            handling: Peak::default(),
            governor,
            settings,
            _refresh: refresh,
            _directory: directory,
        })
    }

    /// The three gates in the order of the preset.
    pub fn gates(&self) -> [(&Gate, &Peak); 3] {
        let host = &self.host;
        [(&host.blocking, &host.reading), (&host.io, &host.fetching), (self.pool.gate(), &self.handling)]
    }

    /// What decided each limit, one line a gate.
    pub fn decisions(&self) -> Vec<String> {
        self.governor.resolution().explanations().iter().map(ToString::to_string).collect()
    }

    /// Puts changes in force above all other settings.
    pub fn change(&self, changes: &[Change]) -> Result<(), BuildError> {
        let layer = changes
            .iter()
            .fold(OverrideLayer::new("--lower"), |layer, change| layer.set(change.gate, change.limit));
        let settings =
            self.settings.layers().iter().cloned().fold(Overrides::new().then(layer), Overrides::then);
        self.governor.set_overrides(settings).map(|_| ())
    }
}

/// A directory for the capsules' files, removed with the engine.
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Self> {
        let directory = env::temp_dir().join(format!("capsule-engine-{}", process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a directory that stays is no reason to fail
    }
}

/// As the preset has it: so many instances are warm before the first request comes.
const MIN_IDLE: usize = 4;

/// An instance that nobody needed for so long gives its memory back.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Instantiating takes microseconds; what takes longer than this hangs.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

const MESSAGE: &str = "All capsules are equal before the gate.\n";
