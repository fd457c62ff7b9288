//! The CPU bandwidth quotas of the process's cgroups.

use super::super::host::{CgroupController, CgroupLevel, HostReader};
use super::super::parse::cgroup_membership::CgroupVersion;
use super::super::parse::cpu_quota::{CpuQuota, cfs_cores, parse_cfs_quota, parse_cpu_max};
use super::cgroup::{is_controller_off, read_level_file, resolve_cgroups, weaken_by_level_file};
use super::measurement_builder::MeasurementBuilder;
use super::threads::note_threaded_cgroups;

/// Adds the quota of every cgroup that contains the process, as a limit in cores.
///
/// Every level counts: v2 accepts a quota above that of the parent, and the parent's quota still applies.
pub(in crate::probe) fn add_cpu_quotas(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    let Some(cgroups) = resolve_cgroups(reader, CgroupController::Cpu, builder) else { return };
    note_threaded_cgroups(&cgroups, reader, builder);
    for level in &cgroups.levels {
        if is_controller_off(&cgroups, level, V2_QUOTA, reader) {
            break;
        }
        let (quota, file) = match cgroups.version {
            CgroupVersion::V1 => (read_v1(level, reader, builder), V1_QUOTA),
            CgroupVersion::V2 => (read_v2(level, reader, builder), V2_QUOTA),
        };
        let Some(quota) = quota else { continue };
        builder.add_limit(quota.cores);
        if !quota.has_period {
            weaken_by_level_file(
                level,
                file,
                "has no period, so the kernel's default of 100 ms is assumed",
                builder,
            );
        }
    }
}

/// Reads `cpu.cfs_quota_us`, and `cpu.cfs_period_us` if there is a quota. Returns the quota.
fn read_v1(
    level: &CgroupLevel,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Option<CpuQuota> {
    let content = read_level_file(level, V1_QUOTA, reader, builder).ok()??;
    let quota = match parse_cfs_quota(&content) {
        Ok(quota) => {
            let quota = quota?;
            let period = read_level_file(level, "cpu.cfs_period_us", reader, builder).ok()?;
            cfs_cores(quota, period.as_deref())
        }
        Err(error) => Err(error),
    };
    quota.map_err(|error| weaken_by_level_file(level, V1_QUOTA, error, builder)).ok()
}

/// Reads `cpu.max`, which holds the quota and the period. Returns the quota.
fn read_v2(
    level: &CgroupLevel,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Option<CpuQuota> {
    let content = read_level_file(level, V2_QUOTA, reader, builder).ok()??;
    parse_cpu_max(&content).map_err(|error| weaken_by_level_file(level, V2_QUOTA, error, builder)).ok()?
}

const V1_QUOTA: &str = "cpu.cfs_quota_us";
const V2_QUOTA: &str = "cpu.max";
