//! Readers: each adds the limits of one kind to a measurement under construction.

mod measurement_builder;

mod affinity;
mod cgroup;
mod cpu_quota;
mod hidden;
mod process_limits;
mod threads;

pub(in crate::probe) mod memory;
pub(in crate::probe) mod open_files;
pub(in crate::probe) mod pressure;
pub(in crate::probe) mod tasks;

pub(in crate::probe) use affinity::add_affinity;
pub(in crate::probe) use cgroup::{limit_files, resolve_cgroups};
pub(in crate::probe) use cpu_quota::add_cpu_quotas;
pub(in crate::probe) use measurement_builder::MeasurementBuilder;
pub(in crate::probe) use process_limits::reading_of_rlimit;
