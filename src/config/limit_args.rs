//! One flag for all gates, on an application's own command line.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::plan::{GateName, NameError, OverrideLayer};

/// The flag `--limit GATE=N`, as often as there are gates, for an application that flattens it into its own arguments.
///
/// For gates that are known only when it runs, as those of a plan file are; [`GateArgs`](super::GateArgs) gives each gate
/// a flag of its own. Whether there is such a gate is told when the plan is resolved, or the governor built.
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
/// A gate is given at most once, and its value is any whole number. What is wrong is told in clap's way.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LimitArgs {
    settings: Vec<(GateName, usize)>,
}

impl LimitArgs {
    /// What is set, in the order of the command line.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.settings.iter().copied()
    }

    /// A layer of what is set. Each origin has the flag.
    pub fn layer(&self, name: impl Into<String>) -> OverrideLayer {
        self.settings.iter().fold(OverrideLayer::new(name.into()), |layer, (gate, value)| {
            layer.set_from(*gate, *value, format!("--{FLAG}"))
        })
    }
}

impl Args for LimitArgs {
    fn augment_args(command: Command) -> Command {
        let help = "Set a gate's limit [default: what the host grants]";
        let limit = Arg::new(FLAG).long(FLAG).value_name("GATE=N").value_parser(setting);
        command.arg(limit.action(ArgAction::Append).help(help))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings: Vec<(GateName, usize)> = Vec::new();
        for &(gate, value) in matches.get_many::<(GateName, usize)>(FLAG).into_iter().flatten() {
            if settings.iter().any(|(other, _)| *other == gate) {
                let what = format!("--{FLAG} gives gate `{gate}` twice (allowed: once)");
                return Err(clap::Error::raw(ErrorKind::ArgumentConflict, what));
            }
            settings.push((gate, value));
        }
        Ok(Self { settings })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (gate, value) in Self::from_arg_matches(matches)?.settings {
            self.settings.retain(|(other, _)| *other != gate);
            self.settings.push((gate, value));
        }
        Ok(())
    }
}

/// A setting's value.
pub(super) fn whole(given: &str) -> Result<usize, SettingError> {
    given.parse().map_err(|_| SettingError::Value { given: given.to_owned() })
}

fn setting(given: &str) -> Result<(GateName, usize), SettingError> {
    let (gate, value) = given.split_once('=').ok_or(SettingError::NoEquals)?;
    Ok((gate.parse()?, whole(value)?))
}

/// What is wrong with the value of a flag; which flag and what value stands before it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingError {
    #[error("it has no `=` (allowed: GATE=N such as io=64)")]
    NoEquals,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{given:?} is not a whole number (allowed: 0 to {})", usize::MAX)]
    Value { given: String },
}

const FLAG: &str = "limit";
