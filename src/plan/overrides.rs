//! The operators' settings: ordered layers, each with a name and a policy.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::debug_as_display::impl_debug_as_display;
use super::name::GateName;
use super::path::GatePath;
use super::reading::Escaped;

/// The operators' settings in ordered layers. The first layer that sets the limit of a gate wins; settings of the same limit in later
/// layers are shadowed. The bound of the queue and the longest wait are decided in the same way, each separately.
///
/// The order in which you add the layers is their precedence:
///
/// ```
/// use concurrency_governor::{GateName, OverrideLayer, Overrides};
///
/// const IO: GateName = GateName::new("io");
/// let flag = Some(32); // from the command line
/// let file = None; // from a configuration file
///
/// let overrides = Overrides::new()
///     .then(OverrideLayer::new("cli").maybe_set(IO, flag))
///     .then(OverrideLayer::new("file").maybe_set(IO, file))
///     .then(OverrideLayer::env([(IO, "APP_IO")], std::env::var_os)?);
/// # Ok::<(), concurrency_governor::plan::EnvError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Overrides {
    layers: Vec<OverrideLayer>,
}

impl Overrides {
    /// Creates an empty list of layers: every limit is derived.
    pub const fn new() -> Self {
        Self { layers: Vec::new() }
    }

    /// Appends a layer. Earlier layers have precedence over it.
    pub fn then(mut self, layer: OverrideLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Returns the layers in order of precedence.
    pub fn layers(&self) -> &[OverrideLayer] {
        &self.layers
    }
}

/// The settings of one origin, such as the command line, a file or the environment.
///
/// A setting names a gate by its name or by its path from the root, such as `io/messages`. A path must be the gate's path in
/// the plan: if its parents are wrong, resolving the plan fails.
///
/// A setting of a limit is any whole number. 0 becomes 1, and a number above [`Limit::MAX`](crate::Limit::MAX) becomes `Limit::MAX`:
/// each is the nearest limit. The explanation reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct OverrideLayer {
    name: Cow<'static, str>,
    policy: Policy,
    settings: Vec<LayerSetting>,
    /// The settings of queues and waits.
    queues: Vec<LayerQueueSetting>,
}

impl OverrideLayer {
    /// Creates a layer without settings. Explanations and errors use `name` for it.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), policy: Policy::Trust, settings: Vec::new(), queues: Vec::new() }
    }

    /// Sets a gate. A second setting of the same gate replaces the first.
    pub fn set(mut self, gate: impl Into<GatePath>, value: usize) -> Self {
        self.insert(gate.into(), value, None);
        self
    }

    /// Same as [`set`](Self::set), with the key of the setting within the layer, such as a flag or the key of a file. The
    /// key becomes part of the [`Origin`].
    pub fn set_from(mut self, gate: impl Into<GatePath>, value: usize, key: impl Into<String>) -> Self {
        self.insert(gate.into(), value, Some(key.into()));
        self
    }

    /// Sets a gate if `value` is `Some`, for optional flags and fields.
    pub fn maybe_set(self, gate: impl Into<GatePath>, value: Option<usize>) -> Self {
        match value {
            Some(value) => self.set(gate, value),
            None => self,
        }
    }

    /// Sets the bound of a gate's queue, in place of the declared one: at most this many requests wait. [`usize::MAX`] removes the bound.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::{Formula, GateSpec, OverrideLayer, Overrides, Plan, Readings};
    ///
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::fixed(8)).queue(1000);
    /// let layer = OverrideLayer::new("admin").set_queue(JOBS, 100).set_max_wait(JOBS, Duration::from_secs(1));
    /// let resolution = Plan::new([JOBS])?.resolve(&Readings::new(), &Overrides::new().then(layer))?;
    /// let bounds = resolution.explain(JOBS)?.queue_bounds();
    /// assert_eq!((bounds.queue(), bounds.max_wait()), (Some(100), Some(Duration::from_secs(1))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_queue(mut self, gate: impl Into<GatePath>, bound: usize) -> Self {
        self.insert_queue(gate.into(), QueueSetting::Bound(bound), None);
        self
    }

    /// Sets the longest wait at a gate, in place of the declared one. [`Duration::MAX`] removes it.
    pub fn set_max_wait(mut self, gate: impl Into<GatePath>, wait: Duration) -> Self {
        self.insert_queue(gate.into(), QueueSetting::MaxWait(wait), None);
        self
    }

    /// Sets the policy for settings of this layer that are above the derived limit.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Returns the name that explanations and errors use for the layer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the settings, in the order in which they were set.
    #[must_use]
    pub fn settings(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.settings.iter().map(|setting| (setting.path.gate(), setting.value))
    }

    /// Returns the settings of queues and waits, in the order in which they were set.
    ///
    /// ```
    /// use concurrency_governor::{Formula, GateSpec, OverrideLayer};
    ///
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::fixed(8));
    /// let layer = OverrideLayer::new("admin").set_queue(JOBS, 100);
    /// let settings: Vec<String> = layer.queue_settings().map(|(gate, setting)| format!("{gate} {setting}")).collect();
    /// assert_eq!(settings, ["jobs queue = 100"]);
    /// ```
    #[must_use]
    pub fn queue_settings(&self) -> impl ExactSizeIterator<Item = (GateName, QueueSetting)> {
        self.queues.iter().map(|queue| (queue.path.gate(), queue.setting))
    }

    /// Returns the policy for settings that are above the derived limit.
    #[must_use]
    pub fn override_policy(&self) -> Policy {
        self.policy
    }

    /// Returns the setting of a gate with its origin, if there is one.
    pub(super) fn find(&self, gate: GateName) -> Option<(Origin, usize)> {
        let setting = self.settings.iter().find(|setting| setting.path.gate() == gate)?;
        Some((self.origin_of(setting), setting.value))
    }

    /// Returns the path that each setting gives, with the origin of the setting.
    pub(super) fn origins(&self) -> impl Iterator<Item = (&GatePath, Origin)> {
        let queues = self.queues.iter().map(|queue| (&queue.path, self.origin_at(queue.key.as_ref())));
        self.settings.iter().map(|setting| (&setting.path, self.origin_of(setting))).chain(queues)
    }

    pub(super) fn insert(&mut self, path: GatePath, value: usize, key: Option<String>) {
        self.settings.retain(|setting| setting.path.gate() != path.gate());
        self.settings.push(LayerSetting { path, value, key });
    }

    pub(crate) fn insert_queue(&mut self, path: GatePath, setting: QueueSetting, key: Option<String>) {
        self.queues.retain(|other| other.path.gate() != path.gate() || !other.setting.is_kind_of(setting));
        self.queues.push(LayerQueueSetting { path, setting, key });
    }

    /// Returns the first result of `pick` among the settings of a gate's queue, with its origin.
    pub(super) fn find_queue<T>(
        &self,
        gate: GateName,
        pick: impl Fn(QueueSetting) -> Option<T>,
    ) -> Option<(Origin, T)> {
        let mut of_gate = self.queues.iter().filter(|queue| queue.path.gate() == gate);
        of_gate.find_map(|queue| Some((self.origin_at(queue.key.as_ref()), pick(queue.setting)?)))
    }

    fn origin_of(&self, setting: &LayerSetting) -> Origin {
        self.origin_at(setting.key.as_ref())
    }

    fn origin_at(&self, key: Option<&String>) -> Origin {
        Origin { layer: self.name.clone(), key: key.cloned() }
    }
}

