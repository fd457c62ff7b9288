//! Models of the probes: what holds for any bytes in a file, and what a tree of cgroups grants.
//!
//! The fuzz targets in `fuzz/fuzz_targets` include `bytes.rs`, which therefore uses no other module of these
//! tests.

pub(crate) mod bytes;
pub(crate) mod tree;
