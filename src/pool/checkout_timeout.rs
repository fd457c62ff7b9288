//! Why a checkout ran out of time, and where it was waiting.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::create_error::CreateError;
use crate::plan::GateName;
use crate::plan::debug_as_display::impl_debug_with_causes;

/// A checkout that was not served in time. It says what the checkout was waiting for.
#[derive(Clone)]
#[non_exhaustive]
pub struct CheckoutTimeout {
    /// The pool's gate.
    pub gate: GateName,
    /// How long the checkout had waited; zero if its deadline had passed on arrival.
    pub waited: Duration,
    /// What it was waiting for.
    pub stage: CheckoutStage,
    /// The largest number of live items.
    pub limit: usize,
    /// Items that were checked out.
    pub in_use: usize,
    /// Items that were being created.
    pub creating: usize,
    /// The last failure to create an item, if no item was created since. It is the [source](Error::source).
    pub error: Option<CreateError>,
}

/// What a checkout was waiting for when its deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckoutStage {
    /// A permit: it was in the gate's queue.
    Admission,
    /// An item that is returned, or the end of a drop: the limit allowed no other item.
    Item,
    /// The end of the delay after a failed creation.
    Backoff,
    /// The runtime of the pool, which had not started to create the item.
    Start,
    /// The end of the creation.
    Creation,
    /// The end of the [health check](super::Manager::health) of an idle item.
    Check,
}

impl fmt::Display for CheckoutTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, waited, limit, in_use, creating, .. } = self;
        write!(
            f,
            "the pool of gate `{gate}` did not serve the checkout within {waited:?}; at the end it waited for "
        )?;
        match self.stage {
            CheckoutStage::Admission => {
                write!(f, "a permit: of {limit} items, {in_use} were in use and {creating} being created; ")?;
                f.write_str(match (&self.error, creating) {
                    (Some(_), _) => "the creation of items fails",
                    (None, 0) => "raise the limit, or hold items for a shorter time",
                    (None, _) => "raise the limit, or find out what delays `Manager::create`",
                })
            }
            CheckoutStage::Item => write!(
                f,
                "an item to be returned: {in_use} were in use, and the limit allowed no other; hold items for a shorter time, \
                 or raise the limit"
            ),
            CheckoutStage::Backoff => f.write_str("the next attempt to create an item, because the last attempt failed"),
            CheckoutStage::Start => f.write_str(
                "the pool's runtime to start the creation of its item: drive the runtime that the pool was built on, or find \
                 out what blocks its threads",
            ),
            CheckoutStage::Creation => {
                f.write_str("its item to be created: find out what delays `Manager::create`, or allow a longer wait")
            }
            CheckoutStage::Check => {
                f.write_str("the health check of an idle item: set `check_timeout` well below the wait")
            }
        }
    }
}

impl Error for CheckoutTimeout {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.as_ref().map(|error| error as _)
    }
}

impl_debug_with_causes!(CheckoutTimeout);
