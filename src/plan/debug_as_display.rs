//! `Debug` for errors that people read.

use std::error::Error;
use std::fmt;

/// Implements `Debug` by `Display`, because a `main` that returns an error prints it with `Debug`.
macro_rules! impl_debug_as_display {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+};
}

/// Implements `Debug` by `Display`, followed by the causes of the error.
macro_rules! impl_debug_with_causes {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::plan::debug_as_display::write_with_causes(self, f)
            }
        }
    )+};
}

pub(crate) use {impl_debug_as_display, impl_debug_with_causes};

/// Writes an error and its causes on one line.
pub(crate) fn write_with_causes(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(f, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}
