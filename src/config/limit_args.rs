//! One flag for all gates, for the command line of an application.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::plan::{GateName, GatePath, OverrideLayer, PathError};

/// The flag `--limit GATE=N`, which may be given once per gate. Flatten it into the arguments of an application.
///
/// Use it for gates that are known only at run time, such as those of a plan file. [`GateArgs`](super::GateArgs) has one flag
/// per gate instead. A gate is given by its name, or by its path from the root, such as `io/messages`. An unknown gate or a
/// wrong path is reported when the plan is resolved or the governor is built.
///
/// ```
/// use clap::Parser;
/// use concurrency_governor::Overrides;
/// use concurrency_governor::config::LimitArgs;
///
/// #[derive(Parser)]
/// struct App {
///     #[command(flatten)]
///     limits: LimitArgs,
/// }
///
/// let app = App::try_parse_from(["app", "--limit", "uploads=12", "--limit", "cache=4"])?;
/// let overrides = Overrides::new().then(app.limits.layer("cli")); // set to 12 by cli --limit
/// # assert_eq!(overrides.layers()[0].settings().len(), 2);
/// # Ok::<(), clap::Error>(())
/// ```
///
/// Each gate may be given once, and its value is a whole number. Errors are those of clap.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LimitArgs {
    settings: Vec<(GatePath, usize)>,
}

impl LimitArgs {
    /// Returns the settings, in the order of the command line.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.settings.iter().map(|(path, value)| (path.gate(), *value))
    }

    /// Converts the settings to an override layer. The origin of each setting contains the flag.
    pub fn layer(&self, name: impl Into<String>) -> OverrideLayer {
        self.settings.iter().fold(OverrideLayer::new(name.into()), |layer, (gate, value)| {
            layer.set_from(gate.clone(), *value, format!("--{FLAG}"))
        })
    }
}

impl Args for LimitArgs {
    fn augment_args(command: Command) -> Command {
        let help = "Set the limit of a gate; may be repeated [default: derived from the host]";
        let limit = Arg::new(FLAG).long(FLAG).value_name("GATE=N").value_parser(parse_setting);
        command.arg(limit.action(ArgAction::Append).help(help))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings: Vec<(GatePath, usize)> = Vec::new();
        for (path, value) in matches.get_many::<(GatePath, usize)>(FLAG).into_iter().flatten() {
            // A name and a path may give the same gate.
            let gate = path.gate();
            if settings.iter().any(|(other, _)| other.gate() == gate) {
                let message = format!("--{FLAG} sets gate `{gate}` twice (allowed: once)");
                return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message));
            }
            settings.push((path.clone(), *value));
        }
        Ok(Self { settings })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (path, value) in Self::from_arg_matches(matches)?.settings {
            self.settings.retain(|(other, _)| other.gate() != path.gate());
            self.settings.push((path, value));
        }
        Ok(())
    }
}

/// Parses the value of a setting.
pub(super) fn parse_setting_value(given: &str) -> Result<usize, SettingError> {
    given.parse().map_err(|_| SettingError::InvalidValue { given: given.to_owned() })
}

/// Parses `GATE=N`.
fn parse_setting(given: &str) -> Result<(GatePath, usize), SettingError> {
    let (gate, value) = given.split_once('=').ok_or(SettingError::MissingEquals)?;
    Ok((gate.parse()?, parse_setting_value(value)?))
}

/// The problem with the value of a flag. clap prepends the flag and the value.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingError {
    #[error("`=` is missing (allowed: GATE=N, for example io=64)")]
    MissingEquals,
    #[error(transparent)]
    InvalidPath(#[from] PathError),
    #[error("{given:?} is not a whole number (allowed: 0 to {})", usize::MAX)]
    InvalidValue { given: String },
}

const FLAG: &str = "limit";
