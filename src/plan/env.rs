//! An override layer from environment variables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::debug_as_display::impl_debug_as_display;
use super::name::GateName;
use super::overrides::OverrideLayer;
use super::path::GatePath;

impl OverrideLayer {
    /// Creates a layer named `env` from environment variables.
    ///
    /// `variables` maps each gate to its variable. `lookup` returns the value of a variable: [`std::env::var_os`], or a map
    /// in a test. A variable that is not set adds no setting. An empty value counts as not set, because scripts and
    /// templates pass one on for a variable that they do not have.
    ///
    /// # Errors
    ///
    /// [`EnvError`] with every variable whose value is not a whole number.
    pub fn env<'v, G: Into<GateName>>(
        variables: impl IntoIterator<Item = (G, &'v str)>,
        lookup: impl Fn(&'v str) -> Option<OsString>,
    ) -> Result<Self, EnvError> {
        let mut reader = EnvReader::new();
        for (gate, variable) in variables {
            if let Some(value) = lookup(variable).filter(|value| !is_blank(value)) {
                reader.set(gate.into().into(), variable, &value);
            }
        }
        reader.finish()
    }

    /// Creates a layer named `env` from every environment variable that starts with `prefix`.
    ///
    /// `gates` are the paths of the plan's gates, `variables` the environment: [`std::env::vars_os`], or a list in a test.
    ///
    /// The variable of a gate is the prefix, then the gate's name in capitals, with `_` for `-` and for `.`. A gate that is
    /// within others also has the variable of its path, with `__` for each `/`. Give at most one of the two:
    ///
    /// ```
    /// use concurrency_governor::{Formula, GateSpec, OverrideLayer, Plan};
    ///
    /// const CLIENT: GateSpec = GateSpec::new("http-client", Formula::fixed(8));
    /// const UPLOADS: GateSpec = GateSpec::new("uploads", Formula::fixed(4)).within(CLIENT);
    ///
    /// let plan = Plan::new([CLIENT, UPLOADS])?;
    /// let variables = [
    ///     ("APP_LIMIT_HTTP_CLIENT".into(), "4".into()),
    ///     ("APP_LIMIT_HTTP_CLIENT__UPLOADS".into(), "2".into()), // or APP_LIMIT_UPLOADS
    ///     ("PATH".into(), "/bin".into()),
    /// ];
    /// let layer = OverrideLayer::env_prefixed("APP_LIMIT_", plan.paths(), variables)?;
    /// assert_eq!(layer.settings().collect::<Vec<_>>(), [(CLIENT.name(), 4), (UPLOADS.name(), 2)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Use the prefix for these variables only: any other variable that starts with it is an error, since it is probably a
    /// misspelled gate. A variable with an empty value counts as not set, as in [`env`](Self::env).
    ///
    /// # Errors
    ///
    /// [`EnvError`] with every problem: a value that is not a whole number, a variable with the prefix that belongs to no
    /// gate, two gates with the same variable, a gate that two variables set, an empty prefix.
    pub fn env_prefixed<G: Into<GatePath>>(
        prefix: &str,
        gates: impl IntoIterator<Item = G>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, EnvError> {
        let mut reader = EnvReader::new();
        if prefix.is_empty() {
            let fault =
                "the prefix of the environment variables is empty (allowed: a prefix such as APP_LIMIT_)";
            reader.faults.push(fault.to_owned());
            return reader.finish();
        }

        // Different gate names can give the same variable, such as `a-b` and `a.b`.
        let mut known: BTreeMap<String, GatePath> = BTreeMap::new();
        for path in gates.into_iter().map(Into::into) {
            let name = GatePath::from(path.gate());
            let path = Some(path).filter(|path| *path != name);
            for path in [Some(name), path].into_iter().flatten() {
                let gate = path.gate();
                let variable = variable_of(prefix, &path);
                match known.insert(variable.clone(), path) {
                    Some(other) if other.gate() != gate => reader.faults.push(format!(
                        "gates `{}` and `{gate}` are both set by {variable} (allowed: one gate per variable)",
                        other.gate()
                    )),
                    _ => {}
                }
            }
        }

        let allowed: Vec<String> = known.keys().cloned().collect();
        let mut given: Vec<_> = variables
            .into_iter()
            .filter(|(variable, _)| variable.as_encoded_bytes().starts_with(prefix.as_bytes()))
            .filter(|(_, value)| !is_blank(value))
            .collect();
        given.sort(); // an environment has no order, the errors need one
        let mut set_by: BTreeMap<GateName, &str> = BTreeMap::new();
        for (variable, value) in &given {
            let Some((variable, path)) = variable.to_str().and_then(|variable| known.get_key_value(variable))
            else {
                reader.faults.push(format!(
                    "environment variable {} belongs to no gate (allowed: {})",
                    variable.to_string_lossy().escape_debug(),
                    if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") }
                ));
                continue;
            };
            if let Some(other) = set_by.insert(path.gate(), variable) {
                reader.faults.push(format!(
                    "gate `{}` is set by {other} and by {variable} (allowed: one of them)",
                    path.gate()
                ));
            }
            reader.set(path.clone(), variable, value);
        }
        reader.finish()
    }
}

/// The error for the environment variables of a layer: every problem, with what was given and what is allowed.
///
/// It prints as one line.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct EnvError {
    /// The variables whose values are not whole numbers, as `VARIABLE="value"`.
    bad_values: Vec<String>,
    /// Every other problem, as a message.
    faults: Vec<String>,
}

impl_debug_as_display!(EnvError);

impl EnvError {
    fn message(&self) -> String {
        let mut messages = self.faults.clone();
        if !self.bad_values.is_empty() {
            let given = self.bad_values.join(", ");
            let message =
                format!("not a whole number in the environment: {given} (allowed: 0 to {})", usize::MAX);
            messages.insert(0, message);
        }
        messages.join("; ")
    }
}

/// Builds a layer from variables, and collects every problem.
struct EnvReader {
    layer: OverrideLayer,
    bad_values: Vec<String>,
    faults: Vec<String>,
}

impl EnvReader {
    fn new() -> Self {
        Self { layer: OverrideLayer::new("env"), bad_values: Vec::new(), faults: Vec::new() }
    }

    fn set(&mut self, path: GatePath, variable: &str, value: &OsStr) {
        match value.to_str().map(str::trim).and_then(|value| value.parse().ok()) {
            Some(value) => self.layer.insert(path, value, Some(variable.to_owned())),
            None => self.bad_values.push(format!("{variable}={:?}", value.to_string_lossy())),
        }
    }

    fn finish(self) -> Result<OverrideLayer, EnvError> {
        let Self { layer, bad_values, faults } = self;
        if bad_values.is_empty() && faults.is_empty() {
            Ok(layer)
        } else {
            Err(EnvError { bad_values, faults })
        }
    }
}

/// Returns the variable that sets the gate of a path.
fn variable_of(prefix: &str, path: &GatePath) -> String {
    let names = path.to_string().to_ascii_uppercase();
    format!("{prefix}{}", names.replace(['-', '.'], "_").replace('/', "__"))
}

/// Returns `true` for the value of a variable that counts as not set.
fn is_blank(value: &OsStr) -> bool {
    value.to_str().is_some_and(|value| value.trim().is_empty())
}
