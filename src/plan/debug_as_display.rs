//! `Debug` for errors that people read.

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

pub(crate) use impl_debug_as_display;
