//! A flag for each gate, on an application's own command line.

use std::fmt;
use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::limit_args::whole;
use crate::plan::{GateName, OverrideLayer};

/// Which flag of an application sets which gate: see [`GateArgs`].
pub trait GateFlags {
    /// The gates, each with its flag, less the dashes.
    const FLAGS: &'static [(GateName, &'static str)];
}

/// A flag for each gate, for an application that flattens it into its own arguments.
///
/// ```
/// use clap::Parser;
/// use concurrency_governor::config::{GateArgs, GateFlags};
/// use concurrency_governor::{Formula, GateName, GateSpec, Overrides, Resource};
///
/// const UPLOADS: GateSpec = GateSpec::new("uploads", Formula::scale(Resource::CPU, 8));
///
/// struct Flags;
///
/// impl GateFlags for Flags {
///     const FLAGS: &[(GateName, &str)] = &[(UPLOADS.name(), "upload-limit")];
/// }
///
/// #[derive(Parser)]
/// struct App {
///     #[command(flatten)]
///     limits: GateArgs<Flags>,
/// }
///
/// let app = App::try_parse_from(["app", "--upload-limit", "12"])?;
/// let overrides = Overrides::new().then(app.limits.layer("cli")); // set to 12 by cli --upload-limit
/// # assert_eq!(overrides.layers()[0].settings().collect::<Vec<_>>(), [(UPLOADS.name(), 12)]);
/// # Ok::<(), clap::Error>(())
/// ```
///
/// A flag is given at most once, and its value is any whole number. What is wrong is told in clap's way.
#[must_use]
pub struct GateArgs<F> {
    settings: Vec<(GateName, &'static str, usize)>,
    flags: PhantomData<fn() -> F>,
}

impl<F> GateArgs<F> {
    /// What is set, in the order in which the flags are declared.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.settings.iter().map(|&(gate, _, value)| (gate, value))
    }

    /// A layer of what is set. Each origin has its flag.
    pub fn layer(&self, name: impl Into<String>) -> OverrideLayer {
        self.settings.iter().fold(OverrideLayer::new(name.into()), |layer, (gate, flag, value)| {
            layer.set_from(*gate, *value, format!("--{flag}"))
        })
    }
}

// By hand, since a derived one would ask the same of `F`.
impl<F> fmt::Debug for GateArgs<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<F> Clone for GateArgs<F> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), flags: PhantomData }
    }
}

/// No flag given.
impl<F> Default for GateArgs<F> {
    fn default() -> Self {
        Self { settings: Vec::new(), flags: PhantomData }
    }
}

impl<F: GateFlags> Args for GateArgs<F> {
    fn augment_args(command: Command) -> Command {
        F::FLAGS.iter().fold(command, |command, (gate, flag)| {
            let help = format!("Limit of gate `{gate}` [default: what the host grants]");
            command.arg(Arg::new(*flag).long(*flag).value_name("N").value_parser(whole).help(help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<F: GateFlags> FromArgMatches for GateArgs<F> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for &(gate, flag) in F::FLAGS {
            if let Some(&value) = matches.get_one::<usize>(flag) {
                self.settings.retain(|(_, other, _)| *other != flag);
                self.settings.push((gate, flag, value));
            }
        }
        let place = |flag| F::FLAGS.iter().position(|(_, known)| *known == flag);
        self.settings.sort_by_key(|(_, flag, _)| place(*flag));
        Ok(())
    }
}
