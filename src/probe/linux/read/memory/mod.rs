//! The memory of the host and the memory limits of the process.

mod figure;

mod cgroup;
mod host;
mod nodes;
mod process;

use super::super::host::HostReader;
use super::measurement_builder::MeasurementBuilder;

pub(in crate::probe) use cgroup::add_soft_limits;
pub(in crate::probe) use figure::MemoryFigure;

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
