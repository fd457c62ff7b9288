//! CPU bandwidth quotas: `cpu.max` of cgroup v2, `cpu.cfs_quota_us` and `cpu.cfs_period_us` of v1.

use super::text::{is_no_limit, number, trimmed};
use crate::plan::Quantity;

/// Parses `cpu.max`: `max 100000` or `150000 100000`. The period may be missing, as the kernel accepts a quota alone.
///
/// Returns the quota, or `None` if there is none.
pub(in crate::probe) fn parse_cpu_max(content: &[u8]) -> Result<Option<CpuQuota>, CpuQuotaError> {
    let mut words = trimmed(content).ok_or(CpuQuotaError::Quota)?.split_ascii_whitespace();
    let Some(quota) = parse_microseconds(words.next().unwrap_or_default())? else { return Ok(None) };
    let period = words.next();
    if words.next().is_some() {
        return Err(CpuQuotaError::Period);
    }
    cores(quota, period).map(Some)
}

/// Parses `cpu.cfs_quota_us`: the quota in microseconds, or `None` if there is no quota.
pub(in crate::probe) fn parse_cfs_quota(content: &[u8]) -> Result<Option<u64>, CpuQuotaError> {
    parse_microseconds(trimmed(content).ok_or(CpuQuotaError::Quota)?)
}

/// Returns a v1 quota. `period` is the content of `cpu.cfs_period_us`, or `None` if the file is missing.
pub(in crate::probe) fn cfs_cores(quota: u64, period: Option<&[u8]>) -> Result<CpuQuota, CpuQuotaError> {
    let period = period.map(|content| trimmed(content).ok_or(CpuQuotaError::Period)).transpose()?;
    cores(quota, period)
}

/// A valid quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct CpuQuota {
    pub(in crate::probe) cores: Quantity,
    /// `false` if the period is not known, and the kernel's default was used instead.
    pub(in crate::probe) has_period: bool,
}

/// A quota that is not valid. Printed after the path of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::probe) enum CpuQuotaError {
    #[error("holds no valid quota")]
    Quota,
    #[error("has a period that is not a number")]
    Period,
    #[error("has a period of 0, so its quota is ignored")]
    ZeroPeriod,
}

/// Parses a quota. `max`, negative numbers and 0 mean that there is none.
fn parse_microseconds(quota: &str) -> Result<Option<u64>, CpuQuotaError> {
    if is_no_limit(quota) {
        return Ok(None);
    }
    number(quota).map(|quota| (quota > 0).then_some(quota)).ok_or(CpuQuotaError::Quota)
}

/// Divides the quota by the period. The result is exact to a thousandth of a core, and never 0.
fn cores(quota: u64, period: Option<&str>) -> Result<CpuQuota, CpuQuotaError> {
    let has_period = period.is_some();
    let period = period.map_or(Some(DEFAULT_PERIOD), number).ok_or(CpuQuotaError::Period)?;
    // The kernel grants at least 1 ms per second, so only an emulated cgroup has less than a thousandth of a core.
    let cores = Quantity::ratio(quota, period).ok_or(CpuQuotaError::ZeroPeriod)?;
    Ok(CpuQuota { cores: cores.max(Quantity::from_thousandths(1)), has_period })
}

/// The kernel's default period: 100 ms, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;
