//! The CPU bandwidth quotas of the process's cgroups.

use super::super::host::{CgroupController, CgroupLevel, HostReader};
use super::super::parse::cgroup_membership::CgroupVersion;
use super::super::parse::cpu_quota::{cfs_cores, parse_cfs_quota, parse_cpu_max};
use super::cgroup::{is_controller_off, read_level_file, resolve_cgroups, weaken_by_level_file};
use super::measurement_builder::MeasurementBuilder;
use crate::plan::Quantity;

/// Adds the quota of every cgroup that contains the process, as a limit in cores.
///
/// Every level counts: v2 accepts a quota above that of the parent, and the parent's quota still applies.
pub(in crate::probe) fn add_cpu_quotas(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    let Some(cgroups) = resolve_cgroups(reader, CgroupController::Cpu, builder) else { return };
    for level in &cgroups.levels {
        if is_controller_off(&cgroups, level, V2_QUOTA, reader) {
            break;
        }
        let cores = match cgroups.version {
            CgroupVersion::V1 => read_v1(level, reader, builder),
            CgroupVersion::V2 => read_v2(level, reader, builder),
        };
        if let Some(cores) = cores {
            builder.add_limit(cores);
        }
    }
}

/// Reads `cpu.cfs_quota_us`, and `cpu.cfs_period_us` if there is a quota. Returns the quota in cores.
fn read_v1(
    level: &CgroupLevel,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Option<Quantity> {
    let content = read_level_file(level, V1_QUOTA, reader, builder).ok()??;
    let cores = match parse_cfs_quota(&content) {
        Ok(quota) => {
            let quota = quota?;
            let period = read_level_file(level, "cpu.cfs_period_us", reader, builder).ok()?;
            cfs_cores(quota, period.as_deref())
        }
        Err(error) => Err(error),
    };
    cores.map_err(|error| weaken_by_level_file(level, V1_QUOTA, error, builder)).ok()
}

/// Reads `cpu.max`, which holds the quota and the period. Returns the quota in cores.
fn read_v2(
    level: &CgroupLevel,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Option<Quantity> {
    let content = read_level_file(level, V2_QUOTA, reader, builder).ok()??;
    parse_cpu_max(&content).map_err(|error| weaken_by_level_file(level, V2_QUOTA, error, builder)).ok()?
}

const V1_QUOTA: &str = "cpu.cfs_quota_us";
const V2_QUOTA: &str = "cpu.max";
