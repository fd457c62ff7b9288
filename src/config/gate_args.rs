//! One flag per gate, for the command line of an application.

use std::fmt;
use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::limit_args::parse_setting_value;
use crate::plan::{GateName, OverrideLayer};

/// The flags of an application and the gates that they set: see [`GateArgs`].
pub trait GateFlags {
    /// Each gate with its flag, without the leading dashes.
    const FLAGS: &'static [(GateName, &'static str)];
}

/// One flag per gate. Flatten it into the arguments of an application.
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
/// Each flag may be given once, and its value is a whole number. Errors are those of clap.
#[must_use]
pub struct GateArgs<F> {
    settings: Vec<(GateName, &'static str, usize)>,
    flags: PhantomData<fn() -> F>,
}

impl<F> GateArgs<F> {
    /// Returns the settings, in the order of [`GateFlags::FLAGS`].
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.settings.iter().map(|&(gate, _, value)| (gate, value))
    }

    /// Converts the settings to an override layer. The origin of each setting contains its flag.
    pub fn layer(&self, name: impl Into<String>) -> OverrideLayer {
        self.settings.iter().fold(OverrideLayer::new(name.into()), |layer, (gate, flag, value)| {
            layer.set_from(*gate, *value, format!("--{flag}"))
        })
    }
}

// `Debug`, `Clone` and `Default` are not derived, because that would require them of `F`.
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

/// Without any flag.
impl<F> Default for GateArgs<F> {
    fn default() -> Self {
        Self { settings: Vec::new(), flags: PhantomData }
    }
}

impl<F: GateFlags> Args for GateArgs<F> {
    fn augment_args(command: Command) -> Command {
        F::FLAGS.iter().fold(command, |command, (gate, flag)| {
            let help = format!("Limit of gate `{gate}` [default: derived from the host]");
            let arg = Arg::new(*flag).long(*flag).value_name("N");
            command.arg(arg.value_parser(parse_setting_value).help(help))
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
        let position = |flag| F::FLAGS.iter().position(|(_, known)| *known == flag);
        self.settings.sort_by_key(|(_, flag, _)| position(*flag));
        Ok(())
    }
}
