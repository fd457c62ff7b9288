//! The memory of the host and the memory limits of the process.

mod cgroup;
mod host;
mod nodes;
mod process;

use super::super::host::HostReader;
use super::measurement_builder::MeasurementBuilder;

pub(in crate::probe) use cgroup::add_soft_limits;

/// Which number of bytes is measured.
///
/// Both are read from the same limits, and each remainder is at most its limit. So the available memory is never more
/// than the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) enum MemoryFigure {
    /// All memory that may be used, including what is in use.
    Total,
    /// The memory that can still be allocated.
    Available,
}

/// Adds everything that limits the memory: the host, its NUMA nodes, the cgroups, and the limits of the process.
pub(in crate::probe) fn add_limits(
    figure: MemoryFigure,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    let meminfo = host::add_host(figure, reader, builder);
    nodes::add_allowed_nodes(figure, &meminfo, reader, builder);
    cgroup::add_hard_limits(figure, reader, builder);
    process::add_process_limits(figure, reader, builder);
}
