//! Presets: plans that ship with the crate, declared with its public surface alone.

pub mod astrid;