/// The treatment of a setting above the derived limit. Ordered by strictness, the most lenient first. The enum is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// The setting becomes the limit, and the explanation flags it: the operator knows better.
    #[default]
    Trust,
    /// The setting is lowered to the derived limit, and the explanation reports it.
    Clamp,
    /// The whole resolution fails.
    Reject,
}

impl Policy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Clamp => "clamp",
            Self::Reject => "reject",
        }
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(given: &str) -> Result<Self, PolicyError> {
        let policies = [Self::Trust, Self::Clamp, Self::Reject];
        let named = policies.into_iter().find(|policy| policy.as_str() == given);
        named.ok_or_else(|| PolicyError { given: given.to_owned() })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The error for a text that is not a policy: the given text, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a policy (allowed: `trust`, `clamp`, `reject`)")]
pub struct PolicyError {
    given: String,
}

/// The origin of a setting: the layer, and the key within the layer if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    layer: Cow<'static, str>,
    key: Option<String>,
}

impl Origin {
    /// Returns the name of the layer.
    #[must_use]
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// Returns the key within the layer, such as the environment variable.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

/// Prints the layer and the key: `cli`, or `env APP_IO`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.layer).fmt(f)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, " {}", Escaped(key)))
    }
}

impl_debug_as_display!(PolicyError);

/// A setting of a gate's queue; from [`OverrideLayer::queue_settings`]. It prints as `queue = 100` or `max_wait = 250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueSetting {
    /// At most this many requests wait.
    Bound(usize),
    /// The longest wait of a request.
    MaxWait(Duration),
}

impl QueueSetting {
    pub(crate) const fn is_kind_of(self, other: Self) -> bool {
        matches!((self, other), (Self::Bound(_), Self::Bound(_)) | (Self::MaxWait(_), Self::MaxWait(_)))
    }
}

impl fmt::Display for QueueSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound(bound) => write!(f, "queue = {bound}"),
            Self::MaxWait(wait) => write!(f, "max_wait = {wait:?}"),
        }
    }
}

/// One setting of a queue in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LayerQueueSetting {
    path: GatePath,
    setting: QueueSetting,
    key: Option<String>,
}

/// One setting of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LayerSetting {
    /// The gate's name alone, or its path as the operator gave it.
    path: GatePath,
    value: usize,
    key: Option<String>,
}
